"""From a DICOM volume's headers to its voxels in physical units."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from medn2n.core.scaling import outside_field, padding_range, to_physical
from medn2n.core.volume import Volume
from medn2n.errors import InputError
from medn2n.formats.dicom_elements import Elements, no_header_text, number, numbers, plain, string, tag
from medn2n.formats.dicom_header import Header, fill_identity
from medn2n.formats.dicom_pixels import read_dataset, stored_frames, without_unused_bits
from medn2n.formats.dicom_volume import DicomVolume

_DECISIVE = tuple(
    map(
        tag,
        (
            "StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "Rows", "Columns", "NumberOfFrames",
            "ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "RescaleSlope", "RescaleIntercept",
        ),
    )
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class DicomSource:
    """volume: the headers that the voxels came from. base: the folder that output paths mirror by default."""

    volume: DicomVolume
    base: Path


def file_pixels(header: Header) -> tuple[Any, npt.NDArray[Any], int]:
    """(dataset, stored pixels as in the file (frames, rows, columns), BitsStored) of the file that `header` was read
    from. InputError CHANGED_FILE where it is no longer the same, or says something twice and differently."""
    dataset = read_dataset(header.path)
    _require_same(header, dataset)
    pixels = stored_frames(dataset)
    if pixels.shape != (len(header.frames), header.rows, header.columns):
        raise InputError("DECODE_FAILED", "its pixel data has another size than its header says.")
    try:
        bits = int(dataset.BitsStored)
    except (AttributeError, TypeError, ValueError):  # the element is damaged; the text of such an error quotes it
        bits = 0
    if not 0 < bits <= pixels.dtype.itemsize * 8:
        raise InputError("UNSUPPORTED_PIXELS", "its header does not say how many bits a pixel has. Export it again.")
    return dataset, pixels, bits


def _require_same(header: Header, dataset: Any) -> None:
    """What identity, shape, place and scaling follow from, read again from the whole file."""
    try:
        with no_header_text():
            elements = plain(dataset, only=_DECISIVE)
    except Exception:  # damaged bytes make pydicom raise many kinds
        elements = {}
    same = all(
        string(elements, f"{level}InstanceUID") in ("", uid)
        for level, uid in (("Study", header.study_uid), ("Series", header.series_uid), ("SOP", header.sop_uid))
    )
    same &= (number(elements, "Rows"), number(elements, "Columns")) == (header.rows, header.columns)
    same &= (number(elements, "NumberOfFrames") or 1) == len(header.frames)
    if header.kind == "single":
        frame = header.frames[0]
        same &= numbers(elements, "ImagePositionPatient") == frame.position
        same &= numbers(elements, "ImageOrientationPatient") == frame.orientation
        same &= numbers(elements, "PixelSpacing") == frame.pixel_spacing
        same &= (numbers(elements, "RescaleSlope") or (1.0,))[0] == frame.slope
        same &= (numbers(elements, "RescaleIntercept") or (0.0,))[0] == frame.intercept
    if not same:
        raise InputError(
            "CHANGED_FILE",
            "its header is not what it was, or says something twice. Load it again, else export it again.",
        )


def file_elements(dataset: Any) -> Elements:
    """Every element of a dataset as bytes. InputError UNREADABLE where one of them is damaged."""
    try:
        with no_header_text():
            elements = plain(dataset, signed=bool(dataset.PixelRepresentation))
            fill_identity(elements, dataset)
    except Exception as error:  # damaged bytes make pydicom raise many kinds
        raise InputError(
            "UNREADABLE",
            f"its header is damaged, so that no copy can be made ({type(error).__name__}). Export it again.",
        ) from None
    return elements


def read_volume(volume: DicomVolume, base: Path) -> Volume:
    """Voxels (I,J,K) or (I,J,K,T): RescaleSlope · stored + RescaleIntercept, each frame with its own.

    InputError as `dicom_pixels` raises them, with the series named.
    """
    voxels = np.empty(volume.shape, dtype=np.float32)
    padding = np.zeros(volume.shape, dtype=bool)
    where = {(frame.path, frame.index): (k, t) for k, slot in enumerate(volume.frames) for t, frame in enumerate(slot)}
    grid = voxels[..., np.newaxis] if voxels.ndim == 3 else voxels
    masks = padding[..., np.newaxis] if padding.ndim == 3 else padding
    for header in volume.headers:
        try:
            _, pixels, bits = file_pixels(header)
        except InputError as error:
            raise _named(volume, error) from None
        stored = without_unused_bits(pixels, bits)
        span = padding_range(*header.padding)
        for frame in header.frames:
            place = where.get((frame.path, frame.index))
            if place is not None:
                plane = stored[frame.index].T
                grid[:, :, place[0], place[1]] = to_physical(plane, frame.slope, frame.intercept)
                if span is not None:
                    masks[:, :, place[0], place[1]] = (plane >= span[0]) & (plane <= span[1])
    return Volume(
        voxels=voxels,
        affine=volume.affine.copy(),
        unit="HU" if volume.modality == "CT" else "a.u.",
        modality=volume.modality,
        slice_positions_mm=volume.positions_mm,
        padding=padding if padding.any() else outside_field(voxels, volume.modality),
        source=DicomSource(volume=volume, base=base),
    )


def _named(volume: DicomVolume, error: InputError) -> InputError:
    count = len(volume.headers)
    return InputError(error.code, f"Series {volume.id} ({count} file{'' if count == 1 else 's'}): {error}")
