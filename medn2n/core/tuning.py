"""The fair tuning of the classical filters: the strength with the least error, on scans that they are not judged on."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from medn2n.core.classical import Filter, ScanNoise, noise_told, without_padding
from medn2n.core.display import SOFT_TISSUE_HU
from medn2n.core.metrics import Mask, Window, mse
from medn2n.core.noise import noise_sigma
from medn2n.core.volume import FloatArray, Volume

SLICES = 2  # of a scan, for filters that work slice by slice
BLOCK = (80, 80, 5)  # voxels in the middle of a scan, for those that look across slices: BM4D takes ten seconds for it


@dataclass(frozen=True, slots=True, kw_only=True)
class TuningCase:
    """One noisy scan and what it should come near: the truth, or an independent repeat (whose noise adds the
    same to every strength, so it ranks them as the truth does). sigma: noise level of
    `noisy`. noise: what the filter is told, white noise of `sigma` unless given. mask: voxels that count. window: clips
    both, for figures in a display window (never with a repeat as target: clipping noise shifts its mean)."""

    noisy: FloatArray
    target: FloatArray
    sigma: float
    noise: ScanNoise | None = None
    mask: Mask | None = None
    window: Window | None = None


def tuning_case(filter_: Filter, noisy: Volume, target: Volume, *, repeat: bool) -> TuningCase:
    """The part of a scan that `filter_` is tuned on: two slices, or one block for filters that look across slices.
    target: the truth, or an independent `repeat`. CT against a truth is judged in the soft-tissue window."""
    filled = without_padding(noisy)
    noise = noise_told(filter_, filled, noisy.modality)
    at = _middle(filled.shape) if filter_.whole else _spread(filled.shape)
    return TuningCase(
        noisy=np.ascontiguousarray(filled[at]),
        target=np.ascontiguousarray(target.voxels[at]),
        sigma=noise.sigma or noise_sigma(filled),
        noise=noise,
        mask=None if noisy.padding is None else ~noisy.padding[at],
        window=SOFT_TISSUE_HU if noisy.modality == "CT" and not repeat else None,
    )


def _spread(shape: tuple[int, ...]) -> tuple[slice, slice, list[int]]:
    chosen = sorted({shape[2] * (2 * step + 1) // (2 * SLICES) for step in range(SLICES)})
    return slice(None), slice(None), chosen


def _middle(shape: tuple[int, ...]) -> tuple[slice, ...]:
    starts = [max(0, (size - edge) // 2) for size, edge in zip(shape, BLOCK, strict=True)]
    return tuple(slice(start, start + edge) for start, edge in zip(starts, BLOCK, strict=True))


def tune(filter_: Filter, cases: Sequence[TuningCase]) -> float:
    """The strength from the filter's grid with the smallest mean squared error, each case weighed by 1/σ².

    The search walks up the grid and stops after two strengths in a row that are worse than the best: the
    error has one minimum in practice, and the strongest settings are the slowest.
    """
    if not cases:
        return filter_.default
    best, best_error, worse = filter_.default, math.inf, 0
    for strength in filter_.strengths:
        error = 0.0
        for case in cases:
            filtered = filter_(case.noisy, strength, case.noise or case.sigma)
            error += mse(case.target, filtered, case.mask, case.window) / max(case.sigma, 1e-12) ** 2
        if error < best_error:
            best, best_error, worse = strength, error, 0
        else:
            worse += 1
            if worse == 2:
                break
    return best
