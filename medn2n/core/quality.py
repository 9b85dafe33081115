"""The trials of one denoised scan that need the method itself, and what a truth and repeats tell of it.

is a lesion kept?            core.lesion_trial      CT with flat tissue; the method runs twice on at most 8 slices
is a faint disc found?       core.detection_trial   phantoms: where there is enough even area; runs once more
what error is left?          core.body_error        a truth, or repeats
what else was removed?       core.repeat_figures    repeats
what grain has the noise?    core.noise_power       flat tissue of one scan, or the difference of repeats
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from medn2n.core.body_error import TrueError, true_error
from medn2n.core.detection_trial import DetectionTrial, detection_after, detection_trial
from medn2n.core.error_gate import error_gates
from medn2n.core.lesion_trial import ROSE, LesionAnswer, LesionTrial, lesion_answer, lesion_figures, lesion_trial
from medn2n.core.limits import TOO_LITTLE_TISSUE, Gate, Limits, unmeasured
from medn2n.core.noise_power import NoisePower
from medn2n.core.observer import DetectionChange
from medn2n.core.repeat_figures import RepeatFigures, repeat_figures
from medn2n.core.scan_proof import ScanProof
from medn2n.core.scores import Curve, Interval
from medn2n.core.volume import Volume

Method = Callable[[Volume], Volume]
# In words, and in short.
Reason = tuple[str, str]
ELSEWHERE: Reason = (
    "Not measured: the copies were made elsewhere, so that nothing can be put in.", "copies made elsewhere"
)  # fmt: skip
NO_ROOM: Reason = ("There is no room for a lesion in even tissue.", TOO_LITTLE_TISSUE)
TOO_LITTLE: Reason = (
    "Not measured: too little even area for a disc, or pixels that are not square. A phantom has enough.",
    "too little even area, or pixels that are not square",
)
HIDDEN: Reason = (
    "The noise could hide every lesion that was put in, so none is asked for.", "noise could hide every lesion"
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Trials:
    """What is made of a scan once and asked of every method; None where the scan does not allow it."""

    lesions: LesionTrial | None
    detection: DetectionTrial | None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Quality:
    """figures, their intervals (95 %), and gates, as `Score` holds them. curves: "noise_power_before" and
    "noise_power_after" (1/mm; HU²·mm²), "removed" and "removed_noise" (1/mm; unit² a coefficient). uncertainty: (I,J,K)
    in the scan's unit; shared: (I,J,K), what two removals have in common (`residuals.region_map`); None without a
    repeat."""

    figures: dict[str, float]
    intervals: dict[str, Interval]
    gates: tuple[Gate, ...]
    curves: dict[str, Curve]
    uncertainty: npt.NDArray[np.float64] | None
    shared: npt.NDArray[np.float64] | None


def trials(scans: Sequence[Volume], generator: np.random.Generator) -> Trials:
    """scans: a scan and its repeats, (I,J,K) on one grid. Photographs are put to no trial."""
    modality = scans[0].modality
    return Trials(
        lesions=lesion_trial(scans[0], generator) if modality == "CT" else None,
        detection=detection_trial(scans) if modality in ("CT", "MR") else None,
    )


def quality(
    scans: Sequence[Volume],
    denoised: Volume,
    method: Method,
    proof: ScanProof,
    *,
    asked: Trials | None,
    limits: Limits,
    repeats: bool,
    proven: bool = True,
    truth: Volume | None = None,
) -> Quality:
    """denoised: the method's answer to the first scan. asked: None where the method answers for its own scans only
    (copies made elsewhere). repeats: whether the second scan tells the error too; proven: False where the two may share
    noise. truth: on the scans' grid."""
    answers = (denoised, *([method(scans[1])] if repeats else []))
    found = repeat_figures(scans, *answers) if repeats else None
    true = None if truth is None else true_error(truth, scans, answers)
    figures, intervals = _told(found, true)
    gates = error_gates(proof.modality, true, figures, intervals, proven=proven, limits=limits)
    if proof.modality == "CT":
        answer = None if asked is None or asked.lesions is None else lesion_answer(asked.lesions, method)
        figures |= {} if answer is None else lesion_figures(answer)
        gates.append(_lesions(answer, limits.lesion_contrast, NO_ROOM if asked else ELSEWHERE))
    if proof.modality in ("CT", "MR"):
        change = None if asked is None or asked.detection is None else detection_after(asked.detection, method)
        if change is not None:
            figures |= {"auc_before": change.before, "auc_after": change.after, "auc_change": change.change}
            intervals["auc_change"] = change.interval
        gates.append(_detectability(change, limits.auc_loss, TOO_LITTLE if asked else ELSEWHERE))
    before, after = (found or proof).power_before, (found or proof).power_after
    return Quality(
        figures=figures | _grain(before, after),
        intervals=intervals,
        gates=tuple(gates),
        curves=noise_spectra(before, after) | _removed(found),
        uncertainty=None if found is None else found.uncertainty,
        shared=None if found is None else found.shared,
    )


def _told(found: RepeatFigures | None, true: TrueError | None) -> tuple[dict[str, float], dict[str, Interval]]:
    """Figures and intervals of what there is."""
    figures, intervals = ({}, {}) if found is None else (dict(found.figures), dict(found.intervals))
    return figures if true is None else figures | true.figures, intervals


def _lesions(answer: LesionAnswer | None, limit: float, otherwise: Reason) -> Gate:
    """otherwise: why there is no answer, if so."""
    if answer is None:
        return unmeasured("lesions", "", *otherwise)
    if not answer.fair.any():
        return unmeasured("lesions", "", *HIDDEN)
    kept = answer.kept[answer.fair]
    lost, least = int(np.count_nonzero(kept < limit)), float(kept.min())
    words = (
        f"Of {len(kept)} lesions of {ROSE:g} times the noise that lies over them, {lost} kept less than "
        f"{100 * limit:.0f} % of their contrast; the least is {100 * least:.0f} %."
    )
    return Gate(
        name="lesions", passed=lost == 0, value=least, limit=limit, excess=limit / max(least, 1e-3), unit="",
        words=words,
    )  # fmt: skip


def _detectability(change: DetectionChange | None, limit: float, otherwise: Reason) -> Gate:
    """Passes where the loss is within the limit with 95 % certainty: too few images to be certain fail it too.
    otherwise: why there is no change to tell, if so."""
    if change is None:
        return unmeasured("detectability", "", *otherwise)
    low, high = change.interval
    words = (
        f"A faint disc is found with an AUC of {change.before:.3f} before and {change.after:.3f} after "
        f"(change {change.change:+.3f} [{low:+.3f}, {high:+.3f}]); a loss of {limit:g} is allowed, and more "
        "must be ruled out."
    )
    return Gate(
        name="detectability", passed=low >= -limit, value=change.change, limit=-limit, excess=-low / limit, unit="",
        words=words,
    )  # fmt: skip


def _grain(before: NoisePower | None, after: NoisePower | None) -> dict[str, float]:
    """Mean frequencies of the noise, 1/mm."""
    both = {"grain_before": before, "grain_after": after}
    return {name: power.mean_per_mm for name, power in both.items() if power is not None and power.tells_grain}


def noise_spectra(before: NoisePower | None, after: NoisePower | None) -> dict[str, Curve]:
    """Frequency (1/mm) and power (unit²·mm²) by name, noise_power_before and _after, where they tell the grain."""
    both = {"noise_power_before": before, "noise_power_after": after}
    return {name: _curve(*power.radial()) for name, power in both.items() if power is not None and power.tells_grain}


def _removed(found: RepeatFigures | None) -> dict[str, Curve]:
    if found is None or not found.bands:
        return {}
    middles = np.array([(band.low + band.high) / 2 for band in found.bands])
    return {
        "removed": _curve(middles, np.array([band.removed for band in found.bands])),
        "removed_noise": _curve(middles, np.array([band.noise for band in found.bands])),
    }


def _curve(x: npt.NDArray[np.float64], y: npt.NDArray[np.float64]) -> Curve:
    return tuple(float(value) for value in x), tuple(float(value) for value in y)
