"""The classical filters that a trained network has to beat.

Every filter takes (I,J,K) or (I,J) float32 in any unit; these five work slice by slice along the last axis
(`medn2n.core.packaged_filters` holds those that come with other packages, and all of them by name). A strength is
relative: the smoothing filters count it in pixels, the others in multiples of the scan's noise level σ, so that one
chosen on one scan (`medn2n.core.tuning`) carries over to another.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from medn2n.core.noise import is_magnitude, noise_sigma
from medn2n.core.noise_texture import noise_kernel
from medn2n.core.volume import FloatArray, Volume

Picture = npt.NDArray[Any]
SliceFilter = Callable[[Picture, float, float], Picture]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ScanNoise:
    """What a filter is told of a scan's noise. sigma: standard deviation in the scan's unit. kernel: (S,S) from
    `noise_texture.noise_kernel`, None for white noise. rician: the scan is the magnitude of a complex image."""

    sigma: float
    kernel: FloatArray | None = None
    rician: bool = False


ScanFilter = Callable[[FloatArray, float, ScanNoise], Picture]


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """One filter. on_scan(voxels (I,J,K), strength, noise) → voxels; strengths: the grid that `tune` searches,
    ascending; default: what is used where nothing can be tuned on; meaning: what the strength counts. told: what of
    the noise it is given. whole: it looks across slices, or is slow, and is tuned on one small block.
    fewest_frames: how many frames it needs to take (I,J,K,T) as one; 0 where it never does. package: what must be
    installed for it."""

    name: str
    label: str
    on_scan: ScanFilter
    strengths: tuple[float, ...]
    default: float
    meaning: str
    told: Literal["nothing", "level", "spectrum"] = "level"
    whole: bool = False
    fewest_frames: int = 0
    package: str = ""

    def __call__(self, voxels: FloatArray, strength: float, noise: float | ScanNoise) -> FloatArray:
        """The filtered scan: float32, the shape of `voxels`; (I,J,K,T) frame by frame where the filter takes no
        series. noise: of the scan; a number stands for white noise of that standard deviation."""
        told = noise if isinstance(noise, ScanNoise) else ScanNoise(sigma=float(noise))
        source = np.array(voxels, dtype=np.float32)
        if source.ndim == 2:
            return self(source[..., None], strength, told)[..., 0]
        if source.ndim == 4 and not self.fewest_frames:
            for frame in range(source.shape[3]):
                source[..., frame] = self.on_scan(np.ascontiguousarray(source[..., frame]), strength, told)
            return source
        return np.asarray(self.on_scan(source, strength, told), dtype=np.float32)


def noise_told(filter_: Filter, voxels: FloatArray, modality: str) -> ScanNoise:
    """What `filter_` is to be told of the noise of (I,J,K) voxels, and no more, since measuring takes time."""
    rician = modality == "MR" and is_magnitude(voxels)
    if filter_.told == "nothing":
        return ScanNoise(sigma=0.0, rician=rician)
    kernel = noise_kernel(voxels) if filter_.told == "spectrum" else None
    sigma = noise_sigma(voxels) if kernel is None else float(np.sqrt(np.sum(kernel.astype(np.float64) ** 2)))
    return ScanNoise(sigma=sigma, kernel=kernel, rician=rician)


def filter_volume(volume: Volume, filter_: Filter, strength: float) -> Volume:
    """The filtered scan, its noise measured on itself. Padding is filled with the lowest measured value for the
    filter, and put back."""
    filled, padding = without_padding(volume), volume.padding
    filtered = filter_(filled, strength, noise_told(filter_, filled, volume.modality))
    if padding is not None:
        filtered[padding] = volume.voxels[padding]
    return volume.with_voxels(filtered)


def without_padding(volume: Volume) -> FloatArray:
    """The scan's voxels, its padding at the lowest measured value."""
    if volume.padding is None or not volume.padding.any() or volume.padding.all():
        return volume.voxels
    filled = volume.voxels.copy()
    filled[volume.padding] = volume.voxels[~volume.padding].min()
    return filled


def slice_by_slice(on_slice: SliceFilter) -> ScanFilter:
    """A filter of scans from one of pictures: on_slice(picture (I,J), strength, sigma) → picture."""

    def on_scan(voxels: FloatArray, strength: float, noise: ScanNoise) -> Picture:
        slices = [on_slice(np.ascontiguousarray(voxels[..., k]), strength, noise.sigma) for k in range(voxels.shape[2])]
        return np.stack(slices, axis=-1)

    return on_scan


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


def grid(low: float, high: float, steps: int) -> tuple[float, ...]:
    """`steps` strengths from low to high, each the same ratio above the last."""
    ratio = math.log(high / low) / (steps - 1)
    return tuple(round(low * math.exp(ratio * step), 4) for step in range(steps))


_PIXELS = "standard deviation in pixels"
_EDGE = "edge in pixels"
SIGMAS = "multiples of the noise level"
_ROWS: tuple[tuple[str, str, SliceFilter, tuple[float, ...], float, str], ...] = (
    ("gaussian", "Gaussian", _gaussian, grid(0.3, 3, 12), 0.8, _PIXELS),
    ("median", "Median", _median, (2, 3, 4, 5, 7), 3, _EDGE),
    ("tv", "Total variation", _total_variation, grid(0.2, 6, 13), 1.0, SIGMAS),
    ("nlm", "Non-local means", _non_local_means, grid(0.2, 4, 11), 0.8, SIGMAS),
    ("wavelet", "Wavelet", _wavelet, grid(0.3, 6, 13), 1.0, SIGMAS),
)

FILTERS: Mapping[str, Filter] = MappingProxyType(
    {
        name: Filter(
            name=name,
            label=label,
            on_scan=slice_by_slice(apply),
            strengths=strengths,
            default=default,
            meaning=meaning,
            told="level" if meaning == SIGMAS else "nothing",
        )
        for name, label, apply, strengths, default, meaning in _ROWS
    }
)
