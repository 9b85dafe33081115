"""Noise of filtered back-projection, computed: variance, correlation and spectrum from the variance of each ray.

A reconstructed pixel is a known sum over rays, and rays are independent. So its variance is the same sum with squared
weights: Σ_views w²·Σ_d c_d²·var(p_d), c being the filter's taps as linear interpolation mixes them. That is exact
(`variance_at`). Around one place the variance hardly changes from ray to ray, and the covariance of two pixels is the
filter's own autocorrelation, smeared by the two interpolations (a cubic B-spline), at their distance across each view:
`covariance_at`; its Fourier transform is the noise power spectrum, |f|·window² times the interpolation's sinc⁴
(Riederer, Pelc & Chesler 1978; Kak & Slaney 1988, ch. 5), and what the pixel grid folds back.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import fft, ndimage

from medn2n.core.ct_physics import WATER_ATTENUATION_PER_MM, filter_length, kernel_response
from medn2n.core.ct_projection import Beam

Array = npt.NDArray[np.float64]
FINE = 64  # steps a detector element in which the autocorrelation is tabulated


@dataclass(frozen=True, slots=True, kw_only=True)
class Reconstruction:
    """How line integrals became HU: what `core.ct_physics.filtered_back_projection` was given."""

    beam: Beam
    side: int
    pixel_mm: float
    kernel: str
    cutoff: float

    @property
    def response(self) -> Array:
        """The filter at its FFT frequencies, in 1/pixel."""
        return kernel_response(self.kernel, self.cutoff, filter_length(self.beam.elements)) / self.beam.pitch

    @property
    def scale(self) -> float:
        """HU of one pixel for one filtered line integral in one view."""
        return 1000.0 / (WATER_ATTENUATION_PER_MM * self.pixel_mm) * np.pi / (2 * len(self.beam.angles))

    def seen_from(self, rows: Array, columns: Array) -> tuple[Array, Array]:
        """Of pixels counted from the turning point, in every view, (views, pixels): the detector element, as a
        fraction, and the opening 1 + a/D of the fan there (1 in a parallel beam)."""
        angles = np.array(self.beam.angles)[:, None]
        cosine, sine = np.cos(angles), np.sin(angles)
        opened = 1.0 + (rows * cosine + columns * sine) / self.beam.source
        element = (columns * cosine - rows * sine) / opened / self.beam.pitch + self.beam.elements // 2
        return element, opened


def variance_at(variance: Array, made: Reconstruction, rows: Array, columns: Array) -> Array:
    """Exact variance (HU²) of pixels at `rows`, `columns` from the turning point, given var p̂ (element, view)."""
    size = len(made.response)
    taps = fft.irfft(made.response[: size // 2 + 1], n=size)
    seen = fft.rfft(variance * made.beam.cosines[:, None] ** 2, n=size, axis=0)

    def through(weights: Array) -> Array:
        passed = fft.irfft(seen * fft.rfft(weights)[:, None], n=size, axis=0)
        return np.asarray(passed[: made.beam.elements].T)

    alone, shared = through(taps**2), through(taps * np.roll(taps, -1))  # of one element, of it and the next
    element, opened = made.seen_from(rows, columns)
    left = np.clip(np.floor(element).astype(int), 0, made.beam.elements - 2)
    part = element - left
    view = np.arange(len(element))[:, None]
    mixed = (1 - part) ** 2 * alone[view, left] + part**2 * alone[view, left + 1]
    mixed += 2 * part * (1 - part) * shared[view, left]
    return np.asarray(made.scale**2 * (mixed / opened**4).sum(axis=0))


def covariance_at(
    variance: Array, made: Reconstruction, places: tuple[Array, Array], row_lags: Array, column_lags: Array
) -> Array:
    """Covariance (HU²) of two pixels that lie `row_lags`, `column_lags` apart, the same shape: the mean over pairs
    around `places` (rows, columns from the turning point) and over where they fall between detector elements."""
    smeared = _smeared_autocorrelation(made)
    element, opened = made.seen_from(*places)
    seen = variance * made.beam.cosines[:, None] ** 2
    total = np.zeros(np.shape(row_lags))
    for view, angle in enumerate(made.beam.angles):
        across = (column_lags * np.cos(angle) - row_lags * np.sin(angle)) / made.beam.pitch
        rays = np.interp(element[view], np.arange(made.beam.elements), seen[:, view]) / opened[view] ** 4
        openings, which = np.unique(opened[view], return_inverse=True)  # one of them in a parallel beam
        for opening, share in zip(openings, np.bincount(which, rays), strict=True):
            total += share * smeared[np.rint(across / opening * FINE).astype(int) + len(smeared) // 2]
    return np.asarray(made.scale**2 * total / element.shape[1])


def _smeared_autocorrelation(made: Reconstruction) -> Array:
    """Autocorrelation of the filter's output between detector elements, as two linear interpolations leave it, at
    FINE steps an element; lag 0 in the middle."""
    size = len(made.response)
    taps = fft.fftshift(fft.irfft(made.response[: size // 2 + 1], n=size))
    own = fft.fftshift(fft.irfft(np.abs(fft.rfft(taps, n=2 * size)) ** 2, n=2 * size))
    lags = np.arange(-FINE * (size - 2), FINE * (size - 2) + 1) / FINE
    return np.asarray(ndimage.map_coordinates(own, [lags + size], order=3, prefilter=False))


def periodogram_at(variance: Array, made: Reconstruction, middle: tuple[float, float], side: int) -> Array:
    """Expected |DFT|²/side² (HU²) of the noise in a square of `side` pixels around `middle`, in FFT order; its mean is
    the square's mean variance. Its shape is the mean of that in nine places."""
    lags = np.arange(side, dtype=np.float64)
    thirds = np.array([-side / 3, 0.0, side / 3])
    places = np.meshgrid(thirds + middle[0], thirds + middle[1], indexing="ij")
    folded = np.zeros((side, side))
    for wrapped_rows in (0, side):
        for wrapped_columns in (0, side):
            rows, columns = np.meshgrid(lags - wrapped_rows, lags - wrapped_columns, indexing="ij")
            pairs = (1 - np.abs(rows) / side) * (1 - np.abs(columns) / side)  # pairs of pixels with that lag
            around = (places[0].ravel(), places[1].ravel())
            folded += pairs * covariance_at(variance, made, around, rows, columns)
    rows, columns = np.meshgrid(lags - side // 2 + middle[0], lags - side // 2 + middle[1], indexing="ij")
    mean = variance_at(variance, made, rows.ravel(), columns.ravel()).mean()
    return np.asarray(np.real(fft.fft2(folded)) * (mean / folded[0, 0]))
