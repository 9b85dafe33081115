"""The scores of many denoised scans, and how they are summed up: over scans, with intervals over patients, the worst
beside the mean. `core.evaluation` says what the figures are."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import numpy.typing as npt

from medn2n.core import metrics
from medn2n.core.limits import Gate, failed

Question = Literal["truth", "repeats", "single"]
Interval = tuple[float, float]
Curve = tuple[tuple[float, ...], tuple[float, ...]]  # x and y
Values = npt.NDArray[np.float64]
NOISY = "noisy"
TOGETHER = "-together"  # ends the name of a filter that was given all repeats of a group at once
FIGURES = (
    "psnr_db", "ssim", "rmse", "bias", "body_psnr_db_true", "body_psnr_db_estimated", "body_rmse_true",
    "body_rmse_estimated", "share_true", "share", "noise_before", "noise_after", "noise_left", "mean_shift",
    "edge_blur", "edges_moved", "spot", "weakened", "invented",
)  # fmt: skip

# What `core.quality` adds, where a scan offers it.
PHYSICS = (
    "lesion_count", "lesion_contrast", "lesion_vanished", "lesion_size", "lesion_cnr_before", "lesion_cnr_after",
    "auc_before", "auc_after", "auc_change", "grain_before", "grain_after", "residual_correlation", "residual_anatomy",
    "residual_share", "residual_worst", "residual_found", "removed_low", "uncertainty", "share_three", "rmse_three",
)  # fmt: skip


def _from_one(values: Values) -> Values:
    return np.abs(values - 1)


# What "worst" means for each figure: the largest of these; of the others, the farthest from zero.
_COST: Mapping[str, Callable[[Values], Values]] = {
    "psnr_db": np.negative, "body_psnr_db_true": np.negative, "body_psnr_db_estimated": np.negative,
    "ssim": np.negative, "signal_share": _from_one, "lesion_size": _from_one, "share": np.positive,
    "share_three": np.positive, "residual_share": np.positive,
    "lesion_contrast": np.negative, "lesion_cnr_after": np.negative, "auc_after": np.negative,
    "auc_change": np.negative,
}  # fmt: skip

# Bounds of the mean of each of these, and so of its interval.
_NOT_BELOW_ZERO = (
    "rmse", "body_rmse_true", "body_rmse_estimated", "share_true", "noise_before", "noise_after", "noise_left",
    "edges_moved", "spot", "weakened", "uncertainty", "rmse_three", "lesion_count", "lesion_size", "grain_before",
    "grain_after", "removed_low",
)  # fmt: skip
_SHARES = ("auc_before", "auc_after", "lesion_vanished", "residual_found")
_BOUNDS: Mapping[str, Interval] = {
    **dict.fromkeys(_NOT_BELOW_ZERO, (0.0, float("inf"))), **dict.fromkeys(_SHARES, (0.0, 1.0)), "ssim": (-1.0, 1.0),
    "invented": (-1.0, 1.0), "residual_correlation": (-1.0, 1.0), "auc_change": (-1.0, 1.0),
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """One method on one group. group, subject: keyed ids. seconds, peak_bytes: to denoise one scan, NaN and None where
    nobody knows (the memory taken on top). intervals: 95 %, by figure. curves: spectra, by name (`core.quality`)."""

    group: str
    subject: str
    modality: str
    question: Question
    method: str
    figures: Mapping[str, float]
    intervals: Mapping[str, Interval] = field(default_factory=dict)
    seconds: float = 0.0
    peak_bytes: int | None = None
    gates: tuple[Gate, ...] = ()
    curves: Mapping[str, Curve] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """One method over all groups that answer one question. Figures are means over the groups that have them;
    intervals (95 %) come from resampling patients and are absent below three of them; worst: the worst group's figure;
    peak_bytes: of the scan that took most."""

    modality: str
    question: Question
    method: str
    groups: int
    subjects: int
    figures: Mapping[str, float]
    intervals: Mapping[str, Interval]
    worst: Mapping[str, float]
    seconds: float
    peak_bytes: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PatientMean:
    """One method on all groups of one patient that answer one question: the means of its figures."""

    subject: str
    modality: str
    question: Question
    method: str
    groups: int
    figures: Mapping[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Tuning:
    """Strength of each classical filter for one modality, and on which scans it was chosen: "another split",
    "the first scan evaluated" (in the filters' favour) or "default"."""

    strengths: Mapping[str, float]
    chosen_on: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """What could not be judged: one method on a group, or with method "" the group itself. code, reason: of the
    `InputError`."""

    group: str
    method: str
    code: str
    reason: str

    @property
    def words(self) -> str:
        """Where, code and reason in one line."""
        return f"{self.method + ' on ' if self.method else ''}{self.group} ({self.code}): {self.reason}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """split: the one judged. models: the trained methods among the scores. scores: one a (group, method);
    summaries: one a (modality, question, method); patients: the same, patient by patient; tuning: by modality. seed: of
    the resampling. left_out: baselines whose package is not installed. refused: groups that could not be judged, and
    methods on one of the others. report: where its page was written, in the caller's words."""

    manifest_sha256: str
    split: str
    seed: int
    models: tuple[str, ...]
    scores: tuple[Score, ...]
    summaries: tuple[Summary, ...]
    tuning: Mapping[str, Tuning]
    patients: tuple[PatientMean, ...] = ()
    left_out: tuple[str, ...] = ()
    refused: tuple[Refusal, ...] = ()
    report: str = ""

    @property
    def beyond_limits(self) -> bool:
        """Whether any of `models` failed a limit on any scan."""
        return any(failed(score.gates) for score in self.scores if score.method in self.models)


def summarise(scores: Sequence[Score], generator: np.random.Generator) -> tuple[Summary, ...]:
    """One Summary for each (modality, question, method), in order of first appearance."""
    keys = list(dict.fromkeys((score.modality, score.question, score.method) for score in scores))
    return tuple(
        _summary([one for one in scores if (one.modality, one.question, one.method) == key], generator) for key in keys
    )


def _summary(scores: Sequence[Score], generator: np.random.Generator) -> Summary:
    first = scores[0]
    figures: dict[str, float] = {}
    intervals: dict[str, Interval] = {}
    worst: dict[str, float] = {}
    for name in dict.fromkeys(name for score in scores for name in score.figures):
        having = [score for score in scores if name in score.figures]
        values = np.array([score.figures[name] for score in having], dtype=np.float64)
        figures[name] = _mean(values)
        cost = _COST.get(name.partition("/")[0], np.abs)(values)
        worst[name] = float(values[np.argmax(np.where(np.isnan(cost), -np.inf, cost))])
        patients = [score.subject for score in having]
        interval = metrics.bootstrap_mean(values, patients, generator=generator) if np.isfinite(values).all() else None
        if interval:
            low, high = _BOUNDS.get(name.partition("/")[0], (-np.inf, np.inf))
            intervals[name] = max(interval[0], low), min(interval[1], high)
        elif len(having) == 1 and name in having[0].intervals:
            intervals[name] = having[0].intervals[name]
    peaks = [score.peak_bytes for score in scores if score.peak_bytes is not None]
    return Summary(
        modality=first.modality,
        question=first.question,
        method=first.method,
        groups=len(scores),
        subjects=len({score.subject for score in scores}),
        figures=figures,
        intervals=intervals,
        worst=worst,
        seconds=float(np.mean([score.seconds for score in scores])),
        peak_bytes=max(peaks, default=None),
    )


def _mean(values: Values) -> float:
    """Of those that are finite, where any is: a PSNR of infinity is an error that chance told as nothing, and no mean
    of scans can be made of it."""
    finite = np.isfinite(values)
    return float(values[finite].mean() if finite.any() else values.mean())


def patient_means(scores: Sequence[Score]) -> tuple[PatientMean, ...]:
    """One PatientMean for each (patient, modality, question, method), in order of first appearance."""
    together: dict[tuple[str, str, Question, str], list[Score]] = {}
    for score in scores:
        together.setdefault((score.subject, score.modality, score.question, score.method), []).append(score)
    return tuple(
        PatientMean(
            subject=subject,
            modality=modality,
            question=question,
            method=method,
            groups=len(found),
            figures={
                name: _mean(np.array([one.figures[name] for one in found if name in one.figures], np.float64))
                for name in dict.fromkeys(name for one in found for name in one.figures)
            },
        )
        for (subject, modality, question, method), found in together.items()
    )
