"""The logarithm of photon counts without bias, thinning, and moments that are what theory says."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import exp1

from medn2n.core.ct_counting import count, log_counts, log_moments, read_out, thin


def measured(counts: float, electronic_sigma: float, *, rays: int = 1_000_000) -> np.ndarray:
    generator = np.random.default_rng(int(counts) + int(10 * electronic_sigma))
    readings = read_out(count(np.full(rays, counts), generator), electronic_sigma, generator)
    return log_counts(readings, electronic_sigma)


@pytest.mark.parametrize("counts", [5.0, 10.0, 30.0, 100.0])
def test_the_bias_of_the_logarithm_is_gone(counts: float) -> None:
    found = measured(counts, 0.0) - np.log(counts)
    noise = 5 * float(found.std()) / 1000
    assert abs(float(found.mean())) < 0.0012 + noise  # E₁(5) = 0.0011
    assert abs(float(found.mean())) < 0.05 / (2 * counts) + noise  # −ln N is off by 1/(2N), and infinite at 0


@pytest.mark.parametrize("counts", [0.5, 1.0, 2.0, 5.0])
def test_the_remaining_bias_is_the_exponential_integral(counts: float) -> None:
    assert float(log_moments(np.array([counts]), 0.0)[0][0]) == pytest.approx(float(exp1(counts)), rel=0.02)


@pytest.mark.parametrize("electronic_sigma", [0.3, 0.45, 0.7, 2.0, 5.0, 10.0])
@pytest.mark.parametrize("counts", [5.0, 10.0, 30.0, 100.0])
def test_read_out_noise_adds_no_bias_where_it_leaves_a_signal(counts: float, electronic_sigma: float) -> None:
    found = measured(counts, electronic_sigma) - np.log(counts)
    noise = 5 * float(found.std()) / 1000
    expected, variance = (float(value[0]) for value in log_moments(np.array([counts]), electronic_sigma))
    assert float(found.mean()) == pytest.approx(expected, abs=noise + 5e-4)
    assert float(found.var()) == pytest.approx(variance, rel=0.03)
    if counts >= electronic_sigma:
        assert abs(expected) < 0.007
        # The plain logarithm's bias, had it no zeros and no negative readings.
        assert abs(expected) < 0.06 * (counts + electronic_sigma**2) / (2 * counts**2)


def test_moments_of_many_counts_are_those_of_the_plain_logarithm() -> None:
    expected = np.geomspace(500, 1e6, 40)
    for electronic_sigma in (0.0, 5.0, 20.0):
        bias, variance = log_moments(expected, electronic_sigma)
        assert np.abs(bias).max() < 1e-3
        many = expected > 5000
        np.testing.assert_allclose(variance[many], ((expected + electronic_sigma**2) / expected**2)[many], rtol=0.01)


@given(reading=st.floats(-1e4, 1e7), electronic_sigma=st.sampled_from([0.0, 0.3, 1.0, 8.0]))
@settings(max_examples=60, deadline=None)
def test_any_reading_has_a_finite_logarithm_and_more_is_more(reading: float, electronic_sigma: float) -> None:
    low, high = log_counts(np.array([reading, reading + 10 * (1 + electronic_sigma)]), electronic_sigma)
    assert np.isfinite([low, high]).all()
    assert high >= low


@given(parts=st.integers(1, 6), seed=st.integers(0, 1000))
@settings(max_examples=20, deadline=None)
def test_thinned_counts_add_up(parts: int, seed: int) -> None:
    generator = np.random.default_rng(seed)
    counts = count(np.geomspace(0.1, 1e5, 50), generator)
    shares = thin(counts, parts, generator)
    assert shares.shape == (parts, 50)
    assert shares.min() >= 0
    np.testing.assert_array_equal(shares.sum(axis=0), counts)


def test_thinned_counts_are_independent_poisson_counts() -> None:
    generator = np.random.default_rng(0)
    shares = thin(count(np.full(400_000, 24.0), generator), 3, generator).astype(np.float64)
    assert shares.mean(axis=1) == pytest.approx(8, rel=0.005)
    assert shares.var(axis=1) == pytest.approx(8, rel=0.02)
    assert np.abs(np.corrcoef(shares)[np.triu_indices(3, 1)]).max() < 0.008  # five standard errors
