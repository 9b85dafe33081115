"""Noise level from flat blocks, against noise of known level."""

from __future__ import annotations

import numpy as np
import pytest

from medn2n.core import noise
from medn2n.core.body import body_mask, tissue_mask
from tests.built_repeats import head, noise_field, repeats


@pytest.mark.parametrize("blur", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("size", [96, 256])
def test_level_of_a_uniform_ct(size: int, blur: float) -> None:
    voxels = 40 + 20 * noise_field((size, size, 6), np.random.default_rng(1), blur=blur)
    least = 0.93 if blur < 1 else 0.9 if size == 256 else 0.75  # a plane takes its share of smooth noise
    assert least < noise.noise_sigma(voxels) / 20 < 1.05


def test_level_of_a_head() -> None:
    scan = repeats(head(), 15.0, seed=3)[0]
    assert noise.noise_sigma(scan) == pytest.approx(15, rel=0.2)


def test_air_masked_to_zero_does_not_count() -> None:
    image = head()
    scan = repeats(image, 15.0, seed=3)[0]
    scan[image < 1] = 0
    assert noise.noise_sigma(scan) == pytest.approx(15, rel=0.2)


def test_padding_and_clipping_do_not_count() -> None:
    voxels = (40 + 20 * noise_field((192, 192, 4), np.random.default_rng(1))).astype(np.float32)
    voxels[:60] = -1000
    voxels[60:80] = -3024
    padding = voxels == -3024
    assert noise.noise_sigma(voxels, padding) == pytest.approx(20, rel=0.1)
    assert not noise.measured_voxels(voxels, padding)[:80].any()


def test_a_constant_has_no_noise() -> None:
    assert noise.noise_sigma(np.full((64, 64, 3), 7.0)) == 0.0
    assert noise.noise_sigma(np.zeros((3, 3, 3))) == 0.0


@pytest.mark.parametrize("slices", [1, 24])
@pytest.mark.parametrize(
    ("air", "tissue", "insert"), [(-1000, 0, 100), (-1000, 40.1, 40.1), (0, 700, 700), (0, 700, 900)]
)
def test_a_digital_phantom_has_no_noise(air: float, tissue: float, insert: float, slices: int) -> None:
    """Its only blocks that vary hold an edge."""
    i, j = np.indices((128, 128)) - 64
    image = np.where(np.hypot(i, j) < 45, tissue, air)
    image[np.hypot(i, j - 19) < 7] = insert
    voxels = np.repeat(image[:, :, None], slices, axis=2).astype(np.float32)
    assert noise.noise_sigma(voxels) == 0.0
    assert not noise.flat_regions(voxels).any()
    tissue_noise = np.where(voxels == air, 0, np.random.default_rng(0).normal(0, 10, voxels.shape))
    assert noise.noise_sigma((voxels + tissue_noise).astype(np.float32)) == pytest.approx(10, rel=0.25)


def test_clipped_air_is_no_tissue_without_noise() -> None:
    """Padding far below air makes tissue of the air, to Otsu's method."""
    voxels = np.full((192, 192, 4), -1024.0, np.float32)
    voxels[:50] = -3024
    voxels[130:180, 60:180] = 40 + np.random.default_rng(1).normal(0, 20, (50, 120, 4))
    assert noise.noise_sigma(voxels) == pytest.approx(20, rel=0.15)


def test_before_and_after_in_the_same_flat_regions() -> None:
    image = head()
    noisy = repeats(image, 15.0, seed=3)[0]
    flat, side = noise.flat_regions(noisy), noise.block_side(noisy)
    quieter = (image + 50 + (noisy - image - 50) / 3).astype(np.float32)
    assert flat.any()
    assert noise.noise_in(noisy, flat, side) / noise.noise_in(quieter, flat, side) == pytest.approx(3, rel=0.25)
    assert noise.noise_in(noisy, np.zeros_like(flat), side) == 0.0


def test_pair_sigma_is_blind_to_anatomy() -> None:
    first, second = repeats(head(), 15.0, seed=3)
    assert noise.pair_sigma(first, second) == pytest.approx(15, rel=0.02)
    assert noise.pair_sigma(first, second, np.zeros(first.shape, dtype=bool)) == 0.0


def test_lag1_of_white_and_smooth_noise() -> None:
    rng = np.random.default_rng(0)
    white = noise.cut_blocks(rng.standard_normal((120, 120, 5)))
    smooth = noise.cut_blocks(noise_field((120, 120, 5), rng, blur=1.0))
    assert noise.lag1(white) == pytest.approx((0, 0), abs=0.05)
    assert min(noise.lag1(smooth)) > 0.6
    assert noise.correlation_area(smooth) > 3


def test_blocks_lie_where_they_say() -> None:
    voxels = np.arange(24 * 24 * 2, dtype=np.float32).reshape(24, 24, 2)
    blocks = noise.cut_blocks(voxels, side=8)
    i, j, k = blocks.corner[4]
    assert blocks.mean[4] == pytest.approx(voxels[i : i + 8, j : j + 8, k].mean())
    assert np.abs(blocks.residual).max() < 1e-2  # the ramp is a plane in every block


def test_body_mask_fills_cavities_and_ignores_specks() -> None:
    voxels = np.full((96, 96, 3), -1000.0)
    voxels[20:76, 20:76] = 40
    voxels[40:50, 40:50] = -900  # bowel gas
    voxels[2, 2] = 300
    body = body_mask(voxels, "CT")
    assert body[45, 45, 1]
    assert not body[2, 2, 1]
    assert not body[10, 10, 1]
    magnitude = head()
    assert body_mask(magnitude, "MR")[64, 64, 3]
    assert not body_mask(magnitude, "MR")[2, 2, 3]
    assert body_mask(np.zeros((16, 16, 2)), "MR").all()


def magnitude(levels: tuple[float, float], *, sigma: float = 6.0) -> np.ndarray:
    """Muscle of one level and a small bright lesion in it, Rician noise all over."""
    clean = np.zeros((160, 160, 2))
    clean[30:130, 30:130], clean[60:80, 60:80] = levels
    draw = np.random.default_rng(0).normal(0, sigma, (2, *clean.shape))
    return np.hypot(clean + draw[0], draw[1]).astype(np.float32)


def test_a_bright_lesion_does_not_hide_the_darker_tissue() -> None:
    mask = tissue_mask(magnitude((60.0, 500.0)), dark=True)
    assert mask[35:125, 35:125].mean() > 0.99
    assert mask[:25].mean() < 0.02


def test_air_alone_is_never_taken_for_dark_tissue() -> None:
    scan = magnitude((500.0, 500.0))
    scan[:4] = 0.5  # a rim that a filter darkened
    mask = tissue_mask(scan, dark=True)
    assert mask[35:125, 35:125].all()
    assert mask[:25].mean() < 0.02


@pytest.mark.parametrize("air", [False, True])
def test_a_ct_cut_out_of_a_body_is_body_throughout(air: bool) -> None:
    rng = np.random.default_rng(0)
    voxels = 40 + rng.normal(0, 20, (64, 64, 3))
    voxels[:20] = 400 + rng.normal(0, 20, (20, 64, 3))  # bone
    if air:  # as stored, in no HU: air is the lower class
        voxels[32:] = rng.normal(0, 5, (32, 64, 3))
        voxels[:32] = 1000 + rng.normal(0, 20, (32, 64, 3))
    mask = body_mask(voxels.astype(np.float32), "CT")
    assert mask[:32].mean() > 0.99
    assert mask[33:].mean() < 0.01 if air else mask.all()
