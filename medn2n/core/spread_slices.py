"""Some slices for all: evenly spread ones, where a figure needs no more of a scan."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

MOST_VOXELS = 500_000
LEAST_SHARE = 1 / 8  # of the slices of a large scan


def spread_slices(shape: tuple[int, ...], most: int = MOST_VOXELS) -> npt.NDArray[np.intp]:
    """Numbers of slices of an (I,J,K,…) scan, each in the middle of its part of K: as many as hold about `most` voxels,
    at least an eighth of them all, and at least one."""
    count = shape[2]
    held = round(most / max(1, shape[0] * shape[1]))
    return evenly(count, max(1, held, round(count * LEAST_SHARE)))


def evenly(count: int, most: int) -> npt.NDArray[np.intp]:
    """At most so many of `count` numbers from 0, each in the middle of its part of them."""
    number = min(count, most)
    return (np.arange(number) * 2 + 1) * count // (2 * number)
