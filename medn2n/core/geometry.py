"""Where slices lie: their order along the normal, their spacing, and the affine that places a volume in space.

DICOM gives each slice a corner (ImagePositionPatient), two directions (ImageOrientationPatient: along a row of
pixels, then down a column) and PixelSpacing (between rows, then between columns), in millimetres, LPS+ (PS3.3
C.7.6.2). medn2n's affine takes voxel (i,j,k) to RAS+ millimetres, where i counts columns, j rows and k slices.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from medn2n.errors import InputError

Points = npt.NDArray[np.float64]

RAS_FROM_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
# Positions are printed with few digits, so steps jitter; 1.2 % of a step is far below what a 3D network can see.
RELATIVE_TOLERANCE = 0.012
SMALLEST_TOLERANCE_MM = 0.02
SAME_PLACE_MM = 0.01
SQUARE_TOLERANCE = 0.01  # of the wider edge of a pixel
MOST_OBLIQUE_DEG = 35.0  # from axial; a gantry tilts by up to 30


@dataclass(frozen=True, slots=True, kw_only=True)
class Spacing:
    """step_mm: usual distance of neighbours along the normal. even: every gap is that step, on a straight line.
    duplicate_after, gap_after: index of the slice before the first such fault, or None."""

    step_mm: float
    tolerance_mm: float
    even: bool
    duplicate_after: int | None = None
    gap_after: int | None = None
    gap_mm: float = 0.0

    @property
    def missing(self) -> int:
        """How many slices would fit into the gap."""
        return 0 if self.gap_after is None else round(self.gap_mm / self.step_mm) - 1


def slice_normal(orientation: npt.ArrayLike) -> Points:
    """Unit normal (3,), LPS, of an ImageOrientationPatient: row direction × column direction.

    InputError NO_GEOMETRY unless both are unit vectors at right angles to 1e-3 (they are printed with few digits).
    """
    values = np.asarray(orientation, dtype=np.float64)
    if values.shape != (6,) or not np.isfinite(values).all():
        raise InputError("NO_GEOMETRY", "The image orientation is not six numbers; re-export the series.")
    row, column = values[:3], values[3:]
    lengths = np.linalg.norm(row), np.linalg.norm(column)
    if abs(lengths[0] - 1) > 1e-3 or abs(lengths[1] - 1) > 1e-3 or abs(float(row @ column)) > 1e-3:
        raise InputError(
            "NO_GEOMETRY",
            f"The image orientation has lengths {lengths[0]:.4f} and {lengths[1]:.4f} and product "
            f"{float(row @ column):.4f}, expected 1, 1 and 0; re-export the series.",
        )
    normal = np.cross(row, column)
    return np.asarray(normal / np.linalg.norm(normal), dtype=np.float64)


def order_slices(positions: npt.ArrayLike, normal: npt.ArrayLike) -> tuple[npt.NDArray[np.intp], Points]:
    """Order (K,) of slice corners (K,3) along `normal`, and their distances (K,) along it, ascending, in mm.

    Only positions count; instance numbers are often absent or reversed.
    """
    distances = np.asarray(positions, dtype=np.float64) @ np.asarray(normal, dtype=np.float64)
    order = np.argsort(distances, kind="stable")
    return order, distances[order]


def check_spacing(corners: npt.ArrayLike, distances: npt.ArrayLike) -> Spacing:
    """Judge ordered slices. corners: (K,3) mm in order; distances: (K,) along the normal, ascending.

    A lone gap near a whole multiple (≥ 2) of the usual step is a missing slice; three such gaps in a row are a
    protocol that changes its step (as head CT does), so that the slices are merely uneven.
    """
    corners, distances = np.asarray(corners, dtype=np.float64), np.asarray(distances, dtype=np.float64)
    gaps = np.diff(distances)
    if not len(gaps):
        return Spacing(step_mm=0.0, tolerance_mm=0.0, even=True)
    step = float(np.sort(gaps)[(len(gaps) - 1) // 2])
    tolerance = max(RELATIVE_TOLERANCE * step, SMALLEST_TOLERANCE_MM)
    same = np.flatnonzero(gaps < SAME_PLACE_MM)
    if len(same):
        return Spacing(step_mm=step, tolerance_mm=tolerance, even=False, duplicate_after=int(same[0]))
    if np.abs(gaps - step).max() <= tolerance:
        straight = corners[0] + np.linspace(0, 1, len(corners))[:, None] * (corners[-1] - corners[0])
        off_line = np.linalg.norm(corners - straight, axis=1).max()
        return Spacing(step_mm=step, tolerance_mm=tolerance, even=bool(off_line <= 2 * tolerance))
    wide = _missing_gap(gaps, step, tolerance)
    gap_mm = float(gaps[wide]) if wide is not None else 0.0
    return Spacing(step_mm=step, tolerance_mm=tolerance, even=False, gap_after=wide, gap_mm=gap_mm)


def _missing_gap(gaps: Points, step: float, tolerance: float) -> int | None:
    """Index of the first gap that looks like a missing slice; None where the steps simply differ."""
    multiples = np.rint(gaps / step)
    usual = np.abs(gaps - step) <= tolerance
    # tolerance grows with the multiple: each of the steps in a gap may be off by as much
    wide = (multiples >= 2) & (np.abs(gaps - multiples * step) <= multiples * tolerance)
    if not wide.any() or not (usual | wide).all() or usual.sum() < wide.sum():
        return None
    runs = wide[:-2] & wide[1:-1] & wide[2:] if len(wide) >= 3 else np.zeros(0, dtype=bool)
    return None if runs.any() else int(np.flatnonzero(wide)[0])


def require_complete(spacing: Spacing) -> None:
    """InputError DUPLICATE_SLICES or MISSING_SLICES where `spacing` found such a fault. Slices count from 1."""
    if spacing.duplicate_after is not None:
        raise InputError(
            "DUPLICATE_SLICES",
            f"slices {spacing.duplicate_after + 1} and {spacing.duplicate_after + 2} lie in the same place, and no "
            "header field tells two volumes apart. Export each acquisition as its own series.",
        )
    if spacing.gap_after is not None:
        count = spacing.missing
        looks = "One slice looks" if count == 1 else f"{_COUNT.get(count, str(count))} slices look"
        raise InputError(
            "MISSING_SLICES",
            f"gap of {spacing.gap_mm:.2f} mm after slice {spacing.gap_after + 1}, expected {spacing.step_mm:.2f} ± "
            f"{spacing.tolerance_mm:.2f} mm. {looks} missing; re-export the series.",
        )


_COUNT = {2: "Two", 3: "Three", 4: "Four", 5: "Five", 6: "Six"}


def dicom_affine(
    first_corner: npt.ArrayLike,
    last_corner: npt.ArrayLike,
    slices: int,
    orientation: npt.ArrayLike,
    pixel_spacing: npt.ArrayLike,
    single_step_mm: float = 1.0,
) -> npt.NDArray[np.float64]:
    """4×4 voxel (i,j,k) → RAS mm. PS3.3 C.7.6.2.1.1, with the slice step from the corners themselves, so that a
    tilted gantry's shear is in it. single_step_mm: thickness of a lone slice, which has no neighbour. InputError
    BAD_GEOMETRY."""
    orientation = np.asarray(orientation, dtype=np.float64)
    between_rows, between_columns = np.asarray(pixel_spacing, dtype=np.float64)
    first = np.asarray(first_corner, dtype=np.float64)
    affine = np.eye(4)
    affine[:3, 0] = orientation[:3] * between_columns
    affine[:3, 1] = orientation[3:] * between_rows
    if slices > 1:
        affine[:3, 2] = (np.asarray(last_corner, dtype=np.float64) - first) / (slices - 1)
    else:
        with np.errstate(all="ignore"):  # an infinite thickness is refused below
            affine[:3, 2] = slice_normal(orientation) * single_step_mm
    affine[:3, 3] = first
    if not usable_affine(affine):
        raise InputError("BAD_GEOMETRY", "its slices' places and sizes are not usable numbers. Export it again.")
    return RAS_FROM_LPS @ affine


def usable_affine(affine: npt.NDArray[np.float64]) -> bool:
    """True for a finite affine whose three voxel axes span space."""
    if not np.isfinite(affine).all():
        return False
    with np.errstate(all="ignore"):  # axes of 1e200 mm are not usable either, and need no warning
        lengths = np.linalg.norm(affine[:3, :3], axis=0)
        if not np.isfinite(lengths).all() or lengths.min() < 1e-6:
            return False
        return bool(abs(np.linalg.det(affine[:3, :3] / lengths)) > 1e-4)


def axial_order(affine: npt.NDArray[np.float64]) -> tuple[int, int, int]:
    """The voxel axes, that from one axial slice to the next last: (0, 1, 2) for an axial scan, (1, 2, 0) for one whose
    slices are sagittal. affine: 4×4, to RAS mm. InputError OBLIQUE where no plane of voxels is nearly axial."""
    steps = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)

    def upright(order: tuple[int, int, int]) -> float:
        normal = np.cross(steps[:, order[0]], steps[:, order[1]])
        return float(abs(normal[2]) / np.linalg.norm(normal))

    best = max(((0, 1, 2), (0, 2, 1), (1, 2, 0)), key=upright)
    if upright(best) < np.cos(np.deg2rad(MOST_OBLIQUE_DEG)):
        angle = np.rad2deg(np.arccos(min(1.0, upright(best))))
        raise InputError(
            "OBLIQUE",
            f"its slices lie {angle:.0f}° off the axial plane, in which a scanner measures; expected at most "
            f"{MOST_OBLIQUE_DEG:.0f}°. Give the axial reconstruction.",
        )
    return best


def square_pixel_mm(spacing_mm: tuple[float, float, float]) -> float:
    """Edge of a pixel in the (I,J) plane. InputError NOT_SQUARE where its edges differ by more than 1 %."""
    first, second = spacing_mm[:2]
    if abs(first - second) > SQUARE_TOLERANCE * max(first, second):
        raise InputError(
            "NOT_SQUARE",
            f"the pixels of an axial slice measure {first:.3g} × {second:.3g} mm, expected squares (within 1 %), since "
            "rays cross them at every angle. Resample the scan to square pixels.",
        )
    return (first + second) / 2
