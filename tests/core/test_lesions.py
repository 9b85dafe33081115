"""Lesions put into scans: their shape, their places, and what known methods leave of them."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

from medn2n.core.lesions import GAP_MM, Lesion, draw_lesions, place_lesions, recovered

SPACING = (0.7, 0.7, 2.0)
SHAPE = (96, 96, 12)
DISC = Lesion(centre=(48.0, 47.0, 6.0), diameter_mm=8.0, contrast=30.0, blur_mm=0.6, shape="disc")


def body(seed: int = 0, sigma: float = 12.0) -> np.ndarray:
    """(160,160,12) HU: a flat organ in fat in air, a bone, vessels, and smooth noise."""
    rng = np.random.default_rng(seed)
    i, j = np.indices((160, 160)) - 80
    image = np.full((160, 160, 12), -1000.0)
    image[np.hypot(i, j) < 75] = -100
    image[np.hypot(i, j) < 65] = 50
    image[np.hypot(i - 30, j - 30) < 8] = 600
    for x, y in ((-40, 10), (-20, -30), (20, -20)):
        image[np.hypot(i - x, j - y) < 3] = 180
    noise = ndimage.gaussian_filter(rng.normal(size=image.shape), (0.7, 0.7, 0))
    return (ndimage.gaussian_filter(image, (1, 1, 0)) + sigma * noise / noise.std()).astype(np.float32)


@pytest.mark.parametrize("shape", ["sphere", "disc"])
@pytest.mark.parametrize("diameter", [3.0, 10.0])
def test_a_lesion_has_its_volume_and_contrast(shape: str, diameter: float) -> None:
    lesion = Lesion(centre=(48.3, 47.6, 6.2), diameter_mm=diameter, contrast=-20.0, blur_mm=0.7, shape=shape)
    drawn = draw_lesions(SHAPE, SPACING, [lesion]).astype(np.float64)
    volume = drawn.sum() * np.prod(SPACING) / -20.0
    slices = sum(abs(k - 6.2) * 2.0 <= diameter / 2 for k in range(12))
    expected = np.pi * diameter**3 / 6 if shape == "sphere" else np.pi / 4 * diameter**2 * 2.0 * slices
    assert volume == pytest.approx(expected, rel=0.03)
    centre = [float((n * drawn).sum() / drawn.sum()) for n in np.indices(SHAPE)]
    assert centre[:2] == pytest.approx((48.3, 47.6), abs=0.03)
    assert drawn.max() <= 0
    if diameter == 10.0:
        assert drawn.min() == pytest.approx(-20.0, rel=0.02)


def test_a_small_sphere_fills_a_thick_slice_only_in_part() -> None:
    lesion = Lesion(centre=(48.0, 48.0, 6.0), diameter_mm=4.0, contrast=30.0, blur_mm=0.1)
    drawn = draw_lesions(SHAPE, (0.7, 0.7, 8.0), [lesion])
    assert drawn[48, 48, 6] == pytest.approx(30 * 4 / 8, rel=0.05)  # 4 mm of it in a slice of 8 mm
    assert not drawn[:, :, 5].any()
    found = recovered(lesion, drawn, (0.7, 0.7, 8.0))
    assert found.contrast == pytest.approx(1)
    assert found.inserted_diameter_mm < 4.0


@pytest.mark.parametrize("centre", [(48.0, 47.0, 6.0), (50.4, 44.7, 5.3)])
@pytest.mark.parametrize("diameter", [3.0, 6.0, 10.0])
def test_doing_nothing_leaves_everything(centre: tuple[float, float, float], diameter: float) -> None:
    lesion = replace(DISC, centre=centre, diameter_mm=diameter)
    found = recovered(lesion, draw_lesions(SHAPE, SPACING, [lesion]), SPACING)
    assert found.contrast == pytest.approx(1, abs=1e-6)
    assert found.diameter_mm == found.inserted_diameter_mm == pytest.approx(diameter, rel=0.05)
    assert not found.vanished


@pytest.mark.parametrize("diameter", [3.0, 5.0, 8.0])
@pytest.mark.parametrize("width_mm", [0.8, 1.5, 3.0])
def test_a_blur_leaves_what_theory_says(diameter: float, width_mm: float) -> None:
    """At the middle of a disc of radius r a Gaussian leaves 1 − exp(−r²/2s²) (the disc's own blur included)."""
    lesion = replace(DISC, diameter_mm=diameter)
    drawn = draw_lesions(SHAPE, SPACING, [lesion]).astype(np.float64)
    after = ndimage.gaussian_filter(drawn, (width_mm / 0.7, width_mm / 0.7, 0))
    found = recovered(lesion, after, SPACING)

    def left(variance: float, at: np.ndarray) -> np.ndarray:
        """Of the disc under a Gaussian, at distances from its middle: by summing rings of 2D Gaussian weights."""
        from scipy.special import ive

        r = (np.arange(4000) + 0.5) * diameter / 2 / 4000
        ring = r / variance * np.exp(-((r - at[:, None]) ** 2) / (2 * variance)) * ive(0, r * at[:, None] / variance)
        return ring.sum(axis=1) * diameter / 2 / 4000

    assert left(2.0, np.zeros(1))[0] == pytest.approx(1 - np.exp(-(diameter**2) / 16), abs=1e-4)
    i, j = np.indices((96, 96))
    away = np.hypot((i - 48) * 0.7, (j - 47) * 0.7)
    core = away[away <= diameter / 4]  # of a lesion of 3 mm, the middle pixel and its four neighbours
    own = 0.6**2 + 0.7**2 / 12  # the lesion's edge, and the pixel
    expected = left(own + width_mm**2, core).sum() / left(own, core).sum()
    assert found.contrast == pytest.approx(expected, abs=0.012)
    middle = after[48, 47, 6] / drawn[48, 47, 6]
    ratio = [1 - np.exp(-(diameter**2) / 8 / v) for v in (own + width_mm**2, own)]
    assert middle == pytest.approx(ratio[0] / ratio[1], abs=0.012)
    assert found.vanished == (expected < 0.5)
    if width_mm > diameter / 3:
        assert found.diameter_mm > 1.1 * found.inserted_diameter_mm


def test_a_method_that_removes_the_lesion_is_found() -> None:
    lesion = replace(DISC, diameter_mm=4.0, contrast=15.0)
    scan = body()[32:128, 32:128].astype(np.float64)
    with_it = scan + draw_lesions(SHAPE, SPACING, [lesion])

    def median(voxels: np.ndarray) -> np.ndarray:
        return ndimage.median_filter(voxels, (13, 13, 1))

    found = recovered(lesion, median(with_it) - median(scan), SPACING)
    assert found.contrast < 0.3
    assert found.vanished
    kept = recovered(lesion, with_it - scan, SPACING)
    assert kept.contrast == pytest.approx(1, abs=1e-4)
    nothing = recovered(lesion, np.zeros(SHAPE), SPACING)
    assert (nothing.contrast, nothing.diameter_mm, nothing.vanished) == (0.0, 0.0, True)
    inverted = recovered(lesion, scan - with_it, SPACING)
    assert inverted.contrast == pytest.approx(-1, abs=1e-4)
    assert inverted.vanished


def test_a_lesion_that_shrinks_or_grows_has_another_diameter() -> None:
    for diameter in (5.0, 11.0):
        other = draw_lesions(SHAPE, SPACING, [replace(DISC, diameter_mm=diameter)])
        found = recovered(DISC, other, SPACING)
        assert found.diameter_mm == pytest.approx(diameter, rel=0.06)
        assert found.inserted_diameter_mm == pytest.approx(8.0, rel=0.03)


def test_lesions_lie_in_flat_tissue_apart_from_one_another_and_by_the_seed() -> None:
    scan = body()
    lesions = place_lesions(scan, SPACING, generator=np.random.default_rng(3), count=6)
    assert lesions == place_lesions(scan, SPACING, generator=np.random.default_rng(3), count=6)
    assert lesions != place_lesions(scan, SPACING, generator=np.random.default_rng(4), count=6)
    assert len(lesions) == 6
    clean = body(sigma=1e-3)
    for n, lesion in enumerate(lesions):
        assert 3 <= lesion.diameter_mm <= 10
        assert 10 <= abs(lesion.contrast) <= 60
        i, j, k = (round(c) for c in lesion.centre)
        around = clean[i - 10 : i + 11, j - 10 : j + 11, k]
        assert np.ptp(around[np.hypot(*(np.indices((21, 21)) - 10)) * 0.7 < lesion.diameter_mm / 2 + 2]) < 5
        for other in lesions[:n]:
            gap = np.linalg.norm((np.array(lesion.centre) - other.centre) * SPACING)
            assert gap - (lesion.diameter_mm + other.diameter_mm) / 2 >= GAP_MM
    assert {lesion.contrast > 0 for lesion in lesions} == {True, False}


def test_where_tissue_is_not_flat_no_lesion_is_put() -> None:
    scan = body()
    scan[80:] += 60 * np.sin(np.arange(160) / 3)[:, None].astype(np.float32)  # stripes over one half
    many = place_lesions(scan, SPACING, generator=np.random.default_rng(3), count=100)
    assert len(many) >= 6
    assert max(lesion.centre[0] for lesion in many) < 80


def test_less_than_half_the_contrast_has_vanished() -> None:
    drawn = draw_lesions(SHAPE, SPACING, [DISC])
    assert recovered(DISC, 0.49 * drawn, SPACING).vanished
    assert not recovered(DISC, 0.51 * drawn, SPACING).vanished


def test_a_scan_without_room_gets_fewer() -> None:
    many = place_lesions(body(), SPACING, generator=np.random.default_rng(3), count=1000)
    assert 6 < len(many) < 200
    small = body()[70:90, 70:90]
    assert place_lesions(small, SPACING, generator=np.random.default_rng(3)) == []


def test_a_lesion_outside_the_scan_is_refused() -> None:
    with pytest.raises(ValueError, match="outside the scan"):
        draw_lesions(SHAPE, SPACING, [replace(DISC, centre=(300.0, 20.0, 6.0))])


def test_in_a_real_scan_lesions_are_placed_in_soft_tissue_and_recovered() -> None:
    root = os.environ.get("MEDN2N_DATA")
    if not root:
        pytest.skip("MEDN2N_DATA is not set")
    import nibabel

    scan = nibabel.load(Path(root) / "ct" / "crlm1006_ge_5mm_liver_contrast.nii.gz")
    voxels = np.asarray(scan.dataobj)[:, :, :6].astype(np.float32)
    spacing = tuple(float(edge) for edge in scan.header.get_zooms()[:3])
    lesions = place_lesions(voxels, spacing, generator=np.random.default_rng(0), count=8, padding=voxels < -1024)
    assert len(lesions) >= 4
    added = draw_lesions(voxels.shape, spacing, lesions)
    blurred = ndimage.gaussian_filter(voxels + added, (2, 2, 0)) - ndimage.gaussian_filter(voxels, (2, 2, 0))
    for lesion in lesions:
        i, j, k = (round(c) for c in lesion.centre)
        assert -150 < voxels[i - 5 : i + 6, j - 5 : j + 6, k].mean() < 300
        assert recovered(lesion, (voxels + added) - voxels, spacing).contrast == pytest.approx(1, abs=1e-3)
        assert 0.1 < recovered(lesion, blurred, spacing).contrast < 1.0
