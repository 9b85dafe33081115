"""Figures against closed forms and a second library."""

from __future__ import annotations

import math

import numpy as np
import pytest

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


def test_the_mean_over_patients_has_an_interval_from_three_patients_on() -> None:
    generator = np.random.default_rng(0)
    assert metrics.bootstrap_mean(np.ones(4), ["p", "p", "q", "q"], generator=generator) is None
    values = generator.normal(10, 1, 40)
    interval = metrics.bootstrap_mean(values, [f"p{i // 2}" for i in range(40)], generator=generator)
    assert interval is not None
    assert interval[0] < values.mean() < interval[1]
    assert 0.3 < interval[1] - interval[0] < 1.2


@pytest.mark.parametrize("patients", [3, 5, 12])
def test_the_interval_holds_the_true_mean_as_often_as_it_says(patients: int) -> None:
    generator = np.random.default_rng(patients)
    held = 0
    for _ in range(400):
        values = generator.normal(10, 1, patients)
        found = metrics.bootstrap_mean(values, [str(n) for n in range(patients)], generator=generator, resamples=400)
        assert found is not None
        held += found[0] <= 10 <= found[1]
    assert 0.91 <= held / 400 <= 0.98
