"""Magnitude MR at low signal: what noise does to its mean, and how a mean is taken back to the signal.

The magnitude of n coils' complex Gaussian noise around a signal A (root of the sum of squares) is non-central χ with 2n
degrees of freedom; one coil gives the Rice distribution, no signal the Rayleigh distribution (Gudbjartsson & Patz 1995;
Constantinides, Atalar & McVeigh 1997). A network trained on such images learns their mean E[M], which at A = σ lies
0.55 σ above A. E[M] rises with A, so it can be taken back; and E[M²] = A² + 2nσ² holds at every signal.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import gammaln, hyp1f1, ive

from medn2n.core import noise
from medn2n.core.body import body_mask

Array = npt.NDArray[np.float64]
FloatArray = npt.NDArray[np.float32]
TABLE_END = 40.0  # A/σ from which two terms of the expansion in σ/A are exact to 10⁻⁵ σ
RAYLEIGH_RATIO = 1.913  # mean over standard deviation of air
RATIO_TOLERANCE = 0.15  # more coils give 2.7 and above, smoothing too; ghosts give less
LEAST_AIR = 500  # voxels
AIR_QUANTILE = 0.25  # ghosts and flow artefacts are bright: they lie above it


def magnitude_mean(signal: npt.ArrayLike, sigma: float, *, coils: int = 1) -> Array:
    """E[M] of a signal A with noise σ in the real and the imaginary part of each coil; same shape and unit as A."""
    ratio = np.abs(np.asarray(signal, np.float64)) / sigma
    half = np.minimum(ratio, TABLE_END) ** 2 / 2
    if coils == 1:  # the confluent hypergeometric function in Bessel functions, which do not overflow
        near = np.sqrt(np.pi / 2) * ((1 + half) * ive(0, half / 2) + half * ive(1, half / 2))
    else:
        near = np.sqrt(2) * np.exp(gammaln(coils + 0.5) - gammaln(coils)) * hyp1f1(-0.5, coils, -half)
    far = np.maximum(ratio, 1.0)
    far = far + (2 * coils - 1) / (2 * far) - (2 * coils - 1) * (2 * coils - 3) / (8 * far**3)
    return np.asarray(sigma * np.where(ratio < TABLE_END, near, far))


def magnitude_variance(signal: npt.ArrayLike, sigma: float, *, coils: int = 1) -> Array:
    """Var[M], same shape as A, in the unit's square; (2 − π/2)·σ² without signal, σ² far above the noise."""
    values = np.minimum(np.abs(np.asarray(signal, np.float64)), TABLE_END * sigma)  # both moments are large beyond
    return np.asarray(values**2 + 2 * coils * sigma**2 - magnitude_mean(values, sigma, coils=coils) ** 2)


def signal_from_mean(mean: npt.ArrayLike, sigma: float, *, coils: int = 1) -> Array:
    """A from E[M]: the inverse of `magnitude_mean` by a table, to 10⁻⁴ σ; 0 where the mean lies below that of air."""
    ratio = np.atleast_1d(np.asarray(mean, np.float64) / sigma)
    means, squares = _inverse(coils)
    near = np.sqrt(np.interp(ratio, means, squares))  # A² is smooth in E[M] where A is not, at 0
    bright = ratio >= means[-1]
    if np.any(bright):
        wanted = ratio[bright]
        far = (wanted + np.sqrt(wanted**2 - 2 * (2 * coils - 1))) / 2  # of two terms; one Newton step for the rest
        near[bright] = far - (magnitude_mean(far, 1.0, coils=coils) - wanted)
    return np.asarray(sigma * near).reshape(np.shape(mean))


def as_magnitude(before: npt.NDArray[Any], after: npt.NDArray[Any], sigma: float, strength: float = 1.0) -> FloatArray:
    """A corrected copy on its scan's own scale, float32, same shape: with the mean that noise gives its signal, as the
    copy was before the correction. `strength` is the answer's part of the copy, the rest is the scan's (`before`).
    Voxels that are as in the scan stay."""
    if strength == 0.0:
        return after
    rest = (1.0 - strength) * before.astype(np.float64)
    ratio = np.maximum((after - rest) / (strength * sigma), 0.0)
    means, squares = _inverse(1)
    mean = np.where(ratio < TABLE_END, np.interp(ratio**2, squares, means), ratio + 0.5 / np.maximum(ratio, 1.0))
    changed = np.isfinite(before) & (after != before)
    return np.where(changed, rest + strength * sigma * mean, before).astype(np.float32)


@lru_cache(maxsize=8)
def _inverse(coils: int) -> tuple[Array, Array]:
    """E[M]/σ, rising, and (A/σ)² there."""
    signal = np.concatenate([np.linspace(0.0, 6.0, 6001), np.linspace(6.0, TABLE_END, 6801)[1:-1]])
    return magnitude_mean(signal, 1.0, coils=coils), signal**2


def magnitude_sigma(voxels: npt.NDArray[Any], padding: npt.NDArray[np.bool_] | None = None) -> float:
    """Noise σ (of the real and of the imaginary part) of a (I,J,K) magnitude image of one coil, in its unit: from air,
    where air is Rayleigh distributed; else (masked, filtered or many-coil air) from flat tissue, which is right where
    tissue stands well above the noise. 0 where neither tells."""
    voxels = np.asarray(voxels)
    air = noise.measured_voxels(voxels, padding) & ~body_mask(voxels, "MR", padding)
    values = voxels[air].astype(np.float64)
    if len(values) >= LEAST_AIR and values.std() > 0:
        quiet = values[values <= np.quantile(values, 0.99)]
        if abs(quiet.mean() / quiet.std() / RAYLEIGH_RATIO - 1) < RATIO_TOLERANCE:
            return float(np.quantile(values, AIR_QUANTILE) / np.sqrt(-2 * np.log(1 - AIR_QUANTILE)))
    return noise.noise_sigma(voxels, padding)
