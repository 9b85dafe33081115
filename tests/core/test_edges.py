"""What was done to edges without an insert: their blur, and how far they moved."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

from medn2n.core.edges import blur_pixels


def noise(seed: int, shape: tuple[int, ...], sigma: float, width: float = 0.7) -> np.ndarray:
    field = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=shape), (width, width, 0))
    return field * sigma / field.std()


def gaussian(voxels: np.ndarray, width: float) -> np.ndarray:
    """A true Gaussian blur (the sampled kernel of half a pixel is narrower than it says), without wrapping round."""
    padded = np.pad(voxels, ((8, 8), (8, 8), (0, 0)), mode="reflect")
    blurred = ndimage.fourier_gaussian(np.fft.fftn(padded, axes=(0, 1)), (width, width, 0))
    return np.fft.ifftn(blurred, axes=(0, 1)).real[8:-8, 8:-8]


def organs() -> np.ndarray:
    """(192,192,2): discs of soft tissue, fat and bone, with a scanner's own blur."""
    rng = np.random.default_rng(5)
    image = np.zeros((192, 192, 2))
    i, j = np.indices((192, 192))
    for _ in range(60):
        x, y, radius = rng.uniform(0, 192), rng.uniform(0, 192), rng.uniform(4, 25)
        image[np.hypot(i - x, j - y) < radius] += rng.normal(scale=60)
    return gaussian(image, 1.0)


@pytest.mark.parametrize("width", [0.0, 0.5, 1.0])
def test_the_blur_at_edges_is_the_blur_that_was_done(width: float) -> None:
    image = organs()
    blurred = gaussian(image, width)
    assert blur_pixels(image, blurred).pixels == pytest.approx(width, abs=0.03)
    assert blur_pixels(image, blurred, guide=image).pixels == pytest.approx(width, abs=0.03)
    assert blur_pixels(blurred, image).pixels == pytest.approx(-width, abs=0.03)  # sharpening has the other sign


@pytest.mark.parametrize("width", [0.0, 0.5, 1.0])
def test_removed_noise_is_not_taken_for_blur(width: float) -> None:
    """A method that keeps a fifth of the noise and blurs the object: guided by a repeat, only the blur counts."""
    image = organs()
    first, second = (noise(seed, image.shape, 20.0) for seed in (1, 2))
    after = gaussian(image, width) + 0.2 * first
    found = blur_pixels(image + first, after, guide=image + second)
    assert found.square == pytest.approx(width**2, abs=3 * found.error + 0.03 * width**2)
    assert 0.005 < found.error < 0.1
    by_itself = blur_pixels(image + first, after)
    assert by_itself.square > found.square - found.error  # errs towards too much blur


def test_the_error_is_what_repeated_scans_show() -> None:
    image = organs()
    found = [
        blur_pixels(image + noise(seed, image.shape, 30.0), image, guide=image + noise(100 + seed, image.shape, 30.0))
        for seed in range(24)
    ]
    spread = np.std([one.square for one in found])
    assert np.median([one.error for one in found]) == pytest.approx(spread, rel=0.5)
    assert abs(np.mean([one.square for one in found])) < 3 * spread / np.sqrt(24)


def test_without_an_edge_there_is_no_figure() -> None:
    flat = np.ones((32, 32, 2))
    assert np.isnan(blur_pixels(flat, flat).square)
    assert blur_pixels(flat, flat, where=np.zeros(flat.shape, bool)).voxels == 0


@pytest.mark.parametrize("width", [0.0, 0.5, 1.0])
def test_a_real_scan_s_blur_is_found(width: float) -> None:
    root = os.environ.get("MEDN2N_DATA")
    if not root:
        pytest.skip("MEDN2N_DATA is not set")
    import nibabel

    scan = nibabel.load(Path(root) / "ct" / "crlm1006_ge_5mm_liver_contrast.nii.gz")
    voxels = np.clip(np.asarray(scan.dataobj)[:, :, 3:5].astype(np.float64), -1024, None)
    blurred = gaussian(voxels, width)
    assert blur_pixels(voxels, blurred).pixels == pytest.approx(width, abs=0.06)
    soft = ndimage.minimum_filter(np.abs(gaussian(voxels, 1.0)) < 200, (11, 11, 1))
    assert blur_pixels(voxels, blurred, where=soft).pixels == pytest.approx(width, abs=0.06)


@pytest.mark.parametrize("moved", [(0.5, 0.0), (0.0, -0.25), (0.1, 0.1), (0.0, 0.0)])
@pytest.mark.parametrize("width", [0.0, 0.5])
def test_edges_that_moved_are_told_from_edges_that_blurred(width: float, moved: tuple[float, float]) -> None:
    image = organs()
    shifted = ndimage.fourier_shift(np.fft.fftn(image, axes=(0, 1)), (*moved, 0))
    after = gaussian(np.fft.ifftn(shifted, axes=(0, 1)).real, width)
    before = image + noise(1, image.shape, 10.0)
    found = blur_pixels(before, after)
    assert np.subtract(found.moved, moved) == pytest.approx(0, abs=0.03 + 3 * found.moved_error)
    assert found.moved_error < 0.03
    assert abs(found.square) == pytest.approx(width**2, abs=0.12)


def test_too_few_edges_tell_no_error() -> None:
    image = organs()[:20, :20]
    assert np.isinf(blur_pixels(image + noise(1, image.shape, 10.0), image).moved_error)
