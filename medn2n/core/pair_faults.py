"""Pairs of scans with one fault of known size built in: what the pair check must find, and pairs in which it must not.

A quiet scan serves as the object; each repeat gets noise of its own, of one of the textures that scanners give
(uncorrelated; smoothed by interpolation; CT's, from which reconstruction took the low frequencies). Magnitude images
get complex noise, so that it is Rician (Gudbjartsson 1995).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy import ndimage

from medn2n.core import noise
from medn2n.core.volume import FloatArray

Fault = Literal[
    "none", "shift", "gain", "offset", "identical", "rescaled", "shared noise", "little shared", "other scan"
]
FAULTS: tuple[Fault, ...] = (
    "none", "shift", "gain", "offset", "identical", "rescaled", "shared noise", "little shared", "other scan",
)  # fmt: skip
SHIFT_VOXELS, GAIN, OFFSET_SIGMAS, SHARED, LITTLE_SHARED = 0.25, 0.01, 0.05, 0.2, 0.05
RESCALED_BY = 1.03
SNR = (5.0, 100.0)
_AIR_HU = -1000.0
_GRAIN = {"ct": ("white", "smooth", "ct"), "mr": ("white", "smooth")}


@dataclass(frozen=True, slots=True, kw_only=True)
class FaultyPair:
    """Two (I,J,K) scans. snr: of the tissue's median level (CT: above air). grain: the noise's texture."""

    first: FloatArray
    second: FloatArray
    fault: Fault
    snr: float
    grain: str


def faulty_pair(quiet: FloatArray, other: FloatArray, fault: Fault, generator: np.random.Generator) -> FaultyPair:
    """A pair of repeats of `quiet` (I,J,K; HU, or a magnitude) with one fault. other: the scan that a pair of two
    objects takes its second from; resampled to the grid and brightness of the first."""
    is_ct = float(quiet.min()) < -500
    zero = _AIR_HU if is_ct else 0.0
    level = float(np.median(quiet[noise.tissue_mask(quiet)])) - zero
    snr = float(np.exp(generator.uniform(*np.log(SNR))))
    sigma = level / snr
    grains = _GRAIN["ct" if is_ct else "mr"]
    grain = grains[int(generator.integers(len(grains)))]
    parts = 1 if is_ct else 2
    one, two = ([sigma * _grain(quiet.shape, grain, generator) for _ in range(parts)] for _ in range(2))
    rho = {"shared noise": SHARED, "little shared": LITTLE_SHARED, "identical": 1.0, "rescaled": 1.0}.get(fault, 0.0)
    two = [rho * a + np.sqrt(1 - rho**2) * b for a, b in zip(one, two, strict=True)]
    first, second = _measured(quiet, one), _measured(_object(quiet, other, fault, generator), two)
    sign = float(generator.choice([-1, 1]))
    scale = {"gain": 1 + sign * GAIN, "rescaled": RESCALED_BY}.get(fault, 1.0)
    second = (second - zero) * scale + zero + (sign * OFFSET_SIGMAS * sigma if fault == "offset" else 0.0)
    return FaultyPair(
        first=first.astype(np.float32), second=second.astype(np.float32), fault=fault, snr=snr, grain=grain
    )


def _object(quiet: FloatArray, other: FloatArray, fault: Fault, generator: np.random.Generator) -> FloatArray:
    """What the second repeat measures: the object, shifted within its plane, or another one."""
    if fault == "shift":
        angle = generator.uniform(0, 2 * np.pi)
        shift = (SHIFT_VOXELS * np.cos(angle), SHIFT_VOXELS * np.sin(angle), 0)
        return np.asarray(ndimage.shift(quiet, shift, order=5, mode="nearest"), np.float32)
    if fault == "other scan":
        factors = [new / old for new, old in zip(quiet.shape, other.shape, strict=True)]
        fitted = ndimage.zoom(other, factors, order=1, grid_mode=True, mode="nearest")
        span = float(np.ptp(quiet)) / max(float(np.ptp(fitted)), 1e-6)
        return np.asarray((fitted - fitted.min()) * span + quiet.min(), np.float32)
    return quiet


def _measured(quiet: FloatArray, parts: list[FloatArray]) -> FloatArray:
    """Object and noise: a sum for one part, a magnitude for two (real and imaginary)."""
    return np.asarray(quiet + parts[0] if len(parts) == 1 else np.hypot(quiet + parts[0], parts[1]), np.float32)


def _grain(shape: tuple[int, ...], grain: str, generator: np.random.Generator) -> FloatArray:
    """Noise of unit standard deviation."""
    field = generator.normal(size=shape).astype(np.float32)
    if grain == "smooth":
        field = ndimage.gaussian_filter(field, (0.7, 0.7, 0))
    elif grain == "ct":
        field = ndimage.gaussian_filter(field, (0.5, 0.5, 0)) - ndimage.gaussian_filter(field, (1.5, 1.5, 0))
    return np.asarray(field / field.std(), np.float32)
