"""Are two scans a Noise2Noise pair? The same object in the same place, equal signal, independent noise.

`check_pair` measures (see `medn2n.core.pair_measures`) and judges. The figures that the thresholds rest on were
measured on real repeats: EPI series, diffusion b=0, phantom pairs of three scanners, simulated CT draws; and on
real non-repeats: moving heads, rescans after repositioning, one CT scan reconstructed twice, overlapping slices.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from medn2n.core import noise
from medn2n.core.anatomy import anatomy_correlation
from medn2n.core.pair_artefacts import line_ratio, spectral_peak
from medn2n.core.pair_measures import (
    Array,
    BoolArray,
    JointFit,
    coarse_ratio,
    edge_ratio,
    joint_fit,
)
from medn2n.core.shared_noise import SharedNoise, shared_noise
from medn2n.core.turn import in_plane_turn

Verdict = Literal["fit", "correctable", "unfit", "unproven"]

IDENTICAL_SHARE = 0.5  # equal voxels; rounded noise of σ = 0.5 grey levels still leaves more than half unequal
RESCALED_SHARE = 0.02  # difference over each scan's noise; real repeats stay above 0.1, anatomy included
ANATOMY_CORRELATION = 0.95  # of 4×4 block means: repeats 0.98 and more, even moved; another subject below 0.9
SHIFT_VOXELS = 0.16  # length; 0.25 voxel must be found; still heads measure up to 0.12
SHIFT_ERRORS = 3.3  # of all axes together that move by LEAST_ERRORS of their own
LEAST_ERRORS = 2.0
GAIN_LIMIT = 0.0065  # 1 % must be found; EPI, phantom and simulated repeats mostly stay within 0.5 %
GAIN_ERRORS = 3.5
LEVEL_SIGMAS = 0.028  # an offset of 0.05 σ must be found; what a fit leaves by chance stays below 0.02 σ
LEVEL_ERRORS = 2.7
UNFIT_GAIN = 0.15  # what differs by more was made with another protocol or contrast
UNFIT_MISMATCH_SIGMAS = 3.0  # one gain and one offset cannot be trusted to remove what is this far above noise
EDGE_RATIO = 1.6  # repeats 0.8-1.5, moved or differently reconstructed pairs 1.85 and more
SPECTRAL_PEAK = 60.0  # real repeats up to 17, a spike of one noise σ 300 and more
LINE_RATIO = 4.0  # real repeats up to 2.8, a zipper 5 and more
SHARED_NOISE = 0.035  # 0.05 must be found where all is flat (air, phantom, simulation)
SHARED_IN_ANATOMY = 0.14  # 0.2 must be found; what anatomy leaves in the flattest blocks of a scan reaches 0.1
SHARED_ERRORS = 2.8
FLAT_VOXELS, FEW_SHARED = 4000, 0.6  # with fewer voxels, only so much is told from anatomy
FLAT_ERROR = 0.0115  # with a larger one, nobody can say that a correlation is the same everywhere
APART_SHARED_NOISE = 0.35  # separate measurements share no noise: less than this is ringing or a ghost, that is, signal
UNPROVEN_NOISE = 0.20  # if even this much could hide, the voxels do not prove independence
LEAST_VOXELS = 1000  # five unknowns and sixteen jackknife groups need at least this

NOISE_CODES = ("IDENTICAL", "RESCALED", "SHARED_NOISE")  # rules that mean: the noise is not independent


@dataclass(frozen=True, slots=True, kw_only=True)
class PairResult:
    """Outcome for two scans. Errors are standard errors; sigmas are in the scans' unit; shift in voxels (I,J,K).

    code: the rule that decided, e.g. "SHARED_NOISE"; reason: one sentence for a person. same_object: the anatomy
    is the same, whether or not the pair is fit: such scans belong to one subject.
    smallest_shared_noise: the least noise correlation that this check would have seen.
    """

    verdict: Verdict
    code: str
    reason: str
    same_object: bool
    shift: tuple[float, float, float] = (0.0, 0.0, 0.0)
    shift_error: tuple[float, float, float] = (0.0, 0.0, 0.0)
    gain: float = 1.0
    gain_error: float = 0.0
    offset: float = 0.0
    offset_error: float = 0.0
    level_sigmas: float = 0.0
    level_error_sigmas: float = 0.0
    mismatch_sigmas: float = 0.0
    sigma_first: float = 0.0
    sigma_second: float = 0.0
    sigma_pair: float = 0.0
    noise_correlation: float = 0.0
    noise_correlation_error: float = 0.0
    smallest_shared_noise: float = 1.0
    edge_ratio: float = 1.0
    coarse_ratio: float = 1.0
    spectral_peak: float = 1.0
    line_ratio: float = 1.0
    anatomy_correlation: float = 0.0
    anatomy_error: float = 0.0
    noise_lag1: tuple[float, float] = (0.0, 0.0)
    turn_degrees: float = 0.0
    turn_error_degrees: float = float("inf")

    def figures(self) -> dict[str, float]:
        """Flat name → value, for the manifest. The noise correlation only where flat areas show it: elsewhere it
        would be the anatomy's."""
        names = [
            "gain", "gain_error", "offset", "offset_error", "level_sigmas", "level_error_sigmas", "mismatch_sigmas",
            "sigma_first", "sigma_second",
            "sigma_pair", "smallest_shared_noise", "edge_ratio", "coarse_ratio", "spectral_peak",
            "line_ratio", "anatomy_correlation", "anatomy_error",
        ]  # fmt: skip
        if self.smallest_shared_noise <= UNPROVEN_NOISE or self.code == "SHARED_NOISE":
            names += ["noise_correlation", "noise_correlation_error"]
        if np.isfinite(self.turn_error_degrees):
            names += ["turn_degrees", "turn_error_degrees"]
        figures = {name: float(getattr(self, name)) for name in names}
        for axis, shift, error in zip("ijk", self.shift, self.shift_error, strict=True):
            figures[f"shift_{axis}_voxels"] = shift
            figures[f"shift_{axis}_error_voxels"] = error
        figures["noise_lag1_i"], figures["noise_lag1_j"] = self.noise_lag1
        return {name: round(value, 5) for name, value in figures.items() if np.isfinite(value)}


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
    result = _judged(_figures(first, second, fit, shared, edges, sigmas), shared, sigmas, acquired_apart)
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
        spectral_peak=spectral_peak(fit.left_over, fit.measured),
        line_ratio=line_ratio(fit.left_over, fit.measured),
        anatomy_correlation=anatomy[0],
        anatomy_error=anatomy[1],
        noise_lag1=noise.lag1(noise.cut_blocks(fit.left_over, fit.measured, side=8)),
    )


def _sigma_pair(first: Array, second: Array, fit: JointFit) -> float:
    """Noise of one scan from what gain, offset and shift leave of the difference in tissue; or gain and offset alone,
    where that leaves less: what a shift explains is blurred, and of a rescaled copy nothing may be left."""
    tissue = noise.tissue_mask((first + second) / 2) & fit.measured
    inside = tissue if np.count_nonzero(tissue) > LEAST_VOXELS else fit.measured
    if not inside.any():
        return 0.0
    plain = second[inside] - fit.gain * first[inside] - fit.offset
    return min(noise.trimmed_std(fit.left_over[inside]), noise.trimmed_std(plain)) / float(np.sqrt(2))


def _judged(result: PairResult, shared: SharedNoise, sigmas: tuple[float, float], acquired_apart: bool) -> PairResult:
    """The first rule that applies decides; the order goes from what no correction can help to what is fine."""
    found = replace(result, reason=f"same place, same signal, {_proof(result)}")
    for rule in (_other_object, _copy_of_it, _same_noise, _structure, _shift, _artefact, _intensity):
        verdict, code, reason = rule(result, shared, sigmas, acquired_apart)
        if verdict != "fit":
            found = replace(result, verdict=verdict, code=code, reason=reason, same_object=code != "OTHER_OBJECT")
            break
    if found.verdict == "unfit" or acquired_apart:
        return found
    hidden = _could_hide(result, shared)
    if not hidden:
        return found
    if found.verdict == "fit":
        return replace(found, verdict="unproven", code="UNPROVEN_INDEPENDENCE", reason=hidden)
    return replace(found, verdict="unproven", reason=f"{found.reason}; {hidden}")


def _proof(result: PairResult) -> str:
    if result.smallest_shared_noise > UNPROVEN_NOISE:
        return "separate acquisitions (no flat area to measure noise correlation in)"
    return f"noise correlation {result.noise_correlation:.2f} ± {result.noise_correlation_error:.2f}"


def _could_hide(result: PairResult, shared: SharedNoise) -> str:
    """Why nothing proves that the noise is independent; "" where it is proved."""
    declare = "declare the pair if the two were measured separately"
    if result.smallest_shared_noise > UNPROVEN_NOISE:
        seen = f"up to {result.smallest_shared_noise:.2f} could hide"
        return f"too little flat area to tell shared noise from anatomy: {seen}; {declare}"
    if shared.correlation > SHARED_IN_ANATOMY and shared.correlation > SHARED_ERRORS * shared.error:
        return f"{shared.correlation:.2f} of the noise seems shared, unless it is anatomy; {declare}"
    return ""


Ruling = tuple[Verdict, str, str]
_FINE: Ruling = ("fit", "FIT", "")


def _other_object(result: PairResult, *_: object) -> Ruling:
    if result.anatomy_correlation >= ANATOMY_CORRELATION:
        return _FINE
    found = f"their anatomy correlates {result.anatomy_correlation:.2f}, expected at least {ANATOMY_CORRELATION}"
    return ("unfit", "OTHER_OBJECT", f"{found}: another subject, region or contrast")


def _copy_of_it(result: PairResult, _shared: SharedNoise, sigmas: tuple[float, float], _apart: bool) -> Ruling:
    if result.sigma_pair >= RESCALED_SHARE * min(sigmas):
        return _FINE
    return ("unfit", "RESCALED", "one is a rescaled copy of the other: they differ by less than any noise")


def _same_noise(_result: PairResult, shared: SharedNoise, _sigmas: tuple[float, float], apart: bool) -> Ruling:
    sure = shared.correlation - SHARED_ERRORS * shared.error
    flat = shared.everywhere and shared.error <= FLAT_ERROR
    limit = APART_SHARED_NOISE if apart else SHARED_NOISE if flat else SHARED_IN_ANATOMY
    few = shared.effective_voxels < FLAT_VOXELS and shared.correlation < FEW_SHARED
    if few or not shared.like_noise or shared.correlation <= limit or sure <= (limit if apart else 0.0):
        return _FINE
    found = f"their noise correlates {shared.correlation:.2f} ± {shared.error:.2f} in flat {shared.region}"
    return ("unfit", "SHARED_NOISE", f"{found}: not measured independently")


def _structure(result: PairResult, *_: object) -> Ruling:
    if result.edge_ratio < EDGE_RATIO:
        return _FINE
    found = f"their difference is {result.edge_ratio:.1f} times as large at edges as in flat areas"
    return ("unfit", "STRUCTURE", f"{found} (pure noise: about 1): motion or another reconstruction")


def _shift(result: PairResult, *_: object) -> Ruling:
    axes = np.array([result.shift, result.shift_error]).T
    sure = axes[np.abs(axes[:, 0]) > LEAST_ERRORS * axes[:, 1]]
    length = float(np.linalg.norm(sure[:, 0]))
    errors = float(np.linalg.norm(sure[:, 0] / np.maximum(sure[:, 1], 1e-6)))
    if length <= SHIFT_VOXELS or errors <= SHIFT_ERRORS:
        return _FINE
    found = ", ".join(f"{shift:+.2f}" for shift in result.shift)
    return ("correctable", "SHIFT", f"the second is shifted by ({found}) voxels: align it before pairing")


def _artefact(result: PairResult, *_: object) -> Ruling:
    if result.spectral_peak > SPECTRAL_PEAK:
        return ("unfit", "ARTEFACT", "a wave lies over the whole of one of the two: a spike in its k-space")
    if result.line_ratio > LINE_RATIO:
        found = f"a line of pixels differs {result.line_ratio:.1f} times as much as those beside it"
        return ("unfit", "ARTEFACT", f"{found}: interference in one of the two")
    return _FINE


def _intensity(result: PairResult, *_: object) -> Ruling:
    gain, level = abs(result.gain - 1), abs(result.level_sigmas)
    scaled = gain > max(GAIN_LIMIT, GAIN_ERRORS * result.gain_error)
    lifted = level > max(LEVEL_SIGMAS, LEVEL_ERRORS * result.level_error_sigmas)
    if not scaled and not lifted:
        return _FINE
    found = f"intensity differs by gain {result.gain:.3f} and {result.mismatch_sigmas:.2f} σ on average"
    if gain > UNFIT_GAIN or result.mismatch_sigmas > UNFIT_MISMATCH_SIGMAS:
        return ("unfit", "INTENSITY", f"{found}: another protocol or contrast")
    return ("correctable", "INTENSITY", f"{found}: match it before pairing")
