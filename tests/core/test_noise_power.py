"""Noise power spectra: of white noise, of noise under a known kernel, and of a reconstructed phantom."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

from medn2n.core.noise_figures import radial
from medn2n.core.noise_power import NoisePower, power_of_one, power_of_repeats

SPACING = (0.7, 0.7)
SHAPE = (256, 256, 6)


def white(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape)


def curved_background() -> np.ndarray:
    """What a scan's own shading looks like: cupping and a slope, far larger than the noise."""
    i, j = np.meshgrid(np.linspace(-1, 1, 256), np.linspace(-1, 1, 256), indexing="ij")
    return (80 * i + 120 * i * i - 60 * i * j + 1000)[:, :, None]


def both(noise: np.ndarray) -> list[NoisePower]:
    """The spectrum of (2,I,J,K) noise by either way, over the same shading."""
    scan = curved_background() + noise
    return [power_of_repeats(scan, SPACING), power_of_one(scan[0], SPACING)]


def test_white_noise_is_flat_at_variance_times_pixel_area() -> None:
    sigma = 20.0
    for spectrum in both(sigma * white(0, 2, *SHAPE)):
        level = sigma**2 * SPACING[0] * SPACING[1]
        frequency, power = spectrum.radial(bins=8)
        assert power[1:] == pytest.approx(level, rel=0.04)
        assert frequency[-1] < 0.5 / SPACING[0]
        assert spectrum.variance == pytest.approx(sigma**2, rel=0.01)
        assert spectrum.mean_per_mm == pytest.approx(0.25 / SPACING[0], rel=0.03)
        assert spectrum.regions == 96


def test_noise_under_a_kernel_has_the_kernel_s_transfer_squared() -> None:
    kernel = np.outer([1, 4, 6, 4, 1], [0, 1, 2, 1, 0]) / 64.0
    noise = ndimage.convolve(white(1, 2, *SHAPE), kernel[None, :, :, None], mode="wrap") * 30.0
    transfer = np.abs(np.fft.fft2(kernel, (64, 64))) ** 2 * 30.0**2 * SPACING[0] * SPACING[1]
    expected = np.array(radial(transfer, transfer, bins=10, spacing=SPACING))[:, 1]
    for spectrum in both(noise):
        power = spectrum.radial(bins=10)[1]
        assert power[1:8] == pytest.approx(expected[1:8], rel=0.08, abs=0.005 * expected[0])
        along_i, along_j = spectrum.power[8, 0], spectrum.power[0, 8]
        assert along_i < 0.85 * along_j  # the wider side of the kernel passes less
        assert spectrum.variance == pytest.approx(30.0**2 * float((kernel**2).sum()), rel=0.03)


def test_the_integral_is_the_variance_whatever_the_pixels() -> None:
    noise = ndimage.gaussian_filter(white(2, 3, 192, 192, 4), (0, 1, 1, 0))
    spectrum = power_of_repeats(noise, (0.5, 1.25), side=48)
    assert spectrum.variance == pytest.approx(float(noise.var()), rel=0.03)
    assert spectrum.radial()[0].max() <= 0.5 / 1.25
    assert spectrum.regions == 4 * 4 * 4 * 2


def test_small_regions_give_the_same_variance() -> None:
    """Six of 144 degrees of freedom go with a polynomial; they are given back."""
    noise = white(6, 2, 240, 240, 6)
    assert power_of_one(noise[0], SPACING, side=12).variance == pytest.approx(1, rel=0.01)
    assert power_of_repeats(noise, SPACING, side=12).variance == pytest.approx(1, rel=0.01)


def test_the_peak_is_where_a_band_of_noise_was_put() -> None:
    frequency = np.hypot(*np.meshgrid(*(np.fft.fftfreq(256, 0.7),) * 2, indexing="ij"))
    band = np.exp(-0.5 * ((frequency - 0.35) / 0.05) ** 2)
    noise = np.fft.ifft2(np.fft.fft2(white(3, 8, 256, 256)) * band).real
    spectrum = power_of_one(np.moveaxis(noise, 0, -1), SPACING)
    assert spectrum.peak_per_mm == pytest.approx(0.35, abs=1 / (64 * 0.7))
    assert spectrum.mean_per_mm == pytest.approx(0.35, abs=0.01)


def test_a_scan_without_noise_has_no_power() -> None:
    spectrum = power_of_one(curved_background().repeat(2, axis=2), SPACING)
    assert spectrum.variance < 1e-6
    assert power_of_repeats(np.ones((2, 64, 64, 1)), SPACING).mean_per_mm == 0.0


def test_what_cannot_be_measured_is_refused() -> None:
    with pytest.raises(ValueError, match="at least two repeats, found 1"):
        power_of_repeats(np.ones((1, 64, 64, 1)), SPACING)
    with pytest.raises(ValueError, match="no square of 64"):
        power_of_one(np.ones((60, 60, 1)), SPACING)


def test_a_reconstructed_phantom_s_noise_rises_like_the_ramp_and_scales_with_dose() -> None:
    root = os.environ.get("MEDN2N_DATA")
    if not root:
        pytest.skip("MEDN2N_DATA is not set")
    spectra = {}
    for dose in ("010", "100"):
        with np.load(Path(root) / "ct_sim" / f"lcdct_fbp_dose{dose}_signal_absent.npz") as stored:
            spectra[dose] = power_of_repeats(stored["hu"][:, 64:192, 64:192, None], (0.6445, 0.6445))
    frequency, power = spectra["100"].radial(bins=16)
    slope = np.polyfit(np.log(frequency[1:5]), np.log(power[1:5]), 1)[0]
    assert 0.7 < slope < 1.3  # |f| below the filter's roll-off (Riederer, Pelc & Chesler 1978)
    assert 0.2 < spectra["100"].peak_per_mm < 0.4  # Nyquist is 0.78
    ratio = np.mean(spectra["010"].radial(bins=16)[1] / power)
    assert ratio == pytest.approx(10, rel=0.15)  # ten times fewer photons
