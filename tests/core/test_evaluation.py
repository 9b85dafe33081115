"""Figures of one denoised scan, and what is summed up over many."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from medn2n.core import evaluation, scores
from medn2n.core.volume import Volume


def scan(seed: int = 0, sigma: float = 20.0, modality: str = "CT") -> Volume:
    i, j, _ = np.indices((96, 96, 3))
    body = np.where((i - 48) ** 2 + (j - 48) ** 2 < 40**2, 50.0, -1000.0)
    noise = np.random.default_rng(seed).normal(0, sigma, body.shape)
    return Volume(
        voxels=(body + noise).astype(np.float32),
        affine=np.eye(4),
        unit="HU" if modality == "CT" else "a.u.",
        modality=modality,
    )


def test_a_single_scan_tells_noise_and_shift() -> None:
    before = scan()
    truth = scan(sigma=0)
    after = before.with_voxels(truth.voxels + 0.5 * (before.voxels - truth.voxels) + 3)
    found = evaluation.single_scan_figures(before, after)
    assert found.noise_left == pytest.approx(0.5, abs=0.01)
    assert found.noise_before == pytest.approx(20, rel=0.1)
    assert found.mean_shift == pytest.approx(3, abs=0.3)
    assert found.minimum[0] == before.voxels.min()
    assert found.maximum[1] == after.voxels.max()


def test_padding_counts_nowhere_and_the_first_frame_stands_for_a_series() -> None:
    before = scan()
    voxels = before.voxels.copy()
    padding = np.zeros(voxels.shape, dtype=bool)
    padding[:10] = True
    voxels[padding] = -3024
    padded = Volume(voxels=voxels, affine=np.eye(4), unit="HU", modality="CT", padding=padding)
    found = evaluation.single_scan_figures(padded, padded)
    assert found.minimum == (before.voxels[10:].min(),) * 2
    assert found.noise_left == 1
    frames = Volume(voxels=np.stack([before.voxels] * 2, -1), affine=np.eye(4), unit="HU", modality="CT")
    assert evaluation.single_scan_figures(frames, frames).noise_before == pytest.approx(
        evaluation.single_scan_figures(before, before).noise_before
    )


def test_figures_with_truth_are_windowed_for_ct_and_relative_for_mr() -> None:
    truth, noisy = scan(sigma=0), scan()
    ct = evaluation.figures_with_truth(truth, noisy, noisy)
    assert ct["rmse"] == pytest.approx(20, rel=0.02)
    assert ct["psnr_db"] > 20 * np.log10(400 / 20)  # air is clipped away by the window
    mr_truth = truth.with_voxels(truth.voxels + 1000)
    mr = [
        Volume(voxels=v.copy(), affine=np.eye(4), unit="a.u.", modality="MR")
        for v in (mr_truth.voxels, noisy.voxels + 1000)
    ]
    figures = evaluation.figures_with_truth(mr[0], mr[1], mr[1])
    assert figures["rmse"] == pytest.approx(20 / 1050, rel=0.02)
    assert figures["psnr_db"] == pytest.approx(-20 * np.log10(figures["rmse"]), abs=1e-3)


def score(group: str, psnr: float, bias: float) -> scores.Score:
    return scores.Score(
        group=group,
        subject=group,
        modality="CT",
        question="truth",
        method="m",
        figures={"psnr_db": psnr, "bias": bias},
    )


def test_a_summary_has_the_mean_the_worst_and_an_interval_from_three_patients_on() -> None:
    generator = np.random.default_rng(0)
    (two,) = scores.summarise([score("a", 30, 1), score("b", 32, -2)], generator)
    assert (two.figures["psnr_db"], two.worst["psnr_db"], two.worst["bias"]) == (31, 30, -2)
    assert not two.intervals
    (three,) = scores.summarise([score(g, p, 0) for g, p in (("a", 30), ("b", 32), ("c", 34))], generator)
    low, high = three.intervals["psnr_db"]
    assert (low, high) == (pytest.approx(32 - 4.30 * 2 / 3**0.5, abs=0.6), pytest.approx(64 - low, abs=0.6))  # Student
    assert evaluation.truth_scale(np.zeros((2, 2, 2), np.float32), "MR") == 1


def test_a_psnr_that_chance_made_infinite_is_no_part_of_the_mean() -> None:
    generator = np.random.default_rng(0)
    (found,) = scores.summarise([score("a", 30, 1), score("b", np.inf, 1), score("c", 32, 1)], generator)
    assert found.figures["psnr_db"] == 31
    assert "psnr_db" not in found.intervals
    two = [replace(score("a", 30, 1), subject="one"), replace(score("b", np.inf, 1), subject="one")]
    (patient,) = scores.patient_means(two)
    assert patient.figures["psnr_db"] == 30
    (found,) = scores.summarise([score("a", np.inf, 1)], generator)
    assert found.figures["psnr_db"] == np.inf


def test_the_worst_of_a_share_is_the_largest_and_of_a_size_the_farthest_from_one() -> None:
    both = [
        replace(score("a", 30, 0), figures={"share": -0.05, "lesion_size": 1.0, "rmse_three": np.nan}),
        replace(score("b", 30, 0), figures={"share": 0.02, "lesion_size": 0.4, "rmse_three": 3.0}),
    ]
    (found,) = scores.summarise(both, np.random.default_rng(0))
    assert dict(found.worst) == {"share": 0.02, "lesion_size": 0.4, "rmse_three": 3.0}


def test_the_interval_of_what_has_no_sign_ends_at_zero_and_of_what_has_one_does_not() -> None:
    three = [
        replace(score(g, 30, 0), figures={"rmse/lung": v, "bias": v, "ssim/lung": v / 9, "auc_after": v / 9})
        for g, v in (("a", 0), ("b", 0), ("c", 9.0))
    ]
    (found,) = scores.summarise(three, np.random.default_rng(0))
    assert found.intervals["rmse/lung"][0] == 0
    assert found.intervals["bias"][0] < 0
    assert found.intervals["ssim/lung"][1] == 1
    assert found.intervals["auc_after"] == (0, 1)
