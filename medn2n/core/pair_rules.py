"""Which verdict the figures of a pair earn: small rules, the first that applies decides.

The figures that the thresholds rest on were measured on real repeats: EPI series, diffusion b=0, phantom pairs of three
scanners, simulated CT draws; and on real non-repeats: moving heads, rescans after repositioning, one CT scan
reconstructed twice, overlapping slices.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from medn2n.core.pair_result import UNPROVEN_NOISE, PairResult, Verdict
from medn2n.core.shared_noise import SharedNoise

RESCALED_SHARE = 0.02  # difference over each scan's noise; real repeats stay above 0.1, anatomy included
ANATOMY_CORRELATION = 0.95  # of 4×4 block means: repeats 0.98 and more, even moved; another subject below 0.9
SHIFT_VOXELS = 0.16  # length; 0.25 voxel must be found; still heads measure up to 0.12
SHIFT_ERRORS = 3.3  # of all axes together that move by LEAST_ERRORS of their own
LEAST_ERRORS = 2.0
GAIN_LIMIT = 0.0065  # 1 % must be found; EPI, phantom and simulated repeats mostly stay within 0.5 %
GAIN_ERRORS = 3.5
LEVEL_SIGMAS = 0.028  # an offset of 0.05 σ must be found; what a fit leaves by chance stays below 0.02 σ
LEVEL_ERRORS = 2.3
UNFIT_GAIN = 0.15  # what differs by more was made with another protocol or contrast
UNFIT_MISMATCH_SIGMAS = 3.0  # one gain and one offset cannot be trusted to remove what is this far above noise
EDGE_RATIO = 1.6  # repeats 0.8-1.5, moved or differently reconstructed pairs 1.85 and more
SPECTRAL_PEAK = 60.0  # real repeats up to 17, a spike of one noise σ 300 and more
LINE_RATIO = 4.0  # real repeats up to 2.8, a zipper 5 and more
GHOST_SIGMAS, GHOST_ERRORS = 0.16, 6.0  # still repeats up to 0.03 σ, one phantom 0.14
RING_RATIO = 22.0  # of CT; repeats up to 9
SHARED_NOISE = 0.025  # 0.05 must be found in phantoms and simulation
SHARED_IN_ANATOMY = 0.14  # what anatomy leaves away from edges reaches 0.1
SHARED_ERRORS = 2.8
# With fewer voxels, or in a smaller share of the region without an edge, texture may pass for noise, or the ringing of
# an EPI, of which 0.7 seems shared: then only so much is told from it.
FLAT_VOXELS, PLAIN_SHARE, FEW_SHARED = 2500, 0.1, 0.8
MOSTLY_PLAIN = 0.5  # separate measurements share no noise; with less, it is the ringing and ghosts of EPI that seem to


def judged(result: PairResult, shared: SharedNoise, sigmas: tuple[float, float], acquired_apart: bool) -> PairResult:
    """The first rule that applies decides; the order goes from what no correction can help to what is fine."""
    result = replace(
        result,
        smallest_shift=max(SHIFT_VOXELS, SHIFT_ERRORS * max(result.shift_error[:2])),
        smallest_gain=max(GAIN_LIMIT, GAIN_ERRORS * result.gain_error),
        smallest_level_sigmas=max(LEVEL_SIGMAS, LEVEL_ERRORS * result.level_error_sigmas),
    )
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


def noise_is_shared(shared: SharedNoise, *, acquired_apart: bool = False) -> str:
    """Why two scans' noise is surely not independent, in words; "" where nothing shows it."""
    sure = shared.correlation - SHARED_ERRORS * shared.error
    if acquired_apart and shared.plain < MOSTLY_PLAIN:
        return ""
    limit = SHARED_IN_ANATOMY if acquired_apart else SHARED_NOISE
    few = (shared.effective_voxels < FLAT_VOXELS or shared.plain < PLAIN_SHARE) and shared.correlation < FEW_SHARED
    if few or not shared.like_noise or shared.correlation <= limit or sure <= (limit if acquired_apart else 0.0):
        return ""
    found = f"their noise correlates {shared.correlation:.2f} ± {shared.error:.2f} in flat {shared.region}"
    return f"{found}: not measured independently"


def _same_noise(_result: PairResult, shared: SharedNoise, _sigmas: tuple[float, float], apart: bool) -> Ruling:
    reason = noise_is_shared(shared, acquired_apart=apart)
    return ("unfit", "SHARED_NOISE", reason) if reason else _FINE


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
    if result.ghost_sigmas > GHOST_SIGMAS and abs(result.ghost) > GHOST_ERRORS * result.ghost_error:
        found = f"{100 * abs(result.ghost):.1f} % of the object lies over it half a field of view away"
        return ("unfit", "ARTEFACT", f"{found} in one of the two and not in the other: a ghost")
    if result.ring_ratio > RING_RATIO:
        found = f"a circle about the middle differs {result.ring_ratio:.0f} times as much as circles usually do"
        return ("unfit", "ARTEFACT", f"{found}: a ring in one of the two")
    return _FINE


def _intensity(result: PairResult, *_: object) -> Ruling:
    gain, level = abs(result.gain - 1), abs(result.level_sigmas)
    if gain <= result.smallest_gain and level <= result.smallest_level_sigmas:
        return _FINE
    found = f"intensity differs by gain {result.gain:.3f} and {result.mismatch_sigmas:.2f} σ on average"
    if gain > UNFIT_GAIN or result.mismatch_sigmas > UNFIT_MISMATCH_SIGMAS:
        return ("unfit", "INTENSITY", f"{found}: another protocol or contrast")
    return ("correctable", "INTENSITY", f"{found}: match it before pairing")
