"""The demo's definitions, each by its closed form."""

from __future__ import annotations

import math

import numpy as np
import pytest

from medn2n.core.demo_table import add_noise_at_snr, head_mask, psnr_in_head, truth_from_pair


def head() -> np.ndarray:
    i, j, _ = np.indices((64, 64, 6))
    inside = (i - 32) ** 2 + (j - 32) ** 2 < 22**2
    hollow = (i - 32) ** 2 + (j - 32) ** 2 < 6**2
    return (np.where(inside, 500.0, 5.0) - np.where(hollow, 480.0, 0.0)).astype(np.float32)


def test_truth_is_the_scaled_mean() -> None:
    generator = np.random.default_rng(0)
    first, second = (head() + generator.normal(0, 5, (64, 64, 6)).astype(np.float32) for _ in range(2))
    truth = truth_from_pair(first, second)
    assert np.percentile(truth, 99.9) == pytest.approx(1, abs=1e-3)
    assert np.corrcoef(truth.ravel(), (first + second).ravel())[0, 1] == pytest.approx(1)
    with pytest.raises(ValueError, match="is this an image"):
        truth_from_pair(np.zeros((4, 4, 1), np.float32), np.zeros((4, 4, 1), np.float32))


def test_the_head_is_filled_and_leaves_the_background() -> None:
    mask = head_mask(truth_from_pair(head(), head()))
    assert mask[32, 32, 3]
    assert not mask[2, 2, 3]
    assert mask.sum() == pytest.approx(6 * math.pi * 22**2, rel=0.12)
    with pytest.raises(ValueError, match="background"):
        head_mask(np.zeros((8, 8, 2), np.float32))


def test_noise_has_the_stated_snr_and_psnr_is_minus_ten_log_mse() -> None:
    truth = truth_from_pair(head(), head())
    mask = head_mask(truth)
    noisy, sigma = add_noise_at_snr(truth, mask, 10.0, np.random.default_rng(1))
    assert 10 * math.log10(np.mean(truth[mask].astype(float) ** 2) / sigma**2) == pytest.approx(10)
    error, psnr = psnr_in_head(truth, noisy, mask)
    assert error == pytest.approx(sigma**2, rel=0.05)
    assert psnr == pytest.approx(-10 * math.log10(error))
    assert psnr_in_head(truth, truth, mask)[1] == math.inf
