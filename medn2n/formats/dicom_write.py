"""A denoised DICOM volume to bytes: one derived object for each source file."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import numpy.typing as npt

from medn2n.core.provenance import Provenance
from medn2n.core.scaling import padding_range, to_stored
from medn2n.core.volume import Volume
from medn2n.errors import InputError
from medn2n.formats.dicom_derive import Derivation, Equipment, derived, file_meta, is_lossy
from medn2n.formats.dicom_derive_enhanced import add_frame_derivation
from medn2n.formats.dicom_elements import encode_file, no_header_text, string
from medn2n.formats.dicom_header import Header, read_header
from medn2n.formats.dicom_pixels import with_unused_bits, without_unused_bits
from medn2n.formats.dicom_read import DicomSource, file_elements, file_pixels
from medn2n.formats.dicom_syntax import SYNTAX_UIDS, Syntax, pixel_data
from medn2n.formats.dicom_uid import uid_maker


@dataclass(frozen=True, slots=True, kw_only=True)
class DicomOptions:
    """How derived objects are written.

    uid: the same call gives the same identifiers, or new ones each time. syntax: how pixels are written. equipment:
    how much medn2n says of itself. keep_private: private creators whose elements stay. sources: which slices a copy
    names as its sources ("all" after a 3D network).
    """

    uid: Literal["deterministic", "random"] = "deterministic"
    syntax: Syntax = "explicit"
    equipment: Equipment = "minimal"
    keep_private: tuple[str, ...] = ()
    sources: Literal["nearest", "all"] = "nearest"


@dataclass(frozen=True, slots=True, kw_only=True)
class DerivedFile:
    """Contents of one output file, the source file that it comes from, how many of its voxels were clipped, and
    whether the source was compressed with loss."""

    source: Path
    data: bytes
    clipped: int
    lossy: bool


def derived_files(
    volume: Volume, source: DicomSource, provenance: Provenance, options: DicomOptions
) -> Iterator[DerivedFile]:
    """One file after the other, in slice order, so that only one is in memory.

    InputError CHANGED_FILE where a source file is no longer the one that was loaded, UNUSED_BITS where a compression
    would lose an overlay.
    """
    headers = source.volume.headers
    uid = uid_maker(provenance, random=options.uid == "random")
    series = source.volume.series_uid or "|".join(sorted(header.sop_uid for header in headers))
    derivation = Derivation(
        provenance=provenance,
        uid=uid,
        series_uid=uid("series", series),
        now=datetime.now(UTC),
        sources=tuple((one.sop_class, one.sop_uid) for one in headers) if options.sources == "all" else None,
        equipment=options.equipment,
        keep_private=options.keep_private,
    )
    where = {
        (frame.path, frame.index): (k, t) for k, slot in enumerate(source.volume.frames) for t, frame in enumerate(slot)
    }
    for header in headers:
        yield _derived_file(volume, header, where, derivation, options.syntax)


def _derived_file(
    volume: Volume,
    header: Header,
    where: dict[tuple[Path, int], tuple[int, int]],
    derivation: Derivation,
    syntax: Syntax,
) -> DerivedFile:
    dataset, pixels, bits = file_pixels(header)
    elements = file_elements(dataset)
    if string(elements, "SOPInstanceUID") != header.sop_uid or len(pixels) != len(header.frames):
        raise InputError("CHANGED_FILE", "A source file has changed since it was loaded. Load the series again.")
    stored = without_unused_bits(pixels, bits)
    result, clipped = _written_back(volume, header, where, stored, bits)
    data = pixel_data(with_unused_bits(result, pixels, bits), elements, syntax)
    before = str(dataset.file_meta.TransferSyntaxUID)
    body = derived(elements, data, derivation, syntax=before, enhanced=header.kind == "enhanced")
    if header.kind == "enhanced":
        add_frame_derivation(body, elements, derivation, {one.index for one in header.frames if not one.magnitude})
    return DerivedFile(
        source=header.path,
        data=encode_file(file_meta(body, SYNTAX_UIDS[syntax]), body),
        clipped=clipped,
        lossy=is_lossy(elements, before),
    )


def _written_back(
    volume: Volume,
    header: Header,
    where: dict[tuple[Path, int], tuple[int, int]],
    stored: npt.NDArray[Any],
    bits: int,
) -> tuple[npt.NDArray[Any], int]:
    """Stored numbers (frames, rows, columns) with the volume's voxels in them, and how many were clipped. A frame
    that is in no volume (phase) stays as it is."""
    result = stored.copy()
    clipped = 0
    for frame in header.frames:
        if not frame.magnitude:
            continue
        k, t = where[(frame.path, frame.index)]
        back = to_stored(
            _plane(volume.voxels, k, t),
            stored[frame.index],
            frame.slope,
            frame.intercept,
            bits_stored=bits,
            padding=padding_range(*header.padding),
            keep=None if volume.padding is None else _plane(volume.padding, k, t),
        )
        result[frame.index] = back.stored
        clipped += back.clipped
    return result, clipped


def _plane(values: npt.NDArray[Any], k: int, t: int) -> npt.NDArray[Any]:
    """One slice as DICOM stores it: (rows, columns)."""
    plane = values[:, :, k] if values.ndim == 3 else values[:, :, k, t]
    return plane.T


def is_own_output(path: Path) -> bool:
    """Whether a file is a DICOM object that medn2n wrote."""
    try:
        with no_header_text():
            return path.is_file() and path.suffix != ".gz" and read_header(path).own_output
    except InputError:
        return False


def uniform_scaling(source: DicomSource) -> tuple[float, float] | None:
    """Slope and intercept, where every frame has the same."""
    pairs = {(frame.slope, frame.intercept) for slot in source.volume.frames for frame in slot}
    return next(iter(pairs)) if len(pairs) == 1 else None
