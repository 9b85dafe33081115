"""The diffusion gradient table beside a NIfTI: scan.bval and scan.bvec, as FSL and BIDS write them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from medn2n.errors import InputError


@dataclass(frozen=True, slots=True, kw_only=True)
class Gradients:
    """b_values in s/mm², one a frame; directions: unit vectors in the same order, or None without a .bvec."""

    b_values: tuple[float, ...]
    directions: tuple[tuple[float, float, float], ...] | None


def read_gradients(scan: Path, frames: int) -> Gradients | None:
    """The table beside `scan`, or None where there is none. InputError GRADIENT_TABLE where it does not hold one
    number (and one direction) for each of the `frames`."""
    name = scan.name
    for suffix in (".nii.gz", ".nii", ".img", ".hdr"):
        name = name.removesuffix(suffix)
    values_file, vectors_file = scan.with_name(name + ".bval"), scan.with_name(name + ".bvec")
    if not values_file.is_file():
        return None
    values = [number for row in _rows(values_file) for number in row]
    if len(values) != frames:
        raise InputError("GRADIENT_TABLE", f"The .bval file holds {len(values)} b-values for {frames} frames.")
    if not vectors_file.is_file():
        return Gradients(b_values=tuple(values), directions=None)
    rows = _rows(vectors_file)
    if len(rows) == 3 and all(len(row) == frames for row in rows):
        rows = [list(column) for column in zip(*rows, strict=True)]
    if len(rows) != frames or any(len(row) != 3 for row in rows):
        raise InputError("GRADIENT_TABLE", f"The .bvec file does not hold 3 × {frames} numbers.")
    return Gradients(b_values=tuple(values), directions=tuple((row[0], row[1], row[2]) for row in rows))


def _rows(path: Path) -> list[list[float]]:
    """Numbers of a text file, row by row, empty rows left out."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
        return [[float(word) for word in line.replace(",", " ").split()] for line in lines if line.strip()]
    except ValueError:
        raise InputError("GRADIENT_TABLE", "The gradient table beside the scan is not plain numbers.") from None
