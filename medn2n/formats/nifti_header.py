"""The header of a NIfTI-1 or -2 file, single or pair, plain or gzipped, with the bytes before the voxels."""

from __future__ import annotations

import gzip
import json
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import numpy.typing as npt

from medn2n.core.geometry import usable_affine
from medn2n.errors import InputError
from medn2n.formats import bids_names
from medn2n.formats.dicom_verdict import component

SUFFIXES = (".nii", ".nii.gz", ".hdr", ".img", ".hdr.gz", ".img.gz")
_MM = {1: 1000.0, 3: 0.001}  # xyzt_units: metres, micrometres; millimetres and "unknown" are millimetres
_LABEL_INTENT = 1002


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class NiftiHeader:
    """What one file says. head: bytes before the voxels. shape: as stored; `grid`: 3 or 4 axes. data_path: the file
    with the voxels (the .img of a pair). slope, intercept: 1, 0 where the header gives none."""

    path: Path
    data_path: Path
    header: Any
    head: bytes
    shape: tuple[int, ...]
    grid: tuple[int, ...]
    dtype: np.dtype[Any]
    offset: int
    slope: float
    intercept: float
    affine: npt.NDArray[np.float64]
    is_label: bool


def is_nifti(path: Path) -> bool:
    """By name: .nii, .hdr or .img, perhaps with .gz."""
    return path.name.lower().endswith(SUFFIXES)


def header_path(path: Path) -> Path:
    """The .hdr that belongs to a .img; any other path as it is."""
    for image, header in ((".img.gz", ".hdr.gz"), (".img", ".hdr"), (".IMG", ".HDR")):
        if path.name.endswith(image):
            return path.with_name(path.name[: -len(image)] + header)
    return path


def _open(path: Path) -> Any:
    with path.open("rb") as file:
        zipped = file.read(2) == b"\x1f\x8b"
    return gzip.open(path, "rb") if zipped else path.open("rb")


def read_bytes(path: Path, count: int = -1) -> bytes:
    """Unzipped bytes from the start. InputError TRUNCATED where a gzip stream is damaged or ends early."""
    try:
        with _open(path) as file:
            data: bytes = file.read(count)
            return data
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise InputError(
            "TRUNCATED", f"its gzip stream is damaged or ends early ({type(error).__name__}). Copy it again."
        ) from None
    except OSError as error:
        raise InputError("UNREADABLE", f"cannot be read ({type(error).__name__}). Check that it is there.") from None


def read_header(path: Path) -> NiftiHeader:
    """Header and extensions of a .nii or .hdr. InputError UNSUPPORTED_FORMAT, UNSUPPORTED_DTYPE, UNSUPPORTED_SHAPE,
    BAD_GEOMETRY, BAD_SCALING or TRUNCATED; voxels are not read."""
    path = header_path(path)
    block = read_bytes(path, 540)
    if len(block) < 348:
        raise InputError("TRUNCATED", f"holds {len(block)} bytes, a NIfTI header needs 348. Copy it again.")
    kind, size, single = _kind(block)
    header = kind(block[:size], check=False)
    offset = max(int(header["vox_offset"]), size) if single else int(header["vox_offset"])
    head = read_bytes(path, offset) if single else read_bytes(path)
    try:
        shape = tuple(int(length) for length in header.get_data_shape())
        dtype = header.get_data_dtype()
        slope, intercept = header.get_slope_inter()
        affine = np.array(header.get_best_affine(), dtype=np.float64)
    except Exception as error:  # nibabel's own kinds, which may quote the header
        raise InputError(
            "UNREADABLE", f"its NIfTI header is not valid ({type(error).__name__}). Convert it again."
        ) from None
    affine[:3] *= _MM.get(int(header["xyzt_units"]) & 7, 1.0)
    if not usable_affine(affine):
        raise InputError("BAD_GEOMETRY", "its affine is singular or not finite. Convert it again from its source.")
    return NiftiHeader(
        path=path,
        data_path=path if single else _image_of(path),
        header=header,
        head=head,
        shape=shape,
        grid=_grid(shape),
        dtype=_real(dtype),
        offset=offset,
        slope=1.0 if slope is None else float(slope),
        intercept=0.0 if intercept is None else float(intercept),
        affine=affine,
        is_label=int(header["intent_code"]) == _LABEL_INTENT,
    )


def _kind(block: bytes) -> tuple[Any, int, bool]:
    """Header class, its size, and whether the voxels follow in the same file."""
    if block[344:347] in (b"n+1", b"ni1"):
        return (
            (nib.Nifti1Header if block[345:346] == b"+" else nib.nifti1.Nifti1PairHeader),
            348,
            block[345:346] == b"+",
        )
    if len(block) >= 540 and block[4:7] in (b"n+2", b"ni2"):
        return (
            (nib.Nifti2Header if block[5:6] == b"+" else nib.nifti2.Nifti2PairHeader),
            540,
            block[5:6] == b"+",
        )
    raise InputError("UNSUPPORTED_FORMAT", "is not NIfTI (its magic bytes are missing). Convert it to NIfTI.")


def _image_of(path: Path) -> Path:
    for header, image in ((".hdr.gz", ".img.gz"), (".hdr", ".img"), (".HDR", ".IMG")):
        if path.name.endswith(header):
            return path.with_name(path.name[: -len(header)] + image)
    raise InputError("UNSUPPORTED_FORMAT", "is the header of a NIfTI pair but is not named .hdr. Rename both files.")


def _grid(shape: tuple[int, ...]) -> tuple[int, ...]:
    """(I,J,K) or (I,J,K,T): missing axes are 1 long, and axes of length 1 beyond the third are dropped."""
    grid = (*shape, 1, 1, 1)[: max(3, len(shape))]
    grid = grid[:3] + tuple(length for length in grid[3:] if length != 1)
    if len(grid) > 4 or min(grid) < 1:
        raise InputError(
            "UNSUPPORTED_SHAPE", f"has shape {shape}, expected (I,J,K) or (I,J,K,T). Split it into volumes."
        )
    return grid


def _real(dtype: np.dtype[Any]) -> np.dtype[Any]:
    if dtype.kind not in "iuf" or dtype.itemsize not in (1, 2, 4, 8):
        raise InputError(
            "UNSUPPORTED_DTYPE",
            "holds complex, colour or 128-bit values. Convert it to real numbers (magnitude) of at most 64 bits.",
        )
    return dtype


def modality_of(path: Path) -> str:
    """ "MR" or "CT" where the BIDS suffix or the sidecar's Modality says so, else ""."""
    told = str(_sidecar(path).get("Modality", "")).upper()
    return bids_names.modality(path.name) or (told if told in ("CT", "MR") else "")


def no_scan(path: Path) -> tuple[str, str] | None:
    """(code, reason) where the BIDS name or the sidecar's ImageType says that the file is no measured image of
    magnitudes: labels, phase, computed maps; else None."""
    told = bids_names.no_magnitude_image(path.name)
    sidecar = _sidecar(path) if told is None else {}
    image_type = sidecar.get("ImageType")
    words = tuple(str(value).upper() for value in image_type) if isinstance(image_type, list) else ()
    if component(str(sidecar.get("ComplexImageComponent", "")), words) not in ("", "MAGNITUDE"):
        return "NOT_MAGNITUDE", "a phase, real or imaginary image or a computed map; only magnitude images are denoised"
    return told


def _sidecar(path: Path) -> dict[str, Any]:
    try:
        data = json.loads(path.with_name(path.name.partition(".")[0] + ".json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return data if isinstance(data, dict) else {}
