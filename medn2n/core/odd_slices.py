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

Array = npt.NDArray[Any]
BoolArray = npt.NDArray[np.bool_]
Slices = npt.NDArray[np.intp]

MOST_ODD = 3  # slices that one question points at
BLOCK = 4  # pixels a side, whose means tell how a tissue moved
FEWEST_BLOCKS = 72  # of a tissue in a slice: 8 patches of 12×12 pixels
EDGE_BLOCK = 2  # pixels a side, in which edges are looked at
GUIDE_BLOCKS = 1.0  # width of the Gaussian under which they are
STRONG_EDGES = 0.05  # share of the blocks with the steepest slopes
FEWEST_EDGES = 50
LARGEST = 1e15  # of a copy's values, whose squares can be summed
ALIKE = 3.5  # times that smoothed noise makes an error larger than noise of independent blocks would


def odd_means(
    before: Array, after: Array, padding: BoolArray | None, slices: Slices, ranges: Sequence[tuple[float, float]]
) -> Slices:
    """Of `slices`, those in which the mean of a tissue moved least like in the others, at most MOST_ODD of each tissue,
    by blocks that lie in it. before, after: (I,J,K). ranges: low and high end of each tissue in the scan's unit."""
    counts, moved = np.zeros((len(ranges), len(slices))), np.zeros((len(ranges), len(slices)))
    for n, k in enumerate(slices):
        shown = after[..., k] if padding is None else np.where(padding[..., k], np.nan, after[..., k])
        level, shift = _block_means(shown, BLOCK), _block_means(shown - before[..., k], BLOCK)
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
    unlike = np.abs(moved[seen] - np.median(moved[seen])) * np.sqrt(counts[seen])
    return seen[np.argsort(-unlike)[:MOST_ODD]]


def odd_edges(before: Array, after: Array) -> Slices:
    """Of all slices of (I,J,K) scans, those whose edges became softer or harder, or moved, least like in the others: at
    most MOST_ODD of each question. None of a single slice."""
    count = before.shape[2]
    looks = [look for k in range(count) if (look := _edge_look(before[..., k], after[..., k], k)) is not None]
    if count < 2 or not looks:
        return np.zeros(0, np.intp)
    numbers = np.array([k for k, _, _ in looks], np.intp)
    found, errors = (np.array(one) for one in list(zip(*looks, strict=True))[1:])
    unlike = np.abs(found - np.median(found, axis=0))
    surely = np.stack([unlike[:, 0] - 2 * errors[:, 0], np.hypot(unlike[:, 1], unlike[:, 2]) - 2 * errors[:, 1]])
    return _together(numbers, [np.argsort(-one)[:MOST_ODD] for one in surely])


def _edge_look(
    before: Array, after: Array, k: int
) -> tuple[int, tuple[float, float, float], tuple[float, float]] | None:
    """Of a slice: its number; variance of the blur and displacement along I and J, in blocks; their standard errors.
    None where there are too few edges. The derivatives are those of `core.edges`, as differences of blocks."""
    old, new = (_block_means(one, EDGE_BLOCK) for one in (before, after))
    taken, lead = (_guided(one) for one in (old - new, new))
    slopes = np.asarray(np.gradient(lead))
    steep = np.hypot(*slopes)
    keep = (steep >= np.quantile(steep, 1 - STRONG_EDGES)) & (steep > 0)
    if np.count_nonzero(keep) < FEWEST_EDGES:
        return None
    taken, slopes, curved = taken[keep], slopes[:, keep], -0.5 * ndimage.laplace(lead)[keep]
    power = float(curved @ curved)
    square = float(curved @ taken) / max(power, 1e-30)
    moved = np.linalg.pinv(slopes @ slopes.T) @ (slopes @ taken)
    spread = ALIKE * float(np.std(taken - square * curved - moved @ slopes))
    steepness = float(np.sqrt(np.sum(slopes**2) / 2))
    return k, (square, float(moved[0]), float(moved[1])), (spread / max(power**0.5, 1e-15), spread / steepness)


def _guided(blocks: Array) -> Array:
    measured = np.nan_to_num(np.clip(blocks, -LARGEST, LARGEST)).astype(np.float64)
    return np.asarray(ndimage.gaussian_filter(measured, GUIDE_BLOCKS))


def _together(slices: Slices, found: Sequence[Slices]) -> Slices:
    """The slices at all these indices, each once, in order."""
    return np.unique(slices[np.concatenate([*found, np.zeros(0, np.intp)])])


def _block_means(image: Array, side: int) -> Array:
    rows, columns = (length // side for length in image.shape)
    cut = image[: rows * side, : columns * side].reshape(rows, side, columns * side)
    with np.errstate(over="ignore", invalid="ignore"):  # a value that no scan has is another gate's
        return np.asarray(cut.mean(axis=1).reshape(rows, columns, side).mean(axis=2))
