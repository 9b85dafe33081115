"""The Volume: voxels in physical units, in their place in space, with an opaque link to where they came from."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float32]
Unit = Literal["HU", "a.u.", "grey level"]
UNITS: dict[str, Unit] = {"CT": "HU", "MR": "a.u.", "PHOTO": "grey level"}  # of a modality's voxels
Affine = npt.NDArray[np.float64]


def air_of(modality: str) -> float:
    """What a voxel of air holds, in the unit of the modality."""
    return -1000.0 if modality == "CT" else 0.0


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Volume:
    """One scan.

    voxels: read-only float32, axes (I,J,K) or (I,J,K,T), in `unit`. I runs along image columns (left to right
        in a DICOM row), J along image rows (top to bottom), K along slices, T along time.
    affine: 4×4 float64, voxel index (i,j,k,1) → millimetres in RAS+ (NIfTI's frame). It may hold shear (gantry
        tilt); for unevenly spaced slices its third column is the mean step and `slice_positions_mm` is exact.
    slice_positions_mm: None where slices are evenly spaced; else K positions along the slice normal, and the
        volume may be denoised slice by slice only.
    unit: "HU", "a.u." or "grey level".   modality: "CT", "MR", "PHOTO" (K are then colour planes) or "" (not known,
        as in a bare NIfTI).
    padding: bool, shape of `voxels`, True where the scanner stored its padding value (no measurement); or None.
    source: what `formats.scan.save` needs to give the written copy the same header. Opaque to everybody else.
    """

    voxels: FloatArray
    affine: Affine
    unit: str
    modality: str
    slice_positions_mm: npt.NDArray[np.float64] | None = None
    padding: npt.NDArray[np.bool_] | None = None
    source: Any = None

    def __post_init__(self) -> None:
        if self.voxels.ndim not in (3, 4) or self.voxels.dtype != np.float32:
            raise ValueError(
                f"Volume.voxels: expected float32 (I,J,K) or (I,J,K,T), found {self.voxels.dtype} {self.voxels.shape}"
            )
        if self.affine.shape != (4, 4):
            raise ValueError(f"Volume.affine: expected a 4×4 matrix, found shape {self.affine.shape}")
        self.voxels.setflags(write=False)
        self.affine.setflags(write=False)

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Edge lengths of a voxel along I, J, K: the lengths of the affine's columns."""
        lengths = np.linalg.norm(self.affine[:3, :3], axis=0)
        return (float(lengths[0]), float(lengths[1]), float(lengths[2]))

    def with_voxels(self, voxels: npt.NDArray[Any]) -> Volume:
        """The same scan with other voxels of the same shape (denoised, say): geometry and source are kept."""
        if voxels.shape != self.voxels.shape:
            raise ValueError(f"with_voxels: expected shape {self.voxels.shape}, found {voxels.shape}")
        return replace(self, voxels=np.ascontiguousarray(voxels, dtype=np.float32))

    @property
    def measured(self) -> npt.NDArray[np.bool_]:
        """bool, shape of `voxels`: True where there is a number that is no padding."""
        finite = np.isfinite(self.voxels)
        return np.asarray(finite if self.padding is None else finite & ~self.padding)

    def filled(self) -> FloatArray:
        """The voxels, with air (−1000 HU in a CT, else 0) where nothing was measured: padding, and no number."""
        measured = self.measured
        return self.voxels if measured.all() else np.where(measured, self.voxels, np.float32(air_of(self.modality)))

    def frame(self, number: int) -> Volume:
        """One frame of a 4D scan, without the link to its files, which hold more; a 3D scan is its own only one."""
        if self.voxels.ndim == 3:
            return self
        padding = self.padding
        if padding is not None and padding.ndim == 4:
            padding = np.ascontiguousarray(padding[..., number])
        return replace(self, voxels=np.ascontiguousarray(self.voxels[..., number]), padding=padding, source=None)

    def with_axes(self, order: tuple[int, int, int]) -> Volume:
        """The same 3D scan in the same place, its axes in another order; without the link to its files. order: of the
        present axes. Slices that lie unevenly keep no record of it."""
        return replace(
            self,
            voxels=np.ascontiguousarray(self.voxels.transpose(order)),
            affine=self.affine[:, [*order, 3]],
            padding=None if self.padding is None else np.ascontiguousarray(self.padding.transpose(order)),
            slice_positions_mm=None,
            source=None,
        )

    def middle_slices(self, most: int) -> Volume:
        """At most so many neighbouring slices from the middle of the scan."""
        depth = self.voxels.shape[2]
        start = max(0, (depth - most) // 2)
        return self.part((slice(None), slice(None), slice(start, start + min(most, depth))))

    def part(self, box: tuple[slice, slice, slice]) -> Volume:
        """These rows, columns and slices (steps of 1) in their place in space; without the link to its files, which
        hold more."""
        starts = [span.indices(length)[0] for span, length in zip(box, self.voxels.shape, strict=False)]
        affine = np.array(self.affine)
        affine[:3, 3] += affine[:3, :3] @ starts
        return replace(
            self,
            voxels=np.ascontiguousarray(self.voxels[box]),
            affine=affine,
            padding=None if self.padding is None else np.ascontiguousarray(self.padding[box]),
            slice_positions_mm=None if self.slice_positions_mm is None else self.slice_positions_mm[box[2]],
            source=None,
        )
