"""The noise power spectrum of a scan's slices: how much noise there is at each spatial frequency.

A square region's noise n(x, y) gives the periodogram |FFT n|²·Δx·Δy/N (AAPM TG-233 §4, ICRU Report 54); the spectrum
is its mean over regions. It tells what one standard deviation does not: white noise of 20 HU and smooth noise of 20 HU
look different, and hide different lesions. A denoiser that moves the peak to low frequencies makes a scan look waxen.

The regions have hard rims, so frequencies at which there is less than about 1 % of the peak's power hold what leaks
there from the others.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from medn2n.core.noise import cut_blocks
from medn2n.core.noise_figures import radial

Array = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]
SIDE = 64  # pixels, edge of a region: TG-233 asks for 64 to 128; less where the flat part is small
FEWEST_RINGS = 4
PLANE_TERMS = 3  # degrees of freedom that a plane takes from a region
QUADRATIC_TERMS = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class NoisePower:
    """A noise power spectrum.

    power: (n,n) float64 in FFT order, unit²·mm² (HU²·mm² of CT). spacing_mm: of the pixels it was measured in, along
    both axes. regions: how many periodograms it is the mean of; each value's relative standard error is 1/√regions.
    """

    power: Array
    spacing_mm: tuple[float, float]
    regions: int

    @property
    def variance(self) -> float:
        """Integral of the spectrum over both frequencies: the noise's variance, in unit²."""
        area = float(np.prod([size * edge for size, edge in zip(self.power.shape, self.spacing_mm, strict=True)]))
        return float(self.power.sum()) / area

    def radial(self, bins: int | None = None) -> tuple[Array, Array]:
        """(frequency in 1/mm, power in unit²·mm²): means over rings from 0 (not included) to the Nyquist frequency;
        as many rings as the region resolves unless `bins`."""
        count = bins or self.power.shape[0] // 2
        rings = np.array(radial(self.power, self.power, bins=count, spacing=self.spacing_mm))
        return rings[:, 0], rings[:, 1]

    @property
    def tells_grain(self) -> bool:
        """Whether the regions were wide enough for a spectrum: fewer than four rings are none."""
        return len(self.power) // 2 >= FEWEST_RINGS

    @property
    def peak_per_mm(self) -> float:
        """Frequency of the ring of most power, 1/mm; as fine as 1/(n·spacing), and a matter of luck in white noise."""
        frequency, power = self.radial()
        return float(frequency[np.argmax(power)])

    @property
    def mean_per_mm(self) -> float:
        """∫f·P(f)df / ∫P(f)df of the radial mean P (TG-233 §4), in 1/mm: falls where texture becomes coarse. Half the
        Nyquist frequency for white noise; 0 where there is no noise."""
        frequency, power = self.radial()
        total = float(power.sum())
        return float((frequency * power).sum()) / total if total > 0 else 0.0


def power_of_repeats(
    repeats: npt.NDArray[Any], spacing_mm: tuple[float, float], *, where: BoolArray | None = None, side: int = SIDE
) -> NoisePower:
    """Noise power of (R,I,J,K) repeats of one object, R ≥ 2, from what each differs from their mean by.

    For two that is their difference/√2; for more it is the mean over all pairs. A plane is taken off each region, so a
    drift of the CT number does not count. where: (I,J,K), True where a region may lie; the same object, not moved, is
    all that is asked of it. Raises ValueError for fewer than two repeats, or where no region fits.
    """
    count = len(repeats)
    if count < 2:
        raise ValueError(f"noise power: expected at least two repeats, found {count}")
    noise = np.asarray(repeats, np.float64)
    noise = (noise - noise.mean(axis=0)) * np.sqrt(count / (count - 1))
    inside = None if where is None else np.asarray(where)
    residual = np.concatenate([_regions(one, inside, side) for one in noise])
    # The count of independent periodograms is one repeat's worth less: the mean was taken from the same repeats.
    return _spectrum(residual, PLANE_TERMS, spacing_mm, len(residual) * (count - 1) // count)


def power_of_one(
    voxels: npt.NDArray[Any], spacing_mm: tuple[float, float], *, where: BoolArray | None = None, side: int = SIDE
) -> NoisePower:
    """Noise power of one (I,J,K) scan in flat regions, a polynomial of second order taken off each (TG-233 §4).

    where: (I,J,K), True where the object is flat. What anatomy it still holds counts as noise of low frequency, and
    noise below about 1/(n·spacing) goes with the polynomial. Raises ValueError where no region fits.
    """
    flat = _regions(np.asarray(voxels), where, side)
    axis = np.linspace(-1, 1, side)
    i, j = np.meshgrid(axis, axis, indexing="ij")
    terms = np.stack([np.ones_like(i), i, j, i * i, i * j, j * j]).reshape(QUADRATIC_TERMS, -1)
    basis = np.linalg.qr(terms.T)[0]
    return _spectrum(flat - (flat @ basis) @ basis.T, QUADRATIC_TERMS, spacing_mm, len(flat))


def _regions(voxels: npt.NDArray[Any], where: BoolArray | None, side: int) -> Array:
    """(n, side²): regions on a grid, without overlap, a plane taken off each."""
    blocks = cut_blocks(voxels, where, side=side)
    if not len(blocks.residual):
        raise ValueError(f"noise power: no square of {side} × {side} pixels lies where it was asked for; try a smaller")
    return blocks.residual.astype(np.float64)


def _spectrum(residual: Array, terms: int, spacing_mm: tuple[float, float], regions: int) -> NoisePower:
    """Mean periodogram of (n, side²) regions. What the polynomial took from the variance is given back to all
    frequencies alike, as `Blocks.sigma` does."""
    side = int(np.sqrt(residual.shape[1]))
    spectra = np.fft.fft2(residual.reshape(-1, side, side))
    scale = spacing_mm[0] * spacing_mm[1] / (side**2 - terms)
    power = np.mean(spectra.real**2 + spectra.imag**2, axis=0) * scale
    return NoisePower(power=power, spacing_mm=spacing_mm, regions=max(regions, 1))
