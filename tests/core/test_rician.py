"""Rice and non-central χ magnitudes: moments by the library and by chance, their inverses, and measured noise."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from medn2n.core.rician import (
    magnitude_mean,
    magnitude_sigma,
    magnitude_variance,
    signal_from_mean,
)

SNR = np.array([0.0, 0.3, 1.0, 2.0, 3.0, 5.0, 12.0, 39.0, 41.0, 200.0])


def test_moments_are_those_of_the_rice_distribution() -> None:
    near = SNR[SNR < 20]  # beyond, the library's own overflows
    rice = [stats.rice(ratio, scale=7.0) for ratio in near]
    np.testing.assert_allclose(magnitude_mean(7 * near, 7.0), [one.mean() for one in rice], rtol=1e-6)
    np.testing.assert_allclose(magnitude_variance(7 * near, 7.0), [one.var() for one in rice], rtol=1e-6)
    far = SNR[SNR > 20]
    np.testing.assert_allclose(magnitude_mean(7 * far, 7.0), 7 * (far + 1 / (2 * far)), rtol=1e-5)
    np.testing.assert_allclose(magnitude_variance(7 * far, 7.0), 49, rtol=1e-3)


@pytest.mark.parametrize("coils", [2, 4, 16])
def test_moments_of_many_coils_are_those_of_chance(coils: int) -> None:
    generator = np.random.default_rng(coils)
    for signal in (0.0, 1.0, 4.0, 20.0, 60.0):
        parts = generator.normal(size=(200_000, 2 * coils)) * 3.0
        parts[:, 0] += 3 * signal
        magnitude = np.sqrt(np.sum(parts**2, axis=1))
        error = float(magnitude.std()) / np.sqrt(200_000)
        assert float(magnitude_mean(3 * signal, 3.0, coils=coils)) == pytest.approx(magnitude.mean(), abs=5 * error)
        assert float(magnitude_variance(3 * signal, 3.0, coils=coils)) == pytest.approx(magnitude.var(), rel=0.03)


def test_the_bias_that_plain_training_leaves() -> None:
    bias = magnitude_mean(SNR[:6], 1.0) - SNR[:6]
    np.testing.assert_allclose(bias[[0, 2, 3, 4, 5]], [1.2533, 0.5486, 0.2724, 0.1726, 0.1011], atol=2e-4)


@pytest.mark.parametrize("coils", [1, 4, 32])
def test_the_mean_taken_back_is_the_signal(coils: int) -> None:
    signal = np.linspace(0, 80, 20_001)
    back = signal_from_mean(magnitude_mean(5 * signal, 5.0, coils=coils), 5.0, coils=coils)
    assert np.abs(back - 5 * signal).max() < 5e-4 * 5


@given(mean=st.floats(0, 1e6), sigma=st.floats(1e-3, 1e3))
def test_a_signal_is_never_negative_and_never_above_the_magnitude(mean: float, sigma: float) -> None:
    signal = float(signal_from_mean(mean, sigma))
    assert 0 <= signal <= mean + 1e-6 * sigma


def test_shapes_are_kept_and_what_is_darker_than_air_is_nothing() -> None:
    assert signal_from_mean(np.ones((2, 3, 4), np.float32), 1.0).shape == (2, 3, 4)
    assert signal_from_mean(1.0, 1.0).shape == ()
    np.testing.assert_array_equal(signal_from_mean([0.0, 1.0, np.sqrt(np.pi / 2)], 1.0), 0)


@pytest.mark.parametrize("coils", [1, 3])
def test_mean_and_variance_hold_the_signals_square(coils: int) -> None:
    square = magnitude_variance(SNR[:7], 1.0, coils=coils) + magnitude_mean(SNR[:7], 1.0, coils=coils) ** 2
    np.testing.assert_allclose(square, np.square(SNR[:7]) + 2 * coils, rtol=1e-5)


@pytest.mark.parametrize("snr", [0.0, 1.0, 2.0, 3.0, 5.0])
def test_an_average_of_magnitudes_is_corrected_to_a_twentieth_of_the_noise(snr: float) -> None:
    """What a perfect network gives, the mean over 400 repeats, in 2000 voxels."""
    generator, sigma = np.random.default_rng(int(snr)), 30.0
    parts = generator.normal(0, sigma, (2, 400, 2000))
    mean = np.hypot(parts[0] + snr * sigma, parts[1]).mean(axis=0)
    plain = float(mean.mean()) / sigma - snr
    corrected = float(signal_from_mean(mean, sigma).mean()) / sigma - snr
    assert plain > 0.09
    # At no signal at all the answer cannot be negative, so that what noise is left in the mean shows.
    assert abs(corrected) <= (0.05 if snr else 0.2)


def phantom(snr: float, sigma: float, *, seed: int = 0, smooth: bool = False, masked: bool = False) -> np.ndarray:
    i, j, _ = np.indices((96, 96, 4)) - 48
    body = np.hypot(i, j) < 30
    generator = np.random.default_rng(seed)
    parts = generator.normal(0, sigma, (2, *body.shape))
    if smooth:
        parts = (parts + np.roll(parts, 1, 1) + np.roll(parts, 1, 2) + np.roll(parts, (1, 1), (1, 2))) / 2
    magnitude = np.hypot(parts[0] + snr * sigma * body, parts[1])
    return np.where(body | (not masked), magnitude, 0).astype(np.float32)


@pytest.mark.parametrize("snr", [4.0, 10.0, 30.0])
@pytest.mark.parametrize("smooth", [False, True])
def test_noise_is_measured_in_air(snr: float, smooth: bool) -> None:
    assert magnitude_sigma(phantom(snr, 11.0, smooth=smooth)) == pytest.approx(11, rel=0.03)


def test_ghosts_in_air_change_little() -> None:
    image = phantom(15.0, 11.0)
    image[20:30, :12] += 40
    assert magnitude_sigma(image) == pytest.approx(11, rel=0.1)


def test_where_air_is_masked_noise_is_measured_in_tissue() -> None:
    assert magnitude_sigma(phantom(15.0, 11.0, masked=True)) == pytest.approx(11, rel=0.15)


def test_a_constant_has_no_noise() -> None:
    assert magnitude_sigma(np.full((40, 40, 2), 7.0, np.float32)) == 0
