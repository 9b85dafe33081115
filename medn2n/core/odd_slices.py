"""Which slices a method seems to have treated unlike the others: where figures of some slices would not see it.

A quick look at every slice, in blocks of a few pixels. The slices that it points at are then measured as the sample is
(`core.ct_numbers`, `core.scan_proof`); by itself it proves nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from medn2n.core.spot_filters import block_means
from medn2n.core.threads import in_threads

Array = npt.NDArray[Any]
BoolArray = npt.NDArray[np.bool_]
Slices = npt.NDArray[np.intp]

MOST_ODD = 2  # slices that one question points at as unlike the others, and as many as changed most
BLOCK = 4  # pixels a side, whose means tell how a tissue moved
FEWEST_BLOCKS = 72  # of a tissue in a slice: 8 patches of 12×12 pixels
EDGE_BLOCK = 2  # pixels a side, in which edges are looked at
GUIDE_BLOCKS = 1.0  # width of the Gaussian under which they are
STRONG_EDGES = 0.05  # share of the blocks with the steepest slopes
FEWEST_EDGES = 50
LEAST_SLOPE = 0.1  # of the scan's typical edges; what is steepest in a slice of air is noise
AWAY = 4  # blocks from padding, whose rim is no edge
LARGEST = 1e15  # of a copy's values, whose squares can be summed
ALIKE = 3.5  # times that smoothed noise makes an error larger than noise of independent blocks would


def odd_means(
    before: Array, after: Array, padding: BoolArray | None, slices: Slices, ranges: Sequence[tuple[float, float]]
) -> Slices:
    """Of `slices`, those in which the mean of a tissue moved least like in the others, and most, at most MOST_ODD each
    of each tissue, by blocks that lie in it. before, after: (I,J,K). ranges: low and high end of each tissue in the
    scan's unit."""
    counts, moved = np.zeros((len(ranges), len(slices))), np.zeros((len(ranges), len(slices)))
    for n, k in enumerate(slices):
        shown = after[..., k] if padding is None else np.where(padding[..., k], np.nan, after[..., k])
        level, shift = block_means(shown, BLOCK), block_means(shown - before[..., k], BLOCK)
        measured = np.isfinite(shift)
        for tissue, (low, high) in enumerate(ranges):
            inside = measured & np.logical_or(*((one > low) & (one <= high) for one in (level, level - shift)))
            counts[tissue, n] = np.count_nonzero(inside)
            moved[tissue, n] = np.mean(shift[inside], dtype=np.float64) if counts[tissue, n] else 0.0
    return _together(slices, [_oddest(one, count) for one, count in zip(moved, counts, strict=True)])


def _oddest(moved: Array, counts: Array) -> Slices:
    seen = np.flatnonzero(counts >= FEWEST_BLOCKS)
    if not len(seen):
        return seen
    known = np.sqrt(counts[seen])
    return seen[_first(np.abs(moved[seen] - np.median(moved[seen])) * known, np.abs(moved[seen]) * known)]


def _first(*ranks: Array) -> Slices:
    """Indices of the MOST_ODD largest of each."""
    return np.concatenate([np.argsort(-rank)[:MOST_ODD] for rank in ranks])


def odd_edges(before: Array, after: Array, padding: BoolArray | None = None) -> Slices:
    """Of all slices of (I,J,K) scans, those whose edges became softer or harder, or moved, least like in the others,
    and most: at most MOST_ODD each of each question (where half of the slices changed, the others are the odd ones).
    None of a single slice."""
    count = before.shape[2]
    if count < 2:
        return np.zeros(0, np.intp)
    masks = [None if padding is None else padding[..., k] for k in range(count)]
    looks = in_threads(lambda k: _edge_look(before[..., k], after[..., k], masks[k]), range(count))
    numbers = np.array([k for k in range(count) if looks[k] is not None], np.intp)
    if not len(numbers):
        return numbers
    found = np.array([look for look in looks if look is not None])
    steep = found[:, 5] >= LEAST_SLOPE * np.median(found[:, 5])
    numbers, found = numbers[steep], found[steep]
    errors, ranks = 2 * found[:, 3:5], []
    for change in (found[:, :3] - np.median(found[:, :3], axis=0), found[:, :3]):
        ranks += [np.abs(change[:, 0]) - errors[:, 0], np.hypot(change[:, 1], change[:, 2]) - errors[:, 1]]
    return _together(numbers, [_first(*ranks)])


def _edge_look(before: Array, after: Array, padding: BoolArray | None) -> tuple[float, ...] | None:
    """Of a slice: variance of the blur and displacement along I and J, in blocks; the standard errors of both; the
    median slope. None where there are too few edges. The derivatives are those of `core.edges`, as differences of
    blocks."""
    old, new = (block_means(one, EDGE_BLOCK) for one in (before, after))
    if min(new.shape) < 2:
        return None
    taken, lead = (_guided(one) for one in (old - new, new))
    slopes = np.asarray(np.gradient(lead))
    steep = np.hypot(*slopes)
    if padding is not None and padding.any():
        steep[ndimage.maximum_filter(block_means(padding, EDGE_BLOCK) > 0, 2 * AWAY + 1)] = 0
    keep = (steep >= np.quantile(steep, 1 - STRONG_EDGES)) & (steep > 0)
    if np.count_nonzero(keep) < FEWEST_EDGES:
        return None
    taken, slopes, curved = taken[keep], slopes[:, keep], -0.5 * ndimage.laplace(lead)[keep]
    power = float(curved @ curved)
    square = float(curved @ taken) / max(power, 1e-30)
    moved = np.linalg.pinv(slopes @ slopes.T) @ (slopes @ taken)
    spread = ALIKE * float(np.std(taken - square * curved - moved @ slopes))
    steepness = float(np.sqrt(np.sum(slopes**2) / 2))
    errors = spread / max(power**0.5, 1e-15), spread / steepness
    return square, float(moved[0]), float(moved[1]), *errors, float(np.median(steep[keep]))


def _guided(blocks: Array) -> Array:
    measured = np.nan_to_num(np.clip(blocks, -LARGEST, LARGEST)).astype(np.float64)
    return np.asarray(ndimage.gaussian_filter(measured, GUIDE_BLOCKS))


def _together(slices: Slices, found: Sequence[Slices]) -> Slices:
    """The slices at all these indices, each once, in order."""
    return np.unique(slices[np.concatenate([*found, np.zeros(0, np.intp)])])
