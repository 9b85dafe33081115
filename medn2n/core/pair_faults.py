"""Pairs of scans with one fault of known size built in: what the pair check must find, and pairs in which it must not.

A quiet scan serves as the object; each repeat gets noise of its own, of one of the textures that scanners give
(uncorrelated; smoothed by interpolation; CT's, from which reconstruction took the low frequencies). Magnitude images
get complex noise, so that it is Rician (Gudbjartsson 1995). Scans are then stored as archives hold them: as they are,
rounded to whole numbers, or with the air at a floor (zero, or −1000 HU and what lies below it).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy import ndimage

from medn2n.core import noise
from medn2n.core.body import tissue_mask
from medn2n.core.volume import FloatArray

Fault = Literal[
    "none", "shift", "shift along K", "gain", "offset", "identical", "rescaled", "shared noise", "little shared",
    "other scan",
]  # fmt: skip
FAULTS: tuple[Fault, ...] = (
    "none", "shift", "shift along K", "gain", "offset", "identical", "rescaled", "shared noise", "little shared",
    "other scan",
)  # fmt: skip
SHIFT_VOXELS, GAIN, OFFSET_SIGMAS, SHARED, LITTLE_SHARED = 0.25, 0.01, 0.05, 0.2, 0.05
RESCALED_BY = 1.03
SNR = (5.0, 100.0)
STORED = ("floats", "whole numbers", "floor")
LEAST_GREY_LEVELS = 2.0  # of noise; scanners do not round to less
FLAT_SHARE = 0.05  # of the noise's variance: a block whose object varies by less is flat
_AIR_HU = -1000.0
_GRAIN = {"ct": ("white", "smooth", "ct"), "mr": ("white", "smooth")}
# Voxels that one independent value of the noise's mean stands for: 4πs² for noise smoothed by s = 0.7 pixel; the mean
# of CT's noise is all but fixed, since reconstruction takes out its lowest frequencies.
_MEAN_AREA = {"white": 1.0, "smooth": 6.16, "ct": 0.1}
# Voxels that one independent value of a block's variance stands for, 2πs².
_VARIANCE_AREA = {"white": 1.0, "smooth": 3.08, "ct": 2.0}


@dataclass(frozen=True, slots=True, kw_only=True)
class FaultyPair:
    """Two (I,J,K) scans. snr: of the tissue's median level (CT: above air). grain: the noise's texture; stored: as.
    flat_voxels: independent noise values in blocks in which the object is flat (of a magnitude: where it has signal).
    mean_error: standard error, in σ, of the difference of the two scans' means, which no check can beat."""

    first: FloatArray
    second: FloatArray
    fault: Fault
    snr: float
    grain: str
    stored: str
    flat_voxels: float
    mean_error: float


def faulty_pair(quiet: FloatArray, other: FloatArray, fault: Fault, generator: np.random.Generator) -> FaultyPair:
    """A pair of repeats of `quiet` (I,J,K; HU, or a magnitude) with one fault. other: the scan that a pair of two
    objects takes its second from; resampled to the grid and brightness of the first."""
    is_ct = float(quiet.min()) < -500
    zero = _AIR_HU if is_ct else 0.0
    tissue = tissue_mask(quiet)
    level = float(np.median(quiet[tissue])) - zero
    snr = float(np.exp(generator.uniform(*np.log(SNR))))
    sigma = level / snr
    grains = _GRAIN["ct" if is_ct else "mr"]
    grain = grains[int(generator.integers(len(grains)))]
    stored = STORED[int(generator.integers(len(STORED)))]
    parts = 1 if is_ct else 2
    one, two = ([sigma * _grain(quiet.shape, grain, generator) for _ in range(parts)] for _ in range(2))
    rho = {"shared noise": SHARED, "little shared": LITTLE_SHARED, "identical": 1.0, "rescaled": 1.0}.get(fault, 0.0)
    two = [rho * a + np.sqrt(1 - rho**2) * b for a, b in zip(one, two, strict=True)]
    first, second = _measured(quiet, one), _measured(_object(quiet, other, fault, generator), two)
    sign = float(generator.choice([-1, 1]))
    scale = {"gain": 1 + sign * GAIN, "rescaled": RESCALED_BY}.get(fault, 1.0)
    second = (second - zero) * scale + zero + (sign * OFFSET_SIGMAS * sigma if fault == "offset" else 0.0)
    kept = np.asarray(tissue | (quiet > zero + sigma) if stored == "floor" else np.ones(quiet.shape, dtype=bool))
    return FaultyPair(
        first=_as_stored(first, stored, zero, kept, sigma),
        second=_as_stored(second, stored, zero, kept, sigma),
        fault=fault,
        snr=snr,
        grain=grain,
        stored=stored,
        flat_voxels=_flat_voxels(quiet, sigma, kept if is_ct else kept & tissue) / _VARIANCE_AREA[grain],
        mean_error=float(np.sqrt(2 * _MEAN_AREA[grain] / max(int(np.count_nonzero(kept)), 1))),
    )


def _object(quiet: FloatArray, other: FloatArray, fault: Fault, generator: np.random.Generator) -> FloatArray:
    """What the second repeat measures: the object, shifted within its plane or along K, or another one."""
    if fault in ("shift", "shift along K"):
        angle = generator.uniform(0, 2 * np.pi)
        shift = (SHIFT_VOXELS * np.cos(angle), SHIFT_VOXELS * np.sin(angle), 0.0)
        if fault == "shift along K":
            shift = (0.0, 0.0, float(np.copysign(SHIFT_VOXELS, shift[0])))
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


def _as_stored(voxels: FloatArray, stored: str, zero: float, kept: noise.BoolArray, sigma: float) -> FloatArray:
    """What an archive holds of the scan: whole numbers where the noise spans some; a floor for the air."""
    if stored == "whole numbers" and sigma >= LEAST_GREY_LEVELS:
        voxels = np.round(voxels)
    elif stored == "floor":
        voxels = np.maximum(np.where(kept, voxels, zero), zero)
    return np.asarray(voxels, np.float32)


def _flat_voxels(quiet: FloatArray, sigma: float, where: noise.BoolArray) -> float:
    """Voxels in whole blocks, as the check cuts them, in which the object itself hardly varies."""
    side = 12 if float(quiet.min()) < 0 else 5
    blocks = noise.cut_blocks(quiet, where, side=side)
    return float(np.count_nonzero(blocks.sigma**2 < FLAT_SHARE * sigma**2) * side**2)


def _grain(shape: tuple[int, ...], grain: str, generator: np.random.Generator) -> FloatArray:
    """Noise of unit standard deviation."""
    field = generator.normal(size=shape).astype(np.float32)
    if grain == "smooth":
        field = ndimage.gaussian_filter(field, (0.7, 0.7, 0))
    elif grain == "ct":
        field = ndimage.gaussian_filter(field, (0.5, 0.5, 0)) - ndimage.gaussian_filter(field, (1.5, 1.5, 0))
    return np.asarray(field / field.std(), np.float32)
