"""Figures against closed forms and a second library; the estimate from repeats against the error it "
"estimates."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import ndimage

from medn2n.core import metrics


def phantom(shape: tuple[int, ...] = (48, 48, 4)) -> np.ndarray:
    i, j, k = np.indices(shape)
    return (100 * np.sin(i / 7) * np.cos(j / 5) + 3.0 * k).astype(np.float32)


def test_a_constant_offset_has_closed_form_figures() -> None:
    truth = phantom()
    test = truth + 3
    assert metrics.mse(truth, test) == pytest.approx(9, rel=1e-5)
    assert metrics.rmse(truth, test) == pytest.approx(3, rel=1e-5)
    assert metrics.bias(truth, test) == pytest.approx(3, rel=1e-5)
    assert metrics.psnr(truth, test, data_range=400) == pytest.approx(20 * math.log10(400 / 3), rel=1e-5)
    assert metrics.psnr(truth, truth, data_range=1) == math.inf


def test_a_window_clips_both_and_gives_the_range() -> None:
    truth = np.array([[-1000.0, 0.0, 1000.0]])
    test = np.array([[-700.0, 4.0, 1300.0]])
    assert metrics.mse(truth, test, window=(-160, 240)) == pytest.approx(16 / 3)
    expected = 10 * math.log10(400**2 / (16 / 3))
    assert metrics.psnr(truth, test, window=(-160, 240)) == pytest.approx(expected)


def test_only_masked_voxels_count() -> None:
    truth, test = np.zeros((4, 4, 1)), np.zeros((4, 4, 1))
    test[0] = 5
    mask = np.zeros((4, 4, 1), dtype=bool)
    mask[1:] = True
    assert metrics.mse(truth, test, mask) == 0
    with pytest.raises(ValueError, match="selects no voxel"):
        metrics.mse(truth, test, np.zeros_like(mask))


def test_a_range_is_never_guessed_and_shapes_must_agree() -> None:
    with pytest.raises(ValueError, match="data_range or a window"):
        metrics.psnr(np.zeros((2, 2)), np.ones((2, 2)))
    with pytest.raises(ValueError, match="data_range or a window"):
        metrics.ssim(np.zeros((16, 16)), np.ones((16, 16)))
    with pytest.raises(ValueError, match="shapes differ"):
        metrics.mse(np.zeros((2, 2)), np.zeros((2, 3)))


def test_psnr_and_ssim_agree_with_torchmetrics() -> None:
    functional = pytest.importorskip("torchmetrics.functional.image")
    torch = pytest.importorskip("torch")
    generator = np.random.default_rng(1)
    truth = phantom((64, 64, 3))
    test = truth + generator.normal(0, 20, truth.shape).astype(np.float32)
    first, second = (torch.from_numpy(np.moveaxis(x, -1, 0)[:, None].copy()) for x in (test, truth))
    psnr = float(functional.peak_signal_noise_ratio(first, second, data_range=200.0))
    assert metrics.psnr(truth, test, data_range=200.0) == pytest.approx(psnr, abs=1e-3)
    # The two libraries mirror the border differently, so only the inner part can agree.
    _, similarity = functional.structural_similarity_index_measure(
        first, second, data_range=200.0, sigma=1.5, return_full_image=True
    )
    ssim = float(similarity[..., 5:-5, 5:-5].mean())
    inner = np.zeros(truth.shape, dtype=bool)
    inner[5:-5, 5:-5] = True
    assert metrics.ssim(truth, test, data_range=200.0, mask=inner) == pytest.approx(ssim, abs=2e-3)
    assert metrics.ssim(truth, truth, window=(-100, 100)) == pytest.approx(1)
    assert metrics.ssim(truth[..., 0], truth[..., 0], data_range=200) == pytest.approx(1)
    assert math.isnan(metrics.ssim(truth[:8], truth[:8], data_range=200))
    with pytest.raises(ValueError, match="selects no voxel"):
        metrics.error_from_repeats(truth, truth, truth, truth, mask=np.zeros(truth.shape, dtype=bool))
    alone = metrics.error_from_repeats(truth, truth + 1, truth, truth, block=(99, 99, 99))
    assert alone.mse_interval == (-math.inf, math.inf)


def repeats(generator: np.random.Generator, kind: str, truth: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    noise = generator.normal(0, 20, (3, *truth.shape))
    if kind == "coloured":
        noise = 2.5 * ndimage.gaussian_filter(noise, (0, 0.7, 0.7, 0))
    first, second, third = (truth + one for one in noise)
    return first, second, third


DENOISERS = {
    "blur": lambda x: ndimage.gaussian_filter(x, (1.0, 1.0, 0)),
    "nearly nothing": lambda x: 0.98 * x,
    "median": lambda x: ndimage.median_filter(x, (3, 3, 1)),
}


@pytest.mark.parametrize("kind", ["white", "coloured"])
@pytest.mark.parametrize("name", DENOISERS)
def test_the_error_from_repeats_is_the_true_error_and_its_interval_covers_it(kind: str, name: str) -> None:
    truth = phantom((64, 64, 2)).astype(np.float64)
    generator = np.random.default_rng(5)
    denoise = DENOISERS[name]
    covered, covered_three, gaps, halves = 0, 0, [], []
    trials = 100
    for _ in range(trials):
        a, b, c = repeats(generator, kind, truth)
        fa, fb = denoise(a), denoise(b)
        true = 0.5 * (np.mean((fa - truth) ** 2) + np.mean((fb - truth) ** 2))
        found = metrics.error_from_repeats(a, b, fa, fb, block=(8, 8, 2))
        covered += found.mse_interval[0] <= true <= found.mse_interval[1]
        _, (low, high) = metrics.error_from_three_repeats(b, c, fa, generator=generator, block=(8, 8, 2), resamples=200)
        covered_three += low <= np.mean((fa - truth) ** 2) <= high
        gaps.append(found.mse - true)
        halves.append(found.mse_interval[1] - found.mse)
    assert abs(np.mean(gaps)) < 4 * np.std(gaps) / np.sqrt(trials)
    assert covered / trials >= 0.87
    assert covered_three / trials >= 0.87
    assert np.mean(halves) < 3 * 1.96 * np.std(gaps)


def test_the_share_is_one_for_the_identity_and_above_for_harm() -> None:
    truth = phantom()
    generator = np.random.default_rng(3)
    a, b, _ = repeats(generator, "white", truth)
    same = metrics.error_from_repeats(a, b, a, b)
    assert same.share == pytest.approx(1, abs=1e-9)
    assert same.share_interval == pytest.approx((1, 1), abs=1e-9)
    assert same.mse_interval[0] < same.mse < same.mse_interval[1]
    blurred = [ndimage.gaussian_filter(x, (8, 8, 0)) for x in (a, b)]
    mask = np.zeros(truth.shape, dtype=bool)
    mask[8:-8, 8:-8] = True
    assert metrics.error_from_repeats(a, b, *blurred, mask=mask).share > 1


def test_the_mean_over_patients_has_an_interval_from_three_patients_on() -> None:
    generator = np.random.default_rng(0)
    assert metrics.bootstrap_mean(np.ones(4), ["p", "p", "q", "q"], generator=generator) is None
    values = generator.normal(10, 1, 40)
    interval = metrics.bootstrap_mean(values, [f"p{i // 2}" for i in range(40)], generator=generator)
    assert interval is not None
    assert interval[0] < values.mean() < interval[1]
    assert 0.3 < interval[1] - interval[0] < 1.2
