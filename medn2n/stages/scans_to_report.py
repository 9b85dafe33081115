"""Scans → report: `evaluate` scores denoisers on a manifest, `denoise_report` shows what a denoise run did.

Denoisers come in as functions Volume → Volume, so this stage knows no model. The figures are defined in
`core.evaluation`, what they cost in `engines.cost`; the classical filters are tuned here, on other scans than they are
judged on where there are any.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import MappingProxyType

import numpy as np
import numpy.typing as npt

from medn2n.core.classical import Filter, filter_volume
from medn2n.core.display import SlicePair, slice_pairs
from medn2n.core.evaluation import figures_alone, figures_with_truth, truth_scale
from medn2n.core.gates import gates
from medn2n.core.limits import Limits
from medn2n.core.packaged_filters import BASELINES, chosen_filters
from medn2n.core.quality import Trials, quality, trials
from medn2n.core.repeat_figures import figures_together
from medn2n.core.scan_proof import scan_proof
from medn2n.core.scores import NOISY, TOGETHER, Evaluation, Question, Refusal, Score, Tuning, patient_means, summarise
from medn2n.core.tuning import tune, tuning_case
from medn2n.core.volume import Volume
from medn2n.engines.cost import measured
from medn2n.errors import InputError, UsageError
from medn2n.formats.denoise_page import DenoisedSeries, write_denoise_page
from medn2n.formats.evaluation_case import (
    Case,
    CopiesFolder,
    Load,
    first_cases,
    load_case,
    load_scan,
    question_of,
    stored_copies,
    with_copies,
)
from medn2n.formats.evaluation_files import write_evaluation_files
from medn2n.formats.evaluation_page import Example, write_evaluation_page
from medn2n.formats.manifest import Group, Manifest, manifest_hash

__all__ = ["DenoisedSeries", "Evaluation", "denoise_report", "evaluate", "slice_pairs"]

Denoise = Callable[[Volume], Volume]
SEED = 20180711
SPLITS = ("validation", "test", "training")  # judged in this order where the one asked for is empty
TUNING_GROUPS = 3


def evaluate(
    manifest: Manifest,
    root: Path,
    *,
    denoisers: Mapping[str, Denoise],
    baselines: Sequence[str],
    output: Path,
    copies: Mapping[str, Path] = MappingProxyType({}),
    split: str = "validation",
    limits: Limits | None = None,
    load: Load = load_scan,
    progress: Callable[[str], None] = lambda _line: None,
) -> Evaluation:
    """Score every denoiser, every baseline and the noisy scan itself; write results.json, results.csv, report.html.

    split: where it is empty, the first of validation, test and training that is not. denoisers: name → function.
    copies: name → folder of scans denoised elsewhere (`CopiesFolder`). baselines: of `BASELINES`, or "all" for those
    that are installed. limits: of the gates. UsageError for an unknown split, a baseline unknown or not installed, a
    name used twice, a manifest without scans.
    """
    filters, left_out = chosen_filters(baselines)
    split = _checked(manifest, split, [*denoisers, *copies], filters)
    groups: list[Group] = getattr(manifest, split)
    kinds = sorted({group.modality for group in groups})
    tuning: dict[str, Tuning] = {one: _tuned(manifest, split, one, filters, root, load) for one in kinds}
    methods = {modality: _methods(denoisers, tuned) for modality, tuned in tuning.items()}
    scores, examples, refused = _score_groups(groups, methods, copies, root, load, limits or Limits(), progress)
    result = Evaluation(
        manifest_sha256=manifest_hash(manifest),
        split=split,
        seed=SEED,
        models=(*denoisers, *copies),
        scores=tuple(scores),
        summaries=summarise(scores, np.random.default_rng(SEED)),
        patients=patient_means(scores),
        tuning=tuning, left_out=left_out, refused=refused,
        report=str(output / "report.html"),
    )  # fmt: skip
    _write(result, examples, output)
    return result


def _write(result: Evaluation, examples: list[Example], output: Path) -> None:
    write_evaluation_files(result, output)
    write_evaluation_page(output / "report.html", result, examples)


def denoise_report(entries: Sequence[DenoisedSeries], output: Path) -> Path:
    """Write OUTPUT/report.html of a denoise run, one section a series; its path."""
    path = output / "report.html"
    write_denoise_page(path, entries)
    return path


def _checked(manifest: Manifest, split: str, names: Sequence[str], filters: Sequence[Filter]) -> str:
    """The split to judge: the one asked for, else the next that has scans."""
    reserved = {NOISY, *(one.name + ending for one in filters for ending in ("", TOGETHER))}
    taken = sorted(name for name in set(names) if name in reserved or names.count(name) > 1)
    if taken:
        raise UsageError(
            f"A model or folder of copies may not be named like another, a baseline or {NOISY!r}: {', '.join(taken)}."
        )
    if split not in SPLITS:
        raise UsageError(f"split: expected one of {', '.join(SPLITS)}, found {split!r}.")
    for name in (split, *SPLITS):
        if getattr(manifest, name):
            return name
    raise UsageError("The manifest names no scans, so there is nothing to evaluate.")


def _score_groups(
    groups: Sequence[Group],
    methods: Mapping[str, Mapping[str, Denoise]],
    copies: Mapping[str, Path],
    root: Path,
    load: Load,
    limits: Limits,
    progress: Callable[[str], None],
) -> tuple[list[Score], list[Example], tuple[Refusal, ...]]:
    """Every method on every group, its pictures on the first group of each modality and question, and what could not be
    judged: a group or one method that cannot does not cost the others. methods: by modality. InputError where nothing
    but the noisy scans was left of what was asked."""
    folders = {name: CopiesFolder.of(folder, groups) for name, folder in copies.items()}
    scores: list[Score] = []
    examples: dict[tuple[str, Question, str], Example] = {}
    refused: list[Refusal] = []
    for number, group in enumerate(groups, start=1):
        try:
            case = load_case(group, root, load)
            made_elsewhere = {name: stored_copies(case, folder, load) for name, folder in folders.items()}
            found, pictures, not_judged = _score_case(case, methods[group.modality], made_elsewhere, limits)
        except InputError as error:
            refused.append(Refusal(group=group.group, method="", code=error.code, reason=str(error)))
            progress(f"Not judged, {number} of {len(groups)}: {refused[-1].words}")
            continue
        scores += found
        refused += not_judged
        for one in pictures:
            examples.setdefault((one.modality, one.question, one.method), one)
        progress(f"Evaluated {number} of {len(groups)}: {group.group} ({case.question})")
        for each in not_judged:
            progress(f"Not judged, {number} of {len(groups)}: {each.words}")
    if not scores or (any(one.method for one in refused) and all(score.method == NOISY for score in scores)):
        raise InputError(refused[0].code, refused[0].reason)
    return scores, list(examples.values()), tuple(refused)


def _score_case(
    case: Case, methods: Mapping[str, Denoise], made_elsewhere: Mapping[str, Denoise], limits: Limits
) -> tuple[list[Score], list[Example], list[Refusal]]:
    """Every method on one group, pictures of each but the noisy scan, and the methods that refused it or whose copy
    was refused. InputError where the noisy scan itself is."""
    asked = trials(case.scans, np.random.default_rng(SEED))
    runs: dict[str, Callable[[], tuple[Score, Example | None]]] = {
        name: partial(_score, case, name, method, limits, asked) for name, method in methods.items()
    }
    for name in methods:
        if case.question == "repeats" and name in BASELINES and len(case.scans) > BASELINES[name].fewest_frames > 0:
            runs[name + TOGETHER] = partial(_score_together, case, BASELINES[name])
    runs |= {name: partial(_score, case, name, method, limits, None) for name, method in made_elsewhere.items()}
    scores: list[Score] = []
    examples: list[Example] = []
    refused: list[Refusal] = []
    for name, run in runs.items():
        try:
            score, example = run()
        except InputError as error:
            if name == NOISY:
                raise
            refused.append(Refusal(group=case.group.group, method=name, code=error.code, reason=str(error)))
            continue
        scores.append(score)
        examples += [example] if example is not None and name != NOISY else []
    return scores, examples, refused


def _score_together(case: Case, filter_: Filter) -> tuple[Score, None]:
    """A filter on all repeats at once: what error it leaves, and nothing of what is asked scan by scan."""

    def denoise(frames: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        return filter_(frames, filter_.default, 0.0)

    cost = measured(lambda: figures_together(case.scans, denoise))
    figures, intervals = cost.result
    score = Score(
        group=case.group.group,
        subject=case.group.subject,
        modality=case.group.modality,
        question=case.question,
        method=filter_.name + TOGETHER,
        figures=figures,
        intervals=intervals,
        seconds=cost.seconds / 2 / (len(case.scans) - 1),  # it ran twice
        peak_bytes=cost.peak_bytes,
    )
    return score, None


def _score(case: Case, name: str, method: Denoise, limits: Limits, asked: Trials | None) -> tuple[Score, Example]:
    """asked: None of what was made elsewhere: it is put to no trial that needs the method itself, and took nobody knows
    how long."""
    if asked is None:
        case = with_copies(case, method)
    first, modality = case.scans[0], case.group.modality
    cost = measured(lambda: method(first))
    denoised = cost.result
    reference = case.truth if case.truth is not None else first
    proof = scan_proof(first, denoised)
    repeats = len(case.scans) > 1
    found = quality(
        case.scans, denoised, method, proof, asked=asked, limits=limits, repeats=repeats, proven=case.proven,
        truth=case.truth,
    )  # fmt: skip
    figures = {} if case.truth is None else figures_with_truth(case.truth, first, denoised)
    figures |= found.figures | figures_alone(proof, truth_scale(reference.filled(), modality))
    score = Score(
        group=case.group.group,
        subject=case.group.subject,
        modality=modality,
        question=case.question,
        method=name,
        figures=figures,
        intervals=found.intervals,
        seconds=cost.seconds if asked else float("nan"),
        peak_bytes=cost.peak_bytes if asked else None,
        gates=(*gates(proof, limits), *found.gates),
        curves=found.curves,
    )
    example = Example(
        method=name,
        modality=modality,
        question=case.question,
        group=case.group.group,
        pairs=slice_pairs(first, denoised, number=3),
        uncertainty=_shown(first, found.uncertainty),
        shared=_shown(first, found.shared, worst=True),
    )
    return score, example


def _shown(scan: Volume, voxels: npt.NDArray[np.float64] | None, *, worst: bool = False) -> SlicePair | None:
    """A slice of the scan and of a map of it: the middle one, or where the map is highest."""
    if voxels is None:
        return None
    k = int(np.argmax(voxels.max(axis=(0, 1)))) if worst else voxels.shape[2] // 2
    return slice_pairs(scan, scan.with_voxels(voxels), only=k)[0]


def _methods(denoisers: Mapping[str, Denoise], tuning: Tuning) -> dict[str, Denoise]:
    """The noisy scan as it is, then the tuned filters, then the models."""
    classical = {
        name: partial(filter_volume, filter_=BASELINES[name], strength=strength)
        for name, strength in tuning.strengths.items()
    }
    return {NOISY: lambda volume: volume, **classical, **denoisers}


def _tuned(manifest: Manifest, split: str, modality: str, filters: list[Filter], root: Path, load: Load) -> Tuning:
    """Strengths chosen on other splits' scans of the modality that have a truth or a repeat; else on the
    first scan judged."""
    others = [name for name in ("validation", "training", "test") if name != split]
    usable = [
        group
        for name in others
        for group in getattr(manifest, name)
        if group.modality == modality and question_of(group) != "single"
    ]
    chosen_on = "another split"
    if not usable:
        judged: list[Group] = getattr(manifest, split)
        usable = [group for group in judged if group.modality == modality and question_of(group) != "single"][:1]
        chosen_on = "the first scan evaluated"
    if not usable:
        return Tuning(strengths={one.name: one.default for one in filters}, chosen_on="default")
    cases = first_cases(usable, root, load, most=TUNING_GROUPS) if filters else []
    return Tuning(strengths={one.name: _strength(one, cases) for one in filters}, chosen_on=chosen_on)


def _strength(filter_: Filter, cases: Sequence[Case]) -> float:
    parts = ((case.scans[0], case.truth or case.scans[:2][-1], case.truth is None) for case in cases)
    return tune(filter_, [tuning_case(filter_, scan, target, repeat=repeat) for scan, target, repeat in parts])
