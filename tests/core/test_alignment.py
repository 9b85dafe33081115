"""Rigid registration of noisy scans: the motion that was built in comes out, as SimpleITK finds it, or nothing does."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK
from scipy import ndimage

from medn2n.core.alignment import Rigid, middle_mm, register, resampled
from medn2n.core.repeat_alignment import align, slab_of
from tests.built_repeats import head, noise_field

SHAPE = (96, 96, 20)
AFFINE = np.array([[-1.5, 0, 0.1, 70], [0, -1.5, 0, 60], [0.02, 0, 3.0, -20], [0, 0, 0, 1]])
FLAT = np.diag([-1.5, -1.5, 9.0, 1.0])


def built(seed: int, shape: tuple[int, int, int] = SHAPE) -> np.ndarray:
    """A head that changes from slice to slice."""
    return head(shape, seed=seed) * (1 + 0.3 * np.sin(np.linspace(0, 6, shape[2])))


def moved(image: np.ndarray, motion: Rigid, affine: np.ndarray) -> np.ndarray:
    return ndimage.affine_transform(image, np.linalg.inv(motion.index_map(affine, image.shape)), mode="nearest")


def noisy(image: np.ndarray, sigma: float, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return (image + 50 + sigma * noise_field(image.shape, rng)).astype(np.float32)


def apart_mm(one: Rigid, two: Rigid, affine: np.ndarray, shape: tuple[int, ...]) -> float:
    """RMS distance between where two motions put the middle of the grid's voxels."""
    rng = np.random.default_rng(0)
    places = (rng.uniform(0.2, 0.8, (500, 3)) * (np.array(shape) - 1)) @ affine[:3, :3].T + affine[:3, 3]
    worlds = [motion.world(middle_mm(affine, shape)) for motion in (one, two)]
    difference = places @ (worlds[0] - worlds[1])[:3, :3].T + (worlds[0] - worlds[1])[:3, 3]
    return float(np.sqrt(np.mean(np.sum(difference**2, axis=1))))


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("sigma", "error_mm"), [(60.0, 0.2), (15.0, 0.06)])  # SNR 5 and 20; pixels of 1.5 mm
def test_six_numbers_come_out_far_below_a_voxel(seed: int, sigma: float, error_mm: float) -> None:
    rng = np.random.default_rng(seed)
    truth = Rigid(rotation_deg=tuple(rng.uniform(-2, 2, 3)), translation_mm=tuple(rng.uniform(-2.5, 2.5, 3)))
    image = built(seed)
    found = register(noisy(image, sigma, 1), 1.1 * noisy(moved(image, truth, AFFINE), sigma, 2) + 30, AFFINE)
    assert found is not None
    assert found.settled
    actual = apart_mm(truth, found.motion, AFFINE, SHAPE)
    assert actual < error_mm
    assert actual < 4 * found.error_mm
    assert found.error_mm < 3 * error_mm


def test_still_scans_measure_as_still_and_noise_as_nothing() -> None:
    image = built(4)
    found = register(noisy(image, 30.0, 1), noisy(image, 30.0, 2), AFFINE)
    assert found is not None
    assert found.displacement_mm < 0.12
    assert register(np.zeros(SHAPE), np.zeros(SHAPE), AFFINE, measured=np.zeros(SHAPE, bool)) is None
    assert np.array_equal(Rigid().index_map(AFFINE, SHAPE), np.eye(4))


def test_thick_slices_move_within_their_plane_only() -> None:
    image = built(5)
    truth = Rigid(rotation_deg=(0.0, 0.0, 1.7), translation_mm=(1.1, -0.8, 0.0))
    found = register(noisy(image, 30.0, 1), noisy(moved(image, truth, FLAT), 30.0, 2), FLAT)
    assert found is not None
    assert found.motion.rotation_deg[:2] == (0.0, 0.0)
    assert found.motion.translation_mm[2] == 0.0
    assert apart_mm(truth, found.motion, FLAT, SHAPE) < 0.1


def test_simpleitk_finds_the_same_motion() -> None:
    affine = np.diag([1.5, 1.5, 3.0, 1.0])
    truth = Rigid(rotation_deg=(0.8, -0.6, 1.5), translation_mm=(1.4, -0.9, 0.7))
    image = built(6)
    first, second = noisy(image, 20.0, 1), noisy(moved(image, truth, affine), 20.0, 2)
    found = register(first, second, affine)
    assert found is not None
    there = _simpleitk(first, second, (1.5, 1.5, 3.0))
    centre = middle_mm(affine, SHAPE)
    places = (np.random.default_rng(0).uniform(0.2, 0.8, (200, 3)) * (np.array(SHAPE) - 1)) * [1.5, 1.5, 3.0]
    ours, real = (places @ w[:3, :3].T + w[:3, 3] for w in (found.motion.world(centre), truth.world(centre)))
    theirs = np.array([there.TransformPoint(place.tolist()) for place in places])
    errors = [np.sqrt(np.mean(np.sum((places - real) ** 2, axis=1))) for places in (ours, theirs)]
    assert errors[1] < 0.2  # of a motion of 2.1 mm
    assert errors[0] < errors[1] + 0.02


def _simpleitk(first: np.ndarray, second: np.ndarray, spacing: tuple[float, float, float]) -> SimpleITK.Transform:
    images = []
    for voxels in (first, second):
        image = SimpleITK.GetImageFromArray(np.ascontiguousarray(voxels.transpose(2, 1, 0)))
        image.SetSpacing(spacing)
        images.append(SimpleITK.SmoothingRecursiveGaussian(image, 1.5))
    method = SimpleITK.ImageRegistrationMethod()
    method.SetMetricAsCorrelation()
    method.SetInterpolator(SimpleITK.sitkLinear)
    method.SetOptimizerAsRegularStepGradientDescent(0.5, 1e-4, 100, gradientMagnitudeTolerance=1e-8)
    method.SetOptimizerScalesFromPhysicalShift()
    method.SetShrinkFactorsPerLevel([4, 1])
    method.SetSmoothingSigmasPerLevel([2, 0])
    method.SetInitialTransform(
        SimpleITK.CenteredTransformInitializer(
            *images, SimpleITK.Euler3DTransform(), SimpleITK.CenteredTransformInitializerFilter.GEOMETRY
        )
    )
    return method.Execute(*images)


def test_resampling_undoes_a_motion_and_says_where_nothing_was_seen() -> None:
    image = ndimage.gaussian_filter(built(7), (2, 2, 1))
    motion = Rigid(rotation_deg=(0.0, 0.0, 3.0), translation_mm=(3.0, 2.0, 0.0))
    back, inside = resampled(moved(image, motion, AFFINE), motion.index_map(AFFINE, SHAPE))
    assert 0.8 < inside.mean() < 0.999
    assert np.abs(back - image)[inside].max() < 4.0
    assert not inside[:, -1].all() or not inside[:, 0].all()


def test_what_moved_passes_after_alignment_and_what_was_stretched_does_not() -> None:
    image = built(8)
    truth = Rigid(rotation_deg=(0.5, 0.3, 1.5), translation_mm=(1.5, -1.0, 0.5))
    stretched = ndimage.zoom(image, (1.06, 1, 1), order=3)[2:98]
    first, second, other = (
        slab_of(voxels, None, AFFINE, SHAPE, 0)
        for voxels in (
            noisy(image, 15.0, 1),
            1.04 * noisy(moved(image, truth, AFFINE), 15.0, 2),
            noisy(stretched, 15, 3),
        )
    )
    result, match = align(first, second, acquired_apart=True)
    assert (result.verdict, result.code) == ("correctable", "MOVED")
    assert "mm and 1.6°, corrected" in result.reason
    assert match.gain == pytest.approx(1.04, abs=0.01)
    assert apart_mm(truth, match.motion, AFFINE, SHAPE) < 0.1
    refused, _ = align(first, other, acquired_apart=True)
    assert refused.verdict == "unfit"
    still, _ = align(first, first, acquired_apart=True)
    assert still.verdict == "unfit"
    assert "they did not move" in still.reason
