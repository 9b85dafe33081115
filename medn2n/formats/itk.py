"""NRRD, MetaImage (.mha, .mhd) through SimpleITK: read, and written back with dtype, geometry and dictionary.

ITK places voxels in LPS+ millimetres; the affine here is RAS+.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import SimpleITK as sitk  # noqa: N813

from medn2n.core.geometry import RAS_FROM_LPS, usable_affine
from medn2n.core.scaling import outside_field, to_physical, to_stored
from medn2n.core.volume import Volume
from medn2n.errors import InputError, TryLater
from medn2n.formats.itk_text import TextHeader, read_text_header, read_text_voxels

_PIXELS = {
    sitk.sitkInt8: "i1", sitk.sitkUInt8: "u1", sitk.sitkInt16: "i2", sitk.sitkUInt16: "u2", sitk.sitkInt32: "i4",
    sitk.sitkUInt32: "u4", sitk.sitkInt64: "i8", sitk.sitkUInt64: "u8", sitk.sitkFloat32: "f4", sitk.sitkFloat64: "f8",
}  # fmt: skip
_MODALITY = {"MET_MOD_CT": "CT", "MET_MOD_MR": "MR", "CT": "CT", "MR": "MR"}


@dataclass(frozen=True, slots=True, kw_only=True)
class ItkSource:
    """Where a Volume came from: an absolute path, and the frame taken from a 4D file."""

    path: Path
    frame: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ItkHeader:
    """grid: (I,J,K) or (I,J,K,T). modality: from the header's dictionary, or "". data_path: holds the voxels."""

    grid: tuple[int, ...]
    affine: npt.NDArray[np.float64]
    modality: str
    data_path: Path


def read_header(path: Path) -> ItkHeader:
    """Grid, place and modality, without voxels. InputError as `read_text_header`, and BAD_GEOMETRY."""
    return _header(_information(path), read_text_header(path))


def _information(path: Path) -> Any:
    """A SimpleITK reader that has read the header, which `itk_text` must have found regular."""
    text = read_text_header(path)
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    with quiet():
        try:
            reader.ReadImageInformation()
        except RuntimeError:  # its text holds the path
            raise InputError("UNREADABLE", "its header is damaged. Convert it again from its source.") from None
    wanted = _PIXELS.get(reader.GetPixelID())
    if reader.GetNumberOfComponents() != 1 or text.dtype.newbyteorder("=") != wanted or reader.GetSize() != text.sizes:
        raise InputError("UNSUPPORTED_DTYPE", "holds colour, vector or complex values. Convert it to single numbers.")
    return reader


@contextmanager
def quiet() -> Iterator[None]:
    """ITK's readers print paths and header text by themselves, past Python: nothing may reach a log or a result."""
    shown = sitk.ProcessObject.GetGlobalWarningDisplay()
    sitk.ProcessObject.SetGlobalWarningDisplay(False)
    kept = os.dup(1), os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 1)
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept[0], 1)
        os.dup2(kept[1], 2)
        for number in (*kept, nowhere):
            os.close(number)
        sitk.ProcessObject.SetGlobalWarningDisplay(shown)


def _header(reader: Any, text: TextHeader) -> ItkHeader:
    dims = len(text.sizes)
    direction = np.eye(3)
    space = min(dims, 3)
    direction[:space, :space] = np.array(reader.GetDirection()).reshape(dims, dims)[:space, :space]
    affine = np.eye(4)
    affine[:3, :3] = direction * (*reader.GetSpacing()[:space], 1.0)[:3]
    affine[:space, 3] = reader.GetOrigin()[:space]
    affine = RAS_FROM_LPS @ affine
    if not usable_affine(affine) or min(reader.GetSpacing()) <= 0:
        raise InputError("BAD_GEOMETRY", "its axes are not usable. Convert it again from its source.")
    grid = (*text.sizes, 1)[: max(3, dims)]
    modality = next((reader.GetMetaData(k) for k in reader.GetMetaDataKeys() if k.lower() == "modality"), "")
    return ItkHeader(
        grid=grid if len(grid) == 3 or grid[3] > 1 else grid[:3],
        affine=affine,
        modality=_MODALITY.get(modality.strip().upper(), ""),
        data_path=text.data_path,
    )


def _stored(text: TextHeader, frame: int | None) -> npt.NDArray[Any]:
    stored = read_text_voxels(text)
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
    """The scan as float32. InputError as `read_header`, and TRUNCATED where the voxels are damaged."""
    header = read_header(path)
    modality = modality or header.modality
    voxels = to_physical(_stored(read_text_header(path), frame))
    return Volume(
        voxels=np.ascontiguousarray(voxels),
        affine=header.affine,
        unit="HU" if modality == "CT" else "a.u.",
        modality=modality,
        padding=outside_field(voxels, modality),
        source=ItkSource(path=path.absolute(), frame=frame),
    )


def write_like(source: ItkSource, volume: Volume, target: Path, *, dtype: str = "same") -> int:
    """Write a copy of `source` that holds the voxels of `volume` to `target` (.nrrd, .nhdr, .mha or .mhd; a .mhd gets
    its .raw). Returns the number of clipped voxels."""
    text, voxels = read_text_header(source.path), volume.voxels
    original = _stored(text, source.frame)
    if original.shape != voxels.shape:
        raise InputError(
            "CHANGED_FILE", f"its shape is now {original.shape}, it was {voxels.shape} when it was loaded."
        )
    clipped = 0
    stored: npt.NDArray[Any] = np.asarray(voxels, dtype=np.float32)
    if dtype != "float32":
        back = to_stored(voxels, original.astype(text.dtype.newbyteorder("="), copy=False), keep=volume.padding)
        stored, clipped = back.stored, back.clipped
    information = _information(source.path)
    # One frame of a 4D file has three axes, and with them its place in space.
    axes = len(text.sizes) - (source.frame is not None and len(text.sizes) == 4)
    copy = sitk.GetImageFromArray(np.ascontiguousarray(stored.reshape(text.sizes[:axes]).T), isVector=False)
    copy.SetSpacing(information.GetSpacing()[:axes])
    copy.SetOrigin(information.GetOrigin()[:axes])
    direction = np.array(information.GetDirection()).reshape(len(text.sizes), -1)[:axes, :axes]
    copy.SetDirection(direction.ravel().tolist())
    for key in information.GetMetaDataKeys():
        copy.SetMetaData(key, information.GetMetaData(key))
    with quiet():
        try:
            sitk.WriteImage(copy, str(target), useCompression=text.compressed)
        except RuntimeError:  # its text holds the path
            raise TryLater("The result cannot be written. Free space, then run again.") from None
    return clipped
