"""What one denoised scan scores, and how the scores of many scans are summed up. Pure: scans in, figures out.

Three questions, by what a group of scans offers:
    truth     against a reference without noise
    repeats   against an independent repeat (Noise2Noise's own estimate of error)
    single    nothing to compare with: noise before and after, and the shift of the mean

Figures (keys of `Score.figures`); CT in HU, MR in units of the reference's 99.9th percentile, photographs in units of
white (255 grey levels):
    psnr_db, ssim        CT in the soft-tissue window (−160…240 HU), MR with peak 1, photographs clipped to what can be
                         shown, with peak white
    rmse, bias           over all measured voxels (truth) or the body (repeats: rmse only), unwindowed
    share                error left over the noisy scan's own error (MSE ratio): 0 perfect, 1 nothing gained
    noise_before, noise_after, noise_left, mean_shift     flat tissue of the noisy scan; mean over the body
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from medn2n.core import metrics
from medn2n.core.display import SOFT_TISSUE_HU
from medn2n.core.noise import body_mask, flat_regions, noise_in
from medn2n.core.repeat_error import error_from_repeats
from medn2n.core.volume import FloatArray, Volume

Question = Literal["truth", "repeats", "single"]
Interval = tuple[float, float]
NOISY = "noisy"
FIGURES = (
    "psnr_db", "ssim", "share", "rmse", "bias", "noise_before", "noise_after", "noise_left", "mean_shift",
)  # fmt: skip

_SCALES = {"CT": 1.0, "PHOTO": 255.0}
_WINDOWS = {"CT": SOFT_TISSUE_HU, "PHOTO": (0.0, 1.0)}  # after division by the scale
# Larger is worse after this transform: what "worst" means for each figure.
_COST = {"psnr_db": -1.0, "ssim": -1.0}


@dataclass(frozen=True, slots=True, kw_only=True)
class SingleScanFigures:
    """What can be said of a denoised scan by itself, in the scan's unit.

    noise_before/noise_after: standard deviation in the same flat tissue, chosen on the scan before.
    mean_shift: mean of after − before over the body. minimum/maximum: (before, after), padding left out.
    """

    noise_before: float
    noise_after: float
    mean_shift: float
    minimum: Interval
    maximum: Interval

    @property
    def noise_left(self) -> float:
        """noise_after / noise_before; 0 where there was no noise to measure."""
        return self.noise_after / self.noise_before if self.noise_before > 0 else 0.0


def single_scan_figures(before: Volume, after: Volume) -> SingleScanFigures:
    """Figures of one denoised scan without truth or repeat; a 4D scan counts its first frame.

    Residual anatomy inside the flat blocks counts as noise in both, so noise_left errs upwards.
    """
    first, second = _frame(before.voxels), _frame(after.voxels)
    padding = None if before.padding is None else _frame(before.padding)
    flat = flat_regions(first, padding)
    body = body_mask(first, before.modality, padding)
    inside = np.isfinite(first) if padding is None else np.isfinite(first) & ~padding
    shift = metrics.bias(first, second, body & inside) if (body & inside).any() else 0.0
    old, new = first[inside], second[inside]
    empty = old.size == 0
    return SingleScanFigures(
        noise_before=noise_in(first, flat),
        noise_after=noise_in(second, flat),
        mean_shift=shift,
        minimum=(0.0, 0.0) if empty else (float(old.min()), float(new.min())),
        maximum=(0.0, 0.0) if empty else (float(old.max()), float(new.max())),
    )


def _frame(voxels: npt.NDArray[Any]) -> npt.NDArray[Any]:
    return voxels if voxels.ndim == 3 else voxels[..., 0]


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """One method on one group. group, subject: keyed ids. seconds: to denoise one scan. intervals: 95 %, by
    figure."""

    group: str
    subject: str
    modality: str
    question: Question
    method: str
    figures: Mapping[str, float]
    intervals: Mapping[str, Interval] = field(default_factory=dict)
    seconds: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """One method over all groups that answer one question. Figures are means over groups; intervals (95 %)
    come from resampling patients and are absent below three of them; worst: the worst group's figure."""

    modality: str
    question: Question
    method: str
    groups: int
    subjects: int
    figures: Mapping[str, float]
    intervals: Mapping[str, Interval]
    worst: Mapping[str, float]
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Tuning:
    """Strength of each classical filter for one modality, and on which scans it was chosen: "another split",
    "the first scan evaluated" (in the filters' favour) or "default"."""

    strengths: Mapping[str, float]
    chosen_on: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """split: the one judged. models: the trained methods among the scores. scores: one a (group, method);
    summaries: one a (modality, question, method); tuning: by modality. seed: of the resampling. report:
    where its page was written, in the caller's words."""

    manifest_sha256: str
    split: str
    seed: int
    models: tuple[str, ...]
    scores: tuple[Score, ...]
    summaries: tuple[Summary, ...]
    tuning: Mapping[str, Tuning]
    report: str = ""


def truth_scale(truth: FloatArray, modality: str) -> float:
    """What the figures are divided by: 1 for CT (HU), the truth's 99.9th percentile for MR, white for photographs."""
    if modality in _SCALES:
        return _SCALES[modality]
    top = float(np.percentile(truth, 99.9))
    return top if top > 0 else 1.0


def figures_with_truth(truth: Volume, noisy: Volume, denoised: Volume) -> dict[str, float]:
    """psnr_db, ssim, rmse, bias of one scan against its truth, over all voxels that were measured."""
    scale = truth_scale(truth.voxels, noisy.modality)
    reference, test = truth.voxels / np.float32(scale), denoised.voxels / np.float32(scale)
    mask = None if noisy.padding is None else ~noisy.padding
    window = _WINDOWS.get(noisy.modality)
    data_range = None if window else 1.0
    return {
        "psnr_db": metrics.psnr(reference, test, data_range=data_range, mask=mask, window=window),
        "ssim": metrics.ssim(reference, test, data_range=data_range, mask=mask, window=window),
        "rmse": metrics.rmse(reference, test, mask),
        "bias": metrics.bias(reference, test, mask),
    }


def figures_from_repeats(
    first: Volume,
    second: Volume,
    denoised_first: Volume,
    denoised_second: Volume,
) -> tuple[dict[str, float], dict[str, Interval]]:
    """share and rmse of one scan estimated from a repeat, over the body, with their 95 % intervals.

    The body only: outside it magnitude MR's noise has a mean of its own, which an independent repeat shares.
    """
    mean = 0.5 * (first.voxels + second.voxels)
    mask = body_mask(mean, first.modality)
    for volume in (first, second):
        if volume.padding is not None:
            mask &= ~volume.padding
    error = error_from_repeats(
        first.voxels,
        second.voxels,
        denoised_first.voxels,
        denoised_second.voxels,
        mask=mask,
    )
    scale = truth_scale(mean, first.modality)
    root = [float(np.sqrt(max(value, 0.0))) / scale for value in (error.mse, *error.mse_interval)]
    return (
        {"share": error.share, "rmse": root[0]},
        {"share": error.share_interval, "rmse": (root[1], root[2])},
    )


def figures_alone(noisy: Volume, denoised: Volume, scale: float = 1.0) -> dict[str, float]:
    """noise_before, noise_after, noise_left, mean_shift of one scan, divided by `scale`."""
    found = single_scan_figures(noisy, denoised)
    return {
        "noise_before": found.noise_before / scale,
        "noise_after": found.noise_after / scale,
        "noise_left": found.noise_left,
        "mean_shift": found.mean_shift / scale,
    }


def summarise(scores: Sequence[Score], generator: np.random.Generator) -> tuple[Summary, ...]:
    """One Summary for each (modality, question, method), in order of first appearance."""
    keys = list(dict.fromkeys((score.modality, score.question, score.method) for score in scores))
    return tuple(
        _summary([one for one in scores if (one.modality, one.question, one.method) == key], generator) for key in keys
    )


def _summary(scores: Sequence[Score], generator: np.random.Generator) -> Summary:
    first = scores[0]
    subjects = [score.subject for score in scores]
    figures: dict[str, float] = {}
    intervals: dict[str, Interval] = {}
    worst: dict[str, float] = {}
    for name in first.figures:
        values = np.array([score.figures[name] for score in scores], dtype=np.float64)
        figures[name] = float(values.mean())
        sign = _COST.get(name, 1.0)
        worst[name] = float(values[np.argmax(np.abs(values) if sign > 0 else -values)])
        finite = bool(np.isfinite(values).all())
        interval = metrics.bootstrap_mean(values, subjects, generator=generator) if finite else None
        if interval:
            intervals[name] = interval
        elif len(scores) == 1 and name in first.intervals:
            intervals[name] = first.intervals[name]
    return Summary(
        modality=first.modality,
        question=first.question,
        method=first.method,
        groups=len(scores),
        subjects=len(set(subjects)),
        figures=figures,
        intervals=intervals,
        worst=worst,
        seconds=float(np.mean([score.seconds for score in scores])),
    )
