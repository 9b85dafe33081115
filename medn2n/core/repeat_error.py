"""How far a denoised scan is from the truth where there is no truth: estimated from repeats, with an interval.

The truth of an estimate is the repeats' common expectation. For CT numbers and complex MR that is the object; for
magnitude MR it is E[M], the mean of the magnitude on the scanner's own scale, which lies above the noise-free signal
where that is weak (Gudbjartsson & Patz 1995; `medn2n.core.rician`). Nothing here can see that difference.

The intervals ask how far the estimate is from the error that *these* scans have. Given the scans' object, only noise is
random, so the error's variety over the anatomy must not widen them. Half the sum s and the difference d of two repeats
are independent where noise is Gaussian and equally strong, and exchanging the repeats turns d's sign: sums of s·d over
blocks wider than the noise is correlated have mean zero, and their squares add up to the variance looked for.

Arrays are (I,J,K), (I,J) or (I,J,K,N), all of one shape and unit; sums run in float64. `mask`: True where a voxel
counts.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Float = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]
Interval = tuple[float, float]

BLOCK = (12, 12, 2)  # voxels
FARTHEST = 12  # voxels along an axis, to which noise is looked at for correlation
REACH = 8  # the same, in the plane
APART = 8  # voxels; noise so far apart is taken as independent
WIDER = 1.15  # a block that misses more of the noise's correlation is doubled,
LEAST_BLOCKS = 20  # while so many are left


@dataclass(frozen=True, slots=True, kw_only=True)
class RepeatError:
    """Error of a denoiser estimated without truth. Intervals: 95 %.

    mse: of the denoised scans, in unit² (may fall below 0 by chance where little error is left).
    noisy_mse: of the noisy scans themselves.
    share: mse / noisy_mse; 0 = perfect, 1 = no better than the noisy scan, above 1 = harmful.
    """

    mse: float
    mse_interval: Interval
    noisy_mse: float
    share: float
    share_interval: Interval

    def psnr_db(self, data_range: float) -> tuple[float, Interval]:
        """10·log10(data_range² / mse), dB, and its 95 % interval, (low, high): that of mse, turned round. Infinite where
        the mse, or the low end of its interval, is not above zero. data_range: in the scan's unit."""
        low, high = self.mse_interval
        return _psnr_db(self.mse, data_range), (_psnr_db(high, data_range), _psnr_db(low, data_range))


def _psnr_db(error: float, data_range: float) -> float:
    return float(10 * np.log10(data_range**2 / error)) if error > 0 else float("inf")


def error_from_repeats(
    first: Array,
    second: Array,
    denoised_first: Array,
    denoised_second: Array,
    *,
    mask: Mask | None = None,
    block: tuple[int, ...] | None = None,
) -> RepeatError:
    """Mean squared error from two repeats a, b of equal noise level: ½·mean[(f(a)−b)² + (f(b)−a)² − (a−b)²].

    It estimates ½·mean[(f(a)−truth)² + (f(b)−truth)²] of these very scans. Symmetric form of the estimate in Lehtinen
    et al. 2018 / Marcos-Morales et al. 2023: it needs independent noise, the same object in the same place, and the
    same scale. The one-sided form has 1.7 times its spread. block: in voxels, wider than the noise is correlated;
    chosen from the noise where it is not given. Interval: see `_deviation_of_two`. Infinite from fewer than two blocks.
    """
    a, b, fa, fb = (np.asarray(x, dtype=np.float64) for x in (first, second, denoised_first, denoised_second))
    count = _counted(a, mask)
    voxels = float(count.sum())
    noisy = max(float((0.5 * (a - b) ** 2 * count).sum()) / voxels, np.finfo(float).tiny)
    estimate = float((0.5 * ((fa - b) ** 2 + (fb - a) ** 2 - (a - b) ** 2) * count).sum()) / voxels
    grid = _grid(a - b, count, block)
    share = estimate / noisy
    half = _deviation_of_two(a, b, fa, fb, grid)
    half_share = _deviation_of_two(a, b, fa, fb, grid, share=share) / noisy
    return RepeatError(
        mse=estimate,
        mse_interval=(estimate - half, estimate + half),
        noisy_mse=noisy,
        share=share,
        share_interval=(share - half_share, share + half_share),
    )


def error_from_three_repeats(
    first: Array,
    second: Array,
    third: Array,
    denoised_first: Array,
    *,
    mask: Mask | None = None,
    block: tuple[int, ...] | None = None,
) -> RepeatError:
    """Mean squared error of f(a) from two further repeats b, c: mean[(f(a)−b)·(f(a)−c)]; of a itself likewise.

    Needs no equal noise levels (uMSE of Marcos-Morales et al., ICML 2023). With noise n and error e of f(a) the
    estimate is off by mean[n_b·n_c − e·(n_b + n_c)]; block sums of (f(a) − (b+c)/2)·(b−c) vary as that does. block: as in
    `error_from_repeats`.
    """
    a, b, c, fa = (np.asarray(x, dtype=np.float64) for x in (first, second, third, denoised_first))
    count = _counted(a, mask)
    voxels = float(count.sum())
    noisy = max(float(((a - b) * (a - c) * count).sum()) / voxels, np.finfo(float).tiny)
    estimate = float(((fa - b) * (fa - c) * count).sum()) / voxels
    share = estimate / noisy
    difference, middle = b - c, (b + c) / 2
    grid = _grid(difference, count, block)
    half = grid.half_width(grid.centred((fa - middle) * difference) ** 2)
    of_share = (fa - middle) - share * (a - middle)
    half_share = grid.half_width(grid.centred(of_share * difference) ** 2) / noisy
    return RepeatError(
        mse=estimate,
        mse_interval=(estimate - half, estimate + half),
        noisy_mse=noisy,
        share=share,
        share_interval=(share - half_share, share + half_share),
    )


def _counted(voxels: Array, mask: Mask | None) -> Float:
    count = np.ones(voxels.shape, dtype=np.float64) if mask is None else mask.astype(np.float64)
    if not count.any():
        raise ValueError("metrics: the mask selects no voxel")
    return count


def _deviation_of_two(a: Float, b: Float, fa: Float, fb: Float, grid: NoiseBlocks, *, share: float = 0.0) -> float:
    """Half of the 95 % interval of (estimate − error that these very scans have).

    With noise n₁, n₂ and errors e₁, e₂ that deviation is mean[n₁n₂ − e₁n₂ − e₂n₁]. Where f is nearly linear, e = β + L·n,
    it is n₁·(1 − 2L)n₂ − β·(n₁ + n₂), with β the error that both denoised scans share. Half the sum of what was removed
    from both, times the difference u of the two noises, has block sums that vary as n₁·(1 − L)n₂ − β·(n₁ + n₂) does; what
    1 − 2L and 1 − L differ by follows from u, and from what f left of it. (Block sums of the estimate itself would take
    the anatomy's variety for uncertainty.)

    share: for the ratio estimate / noisy_mse, whose denominator is off by −mean[n₁n₂].
    """
    noise, left = (a - b) / np.sqrt(2), (fa - fb) / np.sqrt(2)
    crossed = grid.sums(((a - fa) + (b - fb)) / np.sqrt(2) * noise) ** 2
    of_estimate = grid.product_variance(noise, (1 + share) * noise - 2 * left)
    beyond = float(crossed.sum()) - grid.product_variance(noise, noise - left)
    return grid.half_width(crossed, total=of_estimate + max(beyond, 0.0))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class NoiseBlocks:
    """A grid of blocks wider than noise is correlated, so that sums over different blocks are independent.

    count: 1.0 where a voxel counts; edges: of a block, in voxels, one an axis; sizes: voxels that count in each block,
    on the grid; missed: variance of all voxels' sum over that of the blocks' sums, of noise squared: what correlation
    across the blocks' faces adds.
    """

    count: Float
    edges: tuple[int, ...]
    sizes: Float
    missed: float

    def sums(self, values: Float) -> Float:
        """Sums of `values` over the voxels of each block that count, on the grid of blocks."""
        return _block_sums(values * self.count, self.edges)

    def centred(self, values: Float) -> Float:
        """Sums less what the mean of all predicts for a block of that size."""
        sums = self.sums(values)
        return np.asarray(sums - sums.sum() / self.sizes.sum() * self.sizes)

    def product_variance(self, noise: Float, other: Float) -> float:
        """Variance of Σ x·y, x being like `noise` and y like `other`, but independent of each other: Σ of their squares,
        one of them APART voxels away, where it is independent of the first but still as strong; times what
        correlation within both adds (Bartlett 1935)."""
        noise, other = noise * self.count, other * self.count
        product, pairs = 0.0, 0.0
        for axis in (0, 1):
            x, y, counted = (np.moveaxis(part, axis, 0) for part in (noise**2, other**2, self.count))
            apart = min(APART, len(x) - 1)
            if apart > 0:
                product += float(np.vdot(x[apart:], y[:-apart]) + np.vdot(x[:-apart], y[apart:]))
                pairs += 2 * float(np.vdot(counted[apart:], counted[:-apart]))
        if pairs == 0:
            return float("inf")
        return product / pairs * float(self.count.sum()) * _correlation_area(noise, other, self.count)

    def half_width(self, squares: Float, *, total: float | None = None) -> float:
        """Half of the 95 % interval of a mean over all voxels that count, from the squared block sums, or from `total`,
        of which only they are uncertain: Student's t with as many degrees of freedom as their own spread leaves
        (Satterthwaite 1946: Σ² of the squares over Σ of their squares). Infinite from fewer than two blocks."""
        from scipy import stats

        blocks = np.count_nonzero(self.sizes)
        if blocks < 2:
            return float("inf")
        energy = float(squares.sum())
        sure = energy if total is None else total
        if sure <= 0:
            return 0.0
        freedom = max(3 * energy**2 / float((squares**2).sum()) - 2, 1.0) if energy > 0 else 3.0 * blocks
        freedom = min(freedom * (sure / max(energy, 1e-9 * sure)) ** 2, 3.0 * blocks)
        return float(stats.t.ppf(0.975, freedom) * np.sqrt(self.missed * sure) / self.count.sum())


def _grid(difference: Float, count: Float, block: tuple[int, ...] | None) -> NoiseBlocks:
    """Blocks of the given edges; without, of BLOCK, doubled along the axes on which they miss much of the noise's
    correlation. difference: of two repeats, noise only."""
    known = block is not None
    wanted = BLOCK if block is None else block
    edges = [min(edge, size) for edge, size in zip((*wanted, *difference.shape[len(wanted) :]), difference.shape,
                                                   strict=False)]  # fmt: skip
    squares = [_squared_correlation(difference * count, count, axis) for axis in range(len(edges))]
    for axis, square in enumerate(squares):
        while not known and _missed(square, edges[axis]) > WIDER and 2 * edges[axis] <= difference.shape[axis]:
            wider = [2 * edge if at == axis else edge for at, edge in enumerate(edges)]
            if np.count_nonzero(_block_sums(count, tuple(wider))) < LEAST_BLOCKS:
                break
            edges = wider
    missed = float(np.prod([_missed(square, edge) for square, edge in zip(squares, edges, strict=True)]))
    return NoiseBlocks(count=count, edges=tuple(edges), sizes=_block_sums(count, tuple(edges)), missed=missed)


def _squared_correlation(noise: Float, count: Float, axis: int) -> Float:
    """Squared correlation of noise with itself, 1, 2, … voxels away along one axis."""
    energy = float((noise**2).sum()) / float(count.sum())
    values, counted = np.moveaxis(noise, axis, 0), np.moveaxis(count, axis, 0)
    found = []
    for lag in range(1, min(FARTHEST, len(values) - 1) + 1):
        pairs = float(np.vdot(counted[lag:], counted[:-lag]))
        product = float(np.vdot(values[lag:], values[:-lag]))
        rho = product / pairs / energy if pairs > 0 and energy > 0 else 0.0
        found.append(max(rho**2 - 1 / max(pairs, 1.0), 0.0))
    return np.array(found)


def _missed(square: Float, edge: int) -> float:
    """Variance of a long sum of squared noise over what sums over blocks of `edge` voxels show of it."""
    lags = np.arange(1, len(square) + 1)
    return float((1 + 2 * square.sum()) / (1 + 2 * (square * np.maximum(1 - lags / edge, 0)).sum()))


def _block_sums(values: Float, edges: tuple[int, ...]) -> Float:
    """Sums over a grid of blocks (the last ones may be smaller), as that grid."""
    for axis, edge in enumerate(edges):
        values = np.add.reduceat(values, np.arange(0, values.shape[axis], edge), axis=axis)
    return values


def _correlation_area(one: Float, two: Float, count: Float) -> float:
    """Σ over lags of the product of two noises' own correlations: 1 where either is white. In-plane by Fourier
    transform, along the third axis by itself; what chance adds to the products is taken off."""
    if not (one.any() and two.any()):
        return 1.0
    reach = [min(REACH, size - 1) for size in one.shape[:2]]
    padded = [size + most for size, most in zip(one.shape[:2], reach, strict=True)]

    def own(values: Float) -> Float:
        power = np.abs(np.fft.rfft2(values, s=padded, axes=(0, 1))) ** 2
        lags = np.fft.irfft2(power.reshape(*power.shape[:2], -1).sum(axis=2), s=padded)
        i, j = (np.arange(-most, most + 1) for most in reach)
        return np.asarray(lags[np.ix_(i, j)])

    pairs = own(count)
    some = pairs > 0.5
    x, y = (np.where(some, own(part) / np.maximum(pairs, 1), 0) for part in (one, two))
    x, y = x / x[reach[0], reach[1]], y / y[reach[0], reach[1]]
    alike = float(np.vdot(one, two)) ** 2 / (float(np.vdot(one, one)) * float(np.vdot(two, two)))
    products = x * y
    area = max(float(products.sum()), 0.1)
    other = some.copy()
    other[reach[0], reach[1]] = False
    area = max(area * (1 - alike * float((1 / pairs[other]).sum())), 0.1)
    along = 1.0
    if one.ndim > 2:
        square = _squared_correlation(one, count, 2)[:2]
        along += 2 * float(square.sum())
    return area * along
