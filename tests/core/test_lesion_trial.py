"""Lesions put into a scan that is judged: how visible they are, and which methods lose them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy import ndimage

from medn2n.core.lesion_trial import MOST_SLICES, LesionTrial, lesion_answer, lesion_figures, lesion_trial
from medn2n.core.limits import Limits
from medn2n.core.quality import quality, trials
from medn2n.core.scan_proof import scan_proof
from medn2n.core.volume import Volume
from tests.core.test_lesions import body


def scan(sigma: float = 8.0) -> Volume:
    return Volume(voxels=body(sigma=sigma), affine=np.diag([-0.8, -0.8, 2.0, 1.0]), unit="HU", modality="CT")


@pytest.fixture(scope="module")
def trial() -> LesionTrial:
    found = lesion_trial(scan(), np.random.default_rng(1))
    assert found is not None
    return found


def test_what_keeps_everything_is_told_so_and_what_keeps_half_the_difference_keeps_half(trial: LesionTrial) -> None:
    assert trial.without.voxels.shape[2] == MOST_SLICES
    assert trial.without.affine[2, 3] == 2 * 2.0  # two of the twelve slices lie below
    same = lesion_figures(lesion_answer(trial, lambda volume: volume))
    assert same["lesion_contrast"] == pytest.approx(1, abs=1e-5)
    assert same["lesion_size"] == pytest.approx(1, abs=1e-5)
    assert same["lesion_vanished"] == 0
    assert same["lesion_cnr_after"] == pytest.approx(same["lesion_cnr_before"], rel=1e-5)
    clean = trial.without.voxels

    def faded(volume: Volume) -> Volume:
        return volume.with_voxels(clean + 0.4 * (volume.voxels - clean))

    lost = lesion_figures(lesion_answer(trial, faded))
    assert lost["lesion_contrast"] == pytest.approx(0.4, abs=1e-4)
    assert lost["lesion_vanished"] == 1
    assert "lesion_size" not in lost


def test_visibility_is_the_contrast_over_the_spread_of_means_of_so_much_noise() -> None:
    """Against the spread of means over discs of 16 mm² in noise of the same kind, laid beside each other."""
    sigma = 20.0
    one = lesion_trial(scan(sigma), np.random.default_rng(1))
    assert one is not None
    white = np.random.default_rng(5).normal(size=(40, 160, 160))
    noise = ndimage.gaussian_filter(white, (0, 0.7, 0.7))
    noise *= sigma / noise.std()
    lesion = replace(one.lesions[0], diameter_mm=8.0, contrast=30.0, centre=(80.0, 80.0, 4.0))
    i, j = np.indices((160, 160)) - 80
    disc = np.hypot(i, j) * 0.8 < 4.0
    means = ndimage.convolve(noise, disc[70:91, 70:91][None] / disc.sum(), mode="wrap")[:, ::16, ::16]
    from medn2n.core.lesion_trial import _visibility
    from medn2n.core.noise_texture import noise_kernel

    kernel = noise_kernel(one.without.voxels).astype(np.float64)
    told = _visibility(lesion, (160, 160, 8), (0.8, 0.8, 2.0), kernel)
    assert told == pytest.approx(28.0 / means.std(), rel=0.15)  # its blurred rim leaves 28 of 30 HU on average


def test_the_gate_fails_a_method_that_takes_clear_lesions_and_asks_nothing_where_noise_hides_them() -> None:
    def gate(volume: Volume, method, limits: Limits):  # type: ignore[no-untyped-def]
        denoised = method(volume)
        asked = trials([volume], np.random.default_rng(1))
        found = quality([volume], denoised, method, scan_proof(volume, denoised), asked=asked, limits=limits,
                        repeats=False)  # fmt: skip
        return next(one for one in found.gates if one.name == "lesions"), found

    def smooth(width: float):  # type: ignore[no-untyped-def]
        return lambda volume: volume.with_voxels(ndimage.gaussian_filter(volume.voxels, (width, width, 0)))

    kept, found = gate(scan(), smooth(0.7), Limits())
    assert kept.passed
    assert found.figures["lesion_contrast"] > 0.9
    lost, found = gate(scan(), smooth(5.0), Limits())
    assert lost.passed is False
    assert lost.excess > 1
    assert found.figures["lesion_vanished"] > 0.3
    assert gate(scan(), smooth(0.7), Limits(lesion_contrast=0.999))[0].passed is False
    hidden, found = gate(scan(sigma=150.0), smooth(5.0), Limits())
    assert hidden.passed is None
    assert found.figures["lesion_count"] == 0
    assert "noise could hide" in hidden.words


def test_no_lesion_without_even_tissue() -> None:
    air = Volume(voxels=np.full((40, 40, 3), -1000, np.float32), affine=np.eye(4), unit="HU", modality="CT")
    assert lesion_trial(air, np.random.default_rng(0)) is None
