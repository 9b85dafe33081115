"""The noise of one scan as a kernel, and scans whose noise is not what a strategy asks for."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from medn2n.core.noise_texture import noise_kernel, unfit_because

SHAPE = (192, 192, 8)


def body(sigma: float, blur: tuple[float, float, float] = (0, 0, 0), *, floor: float = -1000.0) -> np.ndarray:
    """Water in air, with noise of standard deviation `sigma` that is as smooth as `blur` says."""
    rng = np.random.default_rng(0)
    i, j = np.indices(SHAPE[:2]) - 96
    disc = np.where(np.hypot(i, j) < 80, 40.0, floor)[:, :, None]
    noise = ndimage.gaussian_filter(rng.normal(size=SHAPE), blur)
    return (disc + sigma * noise / noise.std()).astype(np.float32)


@pytest.mark.parametrize("blur", [(0, 0, 0), (1.0, 0.4, 0), (0.8, 0.8, 0)])
def test_the_kernel_has_the_noise_s_level_and_texture(blur: tuple[float, float, float]) -> None:
    kernel = noise_kernel(body(30.0, blur))
    assert kernel.shape[0] == kernel.shape[1]
    assert kernel.shape[0] % 2 == 1
    assert float(np.sqrt((kernel**2).sum())) == pytest.approx(30, rel=0.12)
    white = np.random.default_rng(1).normal(size=(400, 400))
    made = ndimage.convolve(white, kernel, mode="wrap")
    real = ndimage.gaussian_filter(np.random.default_rng(2).normal(size=(400, 400)), blur[:2])
    for axis in (0, 1):
        lags = [float(np.mean(f * np.roll(f, 1, axis)) / np.mean(f**2)) for f in (made, real)]
        assert lags[0] == pytest.approx(lags[1], abs=0.08)  # the quietest blocks are the least smooth, too


def test_a_scan_without_noise_has_an_empty_kernel() -> None:
    assert not noise_kernel(np.zeros((40, 40, 2), np.float32)).any()


@pytest.mark.parametrize("pairs", ["subsample", "blind_spot"])
def test_smooth_noise_is_refused_where_white_is_needed(pairs: str) -> None:
    assert unfit_because(body(30.0), pairs, spacing_mm=2.0) is None
    reason = unfit_because(body(30.0, (0.6, 0.6, 0)), pairs, spacing_mm=2.0)
    assert reason is not None
    assert "at most 0.15" in reason
    assert unfit_because(body(30.0, (0.6, 0.6, 0)), "added_noise", spacing_mm=2.0) is None


def test_neighbouring_slices_must_be_near_and_share_no_noise() -> None:
    assert unfit_because(body(30.0), "neighbours", spacing_mm=2.0) is None
    assert unfit_because(body(30.0, (0.6, 0.6, 0)), "neighbours", spacing_mm=2.0) is None
    for voxels, spacing, words in (
        (body(30.0, (0, 0, 0.7)), 2.0, "overlap"),
        (body(30.0), 8.0, "8.0 mm apart"),
        (body(30.0)[:, :, :1], 2.0, "one slice"),
        (body(30.0)[56:136, 56:136, :2], 2.0, "needs surely at most 0.1"),
        (body(30.0)[80:100, 80:100, :2], 2.0, "too little flat area"),
    ):
        reason = unfit_because(voxels, "neighbours", spacing_mm=spacing)
        assert reason is not None
        assert words in reason


def test_noise_of_dark_magnitudes_is_not_additive() -> None:
    rng = np.random.default_rng(0)
    for level, fits in ((600.0, True), (60.0, False)):
        signal = np.where(body(0.0) > 0, level, 0.0)
        scan = np.hypot(signal + rng.normal(0, 30, SHAPE), rng.normal(0, 30, SHAPE)).astype(np.float32)
        assert (unfit_because(scan, "added_noise", spacing_mm=2.0) is None) is fits


@pytest.mark.parametrize("pairs", ["subsample", "blind_spot"])
@pytest.mark.parametrize("step", [(2, 0), (1, 1)])
def test_noise_that_skips_a_pixel_is_not_white(pairs: str, step: tuple[int, int]) -> None:
    white = np.random.default_rng(3).normal(size=SHAPE)
    noise = (white + np.roll(white, step, (0, 1))) / np.sqrt(2)
    scan = (body(0.0) + 30 * noise).astype(np.float32)
    reason = unfit_because(scan, pairs, spacing_mm=2.0)
    assert reason is not None
    assert f"({step[0]}, {step[1]}) apart" in reason


def test_slices_thicker_than_their_spacing_overlap() -> None:
    for thickness, overlaps in ((2.0, False), (2.005, False), (None, False), (4.0, True)):
        reason = unfit_because(body(30.0), "neighbours", spacing_mm=2.0, thickness_mm=thickness)
        assert ("4.00 mm thick and 2.00 mm apart" in (reason or "")) is overlaps


@pytest.mark.parametrize("pairs", ["added_noise", "blind_spot"])
def test_slices_that_share_noise_are_refused_where_the_network_sees_them(pairs: str) -> None:
    shared = body(30.0, (0, 0, 0.7))
    assert unfit_because(shared, pairs, spacing_mm=2.0) is None
    reason = unfit_because(shared, pairs, spacing_mm=2.0, sees_slices=True)
    assert reason is not None
    assert "neighbouring slices" in reason
    assert unfit_because(body(30.0), pairs, spacing_mm=2.0, sees_slices=True) is None
