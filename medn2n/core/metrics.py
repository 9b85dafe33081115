"""How far a denoised scan is from the truth: measured where a truth exists, estimated from repeats where
none does.

Arrays are (I,J,K) or (I,J) of one shape, in the scan's unit; sums run in float64. `mask` is bool, True where
a voxel counts. Nothing is clipped unless a window is asked for.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Mask = npt.NDArray[np.bool_]
Window = tuple[float, float]


def _selected(reference: Array, test: Array, mask: Mask | None, window: Window | None) -> tuple[Array, Array]:
    """Both arrays as float64 vectors over the voxels that count, clipped to the window."""
    if reference.shape != test.shape:
        raise ValueError(f"metrics: shapes differ, {reference.shape} and {test.shape}")
    first, second = reference.astype(np.float64), test.astype(np.float64)
    if window is not None:
        first, second = np.clip(first, *window), np.clip(second, *window)
    if mask is None:
        return first.ravel(), second.ravel()
    if not mask.any():
        raise ValueError("metrics: the mask selects no voxel")
    return first[mask], second[mask]


def mse(reference: Array, test: Array, mask: Mask | None = None, window: Window | None = None) -> float:
    """Mean of (test − reference)², in unit²."""
    first, second = _selected(reference, test, mask, window)
    return float(np.mean((second - first) ** 2))


def rmse(reference: Array, test: Array, mask: Mask | None = None, window: Window | None = None) -> float:
    """√MSE, in the scan's unit."""
    return float(np.sqrt(mse(reference, test, mask, window)))


def bias(reference: Array, test: Array, mask: Mask | None = None) -> float:
    """Mean of test − reference, in the scan's unit: positive where the test is brighter."""
    first, second = _selected(reference, test, mask, None)
    return float(np.mean(second - first))


def psnr(
    reference: Array,
    test: Array,
    *,
    data_range: float | None = None,
    mask: Mask | None = None,
    window: Window | None = None,
) -> float:
    """10·log10(data_range² / MSE), dB; infinite where the two are equal.

    window: (low, high), e.g. (−160, 240) HU. Both arrays are clipped to it first, and data_range is then
    high − low unless it is given. Without a window data_range must be given: the range found in a noisy
    image is a statistic of its noise.
    """
    if data_range is None:
        if window is None:
            raise ValueError("psnr: expected a data_range or a window")
        data_range = window[1] - window[0]
    error = mse(reference, test, mask, window)
    return float("inf") if error == 0 else float(10 * np.log10(data_range**2 / error))


def ssim(
    reference: Array,
    test: Array,
    *,
    data_range: float | None = None,
    mask: Mask | None = None,
    window: Window | None = None,
) -> float:
    """Mean of `ssim_map` over the voxels that count. 1 where the two are equal; NaN for slices narrower than its
    window of 11 pixels."""
    if min(reference.shape[:2]) < 11:
        return float("nan")
    similarity = ssim_map(reference, test, data_range=data_range, window=window)
    return float(np.mean(similarity if mask is None else similarity[mask]))


def ssim_map(
    reference: Array, test: Array, *, data_range: float | None = None, window: Window | None = None
) -> npt.NDArray[np.float64]:
    """Structural similarity of Wang et al. 2004 at each voxel (Gaussian weights of 1.5 pixels in 11×11, K1 0.01, K2
    0.03), slice by slice along the last axis. data_range and window as for `psnr`."""
    from skimage.metrics import structural_similarity

    if window is not None:
        reference, test = np.clip(reference, *window), np.clip(test, *window)
    if data_range is None:
        if window is None:
            raise ValueError("ssim: expected a data_range or a window")
        data_range = window[1] - window[0]
    flat = reference.ndim == 2
    slices = [...] if flat else [(..., index) for index in range(reference.shape[-1])]
    maps = [
        structural_similarity(
            reference[at].astype(np.float64),
            test[at].astype(np.float64),
            data_range=data_range,
            gaussian_weights=True,
            sigma=1.5,
            use_sample_covariance=False,
            full=True,
        )[1]
        for at in slices
    ]
    return np.asarray(maps[0] if flat else np.stack(maps, axis=-1))


@dataclass(frozen=True, slots=True, kw_only=True)
class RepeatError:
    """Error of a denoiser estimated without truth. interval: 95 %.

    mse: of the denoised scans, in unit² (may fall below 0 by chance where little error is left).
    noisy_mse: of the noisy scans themselves, ½·mean[(a−b)²].
    share: mse / noisy_mse; 0 = perfect, 1 = no better than the noisy scan, above 1 = harmful.
    """

    mse: float
    mse_interval: tuple[float, float]
    noisy_mse: float
    share: float
    share_interval: tuple[float, float]


def error_from_repeats(
    first: Array,
    second: Array,
    denoised_first: Array,
    denoised_second: Array,
    *,
    mask: Mask | None = None,
    block: tuple[int, ...] = (12, 12, 2),
) -> RepeatError:
    """Mean squared error from two repeats a, b of equal noise level: ½·mean[(f(a)−b)² + (f(b)−a)² − (a−b)²].

    Symmetric form of the estimate in Lehtinen et al. 2018 / Marcos-Morales et al. 2023: it needs independent
    noise, the same object in the same place, and the same scale. The one-sided form has 1.7 times its spread.
    `block` must be wider than the noise is correlated; see `_spread_from_repeats` for the interval.
    """
    a, b, fa, fb = (np.asarray(x, dtype=np.float64) for x in (first, second, denoised_first, denoised_second))
    count = np.ones(a.shape, dtype=np.float64) if mask is None else mask.astype(np.float64)
    voxels = float(count.sum())
    if voxels == 0:
        raise ValueError("metrics: the mask selects no voxel")
    noisy = max(float((0.5 * (a - b) ** 2 * count).sum()) / voxels, np.finfo(float).tiny)
    estimate = float((0.5 * ((fa - b) ** 2 + (fb - a) ** 2 - (a - b) ** 2) * count).sum()) / voxels
    share = estimate / noisy
    half = 1.96 * _spread_from_repeats(a, b, fa, fb, count, block)
    half_share = 1.96 * _spread_from_repeats(a, b, fa, fb, count, block, share=share) / noisy
    return RepeatError(
        mse=estimate,
        mse_interval=(estimate - half, estimate + half),
        noisy_mse=noisy,
        share=share,
        share_interval=(share - half_share, share + half_share),
    )


def _spread_from_repeats(
    a: Array,
    b: Array,
    fa: Array,
    fb: Array,
    count: npt.NDArray[np.float64],
    block: tuple[int, ...],
    *,
    share: float = 0.0,
) -> float:
    """Standard deviation of (estimate − error that these very scans have).

    With noise n₁, n₂ and errors e₁, e₂ that deviation is mean[n₁n₂ − e₁n₂ − e₂n₁]. Turned to the sum v and
    the difference u of the two noises (each /√2) it is ½·mean[Q(v) − Q(u)], Q(x) = x² − 2·x·(what f leaves
    of x), plus a term from the bias that both denoised scans share. u is known, v is like it, so the blocks'
    variance of Q(u) tells the first part; mean[(a−f(a))·(b−f(b))] bounds the shared bias². Resampling the
    error map itself would take the anatomy's variety for uncertainty: intervals up to eight times too wide.

    share: for the ratio estimate / noisy_mse. Its denominator is off by ½·mean[v² − u²] in the same way.
    """
    voxels = float(count.sum())
    difference, left = a - b, fa - fb
    sizes = _block_sums(count, block)
    keep = sizes > 0
    quadratic = _block_sums((0.5 * (1 + share) * difference**2 - difference * left) * count, block)[keep]
    blocks = len(quadratic)
    if blocks < 2:
        return float("inf")
    # Blocks at the mask's rim are smaller: the spread is of sums about what their size predicts.
    rest = quadratic - quadratic.sum() / voxels * sizes[keep]
    noise_part = 0.5 * float((rest**2).sum()) * blocks / (blocks - 1)
    sums = _block_sums(difference / np.sqrt(2) * count, block)[keep]
    shared_bias = max(0.0, float(((a - fa) * (b - fb) * count).sum()) / voxels)
    bias_part = 2 * shared_bias * float((sums**2).sum())
    return float(np.sqrt(noise_part + bias_part)) / voxels


def error_from_three_repeats(
    second: Array,
    third: Array,
    denoised_first: Array,
    *,
    generator: np.random.Generator,
    mask: Mask | None = None,
    block: tuple[int, ...] = (16, 16, 2),
    resamples: int = 1000,
) -> tuple[float, tuple[float, float]]:
    """Mean squared error of f(a) from two further repeats b, c: mean[(f(a)−b)·(f(a)−c)], and its 95 %
    interval.

    Needs no equal noise levels (uMSE of Marcos-Morales et al., ICML 2023). In unit². The interval resamples
    whole blocks of the error map, so it is too wide where the error itself varies over the scan.
    """
    fa = np.asarray(denoised_first, dtype=np.float64)
    values = (fa - second) * (fa - third)
    count = np.ones(fa.shape, dtype=np.float64) if mask is None else mask.astype(np.float64)
    draws = _block_bootstrap(values, count, block, resamples, generator)
    return float((values * count).sum() / count.sum()), _central(draws)


def bootstrap_mean(
    values: npt.NDArray[np.float64],
    clusters: list[str],
    *,
    generator: np.random.Generator,
    resamples: int = 2000,
) -> tuple[float, float] | None:
    """95 % interval of the mean of per-scan figures, resampling whole patients; None below three patients.

    clusters: one patient a value: scans of one patient are not independent evidence.
    """
    names = sorted(set(clusters))
    if len(names) < 3:
        return None
    member = np.array([names.index(cluster) for cluster in clusters])
    sums = np.bincount(member, weights=values, minlength=len(names))
    sizes = np.bincount(member, minlength=len(names)).astype(np.float64)
    weights = _bootstrap_counts(len(names), resamples, generator)
    return _central((weights @ sums) / (weights @ sizes))


def _block_sums(values: npt.NDArray[np.float64], block: tuple[int, ...]) -> npt.NDArray[np.float64]:
    """Sums over a grid of blocks (the last ones may be smaller), as a vector."""
    for axis, edge in zip(range(values.ndim), block, strict=False):
        values = np.add.reduceat(values, np.arange(0, values.shape[axis], edge), axis=axis)
    return values.ravel()


def _block_bootstrap(
    values: npt.NDArray[np.float64],
    count: npt.NDArray[np.float64],
    block: tuple[int, ...],
    resamples: int,
    generator: np.random.Generator,
) -> npt.NDArray[np.float64]:
    """Means of `values` over the voxels that count, one a resample of whole blocks."""
    total, voxels = _block_sums(values * count, block), _block_sums(count, block)
    total, voxels = total[voxels > 0], voxels[voxels > 0]
    weights = _bootstrap_counts(len(voxels), resamples, generator)
    return np.asarray((weights @ total) / (weights @ voxels))


def _bootstrap_counts(size: int, resamples: int, generator: np.random.Generator) -> npt.NDArray[np.float64]:
    """How often each of `size` units is drawn in each resample: (resamples, size), rows sum to size."""
    return generator.multinomial(size, np.full(size, 1 / size), size=resamples).astype(np.float64)


def _central(draws: npt.NDArray[np.float64]) -> tuple[float, float]:
    low, high = np.percentile(draws, [2.5, 97.5])
    return float(low), float(high)
