"""The noise of one scan as a kernel, and scans whose noise is not what a strategy asks for."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from medn2n.core.noise_texture import noise_kernel, noise_level, unfit_because
from medn2n.core.textured_noise import corrected_for_added, textured_noise

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


def uneven() -> tuple[np.ndarray, np.ndarray]:
    """A scan whose noise is 30 in one half and 12 in the other, and that level, (I,J,K)."""
    sigma = np.where(np.arange(SHAPE[0]) < 96, 30.0, 12.0)[:, None, None] * np.ones(SHAPE)
    disc = body(0.0)
    return (disc + sigma * (body(1.0, (0.8, 0.8, 0)) - disc)).astype(np.float32), sigma


def test_the_level_follows_noise_that_is_not_alike_everywhere() -> None:
    scan, sigma = uneven()
    found = noise_level(scan) * np.sqrt((noise_kernel(scan) ** 2).sum())
    inside = np.hypot(*(np.indices(SHAPE[:2]) - 96)) < 70
    inside[80:112] = False  # the step itself is spread over some blocks
    assert np.percentile(np.abs(found / sigma - 1)[inside], 90) < 0.12
    even = noise_level(body(30.0, (0.8, 0.8, 0)))
    assert np.percentile(np.abs(even - 1)[inside], 95) < 0.12
    edged = body(30.0, (0.8, 0.8, 0)) + np.where(np.arange(SHAPE[1]) % 24 < 2, 400.0, 0.0)[None, :, None]
    assert np.percentile(np.abs(noise_level(edged.astype(np.float32)) - 1)[inside], 95) < 0.2  # edges are no noise


@pytest.mark.parametrize("shape", [(6, 40, 3), (40, 40, 2), (16, 16, 1)])
def test_without_noise_or_room_the_level_is_one(shape: tuple[int, ...]) -> None:
    assert np.array_equal(noise_level(np.zeros(shape, np.float32)), np.ones(shape))
    assert np.isfinite(noise_level(np.random.default_rng(0).normal(size=shape).astype(np.float32))).all()


@pytest.mark.parametrize("alpha", [0.5, 1.0])
def test_an_ideal_network_takes_off_noise_whose_level_was_followed(alpha: float) -> None:
    """Of flat tissue it says the share of the noise that is the scan's own, and the correction takes that off."""
    scan, sigma = uneven()
    added = noise_level(scan) * textured_noise(noise_kernel(scan), (8, 192, 192), np.random.default_rng(3)).transpose(
        1, 2, 0
    )
    level = noise_level(scan) * np.sqrt((noise_kernel(scan) ** 2).sum())
    noise = scan - body(0.0)
    noisier = (noise + alpha * added).astype(np.float32)
    answer = corrected_for_added(sigma**2 / (sigma**2 + (alpha * level) ** 2) * noisier, noisier, alpha)
    inside = np.hypot(*(np.indices(SHAPE[:2]) - 96)) < 70
    inside[80:112] = False
    for half in (slice(None, 96), slice(96, None)):
        left = answer[half][inside[half]].std() / noise[half][inside[half]].std()
        assert left < 0.3  # with one level for all, 0.8 in the noisier half


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
