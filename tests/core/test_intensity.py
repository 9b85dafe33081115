"""One invertible pair of numbers a scan."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medn2n.core.intensity import IntensityScale, fit_scale


@given(offset=st.floats(-2000, 2000), scale=st.floats(0.01, 5000), value=st.floats(-3000, 3000))
def test_there_and_back(offset: float, scale: float, value: float) -> None:
    both = IntensityScale(offset=offset, scale=scale)
    values = np.array([value], np.float32)
    there = both.to_network(values)
    assert there.dtype == np.float32
    back = both.to_physical(there)
    assert back.dtype == np.float32
    assert float(back[0]) == pytest.approx(value, abs=1e-6 * (abs(value) + abs(offset)) + 1e-3)


def test_fixed_takes_the_numbers_given() -> None:
    scale = fit_scale(np.full(5, 7.0), kind="fixed", offset=-1024.0, scale=500.0, percentile=99.0)
    assert scale == IntensityScale(offset=-1024.0, scale=500.0)


def test_percentile_of_what_is_not_zero() -> None:
    values = np.concatenate([np.zeros(900), np.arange(1, 101)])
    scale = fit_scale(values, kind="percentile", offset=0.0, scale=1.0, percentile=50.0)
    assert scale == IntensityScale(offset=0.0, scale=50.5)


def test_one_hot_voxel_does_not_move_the_scale() -> None:
    values = np.random.default_rng(0).uniform(1, 100, 10_000)
    quiet = fit_scale(values, kind="percentile", offset=0.0, scale=1.0, percentile=99.0)
    values[0] = 1e6
    loud = fit_scale(values, kind="percentile", offset=0.0, scale=1.0, percentile=99.0)
    assert loud.scale == pytest.approx(quiet.scale, rel=1e-3)


def test_the_same_scan_in_other_units_gives_the_same_network_values() -> None:
    values = np.random.default_rng(0).uniform(1, 100, (8, 8, 4)).astype(np.float32)
    one, other = (
        fit_scale(v, kind="percentile", offset=0.0, scale=1.0, percentile=99.0).to_network(v)
        for v in (values, 12 * values)
    )
    np.testing.assert_allclose(one, other, rtol=1e-5)


def test_an_empty_scan_has_scale_one() -> None:
    assert fit_scale(np.zeros((3, 3)), kind="percentile", offset=0.0, scale=1.0, percentile=99.0).scale == 1.0
