"""Spots in what a denoiser removed: found where a lesion went missing or was made up, none in noise."""

from typing import Any

import numpy as np
import pytest
from scipy import ndimage

from medn2n.core.spot_search import Spot
from medn2n.core.structure_removed import structure_removed

SPACING = (0.8, 0.8, 3.0)
SHAPE = (200, 180, 3)


def body(rng: np.random.Generator, *, sigma: float = 10.0) -> tuple[np.ndarray, np.ndarray]:
    """A water ellipse in air with correlated noise, and the same without noise."""
    i, j = np.mgrid[: SHAPE[0], : SHAPE[1]]
    inside = ((i - 100) / 85) ** 2 + ((j - 90) / 75) ** 2 < 1
    truth = np.where(inside, 40.0, -1000.0)[..., None].repeat(SHAPE[2], axis=2).astype(np.float32)
    noise = ndimage.gaussian_filter(rng.normal(size=SHAPE), (0.8, 0.8, 0))
    return (truth + sigma * noise / noise.std()).astype(np.float32), truth


def _spot(before: np.ndarray, after: np.ndarray, **options: Any) -> Spot | None:
    found = structure_removed(before, after, **options)
    return found and found.spot


def disc(at: tuple[int, int], diameter_mm: float, contrast: float) -> np.ndarray:
    i, j = np.mgrid[: SHAPE[0], : SHAPE[1]]
    return contrast * (np.hypot(i - at[0], j - at[1]) * SPACING[0] <= diameter_mm / 2)


@pytest.mark.parametrize("seed", range(8))
def test_noise_alone_leaves_no_strong_spot(seed: int) -> None:
    noisy, truth = body(np.random.default_rng(seed))
    spot = _spot(noisy, truth, spacing_mm=SPACING, modality="CT")
    assert spot is not None
    assert abs(spot.strength) < 6


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize(("diameter_mm", "contrast"), [(5, 60), (8, 40)])
def test_a_lesion_that_goes_or_comes_is_found_where_it_is(sign: int, diameter_mm: float, contrast: float) -> None:
    noisy, truth = body(np.random.default_rng(1))
    lesion = disc((120, 60), diameter_mm, contrast)
    before, after = noisy.copy(), truth.copy()
    (before if sign > 0 else after)[..., 1] += lesion
    spot = _spot(before, after, spacing_mm=SPACING, modality="CT")
    assert spot is not None
    assert sign * spot.strength > 7
    assert np.hypot(spot.place[0] - 120, spot.place[1] - 60) <= 3
    assert spot.place[2] == 1
    assert spot.contrast == pytest.approx(sign * contrast, rel=0.6)


@pytest.mark.parametrize("sign", [1, -1])
def test_a_nodule_of_the_lung_is_found_where_nothing_else_is_in_view(sign: int) -> None:
    rng = np.random.default_rng(3)
    noise = ndimage.gaussian_filter(rng.normal(size=SHAPE), (0.8, 0.8, 0))
    truth = np.full(SHAPE, -850, np.float32)
    before, after = truth + (30 * noise / noise.std()).astype(np.float32), truth.copy()
    faithful = structure_removed(before, after, spacing_mm=SPACING, modality="CT")
    assert faithful is not None
    assert abs(faithful.spot.strength) < 6
    assert faithful.invented is None
    (before if sign > 0 else after)[..., 1] += disc((120, 60), 6, 800)  # soft tissue by its number
    spot = _spot(before, after, spacing_mm=SPACING, modality="CT")
    assert spot is not None
    assert abs(spot.strength) > 9
    assert np.hypot(spot.place[0] - 120, spot.place[1] - 60) <= 10 / SPACING[0]


def test_nothing_removed_is_no_spot() -> None:
    noisy, _ = body(np.random.default_rng(2))
    spot = _spot(noisy, noisy, spacing_mm=SPACING, modality="CT")
    assert spot is not None
    assert spot.strength == 0


def test_a_lesion_that_a_faithful_denoiser_leaves_is_no_spot() -> None:
    noisy, truth = body(np.random.default_rng(3))
    lesion = disc((90, 90), 8, 60)[..., None]
    spot = _spot(noisy + lesion, truth + lesion, spacing_mm=SPACING, modality="CT")
    assert spot is not None
    assert abs(spot.strength) < 6


def test_too_little_tissue_gives_none() -> None:
    empty = np.full((40, 40, 2), -1000, dtype=np.float32)
    assert _spot(empty, empty, spacing_mm=SPACING, modality="CT") is None


def test_strength_does_not_depend_on_the_unit_of_mr() -> None:
    noisy, truth = body(np.random.default_rng(4))
    noisy, truth = noisy + 1000, truth + 1000
    truth[..., 1] -= disc((90, 90), 8, 60)
    one = _spot(noisy, truth, spacing_mm=SPACING, modality="MR")
    other = _spot(noisy * 7, truth * 7, spacing_mm=SPACING, modality="MR")
    assert one is not None
    assert other is not None
    assert one.strength == pytest.approx(other.strength, rel=1e-3)
    assert one.strength > 8


def test_smoothing_removes_what_it_still_shows() -> None:
    rng = np.random.default_rng(5)
    truth = organs(rng)  # tissue from rim to rim
    noisy = truth + ndimage.gaussian_filter(rng.normal(size=SHAPE), (0.8, 0.8, 0))
    smooth = ndimage.gaussian_filter(noisy, (1.5, 1.5, 0))
    assert weakened(noisy, smooth) > 0.2
    assert weakened(noisy, noisy + 0.5 * (smooth - noisy)) == pytest.approx(weakened(noisy, smooth) / 2, rel=1e-2)


@pytest.mark.parametrize("left", [0.05, 0.3, 0.6, 0.9])
def test_noise_that_is_left_is_no_weakened_structure(left: float) -> None:
    rng = np.random.default_rng(6)
    noise = 10 * ndimage.gaussian_filter(rng.normal(size=SHAPE), (0.8, 0.8, 0))
    truth = organs(rng)
    assert weakened(truth + noise, truth + left * noise) <= 0.02
    noisy, even = body(rng)
    found = structure_removed(noisy, even + left * (noisy - even), spacing_mm=SPACING, modality="CT")
    assert found is not None
    assert found.weakened is None  # in even tissue there is nothing that could be weakened


def organs(rng: np.random.Generator) -> np.ndarray:
    """Discs of 2 to 8 mm and up to 60 HU in half of the tissue, none in the other."""
    i, j = np.mgrid[: SHAPE[0], : SHAPE[1]]
    image = np.zeros(SHAPE[:2])
    for _ in range(150):
        at = rng.uniform(0, SHAPE[0] / 2), rng.uniform(0, SHAPE[1])
        image += np.where(np.hypot(i - at[0], j - at[1]) < rng.uniform(1.5, 5), rng.uniform(-60, 60), 0)
    return np.asarray(ndimage.gaussian_filter(image, 0.8)[..., None].repeat(SHAPE[2], axis=2))


def weakened(before: np.ndarray, after: np.ndarray) -> float:
    found = structure_removed(before, after, spacing_mm=SPACING, modality="CT")
    assert found is not None
    assert found.weakened is not None
    return found.weakened


def test_detail_that_the_scan_does_not_hold_is_made_up() -> None:
    noisy, truth = body(np.random.default_rng(7))
    detail = 25 * ndimage.gaussian_filter(np.random.default_rng(8).normal(size=SHAPE), (2, 2, 0)) * 7
    found = structure_removed(noisy, (truth + detail).astype(np.float32), spacing_mm=SPACING, modality="CT")
    held = structure_removed(noisy + detail, truth + detail, spacing_mm=SPACING, modality="CT")
    assert found is not None
    assert held is not None
    assert found.invented < -0.15
    assert held.invented > -0.1


@pytest.mark.parametrize("floor", ["bias taken off", "air set to zero"])
def test_what_is_taken_off_air_is_no_structure_of_tissue(floor: str) -> None:
    rng = np.random.default_rng(3)
    i, j = np.mgrid[: SHAPE[0], : SHAPE[1]]
    inside = ((i - 100) / 85) ** 2 + ((j - 90) / 75) ** 2 < 1
    signal = np.where(inside, 200.0, 0.0)[..., None].repeat(SHAPE[2], axis=2)
    before = np.hypot(signal + rng.normal(0, 20, SHAPE), rng.normal(0, 20, SHAPE))
    mean = np.hypot(signal, 20 * np.sqrt(np.pi / 2))
    after = signal if floor == "bias taken off" else np.where(signal > 0, mean, 0)
    found = structure_removed(before.astype(np.float32), after.astype(np.float32), spacing_mm=SPACING, modality="MR")
    assert found is not None
    assert found.invented > -0.05
    assert abs(found.spot.strength) < 6


def test_noise_that_grows_from_slice_to_slice_is_no_structure() -> None:
    rng = np.random.default_rng(0)
    shape = (160, 160, 24)
    noise = ndimage.gaussian_filter(rng.normal(size=shape), (2.2, 2.2, 0))
    noise *= np.linspace(8, 40, shape[2]) / noise.std()
    i, j = np.mgrid[: shape[0], : shape[1]]
    truth = np.where(np.hypot(i - 80, j - 80) < 75, 40.0, -1000.0)[..., None]
    before, after = ((truth + share * noise).astype(np.float32) for share in (1.0, 0.3))
    found = structure_removed(before, after, spacing_mm=SPACING, modality="CT")
    assert found is not None
    assert found.weakened is None


@pytest.mark.parametrize(("modality", "contrast"), [("CT", 300.0), ("CT", -300.0), ("MR", -50.0)])
def test_what_was_no_tissue_itself_is_missed_too(modality: str, contrast: float) -> None:
    """A calcification, or a dark lesion of MR: by its own number it lies outside the tissue that is looked at."""
    i, j = np.mgrid[: SHAPE[0], : SHAPE[1]]
    body = np.where(np.hypot(i - 100, j - 90) < 80, 60.0, -1000.0 if modality == "CT" else 0.0)[..., None]
    lesion = contrast * (np.hypot(i - 100, j - 60) < 4)[..., None]
    noise = ndimage.gaussian_filter(np.random.default_rng(1).normal(0, 9, SHAPE), (0.7, 0.7, 0))
    before, after = ((one + noise * left).astype(np.float32) for one, left in ((body + lesion, 1.0), (body, 0.3)))
    for scan, copy, sign in ((before, after, 1), (after, before, -1)):
        found = structure_removed(scan, copy, spacing_mm=SPACING, modality=modality)
        assert found is not None
        assert found.spot.strength * sign * np.sign(contrast) > 8
        assert np.hypot(found.spot.place[0] - 100, found.spot.place[1] - 60) < 5
