"""NIfTI-1 and -2, single file or pair, plain or gzipped: read, and written back with the header's own bytes.

The written copy takes the source's header block and extensions as they are (both forms and their codes, units, TR,
slice timing, intent, description), so that nothing a library does not know about is lost. Only cal_min and cal_max,
which describe the old values, are set to 0.
"""

from __future__ import annotations

import gzip
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import numpy.typing as npt

from medn2n.core.scaling import outside_field, to_physical, to_stored
from medn2n.core.volume import Volume
from medn2n.errors import InputError
from medn2n.formats.nifti_header import (
    SUFFIXES,
    NiftiHeader,
    header_path,
    is_nifti,
    modality_of,
    no_scan,
    read_bytes,
    read_header,
)

__all__ = [
    "Encoded",
    "NiftiHeader",
    "NiftiSource",
    "encode_like",
    "encode_new",
    "gzipped",
    "header_path",
    "is_nifti",
    "modality_of",
    "no_scan",
    "read_header",
    "read_stored",
    "read_volume",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class NiftiSource:
    """Where a Volume came from: an absolute path, and the frame that was taken from a 4D file."""

    path: Path
    frame: int | None = None


def read_stored(header: NiftiHeader) -> npt.NDArray[Any]:
    """Stored numbers, shape `header.grid`, dtype and byte order of the file. InputError TRUNCATED."""
    count = math.prod(header.grid)
    needed = count * header.dtype.itemsize
    data = read_bytes(header.data_path, header.offset + needed, to_end=True)
    if len(data) < header.offset + needed:
        raise InputError(
            "TRUNCATED",
            f"holds {max(0, len(data) - header.offset)} bytes of voxels, expected {needed}. Copy it again.",
        )
    flat = np.frombuffer(data, dtype=header.dtype, count=count, offset=header.offset)
    return flat.reshape(header.grid, order="F")


def read_volume(path: Path, *, frame: int | None = None, modality: str = "") -> Volume:
    """The scan as float32 with scl_slope and scl_inter applied; `frame` picks one volume of a 4D file."""
    header = read_header(path)
    stored = _frame_of(read_stored(header), frame)
    modality = modality or modality_of(path)
    voxels = to_physical(stored, header.slope, header.intercept)
    return Volume(
        voxels=voxels,
        affine=header.affine,
        unit="HU" if modality == "CT" else "a.u.",
        modality=modality,
        padding=outside_field(voxels, modality),
        source=NiftiSource(path=header.path.absolute(), frame=frame),
    )


def _frame_of(stored: npt.NDArray[Any], frame: int | None) -> npt.NDArray[Any]:
    if frame is None:
        return stored
    times = stored.shape[3] if stored.ndim == 4 else 1
    if not 0 <= frame < times:
        raise InputError("NO_SUCH_FRAME", f"frame {frame} was asked for, the file holds {times} (they count from 0).")
    return stored[..., frame] if stored.ndim == 4 else stored


@dataclass(frozen=True, slots=True, kw_only=True)
class Encoded:
    """Contents by the suffix of the source's files, {".nii.gz": …} or {".hdr": …, ".img": …}, not yet compressed;
    and how many voxels were clipped."""

    parts: dict[str, bytes]
    clipped: int


def encode_like(source: NiftiSource, volume: Volume, *, dtype: str = "same") -> Encoded:
    """The bytes of a copy of `source` that holds the voxels of `volume`: in the source's dtype and scaling, or as
    float32 without scaling."""
    voxels = volume.voxels
    header = read_header(source.path)
    original = _frame_of(read_stored(header), source.frame)
    if original.shape != voxels.shape:
        raise InputError(
            "CHANGED_FILE", f"its shape is now {original.shape}, it was {voxels.shape} when it was loaded."
        )
    block = header.header.copy()
    block["cal_min"] = block["cal_max"] = 0
    if source.frame is not None and len(header.grid) == 4:
        block["dim"][0] = 3
        block["dim"][4:] = 1
    clipped = 0
    if dtype == "float32":
        stored = np.asarray(voxels, dtype=np.dtype(np.float32).newbyteorder(header.dtype.byteorder))
        block.set_data_dtype(np.float32)
        block["scl_slope"], block["scl_inter"] = 1, 0
    else:
        native = original.astype(header.dtype.newbyteorder("="), copy=False)
        back = to_stored(voxels, native, header.slope, header.intercept, keep=volume.padding)
        stored, clipped = back.stored.astype(header.dtype, copy=False), back.clipped
    return Encoded(parts=_parts(header, bytes(block.binaryblock), stored.tobytes(order="F")), clipped=clipped)


def _parts(header: NiftiHeader, block: bytes, voxels: bytes) -> dict[str, bytes]:
    head = block + header.head[len(block) :]
    suffix = next(s for s in sorted(SUFFIXES, key=len, reverse=True) if header.path.name.lower().endswith(s))
    if header.data_path == header.path:
        parts = {suffix: head + voxels}
    else:
        other = suffix.replace("hdr", "img")
        parts = {suffix: head, other: b"\0" * header.offset + voxels}
    return parts


def gzipped(data: bytes) -> bytes:
    """Compressed without a time stamp, so that the same voxels give the same file."""
    return gzip.compress(data, compresslevel=6, mtime=0)


def encode_new(volume: Volume, *, slope: float, intercept: float, integer: bool) -> Encoded:
    """A new .nii.gz for a scan that was not NIfTI: its affine as sform and qform (code 1, scanner), millimetres.
    integer: int16 with the given scaling (values outside are clipped and counted), else float32."""
    header = nib.Nifti1Header()
    header.set_data_shape(volume.voxels.shape)
    header.set_data_dtype(np.int16 if integer else np.float32)
    header.set_sform(volume.affine, code=1)
    header.set_qform(volume.affine, code=1, strip_shears=True)
    if volume.voxels.ndim == 4:
        header.set_xyzt_units("mm", "sec")
    else:
        header.set_xyzt_units("mm")
    header["scl_slope"], header["scl_inter"] = (slope, intercept) if integer else (1, 0)
    header["vox_offset"] = 352
    header["magic"] = b"n+1"
    clipped = 0
    stored: npt.NDArray[Any] = volume.voxels
    if integer:
        exact = np.rint((volume.voxels.astype(np.float64) - intercept) / slope)
        clipped = int(((exact < -32768) | (exact > 32767)).sum())
        stored = np.clip(exact, -32768, 32767).astype("<i2")
    data = bytes(header.binaryblock) + b"\0" * 4 + np.asarray(stored).tobytes(order="F")
    return Encoded(parts={".nii.gz": data}, clipped=clipped)
