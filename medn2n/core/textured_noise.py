"""Noise of a given in-plane texture, drawn: for training from single scans, and for models that were trained so."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float32]


def textured_noise(kernel: npt.NDArray[Any], shape: tuple[int, ...], generator: np.random.Generator) -> FloatArray:
    """(…,I,J) Gaussian noise, float32: white noise under an in-plane kernel (S,S), S odd, whose energy is its variance.
    Planes are independent of each other."""
    grow = kernel.shape[0] - 1
    rows, columns = shape[-2] + grow, shape[-1] + grow
    white = generator.standard_normal((*shape[:-2], rows, columns), dtype=np.float32)
    spectrum = np.fft.rfft2(white) * np.fft.rfft2(kernel, s=(rows, columns))
    # Round the corner the convolution wraps; what it wraps into is cut off.
    return np.asarray(np.fft.irfft2(spectrum, s=(rows, columns))[..., grow:, grow:], np.float32)


def corrected_for_added(output: FloatArray, noisier: FloatArray, alpha: float) -> FloatArray:
    """What a network says of a scan with alpha times its own noise on top, freed of the share of it that the network is
    right to keep: ((1 + α²)·output − noisier) / α² (Moran 2020, §3)."""
    return np.asarray(((1 + alpha**2) * output - noisier) / alpha**2, np.float32)
