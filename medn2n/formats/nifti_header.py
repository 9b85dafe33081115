"""The header of a NIfTI-1 or -2 file, single or pair, plain or gzipped, with the bytes before the voxels."""

from __future__ import annotations

import gzip
import json
import math
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
from medn2n.formats.limits import check_size

SUFFIXES = (".nii", ".nii.gz", ".hdr", ".img", ".hdr.gz", ".img.gz")
_MM = {1: 1000.0, 3: 0.001}  # xyzt_units: metres, micrometres; millimetres and "unknown" are millimetres
_LABEL_INTENT = 1002
_MOST_HEAD = 64 << 20  # bytes before the voxels; the largest extensions known hold whole DICOM headers
_AFTER = 1 << 20


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


def is_zipped(path: Path) -> bool:
    """By content. InputError UNREADABLE."""
    try:
        with path.open("rb") as file:
            return file.read(2) == b"\x1f\x8b"
    except OSError as error:
        raise InputError("UNREADABLE", f"cannot be read ({type(error).__name__}). Check that it is there.") from None


def read_bytes(path: Path, count: int, *, to_end: bool = False) -> bytes:
    """At most `count` unzipped bytes from the start. to_end: also check what follows in a gzip stream, up to 1 MB of
    it, since its checksum stands at its end. InputError TRUNCATED where the stream is damaged or ends early."""
    zipped = is_zipped(path)
    try:
        with gzip.open(path, "rb") if zipped else path.open("rb") as file:
            data: bytes = file.read(count)
            if zipped and to_end:
                file.read(_AFTER)
            return data
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise InputError(
            "TRUNCATED", f"its gzip stream is damaged or ends early ({type(error).__name__}). Copy it again."
        ) from None
    except OSError as error:
        raise InputError("UNREADABLE", f"cannot be read ({type(error).__name__}). Check that it is there.") from None


def read_header(path: Path) -> NiftiHeader:
    """Header and extensions of a .nii or .hdr. InputError UNSUPPORTED_FORMAT, UNSUPPORTED_DTYPE, UNSUPPORTED_SHAPE,
    BAD_GEOMETRY, BAD_SCALING, MISSING_FILE (the .img of a pair), TRUNCATED or TOO_LARGE; voxels are not read."""
    path = header_path(path)
    block = read_bytes(path, 540)
    if len(block) < 348:
        raise InputError("TRUNCATED", f"holds {len(block)} bytes, a NIfTI header needs 348. Copy it again.")
    kind, size, single = _kind(block)
    header = kind(block[:size], check=False)
    data_path = path if single else _image_of(path)
    try:
        with np.errstate(all="ignore"):
            offset = max(int(header["vox_offset"]), size if single else 0)
            shape = _shape(header)
            dtype = header.get_data_dtype()
            slope, intercept = header.get_slope_inter()
            affine = np.array(header.get_best_affine(), dtype=np.float64)
            affine[:3] *= _MM.get(int(header["xyzt_units"]) & 7, 1.0)
    except Exception as error:  # nibabel's own kinds, which may quote the header
        raise InputError(
            "UNREADABLE", f"its NIfTI header is not valid ({type(error).__name__}). Convert it again."
        ) from None
    if not usable_affine(affine):
        raise InputError("BAD_GEOMETRY", "its affine is singular or not finite. Convert it again from its source.")
    grid, dtype = _grid(shape), _real(dtype)
    _require_plausible(data_path, offset, grid, dtype)
    return NiftiHeader(
        path=path,
        data_path=data_path,
        header=header,
        head=read_bytes(path, offset if single else _MOST_HEAD),
        shape=shape,
        grid=grid,
        dtype=dtype,
        offset=offset,
        slope=1.0 if slope is None else float(slope),
        intercept=0.0 if intercept is None else float(intercept),
        affine=affine,
        is_label=int(header["intent_code"]) == _LABEL_INTENT,
    )


def _shape(header: Any) -> tuple[int, ...]:
    """ValueError for a number of axes that nibabel would take for another."""
    if not 1 <= int(header["dim"][0]) <= 7:
        raise ValueError("number of axes")
    return tuple(int(length) for length in header.get_data_shape())


def _require_plausible(data_path: Path, offset: int, grid: tuple[int, ...], dtype: np.dtype[Any]) -> None:
    """What the header says fits the file that holds the voxels; nothing of that size is read before."""
    if not data_path.is_file():  # nor a pipe, which would be waited for
        raise InputError("MISSING_FILE", "the .img that belongs to this .hdr is not beside it. Copy both.")
    if offset > _MOST_HEAD:
        raise InputError("UNREADABLE", f"its voxels are said to begin after {offset} bytes. Convert it again.")
    size, zipped = data_path.stat().st_size, is_zipped(data_path)
    packed = size if zipped else max(0, size - offset)
    check_size(math.prod(grid), dtype.itemsize, packed, "deflate" if zipped else "plain")


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
    sidecar = path.with_name(path.name.partition(".")[0] + ".json")
    try:
        if not sidecar.is_file() or sidecar.stat().st_size > _MOST_HEAD:
            return {}
        data = json.loads(sidecar.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return data if isinstance(data, dict) else {}
