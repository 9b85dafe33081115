"""Filters of masks and blocks, against their definitions."""

import numpy as np
import pytest
from scipy import ndimage

from medn2n.core.spot_filters import block_means, eroded


@pytest.mark.parametrize("pixels", [0, 1, 2, 5, 40])
def test_an_eroded_mask_is_the_minimum_about_each_pixel(pixels: int) -> None:
    mask = ndimage.gaussian_filter(np.random.default_rng(0).normal(size=(2, 37, 61)), (0, 6, 6)) > -0.05
    side = 2 * pixels + 1
    assert np.array_equal(eroded(mask, pixels), ndimage.minimum_filter(mask, (1, side, side), mode="constant"))


def test_block_means_leave_out_what_fills_no_block() -> None:
    image = np.arange(5 * 7, dtype=np.float32).reshape(1, 5, 7)
    means = block_means(image, 2)
    assert means.shape == (1, 2, 3)
    assert means[0, 1, 2] == image[0, 2:4, 4:6].mean()
