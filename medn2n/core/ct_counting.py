"""Photon counts of a CT detector, and their logarithm without bias, down to a few counts and to none at all.

N ~ Poisson(λ): the mean of −ln N does not exist, and that of −ln max(N, 1) lies about 1/(2λ) off. The digamma function
mends it: E ψ(N+1) = ln λ + E₁(λ) exactly, and the exponential integral E₁ is 0.001 at five counts, 4·10⁻⁶ at ten.
(Term by term: both sides vanish alike for λ → ∞ and have the derivative (1 − e^−λ)/λ.) It is finite at zero counts.

A detector that integrates charge adds read-out noise of known σ: y = N + σ·e. Then no closed form is known, and the
estimate is the table g that makes E g(y) = ln λ for all λ from max(σ, 3) counts on, in least squares, as smooth as that
allows. Where fewer photons arrive, the logarithm cannot be had without bias; `log_moments` tells how much is left.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt
from scipy.special import psi
from scipy.stats import poisson

Array = npt.NDArray[np.float64]
COUNTER_SIGMA = 0.2  # below this a reading rounds to its count, all but one in a hundred
ROUGHNESS = 0.5  # weight of g's second differences against the bias; less of it costs variance


def expected_counts(integrals: npt.NDArray[np.float32], photons: float) -> Array:
    """λ = N0·exp(−p) of every ray."""
    return np.asarray(photons * np.exp(-np.asarray(integrals, np.float64)))


def count(expected: Array, generator: np.random.Generator) -> npt.NDArray[np.int64]:
    """Photons that arrive, one fresh draw a ray."""
    return np.asarray(generator.poisson(expected))


def thin(counts: npt.NDArray[np.int64], parts: int, generator: np.random.Generator) -> npt.NDArray[np.int64]:
    """Each photon falls into one of `parts` by lot: (parts, …) counts that add up to `counts`. Parts of a Poisson count
    are independent Poisson counts of λ/parts (Kingman 1993, colouring theorem)."""
    rest, made = counts, []
    for left in range(parts, 1, -1):
        share = generator.binomial(rest, 1.0 / left)
        made.append(share)
        rest = rest - share
    return np.stack([*made, rest])


def read_out(counts: npt.NDArray[np.int64], electronic_sigma: float, generator: np.random.Generator) -> Array:
    """What the detector says: counts plus Gaussian electronic noise of `electronic_sigma` counts."""
    if electronic_sigma == 0.0:
        return counts.astype(np.float64)
    return counts + generator.normal(0.0, electronic_sigma, counts.shape)


def log_counts(readings: Array, electronic_sigma: float) -> Array:
    """Estimate of ln λ, finite for any reading; its mean and variance are those of `log_moments`."""
    if electronic_sigma < COUNTER_SIGMA:
        return np.asarray(psi(np.maximum(np.rint(readings), 0.0) + 1.0))
    table = _table(electronic_sigma)
    return np.where(
        readings < table.readings[-1],
        np.interp(readings, table.readings, table.estimate),
        _far(np.maximum(readings, table.readings[-1]), electronic_sigma),
    )


def log_moments(expected: Array, electronic_sigma: float) -> tuple[Array, Array]:
    """Bias and variance of `log_counts` at λ expected photons, the same shape."""
    table = _table(electronic_sigma)
    at = np.log(np.maximum(expected, table.expected[0]))
    bias = np.interp(at, np.log(table.expected), table.bias)
    # Below the table's first entry the estimate stands still while ln λ falls.
    bias = bias - np.minimum(np.log(np.maximum(expected, 1e-300) / table.expected[0]), 0.0)
    # Noise over λ-noise of the plain logarithm is smooth, and 1 for many photons.
    plain = (expected + electronic_sigma**2) / np.maximum(expected, 1e-300) ** 2
    known = (table.expected + electronic_sigma**2) / table.expected**2
    ratio = np.interp(at, np.log(table.expected), table.variance / known)
    inside = expected <= table.expected[-1]
    variance = np.where(expected < table.expected[0], table.variance[0], plain * np.where(inside, ratio, 1.0))
    return np.where(inside, bias, 0.0), variance


@dataclass(frozen=True, slots=True, kw_only=True)
class _Table:
    readings: Array
    estimate: Array
    expected: Array
    bias: Array
    variance: Array


def _far(readings: Array, electronic_sigma: float) -> Array:
    """Of many counts: ψ(y+1), and what the curvature of the logarithm makes of the read-out noise."""
    return np.asarray(psi(readings + 1.0) + 0.5 * (electronic_sigma / readings) ** 2)


@lru_cache(maxsize=16)
def _table(electronic_sigma: float) -> _Table:
    counter = electronic_sigma < COUNTER_SIGMA
    top = 200.0 if counter else 40.0 * max(1.0, electronic_sigma) + 60.0
    expected = np.geomspace(0.01 if counter else 0.3, top, 240)
    counts = np.arange(int(top + 10 * np.sqrt(top)))
    chance = poisson.pmf(counts, expected[:, None])
    readings, estimate = counts.astype(np.float64), psi(counts + 1.0)
    if not counter:
        readings = _knots(electronic_sigma, float(counts[-1]))
        chance = chance @ _read_as(counts, readings, electronic_sigma)
        estimate = _least_bias(readings, chance, expected, electronic_sigma)
    chance /= chance.sum(axis=1, keepdims=True)
    mean = chance @ estimate
    return _Table(
        readings=readings,
        estimate=estimate,
        expected=expected,
        bias=mean - np.log(expected),
        variance=chance @ estimate**2 - mean**2,
    )


def _knots(electronic_sigma: float, highest: float) -> Array:
    """Readings between which the estimate is linear, a fifth of the noise's standard deviation apart."""
    places = [-6.0 * electronic_sigma - 2.0]
    while places[-1] < highest + 6.0 * electronic_sigma:
        places.append(places[-1] + np.sqrt(max(places[-1], 0.0) + electronic_sigma**2) / 5.0)
    return np.array(places)


def _read_as(counts: npt.NDArray[np.int64], knots: Array, electronic_sigma: float) -> Array:
    """(counts, knots): mean weight that linear interpolation gives each knot when a count is read out with noise."""
    fine = np.arange(-60, 61) / 10.0
    chance = np.exp(-0.5 * fine**2)
    readings = np.clip(counts[:, None] + electronic_sigma * fine, knots[0], knots[-1])
    left = np.clip(np.searchsorted(knots, readings, side="right") - 1, 0, len(knots) - 2)
    part = (readings - knots[left]) / (knots[left + 1] - knots[left])
    weights = np.zeros((len(counts), len(knots)))
    row = np.arange(len(counts))[:, None]
    np.add.at(weights, (row, left), chance / chance.sum() * (1.0 - part))
    np.add.at(weights, (row, left + 1), chance / chance.sum() * part)
    return weights


def _least_bias(readings: Array, chance: Array, expected: Array, electronic_sigma: float) -> Array:
    """The smooth g with Σ_y chance[λ, y]·g(y) = ln λ: least squares over λ, second differences held down."""
    least = max(3.0, electronic_sigma)
    weight = np.minimum(expected / least, 1.0) ** 4  # what starved rays say is given up gradually
    start = np.log(electronic_sigma * np.logaddexp(0.0, readings / electronic_sigma))
    bend = ROUGHNESS * np.diff(np.eye(len(readings)), 2, axis=0)
    system = np.concatenate([weight[:, None] * chance, bend])
    wanted = np.concatenate([weight * (np.log(expected) - chance @ start), np.zeros(len(bend))])
    return np.asarray(start + np.linalg.lstsq(system, wanted, rcond=None)[0])
