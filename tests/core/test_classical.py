"""Classical filters: they denoise, keep flat scans, follow the unit, and are tuned to what they are "
"judged by."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medn2n.core.classical import FILTERS
from medn2n.core.metrics import mse
from medn2n.core.tuning import TuningCase, tune


def scene() -> np.ndarray:
    i, j = np.indices((48, 48))
    flat = np.where((i - 24) ** 2 + (j - 24) ** 2 < 200, 100.0, 0.0) + np.where(abs(i - j) < 4, 40.0, 0.0)
    return np.repeat(flat[..., None], 2, axis=2).astype(np.float32)


def noisy(sigma: float = 20.0, seed: int = 0) -> np.ndarray:
    truth = scene()
    return (truth + np.random.default_rng(seed).normal(0, sigma, truth.shape)).astype(np.float32)


@pytest.mark.parametrize("name", FILTERS)
def test_a_tuned_filter_removes_error_and_an_independent_repeat_chooses_as_the_truth_does(name: str) -> None:
    filter_ = FILTERS[name]
    by_truth = tune(filter_, [TuningCase(noisy=noisy(), target=scene(), sigma=20.0)])
    by_repeat = tune(filter_, [TuningCase(noisy=noisy(), target=noisy(seed=1), sigma=20.0)])
    grid = filter_.strengths
    assert abs(grid.index(by_truth) - grid.index(by_repeat)) <= 1
    result = filter_(noisy(), by_truth, 20.0)
    assert result.dtype == np.float32
    assert result.shape == (48, 48, 2)
    assert mse(scene(), result) < 0.7 * mse(scene(), noisy())


@pytest.mark.parametrize("name", FILTERS)
def test_a_constant_stays_and_a_single_slice_or_a_series_of_volumes_is_filtered_alike(name: str) -> None:
    filter_ = FILTERS[name]
    constant = np.full((16, 16), 7.0, dtype=np.float32)
    assert filter_(constant, filter_.default, 5.0) == pytest.approx(constant, abs=1e-3)
    scan = noisy()
    alone = filter_(scan[..., 1], filter_.default, 20.0)
    assert np.array_equal(filter_(scan, filter_.default, 20.0)[..., 1], alone)
    assert np.array_equal(filter_(scan[..., None], filter_.default, 20.0)[..., 1, 0], alone)


@settings(max_examples=10, deadline=None)
@given(scale=st.floats(0.001, 1000), name=st.sampled_from(sorted(FILTERS)))
def test_the_unit_does_not_matter(scale: float, name: str) -> None:
    filter_ = FILTERS[name]
    plain = filter_(noisy(), filter_.default, 20.0)
    scaled = filter_((noisy() * scale).astype(np.float32), filter_.default, 20.0 * scale)
    assert scaled / scale == pytest.approx(plain, abs=0.5)


def test_without_noise_nothing_is_divided_by_zero() -> None:
    for filter_ in FILTERS.values():
        assert np.isfinite(filter_(scene(), filter_.default, 0.0)).all()


def test_with_nothing_to_tune_on_the_default_is_used() -> None:
    assert tune(FILTERS["tv"], []) == FILTERS["tv"].default
