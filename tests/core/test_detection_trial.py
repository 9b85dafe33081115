"""A faint disc in an even phantom: when it can be asked, and what known methods do to it."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

from medn2n.core.detection_trial import DetectionTrial, detection_after, detection_trial
from medn2n.core.limits import Limits
from medn2n.core.quality import quality, trials
from medn2n.core.scan_proof import scan_proof
from medn2n.core.volume import Volume

AFFINE = np.diag([-1.0, -1.0, 3.0, 1.0])


def phantom(seed: int, *, slices: int = 1, edge: int = 160) -> Volume:
    """Water with a bone in it, in air, and noise of 20 HU as wide as a pixel."""
    noise = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=(edge, edge, slices)), (0.6, 0.6, 0))
    i, j = np.indices((edge, edge)) - edge / 2
    water = np.where(np.hypot(i, j) < edge / 2 - 4, 0.0, -1000.0)
    water[np.hypot(i - 20, j - 20) < 6] = 500
    voxels = (water[..., None] + 20 * noise / noise.std()).astype(np.float32)
    return Volume(voxels=voxels, affine=AFFINE, unit="HU", modality="CT")


@pytest.fixture(scope="module")
def trial() -> DetectionTrial:
    found = detection_trial([phantom(seed) for seed in range(12)])
    assert found is not None
    return found


def test_the_disc_is_found_with_the_auc_that_was_asked_for(trial: DetectionTrial) -> None:
    same = detection_after(trial, lambda volume: volume)
    assert same.before == pytest.approx(0.8, abs=0.04)
    assert same.change == 0
    assert same.interval[0] > -0.02
    i, j = np.indices((160, 160))
    water = (np.hypot(i - 80, j - 80) < 76) & (np.hypot(i - 100, j - 100) >= 6)
    side = trial.placed.side
    assert all(water[i : i + side, j : j + side].all() for i, j in trial.placed.corners)
    assert len(trial.placed.corners) > 50


def test_a_method_that_takes_the_disc_is_found_and_a_change_of_scale_is_none(trial: DetectionTrial) -> None:
    scaled = detection_after(trial, lambda volume: volume.with_voxels(volume.voxels * np.float32(0.3)))
    assert scaled.change == pytest.approx(0, abs=1e-6)
    worse = detection_after(trial, lambda volume: volume.with_voxels(ndimage.median_filter(volume.voxels, (9, 9, 1))))
    assert worse.change < -0.05
    assert worse.interval[0] < -0.02


@pytest.mark.parametrize("repeats", [2, 4])
def test_a_method_that_averages_slices_finds_the_disc_better(repeats: int) -> None:
    trial = detection_trial([phantom(seed, slices=8) for seed in range(repeats)])
    assert trial is not None
    averaged = detection_after(
        trial, lambda volume: volume.with_voxels(ndimage.convolve1d(volume.voxels, [0.25, 0.5, 0.25], axis=2))
    )
    assert averaged.before == pytest.approx(0.8, abs=0.05)
    assert averaged.change > 0.05


@pytest.mark.parametrize(("edge", "pixel_mm"), [(128, 0.1), (64, 30.0)])
def test_a_place_that_is_too_large_or_too_coarse_is_asked_nothing(edge: int, pixel_mm: float) -> None:
    affine = np.diag([-pixel_mm, -pixel_mm, 3.0, 1.0])
    scans = [
        Volume(voxels=phantom(seed, edge=edge).voxels, affine=affine, unit="HU", modality="CT") for seed in range(2)
    ]
    assert detection_trial(scans) is None


def test_the_gate_says_no_where_detection_is_lost_and_that_it_cannot_tell_in_a_patient() -> None:
    scans = [phantom(seed) for seed in range(12)]

    def gate(scans: list[Volume], method):  # type: ignore[no-untyped-def]
        denoised = method(scans[0])
        asked = trials(scans, np.random.default_rng(0))
        found = quality(scans, denoised, method, scan_proof(scans[0], denoised), asked=asked, limits=Limits(),
                        repeats=False)  # fmt: skip
        return next(one for one in found.gates if one.name == "detectability")

    assert gate(scans, lambda volume: volume).passed
    lost = gate(scans, lambda volume: volume.with_voxels(ndimage.median_filter(volume.voxels, (9, 9, 1))))
    assert lost.passed is False
    assert lost.excess > 1
    alone = gate(scans[:1], lambda volume: volume)
    assert alone.passed is None
    assert alone.words.startswith("Not measured: too little even area")


def test_slices_of_one_scan_are_enough_and_too_few_images_are_not() -> None:
    assert detection_trial([phantom(0, slices=12)]) is not None
    assert detection_trial([phantom(0, slices=4)]) is None
    assert detection_trial([phantom(seed, edge=64) for seed in range(12)]) is None


def test_structure_is_no_even_area() -> None:
    fine = np.random.default_rng(9).normal(size=(160, 160, 1)).astype(np.float32)
    stripes = 60 * ndimage.gaussian_filter(fine, (3, 3, 0)) * 8
    scans = [one.with_voxels(one.voxels + stripes) for one in (phantom(seed) for seed in range(12))]
    assert detection_trial(scans) is None


def test_what_can_be_undone_loses_nothing_in_the_noise_of_a_real_reconstruction() -> None:
    root = os.environ.get("MEDN2N_DATA")
    if not root:
        pytest.skip("MEDN2N_DATA is not set")
    with np.load(Path(root) / "ct_sim" / "lcdct_fbp_dose010_signal_absent.npz") as stored:
        slices = stored["hu"].astype(np.float32) - 1000
    affine = np.diag([-0.6445, -0.6445, 1.0, 1.0])
    scans = [Volume(voxels=one[..., None].copy(), affine=affine, unit="HU", modality="CT") for one in slices]
    found = detection_trial(scans)
    assert found is not None
    centres = found.placed.corners + found.placed.side / 2 - 128
    assert np.hypot(centres[:, 0], centres[:, 1]).max() < 116  # the water, not the air around it
    same = detection_after(found, lambda one: one.with_voxels(ndimage.gaussian_filter(one.voxels, (0.8, 0.8, 0))))
    assert same.before == pytest.approx(0.8, abs=0.05)
    assert abs(same.change) < 0.015
    assert same.interval[0] > -0.02


def test_pixels_that_are_not_square_are_asked_nothing() -> None:
    affine = np.diag([-0.5, -1.0, 3.0, 1.0])
    scans = [replace(phantom(seed), affine=affine) for seed in range(4)]
    assert detection_trial(scans) is None
