"""Measured noise beside expected noise: one figure, and the measurements that simulated CT and MR share."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One line of a simulation's summary. error: standard error of the measurement; None where it is not known."""

    name: str
    measured: float | None
    expected: float | None
    unit: str = ""
    error: float | None = None

    def finite(self) -> Figure:
        """None for what is no number, which JSON cannot say."""
        numbers = (self.measured, self.expected, self.error)
        measured, expected, error = (one if one is not None and math.isfinite(one) else None for one in numbers)
        return replace(self, measured=measured, expected=expected, error=error)


def lag_one(noise: Array) -> tuple[float, float]:
    """Correlation of neighbours along the first and along the second axis of (R, n, n) noise of mean zero."""
    energy = float(np.mean(noise**2))
    if energy == 0.0:
        return 0.0, 0.0
    first = float(np.mean(noise[:, 1:] * noise[:, :-1]))
    return first / energy, float(np.mean(noise[:, :, 1:] * noise[:, :, :-1])) / energy


def correlation(noise: Array, periodogram: Array) -> tuple[float | None, float | None]:
    """Mean correlation of all pairs among (R, pixels) noise, and its standard error for independent repeats: one over
    the root of the pairs' effective pixels, n·(ΣP)²/(N·ΣP²) of a noise power P. None for a single repeat, or where one
    has no noise."""
    count, pixels = noise.shape
    if count < 2 or not noise.std(axis=1).all():
        return None, None
    pairs = np.asarray(np.corrcoef(noise))[np.triu_indices(count, k=1)]
    power = periodogram.ravel()[1:]
    effective = pixels * float(power.mean() ** 2 / np.mean(power**2))
    return float(pairs.mean()), float(1.0 / np.sqrt(effective * len(pairs)))


def spread_of_means(noise: Array) -> tuple[float, float | None]:
    """Mean of (R, pixels) noise, and its standard error from how the means of three or more
    repeats differ."""
    means = noise.mean(axis=1)
    error = float(means.std(ddof=1) / np.sqrt(len(means))) if len(means) > 2 else None
    return float(means.mean()), error


def radial(
    measured: Array, expected: Array, *, bins: int, spacing: tuple[float, float] = (1.0, 1.0)
) -> list[tuple[float, float, float]]:
    """(frequency, measured, expected) means over rings of two (n, n) spectra in FFT order, up to the Nyquist frequency
    of the wider pixel, without the zero frequency. Frequency in cycles/pixel, or in 1/mm with the spacing in mm."""
    step = max(spacing)
    axes = (np.fft.fftfreq(size, edge) for size, edge in zip(measured.shape, spacing, strict=True))
    frequency = np.hypot(*np.meshgrid(*axes, indexing="ij"))
    ring = np.ceil(frequency * 2 * bins * step * (1 - 1e-12)).astype(int)  # a frequency on a ring's rim lies inside it
    return [
        (float(frequency[ring == n].mean()), float(measured[ring == n].mean()), float(expected[ring == n].mean()))
        for n in range(1, bins + 1)
        if np.any(ring == n)
    ]
