"""How much of their noise two scans share, measured where anatomy does not pass for it.

Each block of the picture gives a correlation of what its plane leaves. What anatomy leaves is the same in both scans
and only raises it, so blocks are wanted that hold none: a block is taken for flat by what its *neighbours* hold, since
a choice by its own content would prefer blocks in which the two noises happen to cancel. The median over blocks then
bears with the few that hold an edge all the same. A high-pass filter takes out most of what anatomy is left.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from medn2n.core import noise

Array = npt.NDArray[Any]
BoolArray = npt.NDArray[np.bool_]

LEAST_FLAT_BLOCKS = 20  # their correlation is then known to about 0.05 for blocks of 20 independent voxels
LEAST_NEIGHBOURS = 3
FLAT_SHARES = (
    0.3,
    0.1,
    0.03,
)  # of the blocks, beside all of them; the most precise choice that anatomy does not raise decides
UNEVEN_LIMIT = 0.55  # block energies, std over mean: noise 0.2-0.5, brain folds and vessels 0.6 and more
EVEN_AS_NOISE = 1.5  # unevenness, common part over difference: noise .7-1.2, anatomy 1.8 and more
# Two Rayleigh magnitudes of complex noise correlated by ρ correlate by about 0.93 ρ² (0.913 ρ² + …, Rice's series).
RAYLEIGH = 0.93
RAYLEIGH_RATIO = 2.3  # mean over deviation of magnitude air: 1.91 from one coil, more from several or with an offset
_LAPLACIAN = np.array([[0, -1, 0], [-1, 4, -1], [0, -1, 0]], np.float32)[:, :, None] / np.float32(np.sqrt(20))


@dataclass(frozen=True, slots=True, kw_only=True)
class SharedNoise:
    """Correlation of two scans' noise in the region where it shows best. region: "air", "tissue" or "" (nowhere).
    error: standard error. effective_voxels: independent noise values in it. like_noise: True where the common
    part is spread as evenly as the difference is, as noise would be; anatomy is not. everywhere: True where all blocks
    of the region serve, as in air, a phantom or a simulation: then no anatomy is left to raise the correlation."""

    correlation: float
    error: float
    region: str
    effective_voxels: float
    like_noise: bool
    everywhere: bool


NOWHERE = SharedNoise(
    correlation=0.0, error=float("inf"), region="", effective_voxels=0.0, like_noise=False, everywhere=False
)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Blocks:
    """Square in-plane blocks of two scans on one grid (rows, columns, K): energies of each and their product."""

    first: noise.Blocks
    one: Array
    two: Array
    product: Array


def shared_noise(first: Array, second: Array, measured: BoolArray) -> SharedNoise:
    """The choice of flat blocks whose correlation is least, its error counted against it; NOWHERE without any.

    first, second: (I,J,K) on one grid. In magnitude air, where magnitudes hide most of what complex noise shares, the
    correlation of the complex noise is given.
    """
    mean = (first + second) / 2
    tissue = noise.tissue_mask(mean)
    air = measured & ~ndimage.binary_dilation(tissue, np.ones((5, 5, 1), dtype=bool), iterations=2)
    side = noise.block_side(first)
    rayleigh = noise.is_magnitude(first) and _is_rayleigh(first, air)
    found = []
    for scans in ((first, second), (_highpass(first), _highpass(second))):
        blocks = _blocks(*scans, side)
        for region, where in (("air", air), ("tissue", measured & tissue)):
            inside = _whole(where, side) & (blocks.one > 0) & (blocks.two > 0)
            for keep in _flat_choices(blocks, inside):
                everywhere = np.array_equal(keep, inside)
                found.append(_median_correlation(blocks, keep, region, rayleigh and region == "air", everywhere))
    return min(found, key=lambda choice: choice.correlation + 4 * choice.error, default=NOWHERE)


def _is_rayleigh(voxels: Array, air: BoolArray) -> bool:
    values = voxels[air]
    return bool(values.size and float(values.mean()) < RAYLEIGH_RATIO * float(values.std()))


def _highpass(voxels: Array) -> Array:
    """In-plane Laplacian with unit gain for white noise."""
    return np.asarray(ndimage.convolve(voxels.astype(np.float32), _LAPLACIAN, mode="nearest"))


def _whole(where: BoolArray, side: int) -> BoolArray:
    """(rows, columns, K): blocks that lie wholly in `where`."""
    rows, columns = where.shape[0] // side, where.shape[1] // side
    cut = where[: rows * side, : columns * side].reshape(rows, side, columns, side, where.shape[2])
    return np.asarray(cut.all(axis=(1, 3)))


def _blocks(first: Array, second: Array, side: int) -> _Blocks:
    ones, twos = (noise.cut_blocks(scan, side=side) for scan in (first, second))
    grid = (first.shape[0] // side, first.shape[1] // side, first.shape[2])
    pairs = ((ones, ones), (twos, twos), (ones, twos))
    one, two, product = (np.einsum("nv,nv->n", a.residual, b.residual).reshape(grid) for a, b in pairs)
    return _Blocks(first=ones, one=one, two=two, product=product)


def _flat_choices(blocks: _Blocks, inside: BoolArray) -> Iterator[BoolArray]:
    """All blocks, then those whose neighbours hold the least energy of the two scans' sum, in ever smaller shares."""
    if np.count_nonzero(inside) >= LEAST_FLAT_BLOCKS:
        yield inside
    energy = np.where(inside, blocks.one + blocks.two + 2 * blocks.product, 0.0)
    around = np.ones((3, 3, 1))
    around[1, 1, 0] = 0
    count = ndimage.convolve(inside.astype(float), around, mode="constant")
    score = ndimage.convolve(energy, around, mode="constant") / np.maximum(count, 1)
    usable = inside & (count >= LEAST_NEIGHBOURS)
    for share in FLAT_SHARES:
        if np.count_nonzero(usable) * share >= LEAST_FLAT_BLOCKS:
            yield usable & (score <= np.quantile(score[usable], share))


def _median_correlation(blocks: _Blocks, keep: BoolArray, region: str, rayleigh: bool, everywhere: bool) -> SharedNoise:
    one, two, product = blocks.one[keep], blocks.two[keep], blocks.product[keep]
    each = product / np.sqrt(one * two)
    correlation = float(np.median(each))
    spread = 1.4826 * float(np.median(np.abs(each - correlation)))
    error = 1.2533 * spread / np.sqrt(len(each))  # of a median
    if rayleigh:
        correlation, error = _of_complex_noise(correlation, error)
    common, apart = one + two + 2 * product, one + two - 2 * product
    uneven = [_unevenness(part) for part in (common, apart)]
    chosen = blocks.first.chosen(keep.ravel())
    return SharedNoise(
        correlation=correlation,
        error=float(error),
        region=region,
        effective_voxels=len(each) * chosen.side**2 / noise.correlation_area(chosen),
        everywhere=everywhere,
        like_noise=uneven[0] <= min(EVEN_AS_NOISE * uneven[1] + 0.1, UNEVEN_LIMIT),
    )


def _unevenness(energy: Array) -> float:
    """Spread of block energies over their median, by quartiles, so that a few blocks with an edge do not count."""
    low, middle, high = np.quantile(energy, [0.25, 0.5, 0.75])
    return float((high - low) / max(1.349 * middle, 1e-30))


def _of_complex_noise(correlation: float, error: float) -> tuple[float, float]:
    """Correlation of the complex noise behind two Rayleigh magnitudes that correlate so, and its error."""

    def root(value: float) -> float:
        return float(np.sqrt(max(value, 0.0) / RAYLEIGH))

    middle = root(correlation)
    above, below = root(max(correlation, 0.0) + 2 * error), root(correlation - 2 * error)
    return middle, max((above - middle) / 2, (above - below) / 4)
