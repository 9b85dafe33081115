"""Do two scans show the same anatomy? The correlation of what is coarser than noise."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from medn2n.core import noise
from medn2n.core.pair_measures import JointFit

Array = npt.NDArray[Any]

FEATURELESS = 6.0  # variance of block means over what the noise gives them; noise that interpolation hides makes it 4
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
    share = _share_in_means(fit)
    own = share * (sigmas[0] ** 2 + sigmas[1] ** 2) / 2
    if max(float(ones.mean.var()), float(twos.mean.var())) <= FEATURELESS * own:
        return 1.0, 0.0
    in_means = min(share * _noise_variance(fit), OWN_NOISE**2 * own)
    whole = _without_noise(ones.mean, twos.mean, in_means)
    group = np.arange(len(ones.mean)) * _GROUPS * 4 // len(ones.mean) % _GROUPS
    parts = [_without_noise(ones.mean[group != g], twos.mean[group != g], in_means) for g in range(_GROUPS)]
    error = float(np.sqrt((_GROUPS - 1) * np.var(parts)))
    return whole, error


def _noise_variance(fit: JointFit) -> float:
    """Of one scan, from what the fit leaves of the difference; of two objects, it is no noise."""
    apart = noise.cut_blocks(fit.left_over, fit.measured, side=8)
    return float(np.median(apart.sigma)) ** 2 / 2 if len(apart.mean) else 0.0


def _share_in_means(fit: JointFit) -> float:
    """Variance of a 4×4 block's mean over that of a voxel, for noise whose correlation decays exponentially."""
    share = 1.0
    for rho in noise.lag1(noise.cut_blocks(fit.left_over, fit.measured, side=8)):
        r = min(max(rho, 0.0), 0.95)
        share *= (1 + 1.5 * r + r**2 + 0.5 * r**3) / 4
    return share


def _without_noise(ones: Array, twos: Array, in_means: float) -> float:
    variances = [max(float(part.var()) - in_means, float(part.var()) / 2, 1e-30) for part in (ones, twos)]
    together = float(np.mean((ones - ones.mean()) * (twos - twos.mean())))
    return float(np.clip(together / np.sqrt(variances[0] * variances[1]), -1, 1))
