"""Simulated MR noise: Rice statistics, zero-filling, and half resolution that moves nothing."""

from __future__ import annotations

import numpy as np
import pytest

from medn2n.core.mr_physics import acquired_band, half_resolution, noisy_repeats


def phantom(shape: tuple[int, int] = (128, 128)) -> np.ndarray:
    image = np.zeros(shape, np.float32)
    image[32:96, 32:96] = 1000.0
    return image


def test_sigma_and_rice_mean() -> None:
    noisy, truth = noisy_repeats(phantom(), sigma=20.0, zero_fill=1.0, repeats=3, generator=np.random.default_rng(0))
    assert noisy.dtype == truth.dtype == np.float32
    np.testing.assert_allclose(truth, phantom(), atol=1e-3)
    bright, air = np.s_[:, 40:90, 40:90], np.s_[:, :25]
    assert float((noisy[bright] - 1000).std()) == pytest.approx(20, rel=0.03)
    assert float(noisy[bright].mean()) == pytest.approx(np.sqrt(1000**2 + 20**2), abs=0.8)
    assert float(noisy[air].mean()) == pytest.approx(20 * np.sqrt(np.pi / 2), rel=0.02)


def test_repeats_are_independent() -> None:
    noisy, truth = noisy_repeats(phantom(), sigma=20.0, zero_fill=0.7, repeats=2, generator=np.random.default_rng(1))
    noise = (noisy - truth)[:, 40:90, 40:90].reshape(2, -1)
    assert abs(np.corrcoef(noise)[0, 1]) < 0.06


def neighbour_correlation(zero_fill: float) -> tuple[float, float]:
    flat = np.full((128, 128), 500.0, np.float32)
    noisy, truth = noisy_repeats(flat, sigma=10.0, zero_fill=zero_fill, repeats=1, generator=np.random.default_rng(2))
    noise = noisy[0] - truth
    return float(np.corrcoef(noise[:-1].ravel(), noise[1:].ravel())[0, 1]), float(noise.std())


def test_zero_filling_makes_neighbours_alike_and_takes_its_share_of_the_noise() -> None:
    full, sigma_full = neighbour_correlation(1.0)
    half, sigma_half = neighbour_correlation(0.5)
    assert abs(full) < 0.03
    assert half > 0.5
    assert sigma_full == pytest.approx(10, rel=0.03)
    assert 0.35 < sigma_half / sigma_full < 0.5  # the band is half as wide each way, less its edge


def test_band_is_symmetric_and_keeps_the_mean() -> None:
    band = acquired_band((64, 48), 0.6)
    assert band[0, 0] == 1
    assert band.min() == 0
    np.testing.assert_allclose(band[1:, 1:], band[1:, 1:][::-1, ::-1])
    assert (acquired_band((5, 7), 1.0) == 1).all()


@pytest.mark.parametrize("shape", [(256, 256), (200, 240), (202, 203), (201, 255)])
def test_half_resolution_keeps_place_and_mean(shape: tuple[int, int]) -> None:
    i, j = np.indices(shape)
    centre = (0.4 * shape[0], 0.55 * shape[1])
    image = (100 * np.exp(-((i - centre[0]) ** 2 + (j - centre[1]) ** 2) / (2 * 9.0**2)) + 50).astype(np.float32)
    half = half_resolution(image)
    assert half.shape == tuple(2 * (size // 4) for size in shape)
    assert float(half.mean()) == pytest.approx(float(image.mean()), rel=1e-3)
    weight = half - 50
    found = [float((index * weight).sum() / weight.sum()) for index in np.indices(half.shape)]
    # Index n of `size` samples stands at n/size of the field of view: nothing may drift by even a tenth of a pixel.
    expected = [c * small / large for c, small, large in zip(centre, half.shape, shape, strict=True)]
    assert found == pytest.approx(expected, abs=0.1)
    assert float(half.max()) == pytest.approx(150, rel=0.02)


def test_half_resolution_halves_white_noise() -> None:
    image = (1000 + np.random.default_rng(0).normal(0, 20, (256, 256))).astype(np.float32)
    assert float(half_resolution(image).std()) == pytest.approx(10, rel=0.05)


def test_noise_may_be_smoother_than_the_signal_and_vary_over_the_slice() -> None:
    gain = np.ones((128, 128), np.float32)
    gain[:, 64:] = 3.0
    noisy, truth = noisy_repeats(
        phantom(),
        sigma=10.0,
        zero_fill=(0.5, 1.0),
        signal_share=1.0,
        gain=gain,
        repeats=2,
        generator=np.random.default_rng(3),
    )
    np.testing.assert_allclose(truth, phantom(), atol=1e-3)
    left, right = (noisy - truth)[:, 40:90, 36:62], (noisy - truth)[:, 40:90, 66:92]
    assert float(right.std() / left.std()) == pytest.approx(3, rel=0.1)
    along, across = (
        np.corrcoef(a.ravel(), b.ravel())[0, 1]
        for a, b in ((left[:, :-1], left[:, 1:]), (left[:, :, :-1], left[:, :, 1:]))
    )
    assert along > 0.5
    assert abs(across) < 0.1
