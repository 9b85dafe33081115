"""What of two scans of one object can be corrected, and is: a gain, an offset, a rigid motion.

A scan that moved is registered to its group's reference, carried onto its place for one purpose, to be checked again
like any other pair, and joins the group as it was measured, with the motion beside it. Edges that still differ more
than noise does (distortion, motion within the scan, another place in thick slices) leave it out.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from medn2n.core.alignment import STILL, Rigid, middle_mm, register, resampled
from medn2n.core.pair_check import check_pair
from medn2n.core.pair_result import PairResult

MOVED = ("SHIFT", "STRUCTURE")  # rules that a motion can trip
TURNED_ANATOMY = 0.8  # a head that turned by some degrees still correlates so; its other slices do not
ERROR_PIXELS = 0.25  # standard error of the displacement; a blur by this much loses no structure that pixels show
LEAST_MOTION_PIXELS = 0.05  # less is no motion: what the check saw was something else
OVERLAP = 0.5  # share of the slab that must be seen in both


@dataclass(frozen=True, slots=True, kw_only=True)
class Match:
    """How a scan differs from its reference and is corrected: scan = gain · reference + offset, and moved."""

    gain: float = 1.0
    offset: float = 0.0
    motion: Rigid = STILL
    displacement_mm: float = 0.0
    error_mm: float = 0.0

    @property
    def angle_deg(self) -> float:
        """Of the rotation."""
        return float(np.linalg.norm(self.motion.rotation_deg))


SAME = Match()


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Slab:
    """Some slices of a scan. affine: voxel of the slab → RAS mm; centre_mm: middle of the whole scan's grid."""

    voxels: npt.NDArray[Any]
    padding: npt.NDArray[np.bool_] | None
    affine: npt.NDArray[np.float64]
    centre_mm: npt.NDArray[np.float64]


def slab_of(
    voxels: npt.NDArray[Any],
    padding: npt.NDArray[np.bool_] | None,
    affine: npt.NDArray[np.float64],
    shape: tuple[int, ...],
    start: int,
) -> Slab:
    """`voxels` are the slices from `start` on of a scan with this affine and shape."""
    own = affine.copy()
    own[:3, 3] = affine[:3, 2] * start + affine[:3, 3]
    return Slab(voxels=voxels, padding=padding, affine=own, centre_mm=middle_mm(affine, shape))


def looks_moved(result: PairResult) -> bool:
    """True where a motion may be all that a failed check found."""
    turned = result.code == "OTHER_OBJECT" and result.anatomy_correlation >= TURNED_ANATOMY
    return result.code in MOVED or turned


def intensity_match(result: PairResult) -> Match:
    """Gain and offset of a pair that differs in intensity; the identity for one that does not."""
    if result.verdict != "correctable":
        return SAME
    return Match(gain=_short(result.gain), offset=_short(result.offset))


def align(first: Slab, second: Slab, *, acquired_apart: bool) -> tuple[PairResult, Match]:
    """The check of the two after the second was carried onto the first, and how it moved. Verdict "correctable" and
    code "MOVED" where that makes them a pair; else unfit, with what stood against it."""
    found = register(
        first.voxels, second.voxels, first.affine, centre_mm=first.centre_mm, measured=_measured(first.padding)
    )
    if found is None or not found.settled or found.error_mm > ERROR_PIXELS * found.pixel_mm:
        return _left(None, "no rigid motion brings the two together"), SAME
    if found.displacement_mm < max(LEAST_MOTION_PIXELS * found.pixel_mm, 2 * found.error_mm):
        return _left(None, "they did not move by more than the error of its measurement"), SAME
    world = found.motion.world(first.centre_mm)
    carried, inside = resampled(second.voxels, np.linalg.inv(first.affine) @ world @ first.affine)
    if inside.mean() < OVERLAP:
        return _left(None, "less than half of them overlaps"), SAME
    outside = ~inside if first.padding is None else ~inside | first.padding
    if second.padding is not None:
        pads, _ = resampled(second.padding, np.linalg.inv(first.affine) @ world @ first.affine)
        outside |= pads > 0.01
    result = check_pair(first.voxels, carried, padding=outside, acquired_apart=acquired_apart)
    match = replace(
        intensity_match(result),
        motion=found.motion,
        displacement_mm=round(found.displacement_mm, 3),
        error_mm=round(found.error_mm, 4),
    )
    moved = f"moved by {match.displacement_mm:.1f} mm and {match.angle_deg:.1f}°"
    if result.verdict == "fit" or (result.verdict, result.code) == ("correctable", "INTENSITY"):
        return replace(result, verdict="correctable", code="MOVED", reason=f"{moved}, corrected"), match
    return _left(result, f"{moved}; after alignment {result.reason}"), match


def _measured(padding: npt.NDArray[np.bool_] | None) -> npt.NDArray[np.bool_] | None:
    return None if padding is None else ~padding


def _left(result: PairResult | None, reason: str) -> PairResult:
    code = "MOTION" if result is None else result.code
    same = result is not None and result.same_object
    plain = PairResult(verdict="unfit", code=code, reason=reason, same_object=same)
    return plain if result is None else replace(result, verdict="unfit", reason=reason)


def _short(value: float) -> float:
    """Six significant figures: what a fit knows, and the same text on every machine."""
    return float(f"{value:.6g}")
