"""Noise that two scans share is measured without bias, in air, tissue and magnitude; anatomy does not pass for it."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from medn2n.core.digital_objects import digital_ct
from medn2n.core.pair_check import check_pair
from medn2n.core.pair_rules import PLAIN_SHARE
from medn2n.core.shared_noise import shared_noise
from tests.built_repeats import head

SIGMA = 15.0


def _fields(shape: tuple[int, ...], rho: float, blur: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    one, own = (ndimage.gaussian_filter(generator.normal(size=shape), (blur, blur, 0)) for _ in range(2))
    one, own = one / one.std(), own / own.std()
    return SIGMA * one, SIGMA * (rho * one + np.sqrt(1 - rho**2) * own)


@pytest.mark.parametrize("blur", [0.0, 0.7])
@pytest.mark.parametrize("rho", [0.0, 0.05, 0.2, 0.6])
def test_a_head_in_ct_like_noise(rho: float, blur: float) -> None:
    one, two = _fields((192, 192, 6), rho, blur, seed=1)
    image = head((192, 192, 6)) - 1000
    found = shared_noise(image + one, image + two, np.ones(image.shape, bool))
    assert found.correlation == pytest.approx(rho, abs=max(0.02, 4 * found.error))
    assert found.error < 0.02
    assert found.like_noise


@pytest.mark.parametrize("rho", [0.0, 0.2, 0.6])
def test_magnitude_air_tells_of_the_complex_noise(rho: float) -> None:
    """Where tissue is too rough, Rayleigh air is what is left: its magnitudes correlate by less than 0.93 ρ²."""
    generator = np.random.default_rng(3)
    rough = np.where(head((192, 192, 6)) > 30, 400 + 150 * generator.normal(size=(192, 192, 1)), 0.0)
    parts = [_fields(rough.shape, rho, 0.0, seed) for seed in (1, 2)]
    first, second = (np.hypot(rough + parts[0][n], parts[1][n]) for n in (0, 1))
    found = shared_noise(first, second, np.ones(rough.shape, bool))
    assert found.region == "air"
    assert found.correlation == pytest.approx(rho, abs=max(0.05, 3 * found.error))


@pytest.mark.parametrize("contrast", [60, 120, 200])
def test_texture_that_both_show_is_not_like_noise(contrast: float) -> None:
    """Anatomy as fine as the pixels may look like noise where little of it shows: then nothing is proved either way."""
    generator = np.random.default_rng(5)
    shape = (128, 128, 6)
    texture = (
        contrast * ndimage.gaussian_filter(generator.normal(size=shape), (1, 1, 0)) * generator.lognormal(0, 1.5, shape)
    )
    one, two = _fields(shape, 0.0, 0.0, seed=4)
    first, second = 1000 + texture + one, 1000 + texture + two
    found = shared_noise(first, second, np.ones(shape, bool))
    assert not found.like_noise or found.plain < PLAIN_SHARE
    assert check_pair(first, second).code == "UNPROVEN_INDEPENDENCE"


def test_nothing_flat_to_measure_in() -> None:
    tiny = np.random.default_rng(0).normal(size=(16, 16, 1))
    found = shared_noise(tiny, tiny + 1, np.ones(tiny.shape, bool))
    assert found.region == ""
    assert np.isinf(found.error)


@pytest.mark.parametrize("blur", [0.0, 0.7])
def test_without_bias_and_with_its_error_right(blur: float) -> None:
    """Independent noise on a body with folds and vessels: what is found is spread as its error says, about nothing."""
    body = digital_ct(np.random.default_rng(1), side=128, slices=4)
    deviations = []
    for seed in range(24):
        one, two = _fields(body.shape, 0.0, blur, seed=100 + seed)
        found = shared_noise(body + one, body + two, np.ones(body.shape, bool))
        deviations.append(found.correlation / found.error)
    assert abs(np.mean(deviations)) < 1.0  # the least of several is chosen, so a little less than zero is right
    assert np.std(deviations) < 1.6
