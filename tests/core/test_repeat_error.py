"""The estimate from repeats against the error it estimates, over seeded trials with a known truth."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from scipy import ndimage

from medn2n.core.classical import FILTERS
from medn2n.core.error_trials import ErrorTrial, error_trials, ramp_noise
from medn2n.core.repeat_error import RepeatError, error_from_repeats, error_from_three_repeats
from medn2n.core.rician import magnitude_mean

SHAPE, SIGMA = (48, 48, 4), 20.0
Denoise = Callable[[np.ndarray], np.ndarray]
DENOISERS: dict[str, Denoise] = {
    "blur": lambda x: ndimage.gaussian_filter(x, (1.0, 1.0, 0)),
    "nearly nothing": lambda x: 0.98 * x,
    "wavelet": lambda x: FILTERS["wavelet"](x, 1.0, SIGMA).astype(np.float64),
}


def phantom() -> np.ndarray:
    """Half air, half tissue with steps, so that error and Rician noise vary over it."""
    i, j, _ = np.indices(SHAPE)
    return np.where(j < 24, 0.0, 60.0 + 40.0 * np.sign(np.sin(i / 5)))


def repeats(kind: str, truth: np.ndarray, generator: np.random.Generator) -> list[np.ndarray]:
    if kind == "Rician":
        real, imaginary = generator.normal(0, SIGMA, (2, 3, *SHAPE))
        return list(np.hypot(truth + real, imaginary))
    if kind == "coloured":
        return [truth + SIGMA * ramp_noise(SHAPE, generator) for _ in range(3)]
    return list(truth + generator.normal(0, SIGMA, (3, *SHAPE)))


@pytest.mark.parametrize("kind", ["white", "coloured", "Rician"])
@pytest.mark.parametrize("name", DENOISERS)
def test_the_estimates_are_the_true_error_and_their_intervals_cover_it(kind: str, name: str) -> None:
    signal, denoise, trials = phantom(), DENOISERS[name], 100
    # A magnitude's truth is its expectation, which lies above the signal.
    truth = magnitude_mean(signal, SIGMA) if kind == "Rician" else signal
    generator = np.random.default_rng(5)
    covered, gaps, halves = np.zeros(2), [], []
    for _ in range(trials):
        a, b, c = repeats(kind, signal, generator)
        fa, fb = denoise(a), denoise(b)
        left = [float(np.mean((f - truth) ** 2)) for f in (fa, fb)]
        true = (sum(left) / 2, left[0])
        found = (error_from_repeats(a, b, fa, fb), error_from_three_repeats(a, b, c, fa))
        covered += [
            low <= value <= high for value, (low, high) in zip(true, [f.mse_interval for f in found], strict=True)
        ]
        gaps.append([f.mse - value for f, value in zip(found, true, strict=True)])
        halves.append([f.mse_interval[1] - f.mse for f in found])
    spread = np.std(gaps, axis=0)
    assert (np.abs(np.mean(gaps, axis=0)) < 4 * spread / np.sqrt(trials)).all()
    assert (covered >= 0.95 * trials - 3 * np.sqrt(0.95 * 0.05 * trials)).all(), covered
    assert (np.mean(halves, axis=0) < 1.4 * 1.96 * spread).all()  # not wider than they must be


def test_three_repeats_need_no_equal_noise() -> None:
    truth, generator = phantom(), np.random.default_rng(2)
    covered, trials = 0, 100
    for _ in range(trials):
        a, b, c = (truth + sigma * generator.normal(size=SHAPE) for sigma in (20.0, 10.0, 40.0))
        found = error_from_three_repeats(a, b, c, a)
        low, high = found.mse_interval
        covered += low <= np.mean((a - truth) ** 2) <= high
        assert found.share == pytest.approx(1)
    assert covered >= 88


def test_psnr_is_the_mse_turned_round() -> None:
    found = RepeatError(mse=4.0, mse_interval=(1.0, 16.0), noisy_mse=8.0, share=0.5, share_interval=(0.1, 2.0))
    value, (low, high) = found.psnr_db(40.0)
    assert (value, low, high) == pytest.approx((10 * math.log10(400), 20.0, 10 * math.log10(1600)))
    unsure = RepeatError(mse=-1.0, mse_interval=(-2.0, 4.0), noisy_mse=8.0, share=-0.1, share_interval=(-0.2, 0.5))
    assert unsure.psnr_db(40.0) == (math.inf, (pytest.approx(10 * math.log10(400)), math.inf))


def test_the_share_is_one_for_the_identity_and_above_for_harm() -> None:
    truth, generator = phantom(), np.random.default_rng(3)
    a, b, _ = repeats("white", truth, generator)
    same = error_from_repeats(a, b, a, b)
    assert same.share == pytest.approx(1, abs=1e-9)
    assert same.mse_interval[0] < same.mse < same.mse_interval[1]
    mask = np.zeros(SHAPE, dtype=bool)
    mask[8:-8, 8:-8] = True
    blurred = [ndimage.gaussian_filter(x, (8, 8, 0)) for x in (a, b)]
    assert error_from_repeats(a, b, *blurred, mask=mask).share_interval[0] > 1
    with pytest.raises(ValueError, match="selects no voxel"):
        error_from_repeats(a, b, a, b, mask=np.zeros(SHAPE, dtype=bool))
    alone = error_from_repeats(a, b, a, b, block=(99, 99, 99))
    assert alone.mse_interval == (-math.inf, math.inf)


def test_noise_of_filtered_back_projection_has_no_low_frequencies() -> None:
    noise = ramp_noise((64, 64, 3), np.random.default_rng(0))
    assert noise.std() == pytest.approx(1, rel=0.03)
    power = (np.abs(np.fft.fft2(noise, axes=(0, 1))) ** 2).mean(axis=2)
    assert power[0, 0] < 1e-9 * power.max()
    assert power[0, 1:4].mean() < 0.4 * power[0, 8:20].mean()


def test_a_trial_counts_what_its_intervals_hold() -> None:
    quiet = phantom().astype(np.float32)
    two, three = error_trials(quiet, "Rician", np.random.default_rng(4))
    assert (two.estimator, three.estimator, two.side) == ("two repeats", "three repeats", 48)
    assert two.method == three.method
    found = RepeatError(mse=4.0, mse_interval=(3.9, 4.1), noisy_mse=8.0, share=0.5, share_interval=(0.4, 0.6))
    trial = ErrorTrial(
        noise="white", estimator="two repeats", method="none", side=48, snr=5.0, masked=False,
        true_mse=4.2, true_share=0.5, found=found, data_range=100.0,
    )  # fmt: skip
    assert trial.covered == (False, False, True)
    assert trial.deviation_db == pytest.approx(10 * math.log10(4.2 / 4.0))
    assert trial.half_width_db == pytest.approx(5 * math.log10(4.1 / 3.9))


def test_of_repeats_without_noise_there_is_no_share() -> None:
    scan = np.random.default_rng(0).normal(size=(40, 40))
    for error in (
        error_from_repeats(scan, scan, scan / 2, scan / 2), error_from_three_repeats(scan, scan, scan, scan / 2)
    ):  # fmt: skip
        assert np.isnan(error.share)
        assert error.noisy_mse == 0
        assert error.mse == pytest.approx(np.mean((scan / 2) ** 2))
