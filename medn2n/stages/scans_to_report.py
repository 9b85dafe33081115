"""Scans → report: `evaluate` scores denoisers on a manifest, `denoise_report` shows what a denoise run did.

Denoisers come in as functions Volume → Volume, so this stage knows no model. The figures are defined in
`core.evaluation`; the classical filters are tuned here, on other scans than they are judged on where there
are any.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

from medn2n.core.classical import FILTERS, Filter, TuningCase, tune
from medn2n.core.display import SOFT_TISSUE_HU, slice_pairs
from medn2n.core.evaluation import (
    NOISY,
    Evaluation,
    Interval,
    Question,
    Score,
    Tuning,
    figures_alone,
    figures_from_repeats,
    figures_with_truth,
    single_scan_figures,
    summarise,
    truth_scale,
)
from medn2n.core.noise import noise_sigma
from medn2n.core.volume import FloatArray, Volume
from medn2n.errors import InputError, UsageError
from medn2n.formats.denoise_page import DenoisedSeries, write_denoise_page
from medn2n.formats.evaluation_files import write_evaluation_files
from medn2n.formats.evaluation_page import Example, write_evaluation_page
from medn2n.formats.manifest import Correction, Group, Manifest, manifest_hash

__all__ = ["DenoisedSeries", "Evaluation", "denoise_report", "evaluate", "single_scan_figures", "slice_pairs"]

Denoise = Callable[[Volume], Volume]
SEED = 20180711
TUNING_GROUPS = 3
TUNING_SLICES = 2


class Load(Protocol):
    """What `formats.scan.load` does: one Volume from a scan reference below `root`."""

    def __call__(self, reference: str, *, root: Path, modality: str) -> Volume: ...


def evaluate(
    manifest: Manifest,
    root: Path,
    *,
    denoisers: Mapping[str, Denoise],
    baselines: Sequence[str],
    output: Path,
    split: str = "validation",
    load: Load | None = None,
    progress: Callable[[str], None] = lambda _line: None,
) -> Evaluation:
    """Score every denoiser, every baseline and the noisy scan itself; write results.json, results.csv,
    report.html.

    split: where it is empty, test and then training is judged instead. denoisers: name → function.
    baselines: names from `core.classical.FILTERS`. UsageError for an unknown baseline, a name used twice, or
    a manifest without scans.
    """
    load = load or _load_scan
    split = _checked(manifest, split, denoisers, baselines)
    groups: list[Group] = getattr(manifest, split)
    tuning: dict[str, Tuning] = {
        modality: _tuned(manifest, split, modality, [FILTERS[name] for name in baselines], root, load)
        for modality in sorted({group.modality for group in groups})
    }
    methods = {modality: _methods(denoisers, tuned) for modality, tuned in tuning.items()}
    scores, examples = _score_groups(groups, methods, root, load, progress)
    result = Evaluation(
        manifest_sha256=manifest_hash(manifest),
        split=split,
        seed=SEED,
        models=tuple(denoisers),
        scores=tuple(scores),
        summaries=summarise(scores, np.random.default_rng(SEED)),
        tuning=tuning,
        report=str(output / "report.html"),
    )
    write_evaluation_files(result, output)
    write_evaluation_page(output / "report.html", result, examples)
    return result


def denoise_report(entries: Sequence[DenoisedSeries], output: Path) -> Path:
    """Write OUTPUT/report.html of a denoise run, one section a series; its path."""
    path = output / "report.html"
    write_denoise_page(path, entries)
    return path


@dataclass(frozen=True, slots=True, kw_only=True)
class _Case:
    """A group that was loaded. scans: one, or two repeats. truth: where the group has one."""

    group: Group
    question: Question
    scans: tuple[Volume, ...]
    truth: Volume | None


def _checked(manifest: Manifest, split: str, denoisers: Mapping[str, Denoise], baselines: Sequence[str]) -> str:
    """The split to judge: the one asked for, else the next that has scans."""
    unknown = [name for name in baselines if name not in FILTERS]
    if unknown:
        raise UsageError(f"Unknown baseline {', '.join(unknown)}; known: {', '.join(FILTERS)}.")
    taken = sorted(set(denoisers) & {NOISY, *baselines})
    if taken:
        raise UsageError(f"A model may not be named like a baseline or {NOISY!r}: {', '.join(taken)}.")
    for name in (split, "validation", "test", "training"):
        if getattr(manifest, name):
            return name
    raise UsageError("The manifest names no scans, so there is nothing to evaluate.")


def _score_groups(
    groups: Sequence[Group],
    methods: Mapping[str, Mapping[str, Denoise]],
    root: Path,
    load: Load,
    progress: Callable[[str], None],
) -> tuple[list[Score], list[Example]]:
    """Every method on every group, and pictures of the first group of each modality and question. methods: by
    modality."""
    scores: list[Score] = []
    examples: dict[tuple[str, Question], list[Example]] = {}
    for number, group in enumerate(groups, start=1):
        case = _load_case(group, root, load)
        found, pictures = _score_case(case, methods[group.modality])
        scores += found
        examples.setdefault((group.modality, case.question), pictures)
        progress(f"Evaluated {number} of {len(groups)}: {group.group} ({case.question})")
    return scores, [one for pictures in examples.values() for one in pictures]


def _score_case(case: _Case, methods: Mapping[str, Denoise]) -> tuple[list[Score], list[Example]]:
    """Every method on one group, and pictures of each but the noisy scan."""
    scores, examples = [], []
    for name, method in methods.items():
        score, denoised = _score(case, name, method)
        scores.append(score)
        if name != NOISY:
            examples.append(
                Example(
                    method=name,
                    modality=case.group.modality,
                    question=case.question,
                    group=case.group.group,
                    pairs=slice_pairs(case.scans[0], denoised, number=3),
                )
            )
    return scores, examples


def _load_scan(reference: str, *, root: Path, modality: str) -> Volume:
    from medn2n.formats.scan import load

    return load(reference, root=root, modality=modality)


def _question(group: Group) -> Question:
    if group.truth is not None:
        return "truth"
    return "repeats" if len(group.unmoved) > 1 and group.check.verdict != "unfit" else "single"


def _load_case(group: Group, root: Path, load: Load) -> _Case:
    question = _question(group)
    chosen = group.unmoved[: 2 if question == "repeats" else 1]
    scans = tuple(_matched(group, n, load(group.image[n], root=root, modality=group.modality)) for n in chosen)
    truth = load(group.truth, root=root, modality=group.modality) if group.truth is not None else None
    shapes = {volume.voxels.shape for volume in (*scans, *([truth] if truth else []))}
    if len(shapes) > 1 or any(len(shape) != 3 for shape in shapes):
        raise InputError(
            "SHAPES_DIFFER",
            f"Group {group.group}: expected 3D scans of one shape, found "
            f"{' and '.join(map(str, sorted(shapes)))}. "
            "Name single frames of a 4D file with #frame=N, and only repeats on one grid.",
        )
    return _Case(group=group, question=question, scans=scans, truth=truth)


def _matched(group: Group, position: int, volume: Volume) -> Volume:
    """A scan of the group in the intensity of the group's reference."""
    if not group.corrections or group.corrections[position] == Correction():
        return volume
    differs = group.corrections[position]
    return volume.with_voxels((volume.voxels - np.float32(differs.offset)) / np.float32(differs.gain))


def _score(case: _Case, name: str, method: Denoise) -> tuple[Score, Volume]:
    started = time.perf_counter()
    denoised = method(case.scans[0])
    seconds = time.perf_counter() - started
    reference = case.truth if case.truth is not None else case.scans[0]
    scale = truth_scale(reference.voxels, case.group.modality)
    figures: dict[str, float] = {}
    intervals: dict[str, Interval] = {}
    if case.truth is not None:
        figures = figures_with_truth(case.truth, case.scans[0], denoised)
    elif case.question == "repeats":
        first, second = case.scans
        figures, intervals = figures_from_repeats(first, second, denoised, method(second))
    figures |= figures_alone(case.scans[0], denoised, scale)
    score = Score(
        group=case.group.group,
        subject=case.group.subject,
        modality=case.group.modality,
        question=case.question,
        method=name,
        figures=figures,
        intervals=intervals,
        seconds=seconds,
    )
    return score, denoised


def _methods(denoisers: Mapping[str, Denoise], tuning: Tuning) -> dict[str, Denoise]:
    """The noisy scan as it is, then the tuned filters, then the models."""

    def filtered(filter_: Filter, strength: float) -> Denoise:
        return lambda volume: _filter_volume(volume, filter_, strength)

    classical = {name: filtered(FILTERS[name], strength) for name, strength in tuning.strengths.items()}
    return {NOISY: lambda volume: volume, **classical, **denoisers}


def _filter_volume(volume: Volume, filter_: Filter, strength: float) -> Volume:
    """Padding is filled with the lowest measured value for the filter, and put back."""
    sigma = noise_sigma(volume.voxels, volume.padding)
    if volume.padding is None or not volume.padding.any() or volume.padding.all():
        return volume.with_voxels(filter_(volume.voxels, strength, sigma))
    filled = volume.voxels.copy()
    filled[volume.padding] = volume.voxels[~volume.padding].min()
    filtered = filter_(filled, strength, sigma)
    filtered[volume.padding] = volume.voxels[volume.padding]
    return volume.with_voxels(filtered)


def _tuned(manifest: Manifest, split: str, modality: str, filters: list[Filter], root: Path, load: Load) -> Tuning:
    """Strengths chosen on other splits' scans of the modality that have a truth or a repeat; else on the
    first scan judged."""
    others = [name for name in ("validation", "training", "test") if name != split]
    usable = [
        group
        for name in others
        for group in getattr(manifest, name)
        if group.modality == modality and _question(group) != "single"
    ]
    chosen_on = "another split"
    if not usable:
        judged: list[Group] = getattr(manifest, split)
        usable = [group for group in judged if group.modality == modality and _question(group) != "single"][:1]
        chosen_on = "the first scan evaluated"
    if not usable:
        return Tuning(strengths={one.name: one.default for one in filters}, chosen_on="default")
    cases = [_tuning_case(_load_case(group, root, load)) for group in usable[:TUNING_GROUPS]] if filters else []
    return Tuning(strengths={one.name: tune(one, cases) for one in filters}, chosen_on=chosen_on)


def _tuning_case(case: _Case) -> TuningCase:
    noisy = case.scans[0]
    target = case.truth if case.truth is not None else case.scans[1]
    count = noisy.voxels.shape[2]
    chosen = sorted({count * (2 * step + 1) // (2 * TUNING_SLICES) for step in range(TUNING_SLICES)})
    mask = None if noisy.padding is None else ~noisy.padding[..., chosen]
    windowed = case.truth is not None and case.group.modality == "CT"

    def part(voxels: npt.NDArray[np.float32]) -> FloatArray:
        return np.ascontiguousarray(voxels[..., chosen])

    return TuningCase(
        noisy=part(noisy.voxels),
        target=part(target.voxels),
        sigma=noise_sigma(noisy.voxels, noisy.padding),
        mask=mask,
        window=SOFT_TISSUE_HU if windowed else None,
    )
