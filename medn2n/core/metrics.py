"""How far a denoised scan is from the truth, measured where a truth exists (`repeat_error`: where none does).

Arrays are (I,J,K) or (I,J) of one shape, in the scan's unit; sums run in float64. `mask` is bool, True where
a voxel counts. Nothing is clipped unless a window is asked for.
"""

from __future__ import annotations

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


def bootstrap_mean(
    values: npt.NDArray[np.float64],
    clusters: list[str],
    *,
    generator: np.random.Generator,
    resamples: int = 2000,
) -> tuple[float, float] | None:
    """95 % interval of the mean of per-scan figures, resampling whole patients; None below three patients.

    clusters: one patient a value: scans of one patient are not independent evidence. The bootstrap's interval is
    widened about the mean by √(n/(n−1))·t/1.96, Student's t of n − 1 degrees of freedom for n patients: by itself it
    holds the true mean in three of four cases where there are three patients (Hesterberg, Am. Stat. 69 (2015) 371).
    """
    from scipy.special import stdtrit  # a bare node that trains has no scipy

    names = sorted(set(clusters))
    if len(names) < 3:
        return None
    member = np.array([names.index(cluster) for cluster in clusters])
    sums = np.bincount(member, weights=values, minlength=len(names))
    sizes = np.bincount(member, minlength=len(names)).astype(np.float64)
    weights = _bootstrap_counts(len(names), resamples, generator)
    mean = float(sums.sum() / sizes.sum())
    wider = float(np.sqrt(len(names) / (len(names) - 1)) * stdtrit(len(names) - 1, 0.975) / 1.96)
    low, high = _central((weights @ sums) / (weights @ sizes))
    return mean + wider * (low - mean), mean + wider * (high - mean)


def _bootstrap_counts(size: int, resamples: int, generator: np.random.Generator) -> npt.NDArray[np.float64]:
    """How often each of `size` units is drawn in each resample: (resamples, size), rows sum to size."""
    return generator.multinomial(size, np.full(size, 1 / size), size=resamples).astype(np.float64)


def _central(draws: npt.NDArray[np.float64]) -> tuple[float, float]:
    low, high = np.percentile(draws, [2.5, 97.5])
    return float(low), float(high)
