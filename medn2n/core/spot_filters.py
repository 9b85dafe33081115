"""Filters that answer to spots, and coarse ones for their surroundings, on (K,I,J) stacks: each slice by itself."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import fft, ndimage

Array = npt.NDArray[Any]

WIDER = 1.6  # the wider Gaussian over the narrow one
COARSE = 4  # pixels a side of what the surroundings are measured in


def measured(scan: Array) -> Array:
    """With zero where there is no number; the same array where all are, which one sum tells in a tenth of the time."""
    with np.errstate(over="ignore", invalid="ignore"):
        return scan if np.isfinite(scan.sum()) else np.nan_to_num(scan)


def spots_of(image: Array, sigmas: Sequence[float]) -> list[npt.NDArray[np.float32]]:
    """Narrow less wide Gaussian, at several sizes: slice by slice in the Fourier domain, where wide ones cost no more
    than narrow ones. What wraps around at the borders is no tissue away from edges."""
    size = [fft.next_fast_len(length, real=True) for length in image.shape[1:]]
    squared = 2 * np.pi**2 * (fft.fftfreq(size[0])[:, None] ** 2 + fft.rfftfreq(size[1])[None, :] ** 2)
    gains = [(np.exp(-squared * s**2) - np.exp(-squared * (WIDER * s) ** 2)).astype(np.float32) for s in sigmas]
    results = [np.empty(image.shape, dtype=np.float32) for _ in sigmas]
    for k, one in enumerate(image):
        spectrum = fft.rfft2(one, size)
        for gain, result in zip(gains, results, strict=True):
            result[k] = fft.irfft2(spectrum * gain, size, overwrite_x=True)[: image.shape[1], : image.shape[2]]
    return results


def smoothed(image: Array, sigma: float) -> npt.NDArray[np.float32]:
    """By a Gaussian of many pixels, of means of COARSE × COARSE pixels: exact enough for a yardstick, and sixteen times
    as fast."""
    rows, columns = (COARSE * -(-length // COARSE) for length in image.shape[1:])
    whole = np.zeros((len(image), rows, columns), np.float32)
    whole[:, : image.shape[1], : image.shape[2]] = image
    lines = sum((whole[:, n::COARSE] for n in range(1, COARSE)), whole[:, ::COARSE])
    means = sum((lines[..., n::COARSE] for n in range(1, COARSE)), lines[..., ::COARSE]) / np.float32(COARSE**2)
    return np.asarray(ndimage.gaussian_filter(means, (0, sigma / COARSE, sigma / COARSE), mode="constant"))


def widened(coarse: Array, shape: tuple[int, ...]) -> Array:
    """Each value for the COARSE × COARSE pixels that it is the mean of, (K,I,J) of this shape."""
    return np.repeat(np.repeat(coarse, COARSE, axis=1), COARSE, axis=2)[:, : shape[1], : shape[2]]


def answer_to_disc(radius: float, sigma: float) -> float:
    """At the centre of a disc of contrast 1: a Gaussian of `sigma` holds 1 − exp(−r²/2σ²) of its weight in it."""
    return float(np.exp(-(radius**2) / (2 * (WIDER * sigma) ** 2)) - np.exp(-(radius**2) / (2 * sigma**2)))
