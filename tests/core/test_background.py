"""Background that was set to zero: found, and shown as air as noisy as the tissue, unless noise cannot be measured."""

from __future__ import annotations

import numpy as np
import pytest

from medn2n.core.background import masked_background, measured_air

SIGMA = 8.0


def masked_head(size: int = 96) -> np.ndarray:
    """A flat round head of 200 units with Gaussian noise, in a background of exactly zero; (I,J,3)."""
    i, j = np.indices((size, size)) - size / 2
    head = np.hypot(i, j)[..., None].repeat(3, axis=2) < 0.4 * size
    noise = np.random.default_rng(1).normal(0, SIGMA, head.shape)
    return np.where(head, 200 + noise, 0).astype(np.float32)


def test_background_becomes_rayleigh_air_of_the_tissues_noise_level() -> None:
    image = masked_head()
    background = masked_background(image)
    seen = measured_air(image, background, pixel_mm=1.0, generator=np.random.default_rng(0))
    assert np.array_equal(seen[~background], image[~background])
    # A Rayleigh variable: mean σ·√(π/2), second moment 2σ².
    assert float(seen[background].mean()) == pytest.approx(SIGMA * np.sqrt(np.pi / 2), rel=0.1)
    assert float((seen[background] ** 2).mean()) == pytest.approx(2 * SIGMA**2, rel=0.2)
    assert np.array_equal(seen, measured_air(image, background, pixel_mm=1.0, generator=np.random.default_rng(0)))
    assert seen.dtype == np.float32


def test_pixels_too_coarse_to_tell_noise_from_folds_leave_it_as_it_is() -> None:
    image = masked_head()
    assert measured_air(image, masked_background(image), pixel_mm=2.0, generator=np.random.default_rng(0)) is image


@pytest.mark.parametrize("value", [0.0, 5.0])
def test_an_image_of_nothing_but_background_or_without_any_comes_back(value: float) -> None:
    image = np.full((24, 24, 2), value, np.float32)
    assert np.array_equal(
        measured_air(image, masked_background(image), pixel_mm=1.0, generator=np.random.default_rng(0)), image
    )
