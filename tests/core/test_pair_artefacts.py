"""Spikes and zippers that one scan of a pair has are found; noise, a moved head and a masked one have none."""

from __future__ import annotations

import numpy as np
import pytest

from medn2n.core.pair_artefacts import line_ratio, spectral_peak
from medn2n.core.pair_check import check_pair
from tests.built_repeats import head, moved, repeats

SIGMA = 15.0
ROW, COLUMN = np.indices((128, 128))
MEASURED = np.ones((128, 128, 6), dtype=bool)


def test_noise_has_neither_peak_nor_line() -> None:
    for seed in range(5):
        left = np.random.default_rng(seed).normal(size=MEASURED.shape)
        assert spectral_peak(left, MEASURED) < 30
        assert line_ratio(left, MEASURED) < 1.8
    assert spectral_peak(left, ~MEASURED) == 0
    assert line_ratio(left, ~MEASURED) == 1


@pytest.mark.parametrize("waves", [(0.21, 0.13), (0.0, 0.4), (0.33, -0.1)])
def test_a_spike_in_one_slice_is_found(waves: tuple[float, float]) -> None:
    first, second = repeats(head(), SIGMA, seed=7)
    second[:, :, 2] += (1.5 * SIGMA * np.cos(2 * np.pi * (waves[0] * ROW + waves[1] * COLUMN))).astype(np.float32)
    result = check_pair(first, second, acquired_apart=True)
    assert (result.verdict, result.code) == ("unfit", "ARTEFACT")
    assert result.same_object


@pytest.mark.parametrize("axis", [0, 1])
def test_a_zipper_is_found(axis: int) -> None:
    first, second = repeats(head(), SIGMA, seed=7)
    line = [slice(None)] * 3
    line[axis] = 70  # type: ignore[call-overload]
    second[tuple(line)] += 6 * SIGMA * np.random.default_rng(0).choice([-1, 1], size=(128, 6)).astype(np.float32)
    assert check_pair(second, first).code == "ARTEFACT"


def test_what_is_no_artefact() -> None:
    image = head()
    masked = [np.where(image > 30, scan, 0).astype(np.float32) for scan in repeats(image, SIGMA, seed=3)]
    assert check_pair(*masked).code != "ARTEFACT"
    first = repeats(image, SIGMA, seed=7)[0]
    assert check_pair(first, repeats(moved(image, (0.4, 0, 0)), SIGMA, seed=8)[1]).code in ("SHIFT", "STRUCTURE")


@pytest.mark.parametrize(("axis", "share"), [(0, 0.06), (1, 0.03)])
def test_a_ghost_in_one_scan_is_found(axis: int, share: float) -> None:
    first, second = repeats(head(), SIGMA, seed=7)
    second += share * np.roll(head(), 64, axis=axis)
    result = check_pair(first, second, acquired_apart=True)
    assert (result.verdict, result.code) == ("unfit", "ARTEFACT")
    assert result.ghost == pytest.approx(share, abs=0.15 * share)


def test_a_ghost_that_both_have_is_none() -> None:
    both = head() + 0.06 * np.roll(head(), 64, axis=0)
    assert check_pair(*repeats(both, SIGMA, seed=7)).code == "FIT"


def test_a_ring_in_one_slice_is_found() -> None:
    image = head() - 1000
    one, two = (image + SIGMA * np.random.default_rng(seed).normal(size=image.shape) for seed in (1, 2))
    assert check_pair(one, two).code == "FIT"
    radius = np.hypot(ROW - 63.5, COLUMN - 63.5)
    two[:, :, 1] += 2.5 * SIGMA * (np.abs(radius - 40) < 0.6)
    result = check_pair(one, two, acquired_apart=True)
    assert (result.verdict, result.code) == ("unfit", "ARTEFACT")
    assert "ring" in result.reason
