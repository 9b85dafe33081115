"""The classical filters that a trained network has to beat, and their fair tuning.

Every filter takes (I,J,K) or (I,J) float32 in any unit and works slice by slice along the last axis. Its
strength is relative: the smoothing filters count it in pixels, the others in multiples of the scan's noise
level σ, so that a strength chosen on one scan carries over to another.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

from medn2n.core.metrics import Mask, Window, mse
from medn2n.core.volume import FloatArray

Picture = npt.NDArray[Any]
SliceFilter = Callable[[Picture, float, float], Picture]


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """One filter. on_slice(picture (I,J), strength, sigma) → picture; strengths: the grid that `tune`
    searches, ascending; default: what is used where nothing can be tuned on; meaning: what the strength
    counts."""

    name: str
    label: str
    on_slice: SliceFilter
    strengths: tuple[float, ...]
    default: float
    meaning: str

    def __call__(self, voxels: FloatArray, strength: float, sigma: float) -> FloatArray:
        """The filtered scan: float32, the shape of `voxels`. sigma: noise standard deviation in the scan's
        unit."""
        source = np.array(voxels, dtype=np.float32)
        if source.ndim == 2:
            return np.asarray(self.on_slice(source, strength, sigma), dtype=np.float32)
        for index in np.ndindex(source.shape[2:]):
            source[(..., *index)] = self.on_slice(np.ascontiguousarray(source[(..., *index)]), strength, sigma)
        return source


def _gaussian(picture: Picture, strength: float, _sigma: float) -> Picture:
    from scipy import ndimage

    return np.asarray(ndimage.gaussian_filter(picture, strength))


def _median(picture: Picture, strength: float, _sigma: float) -> Picture:
    from scipy import ndimage

    return np.asarray(ndimage.median_filter(picture, size=int(strength)))


def _total_variation(picture: Picture, strength: float, sigma: float) -> Picture:
    """Chambolle 2004: smallest ½‖u − f‖² + weight·TV(u); weight = strength·σ makes it scale with the unit."""
    from skimage.restoration import denoise_tv_chambolle

    weight = strength * sigma
    return (
        np.asarray(denoise_tv_chambolle(picture, weight=weight, eps=1e-4, max_num_iter=100)) if weight > 0 else picture
    )


def _non_local_means(picture: Picture, strength: float, sigma: float) -> Picture:
    """Buades et al. 2005, 5×5 patches in a 13×13 neighbourhood, told the noise level; h = strength·σ."""
    from skimage.restoration import denoise_nl_means

    if strength * sigma <= 0:
        return picture
    return np.asarray(
        denoise_nl_means(picture, patch_size=5, patch_distance=6, h=strength * sigma, sigma=sigma, fast_mode=True)
    )


def _wavelet(picture: Picture, strength: float, sigma: float) -> Picture:
    """Undecimated B3-spline ("à trous") wavelets, four levels, each coefficient shrunk by the Wiener factor
    of its 5×5 neighbourhood (Mıhçak et al. 1999); a level's noise is strength·σ times its share of white
    noise (Starck & Murtagh 1994). Soft and hard thresholds lose 1.8 dB to it at 10 dB SNR.
    """
    from scipy import ndimage

    coarse = picture.astype(np.float64)
    total = np.zeros_like(coarse)
    for level, share in enumerate((0.889, 0.200, 0.086, 0.041)):
        kernel = np.zeros(4 * 2**level + 1)
        kernel[:: 2**level] = np.array([1, 4, 6, 4, 1]) / 16
        smoother = ndimage.convolve1d(ndimage.convolve1d(coarse, kernel, axis=0), kernel, axis=1)
        detail = coarse - smoother
        power = ndimage.uniform_filter(detail**2, 5)
        noise = (strength * sigma * share) ** 2
        total += detail * np.maximum(power - noise, 0) / np.maximum(power, noise + np.finfo(float).tiny)
        coarse = smoother
    return np.asarray(total + coarse)


def _grid(low: float, high: float, steps: int) -> tuple[float, ...]:
    ratio = math.log(high / low) / (steps - 1)
    return tuple(round(low * math.exp(ratio * step), 4) for step in range(steps))


_PIXELS = "standard deviation in pixels"
_EDGE = "edge in pixels"
_SIGMAS = "multiples of the noise level"
_ROWS: tuple[tuple[str, str, SliceFilter, tuple[float, ...], float, str], ...] = (
    ("gaussian", "Gaussian", _gaussian, _grid(0.3, 3, 12), 0.8, _PIXELS),
    ("median", "Median", _median, (2, 3, 4, 5, 7), 3, _EDGE),
    ("tv", "Total variation", _total_variation, _grid(0.2, 6, 13), 1.0, _SIGMAS),
    ("nlm", "Non-local means", _non_local_means, _grid(0.2, 4, 11), 0.8, _SIGMAS),
    ("wavelet", "Wavelet", _wavelet, _grid(0.3, 6, 13), 1.0, _SIGMAS),
)

FILTERS: Mapping[str, Filter] = MappingProxyType(
    {
        name: Filter(name=name, label=label, on_slice=apply, strengths=grid, default=default, meaning=meaning)
        for name, label, apply, grid, default, meaning in _ROWS
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class TuningCase:
    """One noisy scan and what it should come near: the truth, or an independent repeat (whose noise adds the
    same to every strength, so it ranks them as the truth does). sigma: noise level of
    `noisy`. mask: voxels that count. window: clips both, for figures in a display window (never with a
    repeat as target: clipping noise shifts its mean)."""

    noisy: FloatArray
    target: FloatArray
    sigma: float
    mask: Mask | None = None
    window: Window | None = None


def tune(filter_: Filter, cases: Sequence[TuningCase]) -> float:
    """The strength from the filter's grid with the smallest mean squared error, each case weighed by 1/σ².

    The search walks up the grid and stops after two strengths in a row that are worse than the best: the
    error has one minimum in practice, and the strongest settings are the slowest.
    """
    if not cases:
        return filter_.default
    best, best_error, worse = filter_.default, math.inf, 0
    for strength in filter_.strengths:
        error = 0.0
        for case in cases:
            filtered = filter_(case.noisy, strength, case.sigma)
            error += mse(case.target, filtered, case.mask, case.window) / max(case.sigma, 1e-12) ** 2
        if error < best_error:
            best, best_error, worse = strength, error, 0
        else:
            worse += 1
            if worse == 2:
                break
    return best
