"""NIfTI-1 and -2, single file or pair, plain or gzipped: read, and written back with the header's own bytes.

The written copy takes the source's header block and extensions as they are (both forms and their codes, units, TR,
slice timing, intent, description), so that nothing a library does not know about is lost. Only cal_min and cal_max,
which describe the old values, are set to 0.
"""

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
from medn2n.core.scaling import outside_field, to_physical, to_stored
from medn2n.core.volume import Volume
from medn2n.errors import InputError

SUFFIXES = (".nii", ".nii.gz", ".hdr", ".img", ".hdr.gz", ".img.gz")
_MM = {1: 1000.0, 3: 0.001}  # xyzt_units: metres, micrometres; millimetres and "unknown" are millimetres
_LABEL_INTENT = 1002
_MR_SUFFIXES = {
    "T1w", "T2w", "T1rho", "T1map", "T2map", "T2star", "T2starw", "FLAIR", "FLASH", "PDw", "PDT2", "PDmap", "angio",
    "inplaneT1", "inplaneT2", "bold", "cbv", "sbref", "dwi", "asl", "m0scan", "epi", "magnitude", "magnitude1",
    "magnitude2", "defacemask", "UNIT1", "MEGRE", "MESE", "MP2RAGE", "VFA", "IRT1", "MTR", "MTS", "MPM", "TB1EPI",
}  # fmt: skip
_MASK_SUFFIXES = {"mask", "dseg", "probseg", "label", "seg"}


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


@dataclass(frozen=True, slots=True, kw_only=True)
class NiftiSource:
    """Where a Volume came from: an absolute path, and the frame that was taken from a 4D file."""

    path: Path
    frame: int | None = None


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


def _read(path: Path, count: int = -1) -> bytes:
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
        raise InputError(
            "UNREADABLE", f"cannot be read ({type(error).__name__}). Check that it is there."
        ) from None


def read_header(path: Path) -> NiftiHeader:
    """Header and extensions of a .nii or .hdr. InputError UNSUPPORTED_FORMAT, UNSUPPORTED_DTYPE, UNSUPPORTED_SHAPE,
    BAD_GEOMETRY, BAD_SCALING or TRUNCATED; voxels are not read."""
    path = header_path(path)
    block = _read(path, 540)
    if len(block) < 348:
        raise InputError("TRUNCATED", f"holds {len(block)} bytes, a NIfTI header needs 348. Copy it again.")
    kind, size, single = _kind(block)
    header = kind(block[:size], check=False)
    offset = max(int(header["vox_offset"]), size) if single else int(header["vox_offset"])
    head = _read(path, offset) if single else _read(path)
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
        raise InputError(
            "BAD_GEOMETRY", "its affine is singular or not finite. Convert it again from its source."
        )
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
    raise InputError(
        "UNSUPPORTED_FORMAT", "is the header of a NIfTI pair but is not named .hdr. Rename both files."
    )


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
    stem = path.name.split(".")[0]
    if stem.rpartition("_")[2] in _MR_SUFFIXES:
        return "MR"
    try:
        sidecar = json.loads(path.with_name(stem + ".json").read_text(encoding="utf-8"))
        modality = str(sidecar.get("Modality", "")).upper()
    except (OSError, ValueError, AttributeError):
        return ""
    return modality if modality in ("CT", "MR") else ""


def is_mask(path: Path) -> bool:
    """Whether the BIDS suffix says that the file holds labels."""
    return path.name.split(".")[0].rpartition("_")[2] in _MASK_SUFFIXES


def read_stored(header: NiftiHeader) -> npt.NDArray[Any]:
    """Stored numbers, shape `header.grid`, dtype and byte order of the file. InputError TRUNCATED."""
    data = _read(header.data_path)
    needed = int(np.prod(header.grid)) * header.dtype.itemsize
    if len(data) < header.offset + needed:
        raise InputError(
            "TRUNCATED",
            f"holds {max(0, len(data) - header.offset)} bytes of voxels, expected {needed}. Copy it again.",
        )
    flat = np.frombuffer(data, dtype=header.dtype, count=int(np.prod(header.grid)), offset=header.offset)
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
        raise InputError(
            "NO_SUCH_FRAME", f"frame {frame} was asked for, the file holds {times} (they count from 0)."
        )
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
