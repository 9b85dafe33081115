"""Noisy MR from a quieter scan: complex Gaussian noise in k-space, zero-filling, magnitude.

Thermal noise of an MR receiver is white, complex and Gaussian in k-space. A magnitude image then follows a Rice
distribution (Gudbjartsson & Patz 1995). Scanners that acquire a part of k-space and fill the rest with zeros make the
noise of neighbouring pixels alike; the same happens here, to signal and noise together.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import fft

FloatArray = npt.NDArray[np.float32]


def acquired_band(shape: tuple[int, int], share: float | tuple[float, float]) -> npt.NDArray[np.float64]:
    """(rows, columns) weight of k-space in FFT order: 1 inside the acquired central band, a raised-cosine edge of 10 %
    (as scanners apply against ringing), 0 outside. share 1 = everything, no edge; two of them: of rows, of columns."""
    weights = []
    for size, part in zip(shape, share if isinstance(share, tuple) else (share, share), strict=True):
        frequency = np.abs(fft.fftfreq(size)) / (0.5 * part)
        edge = np.clip((1.0 - frequency) / 0.1, 0.0, 1.0) if part < 1.0 else np.ones(size)
        weights.append(0.5 - 0.5 * np.cos(np.pi * edge))
    return np.asarray(weights[0][:, None] * weights[1][None, :])


def noisy_repeats(
    slice_magnitude: FloatArray,
    *,
    sigma: float,
    zero_fill: float | tuple[float, float],
    repeats: int,
    generator: np.random.Generator,
    signal_share: float | None = None,
    gain: FloatArray | None = None,
) -> tuple[FloatArray, FloatArray]:
    """Independent noisy magnitudes (R, rows, columns) of one slice, and the noiseless one with the same k-space band.

    sigma: noise standard deviation of the real and of the imaginary part in the image, in the slice's unit, before
    zero-filling takes its share away. signal_share: another band for the signal than for the noise (1: all of it).
    gain: factor on the noise of each pixel, as parallel imaging and intensity normalisation leave it.
    """
    shape = (slice_magnitude.shape[0], slice_magnitude.shape[1])
    band = acquired_band(shape, zero_fill)
    signal_band = band if signal_share is None else acquired_band(shape, signal_share)
    signal = fft.ifft2(fft.fft2(np.asarray(slice_magnitude, np.float64)) * signal_band)
    factor = 1.0 if gain is None else np.asarray(gain, np.float64)
    noisy = []
    for _ in range(repeats):
        noise = generator.normal(0.0, sigma, (2, *shape))
        noisy.append(np.abs(signal + factor * fft.ifft2(fft.fft2(noise[0] + 1j * noise[1]) * band)))
    return np.stack(noisy).astype(np.float32), np.abs(signal).astype(np.float32)


def half_resolution(slice_magnitude: FloatArray) -> FloatArray:
    """The slice at half the pixels each way by cropping k-space: white noise falls to half, detail stays sharp."""
    rows, columns = (2 * (size // 4) for size in slice_magnitude.shape)
    spectrum = fft.fftshift(fft.fft2(np.asarray(slice_magnitude, np.float64)))
    top, left = (slice_magnitude.shape[0] - rows) // 2, (slice_magnitude.shape[1] - columns) // 2
    # The centre of k-space must stay at index size//2 of the smaller array.
    top += (slice_magnitude.shape[0] // 2) - (top + rows // 2)
    left += (slice_magnitude.shape[1] // 2) - (left + columns // 2)
    cropped = fft.ifftshift(spectrum[top : top + rows, left : left + columns])
    scale = rows * columns / slice_magnitude.size
    return np.asarray(np.abs(fft.ifft2(cropped)) * scale, np.float32)
