"""A phantom whose noise, blur and lesions are known, before and after methods whose effect is known."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter, median_filter

from medn2n.core.phantom_physics import PhantomPhysics, phantom_physics
from medn2n.core.volume import Volume

BLUR = 0.8  # mm and pixels
SIGMA = 25.0


def repeat(seed: int) -> Volume:
    i, j = np.indices((176, 176))
    water = np.where(np.hypot(i - 87.5, j - 87.5) < 80, 0.0, -1000.0)
    voxels = gaussian_filter(water, BLUR) + np.random.default_rng(seed).normal(0, SIGMA, (176, 176))
    return Volume(voxels=voxels[..., None].astype(np.float32), affine=np.diag([-1.0, -1.0, 1.0, 1.0]), unit="HU",
                  modality="CT")  # fmt: skip


def blurred(volume: Volume) -> Volume:
    return volume.with_voxels(gaussian_filter(volume.voxels, (BLUR, BLUR, 0)))


@pytest.fixture(scope="module")
def physics() -> PhantomPhysics:
    repeats = [repeat(seed) for seed in range(8)]
    return phantom_physics(
        repeats, blurred, generator=np.random.default_rng(0), insert_at=(87.5, 87.5), insert_radius_mm=80.0
    )


def test_noise_sharpness_and_detection_are_those_of_the_method(physics: PhantomPhysics) -> None:
    before, after = physics.before, physics.after
    assert before.power.variance == pytest.approx(SIGMA**2, rel=0.05)
    assert before.power.mean_per_mm == pytest.approx(0.25, abs=0.01)
    # A Gaussian leaves 1/(4π·s²) of white noise's variance, but for what is lost where it is sampled.
    assert after.power.variance == pytest.approx(SIGMA**2 / (4 * np.pi * BLUR**2), rel=0.08)
    half = np.sqrt(np.log(2) / 2) / np.pi  # frequency at which a Gaussian of 1 mm has half of its transfer
    assert before.transfer is not None
    assert after.transfer is not None
    assert before.transfer.ttf50 == pytest.approx(half / BLUR, rel=0.06)
    assert after.transfer.ttf50 == pytest.approx(half / (BLUR * np.sqrt(2)), rel=0.06)
    assert physics.change is not None
    assert physics.change.before == pytest.approx(0.8, abs=0.06)
    assert abs(physics.change.change) < 0.02  # what can be undone loses nothing
    assert physics.contrast > 0
    assert physics.places >= 20


def test_without_insert_or_even_area_it_says_nothing_of_them() -> None:
    small = [one.with_voxels(median_filter(one.voxels, (3, 3, 1))) for one in (repeat(0), repeat(1))]
    found = phantom_physics(small, blurred, generator=np.random.default_rng(0))
    assert found.before.transfer is None
    assert found.change is None
    assert (found.contrast, found.places) == (0.0, 0)
    with pytest.raises(ValueError, match="two repeats"):
        phantom_physics(small[:1], blurred, generator=np.random.default_rng(0))
