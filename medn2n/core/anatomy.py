"""Do two scans show the same anatomy? The correlation of what is coarser than noise."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from medn2n.core import noise
from medn2n.core.pair_measures import JointFit

Array = npt.NDArray[Any]

FEATURELESS = 1.2  # block means of white noise differ by 0.35 σ, of very smooth noise by 1.2 σ
OWN_NOISE = 2.0  # a single scan shows only half of its noise where interpolation smoothed it
_GROUPS = 16


def anatomy_correlation(first: Array, second: Array, fit: JointFit, sigmas: tuple[float, float]) -> tuple[float, float]:
    """Correlation of 4×4 block means after the whole-pixel shift, with the noise's share of their variance taken
    out, and its jackknife error. sigmas: noise of each scan. (1, 0) for an object without anatomy (a uniform
    phantom): block means spread no more than noise does."""
    moved = np.roll(second, (-round(fit.shift[0]), -round(fit.shift[1])), (0, 1))
    ones, twos = (noise.cut_blocks(scan, fit.measured, side=4) for scan in (first, moved))
    if len(ones.mean) < 10:
        return 0.0, 0.0
    grain = float(np.median(np.minimum(ones.sigma, twos.sigma)))
    if max(float(ones.mean.var()), float(twos.mean.var())) <= (FEATURELESS * grain) ** 2:
        return 1.0, 0.0
    in_means = _noise_in_means(fit, sigmas)
    whole = _without_noise(ones.mean, twos.mean, in_means)
    group = np.arange(len(ones.mean)) * _GROUPS * 4 // len(ones.mean) % _GROUPS
    parts = [_without_noise(ones.mean[group != g], twos.mean[group != g], in_means) for g in range(_GROUPS)]
    error = float(np.sqrt((_GROUPS - 1) * np.var(parts)))
    return whole, error


def _noise_in_means(fit: JointFit, sigmas: tuple[float, float]) -> float:
    """Variance that noise gives to 4×4 block means of one scan, for noise whose correlation decays exponentially.
    Never more than OWN_NOISE times what the scans' own noise gives: the difference of two objects is no noise."""
    apart = noise.cut_blocks(fit.left_over, fit.measured, side=8)
    if not len(apart.mean):
        return 0.0
    variance = min(float(np.median(apart.sigma)) ** 2, OWN_NOISE**2 * (sigmas[0] ** 2 + sigmas[1] ** 2)) / 2
    for rho in noise.lag1(apart):
        r = min(max(rho, 0.0), 0.95)
        variance *= (1 + 1.5 * r + r**2 + 0.5 * r**3) / 4
    return variance


def _without_noise(ones: Array, twos: Array, in_means: float) -> float:
    variances = [max(float(part.var()) - in_means, float(part.var()) / 2, 1e-30) for part in (ones, twos)]
    together = float(np.mean((ones - ones.mean()) * (twos - twos.mean())))
    return float(np.clip(together / np.sqrt(variances[0] * variances[1]), -1, 1))
