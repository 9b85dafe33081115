"""NRRD, MetaImage (.mha, .mhd) through SimpleITK: read, and written back with dtype, geometry and dictionary.

ITK places voxels in LPS+ millimetres; the affine here is RAS+.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import SimpleITK as sitk  # noqa: N813

from medn2n.core.geometry import RAS_FROM_LPS, usable_affine
from medn2n.core.scaling import outside_field, to_physical, to_stored
from medn2n.core.volume import Volume
from medn2n.errors import InputError

SUFFIXES = (".nrrd", ".nhdr", ".mha", ".mhd")
_MODALITY = {"MET_MOD_CT": "CT", "MET_MOD_MR": "MR", "CT": "CT", "MR": "MR"}


@dataclass(frozen=True, slots=True, kw_only=True)
class ItkSource:
    """Where a Volume came from: an absolute path, and the frame taken from a 4D file."""

    path: Path
    frame: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ItkHeader:
    """grid: (I,J,K) or (I,J,K,T). modality: from the header's dictionary, or ""."""

    grid: tuple[int, ...]
    affine: npt.NDArray[np.float64]
    modality: str


def is_itk(path: Path) -> bool:
    """By name."""
    return path.name.lower().endswith(SUFFIXES)


def read_header(path: Path) -> ItkHeader:
    """Grid, place and modality, without voxels. InputError as `read_volume`."""
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    _quietly(reader.ReadImageInformation)
    if reader.GetNumberOfComponents() != 1 or reader.GetPixelID() in (
        sitk.sitkComplexFloat32,
        sitk.sitkComplexFloat64,
    ):
        raise InputError("UNSUPPORTED_DTYPE", "holds colour, vector or complex values. Convert it to single numbers.")
    return _header(reader)


def _quietly(call: Any) -> Any:
    """ITK writes paths into its warnings and errors; neither may reach a log."""
    shown = sitk.ProcessObject.GetGlobalWarningDisplay()
    sitk.ProcessObject.SetGlobalWarningDisplay(False)
    try:
        return call()
    except RuntimeError as error:
        text = str(error).lower()
        early = any(
            word in text for word in ("unexpected end", "premature", "could not read", "truncat", "not be read")
        )
        code = "TRUNCATED" if early else "UNREADABLE"
        raise InputError(code, "cannot be read to its end, or is damaged. Copy it again.") from None
    finally:
        sitk.ProcessObject.SetGlobalWarningDisplay(shown)


def _header(image: Any) -> ItkHeader:
    """From an image or a reader that has read the information: both have the same getters."""
    size, dims = image.GetSize(), image.GetDimension()
    if dims not in (2, 3, 4):
        raise InputError("UNSUPPORTED_SHAPE", f"has {dims} axes, expected 2, 3 or 4.")
    direction = np.eye(3)
    space = min(dims, 3)
    direction[:space, :space] = np.array(image.GetDirection()).reshape(dims, dims)[:space, :space]
    affine = np.eye(4)
    affine[:3, :3] = direction * (*image.GetSpacing()[:space], 1.0)[:3]
    affine[:space, 3] = image.GetOrigin()[:space]
    affine = RAS_FROM_LPS @ affine
    if not usable_affine(affine):
        raise InputError("BAD_GEOMETRY", "its axes are not usable. Convert it again from its source.")
    grid = tuple(int(length) for length in (*size, 1)[: max(3, dims)])
    modality = next((image.GetMetaData(k) for k in image.GetMetaDataKeys() if k.lower() == "modality"), "")
    return ItkHeader(
        grid=grid if len(grid) == 3 or grid[3] > 1 else grid[:3],
        affine=affine,
        modality=_MODALITY.get(modality.strip().upper(), ""),
    )


def _read_image(path: Path) -> Any:
    read_header(path)
    return _quietly(lambda: sitk.ReadImage(str(path)))


def _stored(image: Any, frame: int | None) -> npt.NDArray[Any]:
    stored = np.asarray(sitk.GetArrayFromImage(image)).T
    if stored.ndim == 2:
        stored = stored[..., np.newaxis]
    if stored.ndim == 4 and stored.shape[3] == 1:
        stored = stored[..., 0]
    if frame is None:
        return stored
    times = stored.shape[3] if stored.ndim == 4 else 1
    if not 0 <= frame < times:
        raise InputError("NO_SUCH_FRAME", f"frame {frame} was asked for, the file holds {times} (they count from 0).")
    return stored[..., frame] if stored.ndim == 4 else stored


def read_volume(path: Path, *, frame: int | None = None, modality: str = "") -> Volume:
    """The scan as float32. InputError TRUNCATED, UNREADABLE, UNSUPPORTED_DTYPE, UNSUPPORTED_SHAPE, BAD_GEOMETRY."""
    image = _read_image(path)
    header = _header(image)
    modality = modality or header.modality
    voxels = to_physical(_stored(image, frame))
    return Volume(
        voxels=np.ascontiguousarray(voxels),
        affine=header.affine,
        unit="HU" if modality == "CT" else "a.u.",
        modality=modality,
        padding=outside_field(voxels, modality),
        source=ItkSource(path=path.absolute(), frame=frame),
    )


def write_like(source: ItkSource, volume: Volume, target: Path, *, dtype: str = "same") -> int:
    """Write a copy of `source` that holds the voxels of `volume` to `target` (any of SUFFIXES; a .mhd gets its .raw).
    Returns the number of clipped voxels."""
    image, voxels = _read_image(source.path), volume.voxels
    original = _stored(image, source.frame)
    if original.shape != voxels.shape:
        raise InputError(
            "CHANGED_FILE", f"its shape is now {original.shape}, it was {voxels.shape} when it was loaded."
        )
    clipped = 0
    stored: npt.NDArray[Any] = np.asarray(voxels, dtype=np.float32)
    if dtype != "float32":
        back = to_stored(voxels, original, keep=volume.padding)
        stored, clipped = back.stored, back.clipped
    if source.frame is not None and image.GetDimension() == 4:
        image = sitk.Extract(image, [*image.GetSize()[:3], 0], [0, 0, 0, source.frame])
    shape = image.GetSize()
    copy = sitk.GetImageFromArray(np.ascontiguousarray(stored.reshape(shape).T), isVector=False)
    copy.CopyInformation(image)
    for key in image.GetMetaDataKeys():
        copy.SetMetaData(key, image.GetMetaData(key))
    _quietly(lambda: sitk.WriteImage(copy, str(target), useCompression=_compressed(source.path)))
    return clipped


def _compressed(path: Path) -> bool:
    with path.open("rb") as file:
        head = file.read(4096).lower()
    return any(mark in head for mark in (b"encoding: gz", b"encoding: bz", b"compresseddata = true"))
