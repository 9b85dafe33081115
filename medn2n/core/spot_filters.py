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
        return scan if np.isfinite(scan.sum()) else np.nan_to_num(scan, posinf=0, neginf=0)


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
    means = block_means(whole, COARSE)
    return np.asarray(ndimage.gaussian_filter(means, (0, sigma / COARSE, sigma / COARSE), mode="constant"))


def block_means(image: Array, side: int) -> npt.NDArray[np.float32]:
    """(…,I,J) → means of side × side pixels; what is left of I and J does not count."""
    rows, columns = (side * (length // side) for length in image.shape[-2:])
    cut = image[..., :rows, :columns].astype(np.float32, copy=False)
    with np.errstate(over="ignore", invalid="ignore"):  # a value that no scan has is another gate's
        lines = sum((cut[..., n::side, :] for n in range(1, side)), cut[..., ::side, :])
        total = sum((lines[..., n::side] for n in range(1, side)), lines[..., ::side])
        return np.asarray(total / np.float32(side**2), np.float32)


def widened(coarse: Array, shape: tuple[int, ...], side: int = COARSE) -> Array:
    """Each value for the side × side pixels that it is the mean of, (K,I,J) of this shape."""
    return np.repeat(np.repeat(coarse, side, axis=1), side, axis=2)[:, : shape[1], : shape[2]]


def eroded(mask: npt.NDArray[np.bool_], pixels: int) -> npt.NDArray[np.bool_]:
    """(K,I,J): what is True for so many pixels around, along I and J; outside the image nothing is. By doubling, which
    takes a sixth of the time of a minimum filter."""
    for axis in (1, 2):
        here = np.moveaxis(mask, axis, 0)
        window = 1
        while window < 2 * pixels + 1:  # True where all of the next `window` pixels are
            step = min(window, 2 * pixels + 1 - window)
            here, window = np.concatenate([here[:-step] & here[step:], np.zeros_like(here[:step])]), window + step
        start = np.zeros_like(here[:pixels])
        mask = np.moveaxis(np.concatenate([start, here[: len(here) - pixels]])[: len(here)], 0, axis)
    return mask


def answer_to_disc(radius: float, sigma: float) -> float:
    """At the centre of a disc of contrast 1: a Gaussian of `sigma` holds 1 − exp(−r²/2σ²) of its weight in it."""
    return float(np.exp(-(radius**2) / (2 * (WIDER * sigma) ** 2)) - np.exp(-(radius**2) / (2 * sigma**2)))
