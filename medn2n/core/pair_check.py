"""Are two scans a Noise2Noise pair? The same object in the same place, equal signal, independent noise.

`check_pair` measures (`medn2n.core.pair_measures`, `medn2n.core.shared_noise`) and lets `medn2n.core.pair_rules` judge.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from medn2n.core import noise
from medn2n.core.anatomy import anatomy_correlation
from medn2n.core.body import tissue_mask
from medn2n.core.pair_artefacts import ghost, line_ratio, ring_ratio, spectral_peak
from medn2n.core.pair_measures import (
    Array,
    BoolArray,
    JointFit,
    coarse_ratio,
    edge_ratio,
    joint_fit,
)
from medn2n.core.pair_result import PairResult
from medn2n.core.pair_rules import judged
from medn2n.core.shared_noise import SharedNoise, shared_noise
from medn2n.core.turn import in_plane_turn

IDENTICAL_SHARE = 0.5  # equal voxels; rounded noise of σ = 0.5 grey levels still leaves more than half unequal
LEAST_VOXELS = 1000  # five unknowns and sixteen jackknife groups need at least this


def check_pair(
    first: Array,
    second: Array,
    *,
    padding: BoolArray | None = None,
    acquired_apart: bool = False,
    turn: bool = True,
) -> PairResult:
    """Check two (I,J,K) scans on one grid.

    padding: True where either scan holds its padding value. acquired_apart: headers or the time axis show two
    separate acquisitions, whose thermal noise is independent by physics: then anatomy that hides the noise
    everywhere does not make the pair "unproven". turn: measure it too; it is a figure only and decides nothing.
    """
    refused = _plainly_refused(first, second, padding)
    if refused is not None:
        return refused
    measured = noise.measured_voxels(first, padding) & noise.measured_voxels(second, padding)
    if np.count_nonzero(measured) < LEAST_VOXELS:
        return _refuse("TOO_LITTLE", f"fewer than {LEAST_VOXELS} voxels hold a measurement in both scans")
    sigmas = (noise.noise_sigma(first, padding), noise.noise_sigma(second, padding))
    fit = joint_fit(first, second, measured, sigmas)
    shared = shared_noise(first, second, measured)
    edges = edge_ratio(fit, (first + second) / 2)
    result = judged(_figures(first, second, fit, shared, edges, sigmas), shared, sigmas, acquired_apart)
    if not turn:
        return result
    turned = in_plane_turn(first, second, fit.measured, sigmas, start=fit.shift[:2])
    return replace(result, turn_degrees=turned.degrees, turn_error_degrees=turned.error)


def _refuse(code: str, reason: str, *, same_object: bool = False) -> PairResult:
    return PairResult(verdict="unfit", code=code, reason=reason, same_object=same_object)


def _plainly_refused(first: Array, second: Array, padding: BoolArray | None) -> PairResult | None:
    """What needs no measuring: other grids, the same data twice, nothing in the picture."""
    if first.shape != second.shape:
        return _refuse("OTHER_GRID", f"the grids differ: {first.shape} and {second.shape} voxels")
    usable = np.isfinite(first) & np.isfinite(second)
    if padding is not None:
        usable &= ~padding
    ones, twos = first[usable], second[usable]
    if not ones.size or ones.min() == ones.max() or twos.min() == twos.max():
        return _refuse("TOO_LITTLE", "one of the scans holds one value only")
    differing = (ones != ones.min()) | (twos != twos.min())
    share = float(np.mean(ones[differing] == twos[differing]))
    if share > IDENTICAL_SHARE:
        return _refuse(
            "IDENTICAL",
            f"{100 * share:.0f} % of their voxels are equal: the same data twice",
            same_object=True,
        )
    return None


def _figures(
    first: Array, second: Array, fit: JointFit, shared: SharedNoise, edges: float, sigmas: tuple[float, float]
) -> PairResult:
    """All measurements, not yet judged."""
    sigma_pair = _sigma_pair(first, second, fit)
    anatomy = anatomy_correlation(first, second, fit, sigmas)
    return PairResult(
        verdict="fit",
        code="FIT",
        reason="",
        same_object=True,
        shift=fit.shift,
        shift_error=fit.shift_error,
        gain=fit.gain,
        gain_error=fit.gain_error,
        offset=fit.offset,
        offset_error=fit.offset_error,
        level_sigmas=fit.level / max(sigma_pair, 1e-12),
        level_error_sigmas=fit.level_error / max(sigma_pair, 1e-12),
        mismatch_sigmas=fit.mismatch / max(sigma_pair, 1e-12),
        sigma_first=sigmas[0],
        sigma_second=sigmas[1],
        sigma_pair=sigma_pair,
        noise_correlation=shared.correlation,
        noise_correlation_error=shared.error,
        smallest_shared_noise=min(max(shared.correlation, 0.0) + 2 * shared.error, 1.0),
        edge_ratio=edges,
        coarse_ratio=coarse_ratio(fit),
        **_artefacts(first, fit, sigma_pair),
        anatomy_correlation=anatomy[0],
        anatomy_error=anatomy[1],
        noise_lag1=noise.lag1(noise.cut_blocks(fit.left_over, fit.measured, side=8)),
    )


def _artefacts(first: Array, fit: JointFit, sigma_pair: float) -> dict[str, float]:
    """What one scan has and the other has not. Rings of CT only: a magnitude's circles differ with the heart, the
    bladder and the coils, and no MR scanner makes rings."""
    sigma = sigma_pair * float(np.sqrt(2))
    amplitude, error, sigmas = ghost(fit.left_over, first, fit.measured, sigma)
    return {
        "spectral_peak": spectral_peak(fit.left_over, fit.measured),
        "line_ratio": line_ratio(fit.left_over, fit.measured),
        "ghost": amplitude,
        "ghost_error": error,
        "ghost_sigmas": sigmas,
        "ring_ratio": 1.0 if noise.is_magnitude(first) else ring_ratio(fit.left_over, fit.measured, sigma),
    }


def _sigma_pair(first: Array, second: Array, fit: JointFit) -> float:
    """Noise of one scan from what gain, offset and shift leave of the difference in tissue; or gain and offset alone,
    where that leaves less: what a shift explains is blurred, and of a rescaled copy nothing may be left."""
    tissue = tissue_mask((first + second) / 2) & fit.measured
    inside = tissue if np.count_nonzero(tissue) > LEAST_VOXELS else fit.measured
    if not inside.any():
        return 0.0
    plain = second[inside] - fit.gain * first[inside] - fit.offset
    return min(noise.trimmed_std(fit.left_over[inside]), noise.trimmed_std(plain)) / float(np.sqrt(2))
