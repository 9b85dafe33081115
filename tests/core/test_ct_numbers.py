"""CT numbers and MR signal before and after, on objects whose numbers are known."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from medn2n.core.ct_numbers import MOST_VOXELS, PartNumbers, away_from_edges, ct_numbers, ct_regions, mr_signal

TISSUES = {"air": -1000.0, "lung": -820.0, "fat": -100.0, "soft tissue": 45.0, "bone": 700.0}


def body(slices: int = 4) -> np.ndarray:
    """Bands of all five regions, 24 pixels wide."""
    bands = np.repeat(list(TISSUES.values()), 24)
    return np.broadcast_to(bands[:, None, None], (120, 96, slices)).astype(np.float32).copy()


def noisy(sigma: float = 30.0, seed: int = 0) -> np.ndarray:
    truth = body()
    return (truth + np.random.default_rng(seed).normal(0, sigma, truth.shape)).astype(np.float32)


def test_each_region_has_its_number_and_shift_within_their_errors() -> None:
    before = noisy()
    after = body() + 3
    found = ct_numbers(before, after)
    assert [one.region for one in found] == list(TISSUES)
    for one in found:
        assert abs(one.before - TISSUES[one.region]) < 4 * one.shift_error
        assert one.after == TISSUES[one.region] + 3
        assert abs(one.shift - 3) < 4 * one.shift_error
        assert one.shift_error == pytest.approx(30 / np.sqrt(one.voxels), rel=0.6)


def test_the_standard_error_is_the_spread_over_noise() -> None:
    shifts, errors = [], []
    for seed in range(40):
        soft = next(one for one in ct_numbers(noisy(seed=seed), body()) if one.region == "soft tissue")
        shifts.append(soft.shift)
        errors.append(soft.shift_error)
    assert np.mean(errors) == pytest.approx(np.std(shifts), rel=0.35)
    assert abs(np.mean(shifts)) < 3 * np.std(shifts) / np.sqrt(40)


@pytest.mark.parametrize("where", ["slice 2", "the field of 60 pixels from (60, 60)"])
def test_a_part_that_moved_is_named(where: str) -> None:
    before, after = noisy(sigma=10), body()
    moved = np.s_[..., 2] if where.startswith("slice") else np.s_[60:, 60:]
    after[moved] += 4
    assert _soft_part(before, after).name == where
    assert _soft_part(before, after).shift == pytest.approx(4, abs=1)


def test_parts_that_did_not_move_rarely_exceed_chance() -> None:
    parts = [_soft_part(noisy(seed=seed), body()) for seed in range(60)]
    assert sum(abs(one.shift) > one.chance for one in parts) <= 8  # 5 % of 60 are 3


def test_one_slice_of_a_large_scan_is_seen_wherever_it_lies() -> None:
    def scan(seed: int) -> tuple[np.ndarray, np.ndarray]:
        truth = np.full((192, 192, 120), 45, np.float32)  # 4.4 million voxels, of which every fourth slice is sampled
        return truth + np.random.default_rng(seed).normal(0, 20, truth.shape).astype(np.float32), truth

    for slice_, seed in ((0, 0), (37, 1), (38, 2), (119, 3)):
        before, after = scan(seed)
        after[..., slice_] += 2
        part = _soft_part(before, after)
        assert part.name == f"slice {slice_}"
        assert part.shift - part.chance > 1.2
    still = [_soft_part(*scan(seed)) for seed in range(4, 8)]
    assert max(abs(one.shift) - one.chance for one in still) < 0.2


def test_images_of_few_pixels_and_values_that_no_scan_has_are_borne() -> None:
    narrow = np.full((3, 300, 2000), 40, np.float32)  # large enough to be sampled
    (soft,) = ct_numbers(narrow, narrow)
    assert (soft.region, soft.shift, soft.part) == ("soft tissue", 0, None)
    scan = np.full((200, 200, 60), 40, np.float32)
    wild = scan.copy()
    wild[5, 5], wild[7, 7, 3], wild[9, 9, 4] = 3e38, np.inf, np.nan
    assert ct_numbers(scan, wild)[0].shift > 1e30


def _soft_part(before: np.ndarray, after: np.ndarray) -> PartNumbers:
    part = next(one.part for one in ct_numbers(before, after) if one.region == "soft tissue")
    assert part is not None
    return part


def test_edges_padding_and_missing_numbers_do_not_count() -> None:
    before = body()
    padding = np.zeros(before.shape, bool)
    padding[:, :40] = True
    before[padding] = -3024
    blurred = before.copy()
    blurred[23:25] += 500  # what a filter did at the edge of air and lung
    blurred[padding] = 9999
    blurred[60, 60, 0] = np.nan
    assert all(one.shift == 0 for one in ct_numbers(before, blurred, padding))
    counted = {one.region: one.voxels for one in ct_numbers(before, blurred, padding)}
    # The smoothed copy is mixed 2 pixels beyond an edge, and 2 more are left out: 16 of an inner band's 24 rows.
    assert counted["fat"] <= 20 * 56 * 4
    assert counted["fat"] >= 16 * 50 * 4 - 25


def test_a_large_scan_is_sampled_evenly() -> None:
    big = np.broadcast_to(np.float32(40), (512, 512, 30))
    (soft,) = ct_numbers(big, big + 1)
    assert soft.voxels <= 1.1 * MOST_VOXELS  # whole slices
    assert soft.shift == 1
    bad_end = np.array(big)
    bad_end[..., -2:] = 2000
    assert [one.region for one in ct_numbers(bad_end, bad_end)] == ["soft tissue"]


def test_regions_do_not_overlap_and_leave_mixtures_out() -> None:
    values = np.array([-1000, -950, -949, -500, -499, -190, -100, -30, -29, 150, 151, 200, 201], np.float32)
    assert ct_regions(values).tolist() == [1, 1, 2, 2, 0, 0, 3, 3, 4, 4, 0, 0, 5]
    labels = np.ones((9, 9, 1), np.uint8)
    labels[4, 4] = 2
    assert np.count_nonzero(~away_from_edges(labels)) == 25


@settings(max_examples=15, deadline=None)
@given(gain=st.floats(0.5, 1.5))
def test_an_mr_signal_share_is_the_gain(gain: float) -> None:
    i, j, _ = np.indices((64, 64, 3))
    head = np.where((i - 32) ** 2 + (j - 32) ** 2 < 26**2, 300.0 + 4 * i, 0.0)
    before = np.abs(head + np.random.default_rng(0).normal(0, 10, head.shape)).astype(np.float32)
    found = mr_signal(before, before * np.float32(gain))
    assert {one.region for one in found} == {"background", "dark", "middle", "bright"}
    assert [one.share for one in found] == pytest.approx([gain] * 4, rel=1e-4)
    levels = {one.region: one.before for one in found}
    assert levels["background"] < levels["dark"] < levels["middle"] < levels["bright"]


@pytest.mark.parametrize("contrast", [0.0, 0.13])
@pytest.mark.parametrize("snr", [10, 20])
def test_a_third_that_is_bright_by_its_noise_has_not_moved(snr: float, contrast: float) -> None:
    """A perfect answer of a phantom, of one brightness and of many: no third of it moved by more than a hundredth, and
    a shift of a fiftieth is told."""
    rng = np.random.default_rng(0)
    i, j, _ = np.indices((128, 128, 6))
    signal = np.where(np.hypot(i - 64, j - 64) < 55, 100 * (1 + contrast * np.sin(i / 9)), 0.0)
    sigma = 100 / snr
    noise = ndimage.gaussian_filter(rng.normal(size=(2, *signal.shape)), (0, 0.8, 0.8, 0))
    noise *= sigma / noise.std()
    before = np.hypot(signal + noise[0], noise[1]).astype(np.float32)
    after = np.hypot(signal, np.where(signal > 0, sigma, sigma * np.sqrt(np.pi / 2))).astype(np.float32)
    for factor, wanted in ((1.0, 0.0), (0.96, -0.04)):
        found = [one for one in mr_signal(before, factor * after) if one.region != "background"]
        assert len(found) == (3 if contrast else 1)
        for one in found:
            assert one.shift / one.before == pytest.approx(wanted, abs=0.01), one.region
            assert one.share == pytest.approx(1 + wanted, abs=0.01)


def test_the_truth_of_a_noisy_mr_scan_keeps_its_signal() -> None:
    """Of the noisy scan, air is tissue by its noise, and falls when that goes."""
    i, j = np.mgrid[:160, :150]
    head = np.where(np.hypot(i - 80, j - 75) < 60, 60.0 + 40 * (np.hypot(i - 80, j - 75) < 30), 5.0)[..., None]
    rng = np.random.default_rng(2)
    noisy = (head + rng.normal(0, 25, (160, 150, 6))).astype(np.float32)
    found = mr_signal(noisy, np.broadcast_to(head, noisy.shape).astype(np.float32))
    assert all(abs(one.share - 1) < 0.02 for one in found if one.region != "background")
    moved = mr_signal(noisy, np.broadcast_to(np.where(head > 50, 0.9 * head, head), noisy.shape).astype(np.float32))
    assert any(one.share < 0.93 for one in moved if one.region != "background")
