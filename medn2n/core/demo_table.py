"""The definitions behind the demo's table, so that every column of it means the same.

truth   mean of two repeats, scaled so that its 99.9th percentile is 1
head    the voxels that the figures are taken over
noisy   truth + zero-mean Gaussian noise, SNR = 10·log10(mean of truth² in the head / σ²)
PSNR    −10·log10(MSE) over the head (peak 1)
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from medn2n.core.metrics import mse
from medn2n.core.volume import FloatArray

Mask = npt.NDArray[np.bool_]


def truth_from_pair(first: FloatArray, second: FloatArray) -> FloatArray:
    """The mean of two repeats over its own 99.9th percentile: float32, (I,J,K), 1 = the brightest tissue."""
    mean = 0.5 * (first.astype(np.float64) + second.astype(np.float64))
    top = float(np.percentile(mean, 99.9))
    if not top > 0:
        raise ValueError("truth_from_pair: the 99.9th percentile is not above zero; is this an image?")
    return np.asarray(mean / top, dtype=np.float32)


def head_mask(truth: FloatArray) -> Mask:
    """Bool (I,J,K), True in the head: above half of Otsu's threshold after a 1-voxel smoothing, largest
    piece, holes filled slice by slice.

    Half of the threshold, because Otsu's own value cuts off grey matter and skin where cerebrospinal fluid
    is bright.
    """
    from scipy import ndimage
    from skimage.filters import threshold_otsu

    smooth = ndimage.gaussian_filter(truth, 1.0)
    pieces, number = ndimage.label(smooth > 0.5 * threshold_otsu(smooth))
    if number == 0:
        raise ValueError("head_mask: nothing stands out from the background")
    largest = pieces == 1 + int(np.argmax(np.bincount(pieces.ravel())[1:]))
    filled = [ndimage.binary_fill_holes(largest[..., index]) for index in range(largest.shape[-1])]
    return np.asarray(np.stack(filled, axis=-1), dtype=np.bool_)


def add_noise_at_snr(
    truth: FloatArray, mask: Mask, snr_db: float, generator: np.random.Generator
) -> tuple[FloatArray, float]:
    """(truth + Gaussian noise everywhere, σ), where 10·log10(mean of truth² in the mask / σ²) = snr_db."""
    power = float(np.mean(truth[mask].astype(np.float64) ** 2))
    sigma = float(np.sqrt(power / 10 ** (snr_db / 10)))
    noise = generator.standard_normal(truth.shape, dtype=np.float32) * np.float32(sigma)
    return np.asarray(truth + noise, dtype=np.float32), sigma


def psnr_in_head(truth: FloatArray, test: FloatArray, mask: Mask) -> tuple[float, float]:
    """(MSE, PSNR in dB) over the mask, peak 1: PSNR = −10·log10(MSE)."""
    error = mse(truth, test, mask)
    return error, float("inf") if error == 0 else float(-10 * np.log10(error))
