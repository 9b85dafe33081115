"""Photographs: PNG and TIFF, 8 or 16 bits, grey or RGB, as Volumes, and written back with dtype, planes and colours.

A Volume's I runs along the columns of the picture (left to right), J along its rows (top to bottom), as for a DICOM
slice, and K along its colour planes (1 or 3), so that a network of one channel runs on each plane as on a slice. Unit
is the grey level, 0 black to 255 white whatever the depth (16 bits: stored number / 257). A pixel counts as 1 mm, for
want of a size, and the picture stands upright where an axial slice does.

SimpleITK decodes, since it alone reads 16-bit colour; what it is given was checked by `photo_header`.
"""

from __future__ import annotations

import io
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from medn2n.core.scaling import to_physical, to_stored
from medn2n.core.volume import UNITS, Volume
from medn2n.errors import InputError, UsageError
from medn2n.formats.photo_header import (
    AFFINE,
    FLOAT_LEVELS,
    OWN_COPY,
    PNG_MAGIC,
    SUFFIXES,
    PhotoHeader,
    is_photo,
    read_header,
)

__all__ = [
    "SUFFIXES",
    "PhotoSource",
    "encode_like",
    "encode_new",
    "is_own_copy",
    "is_photo",
    "read_header",
    "read_volume",
]

Pixels = npt.NDArray[Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class PhotoSource:
    """Where a Volume came from: an absolute path."""

    path: Path


def read_volume(path: Path) -> Volume:
    """The picture as (I,J,planes) float32 grey levels. InputError as `read_header`, and PHOTO_TRUNCATED."""
    header = read_header(path)
    return Volume(
        voxels=to_physical(_stored(path, header), header.slope),
        affine=AFFINE.copy(),
        unit=UNITS["PHOTO"],
        modality="PHOTO",
        source=PhotoSource(path=path.absolute()),
    )


def _stored(path: Path, header: PhotoHeader) -> Pixels:
    """Stored numbers, (I,J,planes)."""
    import SimpleITK as sitk  # noqa: N813

    from medn2n.formats.itk import quiet

    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    reader.SetImageIO("PNGImageIO" if header.kind == "png" else "TIFFImageIO")
    with quiet():
        try:
            rows = sitk.GetArrayFromImage(reader.Execute())
        except RuntimeError:  # its text holds the path
            raise InputError("PHOTO_TRUNCATED", "its pixels are damaged. Copy or export it again.") from None
    expected = (header.rows, header.columns, *([3] if header.planes == 3 else []))
    if rows.shape != expected or rows.dtype != header.dtype:
        raise InputError("PHOTO_LAYOUT", "is stored in a way that cannot be read exactly. Export it as PNG.")
    pixels = rows.reshape(header.rows, header.columns, header.planes).transpose(1, 0, 2)
    if header.dtype.kind == "f" and not np.isfinite(pixels).all():
        raise InputError("PHOTO_TRUNCATED", "holds values that are not numbers. Export it again.")
    return np.ascontiguousarray(pixels)


def read_mark(path: Path) -> npt.NDArray[np.float32]:
    """A watermark as (I,J) coverage, 0 to 1: white where the picture (grey, or the mean of its colours) covers all.
    UsageError for a file of another kind, InputError as `read_header`."""
    if not is_photo(path):
        raise UsageError("The picture of the mark: expected a PNG or TIFF, found a file of another kind.")
    return np.asarray(read_volume(path).voxels.mean(axis=2) / 255.0, np.float32)


def is_own_copy(path: Path) -> bool:
    """Whether medn2n denoised this picture, as the file itself says."""
    try:
        return is_photo(path) and read_header(path).own_copy
    except InputError:
        return False


def encode_like(source: PhotoSource, volume: Volume, *, dtype: str = "same") -> tuple[bytes, int]:
    """The bytes of a copy of `source` that holds the voxels of `volume`, and how many were clipped: a PNG or TIFF of
    the same depth, or (dtype "float32") a TIFF of decimal numbers."""
    header = read_header(source.path)
    original = _stored(source.path, header)
    if original.shape != volume.voxels.shape:
        raise InputError(
            "CHANGED_FILE", f"its shape is now {original.shape}, it was {volume.voxels.shape} when it was loaded."
        )
    if dtype == "float32" or header.dtype.kind == "f":
        return _tiff(volume.voxels, header, f"{OWN_COPY}; {FLOAT_LEVELS}"), 0
    back = to_stored(volume.voxels, original, header.slope)
    return (_png if header.kind == "png" else _tiff)(back.stored, header, OWN_COPY), back.clipped


def encode_new(voxels: npt.NDArray[np.float32]) -> bytes:
    """A float TIFF of grey levels (I,J,planes), nothing clipped or rounded, that `read_volume` reads back exactly."""
    header = PhotoHeader(
        kind="tiff", columns=voxels.shape[0], rows=voxels.shape[1], planes=voxels.shape[2], dtype=np.dtype("f4"),
        compressed=False,
    )  # fmt: skip
    return _tiff(np.asarray(voxels, np.float32), header, FLOAT_LEVELS)


def _rows(pixels: Pixels) -> Pixels:
    """(I,J,P) → (rows, columns, P), contiguous."""
    return np.ascontiguousarray(pixels.transpose(1, 0, 2))


def _tiff(pixels: Pixels, header: PhotoHeader, description: str) -> bytes:
    import tifffile

    file = io.BytesIO()
    rows = _rows(pixels)
    resolution = header.resolution
    tifffile.imwrite(
        file,
        rows if header.planes == 3 else rows[:, :, 0],
        photometric="rgb" if header.planes == 3 else "minisblack",
        compression="zlib" if header.compressed else None,
        resolution=None if resolution is None else resolution[:2],
        resolutionunit=None if resolution is None else resolution[2],
        iccprofile=dict(header.carried).get("icc"),
        description=description,
        software="medn2n",
        metadata=None,
    )
    return file.getvalue()


def _png(pixels: Pixels, header: PhotoHeader, description: str) -> bytes:
    """W3C PNG, third edition; each row filtered by whichever of three filters leaves the smallest numbers (§12.7)."""
    rows = _rows(pixels)
    step = header.planes * rows.dtype.itemsize
    raw = rows.astype(rows.dtype.newbyteorder(">")).view(np.uint8).reshape(header.rows, -1)
    left, up, corner = (np.zeros_like(raw) for _ in range(3))
    left[:, step:], up[1:], corner[1:, step:] = raw[:, :-step], raw[:-1], raw[:-1, :-step]
    filtered = np.stack([raw - left, raw - up, raw - _paeth(left, up, corner)])
    sizes = np.abs(filtered.view(np.int8).astype(np.int16)).sum(axis=2)
    best = sizes.argmin(axis=0)
    kinds = np.array([1, 2, 4], np.uint8)[best][:, None]
    data = np.hstack([kinds, filtered[best, np.arange(len(raw))]])
    head = struct.pack(">IIBBBBB", header.columns, header.rows, 8 * rows.dtype.itemsize, 2 * (step > 2), 0, 0, 0)
    chunks = [(b"IHDR", head)] + [(name.encode(), value) for name, value in header.carried]
    chunks += [
        (b"tEXt", b"Comment\0" + description.encode()),
        (b"IDAT", zlib.compress(data.tobytes(), 6)),
        (b"IEND", b""),
    ]
    return PNG_MAGIC + b"".join(
        struct.pack(">I", len(value)) + name + value + struct.pack(">I", zlib.crc32(name + value))
        for name, value in chunks
    )


def _paeth(left: Pixels, up: Pixels, corner: Pixels) -> Pixels:
    a, b, c = (part.astype(np.int16) for part in (left, up, corner))
    guess = a + b - c
    away = [np.abs(guess - part) for part in (a, b, c)]
    first = (away[0] <= away[1]) & (away[0] <= away[2])
    return np.where(first, left, np.where(away[1] <= away[2], up, corner))
