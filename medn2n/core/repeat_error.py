"""How far a denoised scan is from the truth where there is no truth: estimated from repeats, with an interval.

The truth of an estimate is the repeats' common expectation. For CT numbers and complex MR that is the object; for
magnitude MR it is E[M], the mean of the magnitude on the scanner's own scale, which lies above the noise-free signal
where that is weak (Gudbjartsson & Patz 1995; `medn2n.core.rician`). Nothing here can see that difference.

The intervals ask how far the estimate is from the error that *these* scans have. Given the scans' object, only noise is
random, so the error's variety over the anatomy must not widen them: the spread of blocks of the error map would. It is
found from products that have mean zero whatever the anatomy, summed over blocks wider than the noise is correlated; the
squares of those sums add up to the variance looked for.

Arrays are (I,J,K), (I,J) or (I,J,K,N), all of one shape and unit; sums run in float64. `mask`: True where a voxel
counts.
"""

from __future__ import annotations

from collections.abc import Callable
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
APART = 8  # voxels; noise so far apart is taken as independent
LEAST_SHARE = 0.05  # of the largest term; the difference of all terms may come out below that by chance
WIDER = 1.15  # a block that misses more of the noise's correlation is doubled,
LEAST_BLOCKS = 20  # while so many are left


@dataclass(frozen=True, slots=True, kw_only=True)
class RepeatError:
    """Error of a denoiser estimated without truth. Intervals: 95 %.

    mse: of the denoised scans, in unit² (may fall below 0 by chance where little error is left).
    noisy_mse: of the noisy scans themselves.
    share: mse / noisy_mse; 0 = perfect, 1 = no better than the noisy scan, above 1 = harmful; NaN where no noise was
    found (noisy_mse not above 0).
    """

    mse: float
    mse_interval: Interval
    noisy_mse: float
    share: float
    share_interval: Interval

    def psnr_db(self, data_range: float) -> tuple[float, Interval]:
        """10·log10(data_range² / mse), dB, and its 95 % interval, (low, high): that of mse, turned round. Infinite
        where the mse, or the low end of its interval, is not above zero. data_range: in the scan's unit."""
        low, high = self.mse_interval
        return psnr_of(self.mse, data_range), (psnr_of(high, data_range), psnr_of(low, data_range))


def psnr_of(error: float, data_range: float) -> float:
    """10·log10(data_range² / error), dB; infinite where the squared error is not above zero."""
    return float("inf") if error <= 0 else float(10 * np.log10(data_range**2 / error))


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
    chosen from the noise where it is not given. Interval: see `_Products`; infinite from fewer than two blocks.
    """
    a, b, fa, fb = (np.asarray(x, dtype=np.float64) for x in (first, second, denoised_first, denoised_second))
    count = _counted(a, mask)
    voxels = float(count.sum())
    noisy = float((0.5 * (a - b) ** 2 * count).sum()) / voxels
    estimate = float((0.5 * ((fa - b) ** 2 + (fb - a) ** 2 - (a - b) ** 2) * count).sum()) / voxels
    products = _products_of_two(a, b, fa, fb, noise_blocks(a - b, count, block))
    return _told(estimate, noisy, products.half_width(), products.half_width)


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
    estimate is off by mean[n_b·n_c − e·(n_b + n_c)]; block sums of (f(a) − (b+c)/2)·(b−c), which exchanging b
    and c turns round, vary as that does. block: as in `error_from_repeats`.
    """
    a, b, c, fa = (np.asarray(x, dtype=np.float64) for x in (first, second, third, denoised_first))
    count = _counted(a, mask)
    voxels = float(count.sum())
    noisy = float(((a - b) * (a - c) * count).sum()) / voxels
    estimate = float(((fa - b) * (fa - c) * count).sum()) / voxels
    difference, middle = b - c, (b + c) / 2
    grid = noise_blocks(difference, count, block)
    half = grid.half_width(grid.centred((fa - middle) * difference) ** 2)

    def of_share(share: float) -> float:
        return grid.half_width(grid.centred(((fa - middle) - share * (a - middle)) * difference) ** 2)

    return _told(estimate, noisy, half, of_share)


def _told(estimate: float, noisy: float, half: float, half_of_share: Callable[[float], float]) -> RepeatError:
    """half_of_share: half of the interval of a share, times `noisy`."""
    share, half_share = float("nan"), float("inf")
    if noisy > 0:
        share = estimate / noisy
        half_share = half_of_share(share) / noisy
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


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Products:
    """What the variance of (two-repeat estimate − error that these very scans have) is made of, in unit⁴.

    With noise n and error e of each repeat, C, E and L their own covariance and that of what f leaves of the noise, G
    that of e with n, the deviation Σ (n₁n₂ − e₁n₂ − e₂n₁) has the variance C·C + 2·E·C − 4·G·C + 2·G·G (a dot: sum over
    all pairs of voxels). G·G is L·C where f is linear and symmetric, and less otherwise: L·C is taken. f(a) − b is
    e₁ − n₂, with covariance E + C; u = (a − b)/√2 has C; (f(a) − f(b))/√2 has L, and G with u. Multiplied by u from
    APART voxels away, as strong as here but independent, the squares of their block sums give each term.

    Each block by block and shift by shift: crossed: 2·E·C + 2·C·C; noise: C·C; left: G·C; both: L·C.
    """

    grid: NoiseBlocks
    crossed: Float
    noise: Float
    left: Float
    both: Float

    def half_width(self, share: float = 0.0) -> float:
        """Half of the 95 % interval of the estimate; share: of the ratio estimate / noisy_mse (times the latter), whose
        denominator is off by −mean[n₁n₂]."""
        times = 1 + share
        terms = self.crossed + (times**2 - 2) * self.noise - 4 * times * self.left + 2 * self.both
        return self.grid.half_width(terms, least=LEAST_SHARE * float(self.crossed.sum()))


def _products_of_two(a: Float, b: Float, fa: Float, fb: Float, grid: NoiseBlocks) -> _Products:
    noise, left = (a - b) / np.sqrt(2), (fa - fb) / np.sqrt(2)
    terms: list[tuple[Float, ...]] = []
    pairs = 0.0
    for here, there in _apart(a.shape):
        count = grid.count[here] * grid.count[there]
        pairs += float(count.sum())
        away = noise[there] * count
        products = ((fa - b)[here] * away, (fb - a)[here] * away, noise[here] * away, left[here] * away)
        one, two, own, kept = (block_sums(product, grid.edges).ravel() for product in products)
        terms.append((one**2 + two**2, own**2, own * kept, kept**2))
    scale = float(grid.count.sum()) / pairs if pairs > 0 else float("inf")
    crossed, own_squared, shared, both = (scale * np.concatenate(term) for term in zip(*terms, strict=True))
    return _Products(grid=grid, crossed=crossed, noise=own_squared, left=shared, both=both)


def _apart(shape: tuple[int, ...]) -> list[tuple[tuple[slice, ...], tuple[slice, ...]]]:
    """Where voxels have another one APART voxels away, to either side along I and J, and where that one is."""
    found = []
    for axis in (0, 1):
        apart = min(APART, shape[axis] // 2)
        low, high = (
            tuple(part if at == axis else slice(None) for at in range(len(shape)))
            for part in (slice(0, shape[axis] - apart), slice(apart, None))
        )
        found += [(low, high), (high, low)]
    return found


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
        return block_sums(values * self.count, self.edges)

    def centred(self, values: Float) -> Float:
        """Sums less what the mean of all predicts for a block of that size."""
        sums = self.sums(values)
        return np.asarray(sums - sums.sum() / self.sizes.sum() * self.sizes)

    def half_width(self, squares: Float, *, least: float = 0.0) -> float:
        """Half of the 95 % interval of a mean over all voxels that count. squares: of block sums, or what stands for
        them, whose sum is the variance of the sum over all voxels, at least `least`. Student's t with as many degrees
        of freedom as their spread leaves (Satterthwaite 1946), no more than there are blocks. Infinite from fewer than
        two blocks."""
        from scipy.special import stdtrit

        blocks = int(np.count_nonzero(self.sizes))
        variance = max(float(squares.sum()), least)
        if blocks < 2 or not np.isfinite(variance):
            return float("inf")
        if variance == 0:
            return 0.0
        spread = float((squares**2).sum()) - float(squares.sum()) ** 2 / squares.size
        freedom = float(np.clip(2 * variance**2 / spread if spread > 0 else blocks, 2.0, blocks))
        return float(stdtrit(freedom, 0.975) * np.sqrt(self.missed * variance) / self.count.sum())


def noise_blocks(difference: Float, count: Float, block: tuple[int, ...] | None = None) -> NoiseBlocks:
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
            if np.count_nonzero(block_sums(count, tuple(wider))) < LEAST_BLOCKS:
                break
            edges = wider
    missed = float(np.prod([_missed(square, edge) for square, edge in zip(squares, edges, strict=True)]))
    return NoiseBlocks(count=count, edges=tuple(edges), sizes=block_sums(count, tuple(edges)), missed=missed)


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


def block_sums(values: Float, edges: tuple[int, ...]) -> Float:
    """Sums over a grid of blocks (the last ones may be smaller), as that grid."""
    for axis, edge in enumerate(edges):
        values = np.add.reduceat(values, np.arange(0, values.shape[axis], edge), axis=axis)
    return values
