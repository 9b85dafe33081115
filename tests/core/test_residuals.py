"""What a denoiser removed: known leaks are found where they are, and noise alone gives alarms at the stated rate."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest
from scipy import ndimage

from medn2n.core.error_trials import ramp_noise
from medn2n.core.residuals import ALARMS, region_map, removed_spectrum, residual_anatomy, uncertainty_map

SHAPE, SPACING, SIGMA = (96, 96, 4), (1.5, 1.5, 4.0), 10.0
BODY = np.zeros(SHAPE, dtype=bool)
BODY[8:-8, 8:-8] = True
Draw = Callable[[np.random.Generator], np.ndarray]
SMALL = np.s_[:64, :64]
NOISES: dict[str, Draw] = {
    "white": lambda generator: SIGMA * generator.normal(size=SHAPE),
    "coloured": lambda generator: SIGMA * ramp_noise(SHAPE, generator),
}


def anatomy() -> np.ndarray:
    i, j, _ = np.indices(SHAPE)
    return np.where(np.hypot(i - 48, j - 48) < 30, 200.0, 50.0) + 20 * np.sin(i / 6)


def blur(voxels: np.ndarray) -> np.ndarray:
    return ndimage.gaussian_filter(voxels, (1.0, 1.0, 0))


@pytest.mark.parametrize("kind", NOISES)
def test_noise_alone_raises_alarms_at_the_stated_rate(kind: str) -> None:
    truth, trials = anatomy()[SMALL], 200
    body = np.ones(truth.shape, dtype=bool)
    alarms = np.zeros(3)
    bands_covered = []
    for seed in range(trials):
        generator = np.random.default_rng(seed)
        a, b = (truth + NOISES[kind](generator)[SMALL] for _ in range(2))
        found = residual_anatomy(a, b, truth, truth, where=body, spacing_mm=SPACING)
        bands = removed_spectrum(a, b, truth, truth, where=body, spacing_mm=SPACING[:2])
        alarms += [found.significant, found.found, any(band.beyond for band in bands)]
        bands_covered += [band.interval[0] <= 1 <= band.interval[1] for band in bands]
    most = ALARMS * trials + 3 * np.sqrt(ALARMS * trials)
    assert (alarms <= most).all(), alarms
    assert alarms.sum() > 0  # a test that never alarms would not be at its rate
    assert np.mean(bands_covered) == pytest.approx(0.95, abs=0.03)


@pytest.mark.parametrize("kind", ["white", "coloured"])
def test_a_blur_leaks_edges_and_the_identity_nothing(kind: str) -> None:
    generator = np.random.default_rng(3)
    truth = anatomy()
    a, b = truth + NOISES[kind](generator), truth + NOISES[kind](generator)
    found = residual_anatomy(a, b, blur(a), blur(b), where=BODY, spacing_mm=SPACING)
    assert found.significant
    assert found.found
    lost = truth - blur(truth)
    low, high = found.anatomy_interval
    assert low <= np.sqrt(np.mean(lost[BODY] ** 2)) <= high
    corner = found.regions[found.worst]
    middle = corner[:2] + np.array(found.region[:2]) / 2
    assert abs(np.hypot(*(middle - 48)) - 30) < 11  # the edge's radius, within a region
    bands = removed_spectrum(a, b, blur(a), blur(b), where=BODY, spacing_mm=SPACING[:2])
    assert any(band.beyond for band in bands)
    same = residual_anatomy(a, b, a, b, where=BODY, spacing_mm=SPACING)
    assert (same.correlation, same.anatomy, same.significant, same.found) == (0, 0, False, False)
    kept = removed_spectrum(a, b, a, b, where=BODY, spacing_mm=SPACING[:2])
    assert not any(band.beyond for band in kept)
    assert max(band.ratio for band in kept) == 0


def test_a_lesion_that_was_removed_is_found_at_its_place() -> None:
    truth = np.full(SHAPE, 100.0)
    lesion = np.zeros(SHAPE)
    lesion[40:46, 62:68, 2] = 2.5 * SIGMA
    for seed in range(10):
        generator = np.random.default_rng(seed)
        a, b = (truth + lesion + NOISES["white"](generator) for _ in range(2))
        found = residual_anatomy(a, b, truth, truth, where=BODY, spacing_mm=SPACING)
        corner = found.regions[found.worst]
        inside = (corner <= [45, 67, 2]) & (corner + found.region > [40, 62, 2])
        assert inside.all()
    strong = residual_anatomy(a + lesion, b + lesion, truth, truth, where=BODY, spacing_mm=SPACING)
    assert strong.found


def test_bands_say_what_was_removed_of_the_noise() -> None:
    generator = np.random.default_rng(0)
    a, b = NOISES["white"](generator), NOISES["white"](generator)
    bands = removed_spectrum(a, b, blur(a), blur(b), where=BODY, spacing_mm=SPACING[:2])
    assert all(one.ratio < next_.ratio for one, next_ in pairwise(bands))
    for band in bands[3:]:  # lower ones take some of their steep neighbours' power under the window
        # A Gaussian of one pixel leaves exp(−2π²f²) of a frequency f in cycles a pixel.
        inside = SPACING[0] * np.linspace(band.low, band.high, 50)
        expected = np.average((1 - np.exp(-2 * np.pi**2 * inside**2)) ** 2, weights=inside)
        assert band.ratio == pytest.approx(expected, rel=0.15)
        assert band.noise == pytest.approx(SIGMA**2, rel=0.15)
    thin = np.zeros(SHAPE, dtype=bool)
    thin[:20] = True
    assert removed_spectrum(a, b, a, b, where=thin & False, spacing_mm=SPACING[:2]) == ()
    few = residual_anatomy(a, b, 0 * a, 0 * b, where=BODY, spacing_mm=(0.1, 0.1, 0.1))
    assert (len(few.regions), few.worst, few.found) == (0, -1, False)
    with pytest.raises(ValueError, match="no voxel"):
        residual_anatomy(a, b, a, b, where=thin & False, spacing_mm=SPACING)


def test_the_uncertainty_map_shows_variance_and_no_bias() -> None:
    generator = np.random.default_rng(0)
    strength = np.where(np.arange(SHAPE[0]) < 48, 1.0, 3.0)[:, None, None]
    truth = anatomy()
    a, b = (truth + strength * generator.normal(0, SIGMA, SHAPE) for _ in range(2))
    found = uncertainty_map(blur(a), blur(b))
    left = SIGMA / np.sqrt(4 * np.pi)  # white noise under a Gaussian of one pixel
    assert np.sqrt(np.mean(found[8:40] ** 2)) == pytest.approx(left, rel=0.1)
    assert np.sqrt(np.mean(found[56:-8] ** 2)) == pytest.approx(3 * left, rel=0.1)
    np.testing.assert_array_equal(uncertainty_map(0 * a, 0 * b), 0)  # everything lost, and nothing to be seen


def test_the_map_of_regions_shows_where_both_removals_took_the_same() -> None:
    rng = np.random.default_rng(0)
    shape = (96, 96, 4)
    i, j, _ = np.indices(shape)
    organ = 60.0 * (np.hypot(i - 30, j - 60) < 8)
    first, second = (organ + rng.normal(0, 10, shape) for _ in range(2))
    without = np.zeros(shape)  # both answers lack the organ
    found = residual_anatomy(first, second, without, without, where=np.ones(shape, bool), spacing_mm=(1.0, 1.0, 3.0))
    shown = region_map(found, shape)
    assert shown.shape == shape
    assert shown[30, 60].max() > 1
    assert np.mean(shown[60:] > 1) < 0.1
