"""Task transfer functions of discs of known blur."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

from medn2n.core.resolution import Insert, find_insert, task_transfer

PIXEL = 0.65
SPACING = (PIXEL, PIXEL)
FINE = 8  # the built discs are drawn that many times finer than their pixels


def disc(
    centre: tuple[float, float], radius: float, blur: float, contrast: float = 100.0, side: int = 96
) -> np.ndarray:
    """(side, side): a disc (mm) under a Gaussian blur (mm), averaged over each pixel."""
    fine = (np.indices((side * FINE, side * FINE)) + 0.5) / FINE - 0.5
    inside = np.hypot(fine[0] - centre[0], fine[1] - centre[1]) * PIXEL < radius
    blurred = ndimage.gaussian_filter(contrast * inside, blur / PIXEL * FINE)
    return blurred.reshape(side, FINE, side, FINE).mean(axis=(1, 3))


def noise(seed: int, shape: tuple[int, ...], sigma: float, width: float = 0.7) -> np.ndarray:
    field = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=shape), (width, width, 0))
    return field * sigma / field.std()


@pytest.mark.parametrize("blur", [0.45, 0.6, 1.0])
@pytest.mark.parametrize(("centre", "radius"), [((47.3, 49.8), 5.0), ((40.0, 52.46), 12.0)])
@pytest.mark.parametrize("contrast", [100.0, -35.0])
def test_a_blurred_disc_has_the_gaussian_s_transfer(
    blur: float, centre: tuple[float, float], radius: float, contrast: float
) -> None:
    image = disc(centre, radius, blur, contrast)
    insert = find_insert(image, SPACING, near=(round(centre[0]) + 2, round(centre[1]) - 1), radius_mm=1.1 * radius)
    assert insert.centre == pytest.approx(centre, abs=0.02)
    assert insert.radius_mm == pytest.approx(radius, abs=0.02)
    found = task_transfer(image[:, :, None], SPACING, insert, generator=np.random.default_rng(0), resamples=20)
    frequency = found.frequency
    pixel = np.sinc(frequency * PIXEL)  # the mean over a pixel, along its edges; nearly the same across
    expected = np.exp(-2 * np.pi**2 * blur**2 * frequency**2) * pixel
    assert found.transfer[frequency < 1.0] == pytest.approx(expected[frequency < 1.0], abs=0.008)
    width = np.hypot(blur, PIXEL / np.sqrt(12))  # the pixel's own variance beside the blur's
    assert found.ttf50 == pytest.approx(np.sqrt(np.log(2) / 2) / (np.pi * width), rel=0.02)
    assert found.ttf10 == pytest.approx(np.sqrt(np.log(10) / 2) / (np.pi * width), rel=0.04)
    assert found.contrast == pytest.approx(contrast, rel=0.02)


def test_the_bins_of_the_edge_spread_do_not_blur() -> None:
    """An edge far sharper than a pixel, sampled at points: the oversampled edge spread must hold it."""
    from scipy.special import erfc

    i, j = np.indices((128, 128))
    beyond = np.hypot(i - 63.3, j - 64.8) * PIXEL - 30.0
    image = 50 * erfc(beyond / (np.sqrt(2) * 0.2))[:, :, None]
    insert = Insert(centre=(63.3, 64.8), radius_mm=30.0)
    found = task_transfer(image, SPACING, insert, generator=np.random.default_rng(0), resamples=20)
    expected = np.exp(-2 * np.pi**2 * 0.2**2 * found.frequency**2)
    assert found.transfer == pytest.approx(expected, abs=0.012)


def test_in_noise_the_interval_holds_the_truth_and_narrows_with_slices() -> None:
    image, insert = disc((47.3, 49.8), 10.0, 0.6), Insert(centre=(47.3, 49.8), radius_mm=10.0)
    truth = task_transfer(image[:, :, None], SPACING, insert, generator=np.random.default_rng(0), resamples=20)
    widths, held = {}, 0
    for slices in (4, 32):
        for seed in range(10):
            noisy = image[:, :, None] + noise(seed, (96, 96, slices), 20.0)
            found = task_transfer(noisy, SPACING, insert, generator=np.random.default_rng(seed))
            held += found.ttf50_interval[0] <= truth.ttf50 <= found.ttf50_interval[1]
            assert found.ttf50_interval[0] <= found.ttf50 <= found.ttf50_interval[1]
        widths[slices] = found.ttf50_interval[1] - found.ttf50_interval[0]
        assert found.ttf50 == pytest.approx(truth.ttf50, rel=0.35 / np.sqrt(slices))
    assert 16 <= held <= 20
    assert 1.7 < widths[4] / widths[32] < 4.7  # √8 is 2.8


def test_the_insert_is_found_in_noise_and_a_wrong_place_is_refused() -> None:
    image = disc((47.3, 49.8), 8.0, 0.6) + noise(1, (96, 96, 1), 15.0)[:, :, 0]
    insert = find_insert(image, SPACING, near=(48, 50), radius_mm=8.0)
    assert insert.centre == pytest.approx((47.3, 49.8), abs=0.2)
    with pytest.raises(ValueError, match=r"expected a disc of radius 4.0 mm"):
        find_insert(image, SPACING, near=(33, 49), radius_mm=4.0)
    with pytest.raises(ValueError, match="no edge"):
        task_transfer(
            image[:, :, None], SPACING, Insert(centre=(300, 300), radius_mm=5.0), generator=np.random.default_rng(0)
        )


def test_edges_that_ring_are_not_hidden() -> None:
    """A filter that overshoots lifts the transfer above 1: nothing is made monotone."""
    image = disc((47.3, 49.8), 10.0, 0.8)
    sharper = image + 1.5 * (image - ndimage.gaussian_filter(image, 1.5))
    insert = find_insert(sharper, SPACING, near=(47, 50), radius_mm=10.0)
    found = task_transfer(sharper[:, :, None], SPACING, insert, generator=np.random.default_rng(0), resamples=20)
    assert found.transfer.max() > 1.1
    assert found.ttf50 > np.sqrt(np.log(2) / 2) / (np.pi * 0.8)


def test_a_sharp_kernel_s_transfer_reaches_further_than_a_smooth_one_s() -> None:
    """A plastic rod of 20 mm in the Philips skull phantom, one raw scan under two kernels; measured: TTF50 0.31
    and 0.62, TTF10 0.55 and 0.92 per mm."""
    root = os.environ.get("MEDN2N_DATA")
    if not root:
        pytest.skip("MEDN2N_DATA is not set")
    import nibabel

    found = {}
    for kernel, name in (("smooth", "UB_1mm_iDose"), ("sharp", "YA_bone_1mm")):
        scan = nibabel.load(Path(root) / "ct" / f"philips_skullphantom_{name}_z66-73.nii.gz")
        voxels, spacing = np.asarray(scan.dataobj).astype(np.float64), tuple(map(float, scan.header.get_zooms()[:2]))
        insert = find_insert(voxels.mean(axis=2), spacing, near=(252, 236), radius_mm=9.0)
        assert insert.radius_mm == pytest.approx(10.0, abs=0.1)
        found[kernel] = task_transfer(voxels, spacing, insert, generator=np.random.default_rng(0))
        assert found[kernel].contrast == pytest.approx(1065, abs=10)  # plastic in air
        assert found[kernel].ttf50_interval[1] - found[kernel].ttf50_interval[0] < 0.05
    assert found["sharp"].ttf50_interval[0] > 1.7 * found["smooth"].ttf50_interval[1]
    assert found["sharp"].transfer.max() > found["smooth"].transfer.max() + 0.02  # it overshoots
