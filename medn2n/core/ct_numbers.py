"""What denoising did to the numbers themselves: CT numbers by tissue, MR signal by brightness, before and after.

A denoiser should leave the mean of a tissue as it was. The regions are found on a smoothed copy of the scan before,
and a voxel counts only where all of the 5×5 pixels around it are of its region, so that edges do not count. Large scans
are sampled (`spread_slices`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.stats import t as student

from medn2n.core.body import tissue_mask
from medn2n.core.noise import patches
from medn2n.core.spread_slices import spread_slices

Array = npt.NDArray[Any]
BoolArray = npt.NDArray[np.bool_]
Labels = npt.NDArray[np.uint8]

# Low and high end in HU. Air in lungs: below −950 (Gevenois et al., Am J Respir Crit Care Med 1996). Fat and muscle:
# −190…−30 and −29…150 (Aubrey et al., Acta Physiol 2014); bone from 200, and contrast medium with it. What lies
# between two regions is a mixture, and counts in neither.
REGIONS_HU: Mapping[str, tuple[float, float]] = MappingProxyType(
    {
        "air": (-np.inf, -950.0),
        "lung": (-950.0, -500.0),
        "fat": (-190.0, -30.0),
        "soft tissue": (-30.0, 150.0),
        "bone": (200.0, np.inf),
    }
)
BRIGHTNESS = ("background", "dark", "middle", "bright")
REACH = 2  # pixels on each side that must be of the same region
MOST_VOXELS = 1_200_000
FEWEST_VOXELS = 200
PATCH = 12  # pixels; noise of different patches is taken as independent
FIELD = 5  # patches a side of a part of a region
FEWEST_PATCHES = 8  # of a part


@dataclass(frozen=True, slots=True, kw_only=True)
class PartNumbers:
    """One part of a region. name: for people. shift: as of the region. chance: what the largest shift of so many parts
    exceeds with a probability of 5 % where nothing moved, in the same unit."""

    name: str
    shift: float
    chance: float


@dataclass(frozen=True, slots=True, kw_only=True)
class RegionNumbers:
    """One region before and after, in the scan's unit. before, after: means. shift: mean of after − before, and its
    standard error from how the means of 12×12 patches differ, in which the anatomy cancels. voxels: how many
    counted. part: the slice, or the field of 60×60 pixels in all slices, that moved most surely; of soft tissue of a
    CT only, and None where that has no two parts."""

    region: str
    voxels: int
    before: float
    after: float
    shift: float
    shift_error: float
    part: PartNumbers | None = None

    @property
    def share(self) -> float:
        """after / before: what an MR signal kept of itself; 1 where there was none."""
        return self.after / self.before if self.before else 1.0


def ct_numbers(before: Array, after: Array, padding: BoolArray | None = None) -> tuple[RegionNumbers, ...]:
    """Air, lung, fat, soft tissue and bone of a CT in HU, (I,J,K); regions of fewer than 200 voxels are left out."""
    first, second, usable = _sampled(before, after, padding)
    labels = ct_regions(_smooth(first, usable))
    return _compared(tuple(REGIONS_HU), labels, first, second, usable, slices=_chosen(before))


def mr_signal(before: Array, after: Array, padding: BoolArray | None = None) -> tuple[RegionNumbers, ...]:
    """Background and the dark, middle and bright third of the tissue of an MR scan, (I,J,K). The thirds are those of
    `after`: of `before` a third is bright by its noise too, and what is bright by its noise falls with it (up to 15 %
    at a signal to noise of 10)."""
    first, second, usable = _sampled(before, after, padding)
    smooth = _smooth(second, usable)
    tissue = tissue_mask(first, ~usable, dark=True) & usable
    labels = np.ones(first.shape, np.uint8)
    if tissue.any():
        thirds = np.quantile(smooth[tissue], [1 / 3, 2 / 3])
        labels[tissue] = 2 + np.searchsorted(thirds, smooth[tissue])
    return _compared(BRIGHTNESS, labels, first, second, usable)


def ct_regions(voxels: Array) -> Labels:
    """(I,J,K) uint8: 1 to 5 in the order of REGIONS_HU, 0 between them. voxels: HU without noise, or smoothed."""
    labels = np.zeros(voxels.shape, np.uint8)
    for number, (low, high) in enumerate(REGIONS_HU.values(), start=1):
        labels[(voxels > low) & (voxels <= high)] = number
    return labels


def away_from_edges(labels: Labels) -> BoolArray:
    """True where all in-plane neighbours within REACH pixels, corners too, have the voxel's own label. Comparisons of
    whole arrays: filters of the lowest and the highest label say the same in many times as long."""
    rows = np.ones(labels.shape, bool)
    for steps in range(1, REACH + 1):
        same = labels[steps:] == labels[:-steps]
        rows[:-steps] &= same
        rows[steps:] &= same
    both = rows.copy()
    for steps in range(1, REACH + 1):
        same = labels[:, steps:] == labels[:, :-steps]
        both[:, :-steps] &= same & rows[:, steps:]
        both[:, steps:] &= same & rows[:, :-steps]
    return both


def _sampled(before: Array, after: Array, padding: BoolArray | None) -> tuple[Array, Array, BoolArray]:
    """Evenly spread slices of both, and where they hold a measured number."""
    chosen = _chosen(before)
    first, second = (np.ascontiguousarray(scan[..., chosen], dtype=np.float32) for scan in (before, after))
    usable = np.isfinite(first) & np.isfinite(second)
    return first, second, usable if padding is None else usable & ~padding[..., chosen]


def _chosen(scan: Array) -> npt.NDArray[np.intp]:
    return spread_slices(scan.shape, MOST_VOXELS)


def _smooth(voxels: Array, usable: BoolArray) -> Array:
    """Means over 5×5 pixels in plane; what is not measured takes the lowest measured value."""
    from scipy import ndimage

    filled = voxels
    if not usable.all():
        filled = np.where(usable, voxels, voxels[usable].min() if usable.any() else 0).astype(np.float32)
    return np.asarray(ndimage.uniform_filter(filled, (2 * REACH + 1, 2 * REACH + 1, 1), mode="nearest"))


def _compared(
    names: Sequence[str], labels: Labels, before: Array, after: Array, usable: BoolArray, *,
    slices: npt.NDArray[np.intp] | None = None,
) -> tuple[RegionNumbers, ...]:  # fmt: skip
    """slices: the numbers of those that were sampled, where parts of soft tissue are asked for."""
    counted = labels * (usable & away_from_edges(np.where(usable, labels, 0).astype(np.uint8)))
    found = []
    for number, name in enumerate(names, start=1):
        keep = counted == number
        if np.count_nonzero(keep) >= FEWEST_VOXELS:
            found.append(_region(name, keep, before[keep], after[keep], slices if name == "soft tissue" else None))
    return tuple(found)


def _region(
    name: str, keep: BoolArray, before: Array, after: Array, slices: npt.NDArray[np.intp] | None
) -> RegionNumbers:
    member, count = patches(keep, PATCH)
    sizes = np.bincount(member, minlength=count)
    filled = sizes > 0
    sizes, number = sizes[filled], int(np.count_nonzero(filled))
    first, second = (np.bincount(member, weights=scan, minlength=count)[filled] for scan in (before, after))
    old, new = float(first.sum() / len(before)), float(second.sum() / len(before))
    sums = second - first
    shift = float(sums.sum() / len(before))
    spread = float(np.sum((sums - shift * sizes) ** 2)) * number / max(number - 1, 1)
    error = float(np.sqrt(spread)) / len(before) if number > 1 else float("nan")
    part = None if slices is None else _part(np.flatnonzero(filled), sizes, sums, keep.shape, slices)
    return RegionNumbers(
        region=name, voxels=len(before), before=old, after=new, shift=shift, shift_error=error, part=part
    )


def _part(
    patch: Array, sizes: Array, sums: Array, shape: tuple[int, ...], slices: npt.NDArray[np.intp]
) -> PartNumbers | None:
    """Of the slices and of the fields, the one whose shift exceeds chance by most. patch: numbers as of
    `noise.patches`; sizes, sums: voxels and summed shifts of each."""
    columns = shape[1] // PATCH + 1
    row, rest = np.divmod(patch, columns * shape[2])
    column, k = np.divmod(rest, shape[2])
    wide = columns // FIELD + 1
    groups = [(f"slice {slices[n]}", k == n) for n in range(shape[2])]
    field = row // FIELD * wide + column // FIELD
    for n in np.unique(field):
        corner = ", ".join(str(FIELD * PATCH * int(one)) for one in divmod(int(n), wide))
        groups.append((f"the field of {FIELD * PATCH} pixels from ({corner})", field == n))
    dense = sizes >= PATCH**2 / 2  # elsewhere noise decides what is of the region, and what it raised falls
    groups = [(name, inside & dense) for name, inside in groups if np.count_nonzero(inside & dense) >= FEWEST_PATCHES]
    found = []
    for name, inside in groups if len(groups) > 1 else ():
        voxels, moved, number = sizes[inside].sum(), sums[inside], np.count_nonzero(inside)
        shift = float(moved.sum() / voxels)
        spread = float(np.sum((moved - shift * sizes[inside]) ** 2)) * number / (number - 1)
        chance = float(student.isf(0.025 / len(groups), number - 1) * np.sqrt(spread) / voxels)
        found.append(PartNumbers(name=name, shift=shift, chance=chance))
    return max(found, key=lambda one: abs(one.shift) - one.chance, default=None)
