"""What denoising did to the numbers themselves: CT numbers by tissue, MR signal by brightness, before and after.

A denoiser should leave the mean of a tissue as it was. The regions are found on a smoothed copy of the scan after: by
its own noise a voxel of the scan before lies in a region, and its mean falls back when the noise goes (fat by 24 HU
where that is 100). Only what moved by more than noise does belongs where the scan before has it. A voxel counts where
all of the 5×5 pixels around it are of its region, so that edges do not count. Large scans
are sampled (`spread_slices`), and the slices in which a tissue seems to have moved most are measured too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.stats import t as student

from medn2n.core.body import tissue_mask
from medn2n.core.noise import patches
from medn2n.core.odd_slices import odd_means
from medn2n.core.spread_slices import spread_slices

Array = npt.NDArray[Any]
BoolArray = npt.NDArray[np.bool_]
Labels = npt.NDArray[np.uint8]
Slices = npt.NDArray[np.intp]
Sample = tuple[Labels, Array, Array]  # the region of each voxel that counts, 0 elsewhere; scan before and after

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
IN_PARTS = ("air", "lung", "fat", "soft tissue")  # of which slices and fields are compared too
BRIGHTNESS = ("background", "dark", "middle", "bright")
REACH = 2  # pixels on each side that must be of the same region
MOST_VOXELS = 1_200_000
FEWEST_VOXELS = 200
PATCH = 12  # pixels; noise of different patches is taken as independent
FIELD = 5  # patches a side of a part of a region
FEWEST_PATCHES = 8  # of a part
LAG = 8  # pixels, beyond which smoothed noise has nothing in common
SURELY = 6.0  # standard deviations of smoothed noise
LARGEST = 1e15  # of a difference: float32 holds sums of it


@dataclass(frozen=True, slots=True, kw_only=True)
class PartNumbers:
    """One part of a region. name: for people. before, shift: as of the region. chance: what the largest shift of so
    many parts exceeds with a probability of 5 % where nothing moved, in the same unit."""

    name: str
    before: float
    shift: float
    chance: float


@dataclass(frozen=True, slots=True, kw_only=True)
class RegionNumbers:
    """One region before and after, in the scan's unit. before, after: means. shift: mean of after − before, and its
    standard error from how the means of 12×12 patches differ, in which the anatomy cancels. voxels: how many
    counted. part: the slice, or the field of 60×60 pixels in all slices, that moved most surely; None where there are
    no two parts, of bone and of the background of an MR scan."""

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
    chosen = _chosen(before)
    sample = _ct_in(chosen, before, after, padding)
    odd = _odd(chosen, before, after, padding, [REGIONS_HU[name] for name in IN_PARTS])
    others = _ct_in(odd, before, after, padding)
    found = _compared(tuple(REGIONS_HU), *sample)
    return _with_parts(found, tuple(REGIONS_HU), IN_PARTS, (sample, chosen), (others, odd), count=before.shape[2])


def _ct_in(slices: Slices, before: Array, after: Array, padding: BoolArray | None) -> Sample:
    """Of these slices: the region of each voxel that counts, 0 elsewhere, and both scans."""
    first, second, usable = _sampled(before, after, padding, slices)
    return _counted(_regions(_smooth(first, usable), _smooth(second, usable)), usable), first, second


def _regions(before: Array, after: Array) -> Labels:
    """Of two smoothed scans: the regions of the second, but of the first where the two surely differ."""
    return np.where(_moved(before, after, after > REGIONS_HU["lung"][1]), ct_regions(before), ct_regions(after))


def _moved(before: Array, after: Array, body: BoolArray) -> BoolArray:
    """Where two smoothed scans differ by more than noise, which is told by how the difference changes within the body:
    a part that moved as a whole changes nothing of that."""
    moved = np.clip(before - after, -LARGEST, LARGEST)
    steps = np.abs(moved[LAG:] - moved[:-LAG])[body[LAG:]]
    noise = float(np.median(steps)) / 0.6745 / np.sqrt(2) if steps.size else 0.0
    return np.asarray(np.abs(moved) > SURELY * noise)


def mr_signal(before: Array, after: Array, padding: BoolArray | None = None) -> tuple[RegionNumbers, ...]:
    """Background and the dark, middle and bright third of the tissue of an MR scan, (I,J,K). The thirds are those of
    `after`: of `before` a third is bright by its noise too, and what is bright by its noise falls with it (up to 15 %
    at a signal to noise of 10)."""
    chosen = _chosen(before)
    first, second, usable = _sampled(before, after, padding, chosen)
    smooth = _smooth(second, usable)
    tissue = _mr_tissue(first, second, usable)
    levels = np.quantile(smooth[tissue], [0.0, 1 / 3, 2 / 3]) if tissue.any() else np.full(3, np.inf)
    sample = _counted(_thirds(smooth, tissue, levels), usable), first, second
    odd = _odd(chosen, before, after, padding, list(zip(levels, [*levels[1:], np.inf], strict=True)))
    one, other, there = _sampled(before, after, padding, odd)
    others = _counted(_thirds(_smooth(other, there), _mr_tissue(one, other, there), levels), there), one, other
    found = _compared(BRIGHTNESS, *sample)
    return _with_parts(found, BRIGHTNESS, BRIGHTNESS[1:], (sample, chosen), (others, odd), count=before.shape[2])


def _mr_tissue(before: Array, after: Array, usable: BoolArray) -> BoolArray:
    """Tissue of the scan after, as the regions of a CT: by its noise (20 % of the brightest) air of the scan before is
    tissue, and its mean falls by 3 to 12 % when that goes."""
    if not before.size:
        return usable
    was, left = (tissue_mask(one, ~usable, dark=True) for one in (before, after))
    return np.where(_moved(_smooth(before, usable), _smooth(after, usable), was), was, left) & usable


def _thirds(smooth: Array, tissue: BoolArray, levels: Array) -> Labels:
    """Labels in the order of BRIGHTNESS. levels: the low ends of the thirds."""
    return np.where(tissue, 1 + np.maximum(np.searchsorted(levels, smooth, side="left"), 1), 1).astype(np.uint8)


def _odd(
    chosen: Slices, before: Array, after: Array, padding: BoolArray | None, ranges: Sequence[tuple[float, float]]
) -> Slices:
    return odd_means(before, after, padding, np.setdiff1d(np.arange(before.shape[2]), chosen), ranges)


def _with_parts(
    found: Sequence[RegionNumbers], names: tuple[str, ...], in_parts: Sequence[str], sampled: tuple[Sample, Slices],
    odd: tuple[Sample, Slices], *, count: int,
) -> tuple[RegionNumbers, ...]:  # fmt: skip
    """With the part that moved most surely. names: in the order of the labels. count: of all slices."""

    def part(name: str) -> PartNumbers | None:
        parts = [
            _part(labels == 1 + names.index(name), first, second, slices, of=of)
            for ((labels, first, second), slices), of in ((sampled, None), (odd, count - len(sampled[1])))
            if len(slices)
        ]
        return _surest(parts)

    return tuple(replace(one, part=part(one.region)) if one.region in in_parts else one for one in found)


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


def _sampled(before: Array, after: Array, padding: BoolArray | None, chosen: Slices) -> tuple[Array, Array, BoolArray]:
    """The chosen slices of both, and where they hold a measured number."""
    first, second = (np.ascontiguousarray(scan[..., chosen], dtype=np.float32) for scan in (before, after))
    usable = np.isfinite(first) & np.isfinite(second)
    return first, second, usable if padding is None else usable & ~padding[..., chosen]


def _chosen(scan: Array) -> Slices:
    return spread_slices(scan.shape, MOST_VOXELS)


def _smooth(voxels: Array, usable: BoolArray) -> Array:
    """Means over 5×5 pixels in plane; what is not measured takes the lowest measured value."""
    from scipy import ndimage

    filled = voxels
    if not usable.all():
        filled = np.where(usable, voxels, voxels[usable].min() if usable.any() else 0).astype(np.float32)
    return np.asarray(ndimage.uniform_filter(filled, (2 * REACH + 1, 2 * REACH + 1, 1), mode="nearest"))


def _counted(labels: Labels, usable: BoolArray) -> Labels:
    """The labels of measured voxels away from edges, 0 elsewhere."""
    return np.asarray(labels * (usable & away_from_edges(np.where(usable, labels, 0).astype(np.uint8))), np.uint8)


def _compared(names: Sequence[str], counted: Labels, before: Array, after: Array) -> tuple[RegionNumbers, ...]:
    """Of each label from 1 on that enough voxels have."""
    regions = ((name, counted == number) for number, name in enumerate(names, start=1))
    return tuple(_region(name, keep, before, after) for name, keep in regions if keep.sum() >= FEWEST_VOXELS)


def _region(name: str, keep: BoolArray, before: Array, after: Array) -> RegionNumbers:
    _, sizes, first, second = _by_patch(keep, before, after)
    voxels, number = int(sizes.sum()), len(sizes)
    sums = second - first
    shift = float(sums.sum() / voxels)
    spread = float(np.sum((sums - shift * sizes) ** 2)) * number / max(number - 1, 1)
    return RegionNumbers(
        region=name, voxels=voxels, before=float(first.sum() / voxels), after=float(second.sum() / voxels), shift=shift,
        shift_error=float(np.sqrt(spread)) / voxels if number > 1 else float("nan"),
    )  # fmt: skip


def _by_patch(keep: BoolArray, before: Array, after: Array) -> tuple[Array, Array, Array, Array]:
    """Of each patch that holds a kept voxel: its number as of `noise.patches`, how many voxels, and their sums."""
    member, count = patches(keep, PATCH)
    sizes = np.bincount(member, minlength=count)
    filled = np.flatnonzero(sizes)
    first, second = (np.bincount(member, weights=scan[keep], minlength=count)[filled] for scan in (before, after))
    return filled, sizes[filled], first, second


def _part(keep: BoolArray, before: Array, after: Array, slices: Slices, *, of: int | None = None) -> PartNumbers | None:
    """Of the slices and of the fields, the one whose shift exceeds chance by most. slices: their numbers. of: how many
    they are the most moved of; then slices alone are parts, and each may be the only one."""
    patch, sizes, first, second = _by_patch(keep, before, after)
    columns = keep.shape[1] // PATCH + 1
    row, rest = np.divmod(patch, columns * len(slices))
    column, k = np.divmod(rest, len(slices))
    wide = columns // FIELD + 1
    groups = [(f"slice {slices[n]}", k == n) for n in range(len(slices))]
    field = row // FIELD * wide + column // FIELD
    for n in np.unique(field) if of is None else ():
        corner = ", ".join(str(FIELD * PATCH * int(one)) for one in divmod(int(n), wide))
        groups.append((f"the field of {FIELD * PATCH} pixels from ({corner})", field == n))
    dense = sizes >= PATCH**2 / 2  # elsewhere noise decides what is of the region, and what it raised falls
    groups = [(name, inside & dense) for name, inside in groups if np.count_nonzero(inside & dense) >= FEWEST_PATCHES]
    if of is None and len(groups) == 1:
        return None  # the whole region says as much
    return _surest(
        [_shift_of(name, sizes[inside], first[inside], second[inside], of or len(groups)) for name, inside in groups]
    )


def _shift_of(name: str, sizes: Array, first: Array, second: Array, compared: int) -> PartNumbers:
    """sizes, first, second: voxels of the part's patches, and their sums before and after."""
    voxels, number, moved = sizes.sum(), len(sizes), second - first
    shift = float(moved.sum() / voxels)
    spread = float(np.sum((moved - shift * sizes) ** 2)) * number / (number - 1)
    chance = float(student.isf(0.025 / compared, number - 1) * np.sqrt(spread) / voxels)
    return PartNumbers(name=name, before=float(first.sum() / voxels), shift=shift, chance=chance)


def _surest(parts: Sequence[PartNumbers | None]) -> PartNumbers | None:
    """The one whose shift exceeds chance by most."""
    there = [part for part in parts if part is not None]
    return max(there, key=lambda one: abs(one.shift) - one.chance, default=None)
