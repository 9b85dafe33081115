"""How much of their noise two scans share, measured where anatomy does not pass for it.

Each block of the picture gives a correlation of what its plane leaves. What anatomy leaves is the same in both scans
and only raises it, so blocks are wanted that hold none: a block is taken for flat by what its *neighbours* hold, since
a choice by its own content would prefer blocks in which the two noises happen to cancel. The mean of the middle half
of the blocks then bears with those that hold an edge all the same. A high-pass filter takes out most of what anatomy is
left. Many choices of blocks are compared, since noise stays from flat blocks to flatter ones, and anatomy does not.
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
LEAST_INNER = 0.25  # of the tissue; where less lies off its rim, it is all rim
PLENTY = 2000.0  # effective voxels; the least of many choices with fewer would be a lucky one
LEAST_NEIGHBOURS = 3
BEYOND = 4.0  # weight of a block of the next slice against one beside it
FLAT_SHARES = (
    0.3,
    0.1,
    0.03,
)  # of the blocks, beside all of them; the most precise choice that anatomy does not raise decides
UNEVEN_LIMIT = 0.55  # block energies, std over mean: noise 0.2-0.5, brain folds and vessels 0.6 and more
EVEN_AS_NOISE = 1.5  # unevenness, common part over difference: noise .7-1.2, anatomy 1.8 and more
AGREE_ERRORS = 2.0  # of two choices, which hold each other's blocks, so that this is wide
FALLEN = 0.6  # what falls to less in flatter blocks was anatomy: noise stays, anatomy falls to a half and less
RISEN = 1.35
EDGES_ADD = 0.15  # what the edges of a phantom add to all blocks' correlation; anatomy adds 0.15 to 0.9
# Two Rayleigh magnitudes of complex noise correlated by ρ correlate by about 0.93 ρ² (0.913 ρ² + …, Rice's series).
RAYLEIGH = 0.93
RAYLEIGH_RATIO = 2.3  # mean over deviation of magnitude air: 1.91 from one coil, more from several or with an offset
_LAPLACIAN = np.array([[0, -1, 0], [-1, 4, -1], [0, -1, 0]], np.float32)[:, :, None] / np.float32(np.sqrt(20))


@dataclass(frozen=True, slots=True, kw_only=True)
class SharedNoise:
    """Correlation of two scans' noise in the region where it shows best. region: "air", "tissue" or "" (nowhere).
    error: standard error. effective_voxels: independent noise values in it. like_noise: True where the common part is
    spread as evenly as the difference is and does not shrink from flat blocks to flatter ones, as noise would be;
    anatomy is not. everywhere: True where flat blocks of every choice show the same and all others little more, as in a
    phantom or a simulation: then no anatomy is left to raise it."""

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
class _Choice:
    """What some blocks show. filtered: after the high-pass; share: of the region's blocks, 1 for all. seen, seen_error:
    of the voxels' correlation itself; correlation, error: of the noise behind it; even: spread as noise is."""

    region: str
    filtered: bool
    share: float
    seen: float
    seen_error: float
    correlation: float
    error: float
    effective_voxels: float
    even: bool


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
    side = noise.block_side(first)
    regions = _regions((first + second) / 2, measured)
    rayleigh = noise.is_magnitude(first) and _is_rayleigh(first, regions["air"])
    found = []
    for filtered in (False, True):
        blocks = _blocks(*((_highpass(first), _highpass(second)) if filtered else (first, second)), side)
        for region, where in regions.items():
            inside = _whole(where, side) & (blocks.one > 0) & (blocks.two > 0)
            for share, keep in _flat_choices(blocks, inside):
                found.append(_choice(blocks, keep, region, filtered, share, rayleigh and region == "air"))
    if not found:
        return NOWHERE
    plenty = [choice for choice in found if choice.effective_voxels >= PLENTY]
    best = min(plenty or found, key=lambda choice: choice.correlation + 5 * choice.error)
    beside = [choice for choice in found if choice.region == best.region]
    everywhere = not (rayleigh and best.region == "air") and _all_alike(best, beside)
    if everywhere:  # the least of many is a low one; where all are alike, the surest is
        best = min((other for other in beside if _same(best, other)), key=lambda choice: choice.error)
    beside.remove(best)
    return SharedNoise(
        correlation=best.correlation,
        error=best.error,
        region=best.region,
        effective_voxels=best.effective_voxels,
        like_noise=best.even and _on_plateau(best, beside),
        everywhere=everywhere,
    )


def _regions(mean: Array, measured: BoolArray) -> dict[str, BoolArray]:
    """Air and tissue, each without the rim between them, where an edge passes for what the two scans share."""
    tissue = noise.tissue_mask(mean)
    rim = np.ones((5, 5, 1), dtype=bool)
    air = measured & ~ndimage.binary_dilation(tissue, rim, iterations=2)
    inner = ndimage.binary_erosion(tissue, rim, border_value=1)
    scattered = np.count_nonzero(inner) < LEAST_INNER * np.count_nonzero(tissue)
    return {"air": air, "tissue": measured & (tissue if scattered else inner)}


def _reach(one: _Choice, two: _Choice) -> float:
    """How far two choices may lie apart by chance."""
    return AGREE_ERRORS * float(np.hypot(one.seen_error, two.seen_error))


def _same(best: _Choice, other: _Choice) -> bool:
    return abs(best.seen - other.seen) <= _reach(best, other)


def _on_plateau(best: _Choice, beside: list[_Choice]) -> bool:
    """True where no flatter choice shows clearly less, the next less flat ones show little more, and some choice shows
    the same."""
    flatter = [other for other in beside if other.share <= best.share]
    falls = any(other.seen + _reach(best, other) < FALLEN * best.seen for other in flatter)
    rougher = [other for other in beside if best.share < other.share < 1 and other.filtered == best.filtered]
    rises = any(other.seen > RISEN * best.seen + _reach(best, other) for other in rougher)
    return not falls and not rises and any(_same(best, other) for other in beside)


def _all_alike(best: _Choice, beside: list[_Choice]) -> bool:
    """True where all flat choices show the same, and even all blocks little more."""
    wide = [other for other in beside if other.share == 1.0]
    flat = [other for other in beside if other.share < 1.0]
    room = (1 - FALLEN) * abs(best.seen)
    alike = all(abs(best.seen - other.seen) <= _reach(best, other) + room for other in flat)
    return alike and all(other.seen - best.seen <= EDGES_ADD for other in wide)


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


def _flat_choices(blocks: _Blocks, inside: BoolArray) -> Iterator[tuple[float, BoolArray]]:
    """(share, which): all blocks, then those whose neighbours hold the least energy, in ever smaller shares."""
    if np.count_nonzero(inside) >= LEAST_FLAT_BLOCKS:
        yield 1.0, inside
    energy = np.where(inside, blocks.one + blocks.two, 0.0)  # of the sum, it would favour less in common
    around = np.ones((3, 3, 3))
    around[1, 1] = (BEYOND, 0, BEYOND)  # the same place in the next slices tells most
    count = ndimage.convolve(inside.astype(float), around, mode="constant")
    score = ndimage.convolve(energy, around, mode="constant") / np.maximum(count, 1)
    usable = inside & (count >= LEAST_NEIGHBOURS)
    for share in FLAT_SHARES:
        if np.count_nonzero(usable) * share >= LEAST_FLAT_BLOCKS:
            yield share, usable & (score <= np.quantile(score[usable], share))


def _choice(blocks: _Blocks, keep: BoolArray, region: str, filtered: bool, share: float, rayleigh: bool) -> _Choice:
    """The correlation of some blocks: the mean of the middle half, which bears with blocks that hold an edge."""
    one, two, product = blocks.one[keep], blocks.two[keep], blocks.product[keep]
    each = product / np.sqrt(one * two)
    seen, seen_error = _middle_mean(each)
    common, apart = one + two + 2 * product, one + two - 2 * product
    uneven = [_unevenness(part) for part in (common, apart)]
    chosen = blocks.first.chosen(keep.ravel())
    correlation, error = _of_complex_noise(seen, seen_error) if rayleigh else (seen, seen_error)
    return _Choice(
        region=region,
        filtered=filtered,
        share=share,
        seen=seen,
        seen_error=seen_error,
        correlation=correlation,
        error=error,
        effective_voxels=len(each) * chosen.side**2 / noise.correlation_area(chosen),
        even=uneven[0] <= min(EVEN_AS_NOISE * uneven[1] + 0.1, UNEVEN_LIMIT),
    )


def _middle_mean(values: Array) -> tuple[float, float]:
    """Mean of the middle half of `values` and its standard error (by the winsorised variance, Tukey and McLaughlin
    1963)."""
    low, high = np.quantile(values, [0.25, 0.75])
    middle = values[(values >= low) & (values <= high)]
    spread = float(np.clip(values, low, high).std(ddof=1))
    return float(middle.mean()), 2 * spread / float(np.sqrt(len(values)))


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
