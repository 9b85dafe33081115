"""The pair check against built faults of known size, and against real repeats and non-repeats."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from medn2n.core.pair_check import check_pair
from medn2n.core.pair_measures import whole_pixel_shift
from tests.built_repeats import head, moved, repeats

SIGMA = 15.0  # SNR 20


def second_scan(image: np.ndarray, sigma: float = SIGMA) -> np.ndarray:
    return repeats(image, sigma, seed=7)[1]


def first_scan(image: np.ndarray, sigma: float = SIGMA) -> np.ndarray:
    return repeats(image, sigma, seed=7)[0]


@pytest.mark.parametrize("snr", [5, 20, 100])
def test_independent_repeats_are_fit(snr: int) -> None:
    for seed in range(3):
        image = head(seed=seed)
        result = check_pair(first_scan(image, 300 / snr), second_scan(image, 300 / snr))
        assert result.verdict == "fit", result.reason
        assert result.sigma_pair == pytest.approx(300 / snr, rel=0.05)
        assert abs(result.noise_correlation) < 0.12
        assert result.gain == pytest.approx(1, abs=0.008)


@pytest.mark.parametrize("shift", [(0.25, 0, 0), (0, -0.25, 0), (0.2, 0.2, 0), (3.4, -1.3, 0), (0, 0, 0.5)])
def test_a_shift_is_found_and_measured(shift: tuple[float, float, float]) -> None:
    image = head(shape=(128, 128, 10))
    result = check_pair(first_scan(image), second_scan(moved(image, shift)))
    assert result.verdict != "fit"
    assert result.same_object
    assert result.shift[:2] == pytest.approx(shift[:2], abs=0.1)
    if max(map(abs, shift)) < 1 and not shift[2]:
        assert result.code == "SHIFT"


def test_whole_pixel_shift_of_equal_scans_is_none() -> None:
    image = head()
    assert whole_pixel_shift(first_scan(image), second_scan(image)) == (0, 0)
    assert whole_pixel_shift(first_scan(image), second_scan(moved(image, (5, -3, 0)))) == (5, -3)


@pytest.mark.parametrize("gain", [0.95, 0.99, 1.01, 1.05])
def test_a_gain_is_found_and_measured(gain: float) -> None:
    image = head()
    result = check_pair(first_scan(image), second_scan(image) * np.float32(gain))
    assert (result.verdict, result.code) == ("correctable", "INTENSITY")
    assert result.gain == pytest.approx(gain, abs=0.002)


def test_an_offset_is_found_and_measured() -> None:
    image = head()
    result = check_pair(first_scan(image), second_scan(image) + np.float32(0.5 * SIGMA))
    assert (result.verdict, result.code) == ("correctable", "INTENSITY")
    assert result.offset == pytest.approx(0.5 * SIGMA, abs=0.05 * SIGMA)


def test_another_contrast_is_no_pair() -> None:
    image = head()
    assert check_pair(first_scan(image), second_scan(image) * np.float32(1.5)).code == "INTENSITY"
    assert check_pair(first_scan(image), second_scan(image) * np.float32(1.5)).verdict == "unfit"


@pytest.mark.parametrize("shared", [0.3, 0.6])
def test_shared_noise_is_caught(shared: float) -> None:
    result = check_pair(*repeats(head(), SIGMA, seed=5, shared=shared))
    assert (result.verdict, result.code) == ("unfit", "SHARED_NOISE")
    assert result.noise_correlation == pytest.approx(shared, abs=0.1)


def test_the_same_data_is_refused() -> None:
    scan = first_scan(head())
    assert check_pair(scan, scan.copy()).code == "IDENTICAL"
    assert check_pair(scan, scan * np.float32(1.02)).verdict == "unfit"


def test_other_subject_other_grid_and_nothing_to_see() -> None:
    first = first_scan(head(seed=0))
    other = check_pair(first, second_scan(head(seed=501)))
    assert other.verdict == "unfit"
    assert check_pair(first, first[:-1]).code == "OTHER_GRID"
    assert check_pair(first, np.zeros_like(first)).code == "TOO_LITTLE"
    assert check_pair(first[:20, :20, :1], second_scan(head(seed=0))[:20, :20, :1]).code == "TOO_LITTLE"


def test_a_turned_head_is_structure() -> None:
    image = head()
    turned = ndimage.rotate(image, 2.0, reshape=False, order=3, mode="nearest")
    result = check_pair(first_scan(image, 6.0), second_scan(turned, 6.0))
    assert (result.verdict, result.code) == ("unfit", "STRUCTURE")
    assert result.edge_ratio > 1.6


def test_without_flat_area_independence_is_unproven_unless_measured_apart() -> None:
    rng = np.random.default_rng(0)
    textured = head() + 60 * rng.standard_normal((128, 128, 1)) * rng.lognormal(0, 1, (128, 128, 1))
    first, second = first_scan(np.abs(textured), 4.0), second_scan(np.abs(textured), 4.0)
    first[head() < 1] = 0
    second[head() < 1] = 0
    alone = check_pair(first, second)
    assert alone.verdict == "unproven"
    assert "could hide" in alone.reason
    assert check_pair(first, second, acquired_apart=True).verdict == "fit"


def test_figures_are_plain_numbers() -> None:
    figures = check_pair(*repeats(head(), SIGMA, seed=5)).figures()
    assert {"gain", "shift_i_voxels", "noise_correlation", "edge_ratio", "sigma_pair"} <= set(figures)
    assert all(isinstance(value, float) and np.isfinite(value) for value in figures.values())


@settings(max_examples=12, deadline=None)
@given(
    seed=st.integers(0, 99),
    shift=st.sampled_from([0.0, 0.3]),
    gain=st.sampled_from([1.0, 1.02]),
    shared=st.sampled_from([0.0, 0.4]),
)
def test_the_verdict_does_not_depend_on_which_is_first(seed: int, shift: float, gain: float, shared: float) -> None:
    image = head(seed=seed)
    first = repeats(image, SIGMA, seed=seed, shared=shared)[0]
    second = repeats(moved(image, (shift, 0, 0)), SIGMA, seed=seed, shared=shared)[1] * np.float32(gain)
    there, back = check_pair(first, second, turn=False), check_pair(second, first, turn=False)
    assert (there.verdict, there.code) == (back.verdict, back.code)
    np.testing.assert_allclose(there.shift[:2], -np.array(back.shift[:2]), atol=0.03)
    assert there.gain * back.gain == pytest.approx(1, abs=0.003)


def test_a_fault_in_a_pair_of_unproven_independence_is_named_but_does_not_train() -> None:
    rng = np.random.default_rng(0)
    textured = np.abs(head() + 60 * rng.standard_normal((128, 128, 1)) * rng.lognormal(0, 1, (128, 128, 1)))
    first, second = first_scan(textured, 4.0), second_scan(textured, 4.0) * np.float32(1.03)
    first[head() < 1] = 0
    second[head() < 1] = 0
    alone = check_pair(first, second)
    assert (alone.verdict, alone.code) == ("unproven", "INTENSITY")
    assert "declare" in alone.reason
    assert check_pair(first, second, acquired_apart=True).verdict == "correctable"


def test_what_the_object_does_not_show_is_not_made_up() -> None:
    """A uniform slab: no contrast that would show a gain, nothing along K that would show a shift."""
    rng = np.random.default_rng(1)
    disc = np.where(head((128, 128, 6)) > 30, 300.0, 0.0)[:, :, :1].repeat(6, axis=2)
    first, second = (np.where(disc > 0, disc + SIGMA * rng.normal(size=disc.shape), 0).astype(np.float32) for _ in "ab")
    result = check_pair(first, second + np.float32(0.3 * SIGMA) * (disc > 0))
    assert result.shift[2] == 0
    assert np.isinf(result.shift_error[2])
    assert result.code == "INTENSITY"


REAL = [
    ("mr/studyforrest_bold_16frames.nii.gz", 0, 1, {"fit", "correctable"}),
    ("mr/heudiconv_b0_pair_prisma.nii.gz", 0, 1, {"fit", "correctable"}),
    ("mr/sct_spinal_fmri_30rep.nii.gz", 0, 2, {"fit", "correctable"}),
    ("mr/prostatex0207_skyra_dce_pre6.nii.gz", 0, 4, {"fit", "correctable"}),
    ("mr/prostatex0207_skyra_t2tra_scan_rescan.nii.gz", 0, 1, {"correctable", "unfit"}),
    ("mr/prostatex0207_skyra_t2cor_scan_rescan.nii.gz", 0, 1, {"correctable", "unfit"}),
    *(("mr/nih_ge_epi_motion_10rep.nii.gz", 0, frame, {"unfit", "correctable"}) for frame in range(1, 10)),
]


def real(path: str) -> np.ndarray:
    root = os.environ.get("MEDN2N_DATA")
    if not root:
        pytest.skip("MEDN2N_DATA is not set")
    nibabel = pytest.importorskip("nibabel")
    return np.asarray(nibabel.load(Path(root) / path).dataobj).astype(np.float32)


@pytest.mark.parametrize(("path", "first", "second", "expected"), REAL)
def test_real_repeats_and_moved_heads(path: str, first: int, second: int, expected: set[str]) -> None:
    voxels = real(path)
    result = check_pair(voxels[..., first], voxels[..., second], acquired_apart=True)
    assert result.verdict in expected, result.reason


def test_one_raw_scan_reconstructed_twice_is_no_pair() -> None:
    smooth = real("ct/philips_skullphantom_UB_1mm_iDose_z66-73.nii.gz")
    sharp = real("ct/philips_skullphantom_YA_bone_1mm_z66-73.nii.gz")
    assert check_pair(smooth, sharp).verdict == "unfit"


@pytest.mark.parametrize("dose", ["010", "100"])
def test_simulated_ct_draws_are_fit(dose: str) -> None:
    root = os.environ.get("MEDN2N_DATA")
    if not root:
        pytest.skip("MEDN2N_DATA is not set")
    archive = np.load(Path(root) / f"ct_sim/lcdct_fbp_dose{dose}_signal_present.npz")
    draws = next(archive[key] for key in archive if archive[key].ndim == 3).astype(np.float32)
    assert check_pair(draws[0].T[:, :, None], draws[1].T[:, :, None]).verdict == "fit"


@pytest.mark.parametrize(("rho", "code"), [(0.0, "FIT"), (0.3, "SHARED_NOISE")])
def test_frames_of_an_even_object_that_share_noise(rho: float, code: str) -> None:
    """Separate acquisitions share none; where nearly all is even, no ringing or ghost can pass for it."""
    generator = np.random.default_rng(6)
    disc = np.where(np.hypot(*(np.indices((128, 128)) - 64)) < 50, 800.0, 0.0)[..., None] - 1000
    disc = ndimage.gaussian_filter(np.repeat(disc, 6, axis=2), (0.8, 0.8, 0))
    one, own = generator.normal(0, 20, (2, *disc.shape))
    result = check_pair(disc + one, disc + rho * one + np.sqrt(1 - rho**2) * own, acquired_apart=True)
    assert result.code == code
