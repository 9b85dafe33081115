"""The page of `medn2n evaluate`: plain words, one table and one chart a question, pictures, method, limits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite, nan
from pathlib import Path

from medn2n.core.display import SOFT_TISSUE_HU, SlicePair
from medn2n.core.packaged_filters import BASELINES
from medn2n.core.scores import NOISY, TOGETHER, Evaluation, Question, Summary
from medn2n.formats.evaluation_gates import gates_section, gates_sentence
from medn2n.formats.evaluation_physics import physics_sections
from medn2n.formats.evaluation_tables import (
    BODY_MEANING,
    body_section,
    detail_sections,
    each_patient,
    each_scan,
    label,
    measured,
    unranked,
)
from medn2n.formats.evaluation_words import physics_sentence
from medn2n.formats.gate_words import measured_in
from medn2n.formats.page import write_page
from medn2n.formats.page_blocks import Bars, Better, Cell, Column, Section, Table, Text, Viewer
from medn2n.formats.page_parts import figure_text

# By question: the figures of its table as (key, heading, decimals, which end is better). {unit} is HU or
# "rel.", {window} that of PSNR and SSIM in a CT.
_COLUMNS: dict[Question, tuple[tuple[str, str, int, Better | None], ...]] = {
    "truth": (
        ("psnr_db", "PSNR ({window}dB)", 2, "higher"),
        ("ssim", "SSIM", 3, "higher"),
        ("rmse", "RMSE, all voxels ({unit})", 2, "lower"),
        ("bias", "Bias ({unit})", 2, "nearest zero"),
        ("noise_left", "Noise left", 2, None),
    ),
    "repeats": (
        ("share", "Error left, estimated", 2, "lower"),
        ("body_rmse_estimated", "RMSE (body), estimated ({unit})", 2, "lower"),
        ("body_psnr_db_estimated", "PSNR (body, dB), estimated", 2, "higher"),
        ("noise_left", "Noise left", 2, None),
        ("mean_shift", "Shift of mean ({unit})", 2, "nearest zero"),
    ),
    "single": (
        ("noise_before", "Noise before ({unit})", 2, None),
        ("noise_after", "Noise after ({unit})", 2, None),
        ("noise_left", "Noise left", 2, None),
        ("mean_shift", "Shift of mean ({unit})", 2, "nearest zero"),
    ),
}
WINDOW = f"{SOFT_TISSUE_HU[0]:.0f}…{SOFT_TISSUE_HU[1]:.0f} HU".replace("-", "−")
_TITLES: dict[Question, str] = {
    "truth": "Against the truth",
    "repeats": "Against an independent repeat",
    "single": "Scans without truth or repeat",
}
_MEANING: dict[Question, str] = {
    "truth": "PSNR and SSIM over all voxels: CT clipped to −160 to 240 HU, MR with the truth's 99.9th percentile as 1. "
    "RMSE and bias are not windowed. Bias is the mean of denoised − truth.",
    "repeats": f"Estimated from two independent repeats, without a truth. {BODY_MEANING}",
    "single": "Noise is the standard deviation in flat tissue, the same places before and after. These "
    "figures alone cannot "
    "show whether detail was lost.",
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """Slices of one group before and after one method. group: keyed id. uncertainty: a slice of the scan, and how it
    differs from repeat to repeat after the method; shared: one, and what two removals have in common there. None
    without a repeat."""

    method: str
    modality: str
    question: Question
    group: str
    pairs: tuple[SlicePair, ...]
    uncertainty: SlicePair | None = None
    shared: SlicePair | None = None


def write_evaluation_page(path: Path, result: Evaluation, examples: Sequence[Example]) -> int:
    """Write the page; its size in bytes. Scans are named by the manifest's group ids only."""
    kinds = list(dict.fromkeys((one.modality, one.question) for one in result.summaries))
    sections = [
        section
        for modality, question in kinds
        for section in (
            _section(result, modality, question, examples),
            body_section(_picked(result, modality, question), modality),
            *physics_sections(result, _picked(result, modality, question), modality, question, examples),
            *detail_sections(_picked(result, modality, question), modality),
        )
        if section is not None
    ]
    patients, held = each_patient(result), gates_section(result)
    summary = [_sentence(result, modality, question) for modality, question in kinds]
    summary += [physics_sentence(result, one) for one in result.summaries if one.method in result.models]
    summary += [line for line in (gates_sentence(result, model) for model in result.models) if line]
    summary += _refusals(result)
    if result.split == "training":
        summary.append("These scans are the manifest's training split: a model that learned from them looks too good.")
    return write_page(
        path,
        title="How well do these denoisers do?",
        summary=summary,
        blocks=[*sections, *(part for part in (held, patients) if part), each_scan(result), _method(result)],
    )


def _picked(result: Evaluation, modality: str, question: Question) -> list[Summary]:
    return [one for one in result.summaries if (one.modality, one.question) == (modality, question)]


def _main(question: Question) -> tuple[str, bool]:
    """The figure that ranks methods, and whether higher is better."""
    return {"truth": ("psnr_db", True), "repeats": ("share", False), "single": ("noise_left", False)}[question]


def _sentence(result: Evaluation, modality: str, question: Question) -> str:
    """One plain sentence for the top of the page."""
    rows = _picked(result, modality, question)
    key, higher = _main(question)

    model = _ranked([one for one in rows if one.method in result.models], key, higher)[:1]
    classical = _ranked([one for one in rows if one.method.removesuffix(TOGETHER) in BASELINES], key, higher)[:1]
    noisy = next(one for one in rows if one.method == NOISY)
    scans = f"{noisy.groups} scan{_s(noisy.groups)}"
    where = f"{modality}, {_TITLES[question].lower()} ({scans}): "
    parts = [f"{label(one.method)} {_words(one, key)}{_told_of(result, one, key)}" for one in (*model, *classical)]
    if question == "truth":
        parts.append(f"the noisy scan itself {_words(noisy, key)}")
    nothing = "no noise could be measured" if len(rows) > 1 else "nothing but the noisy scan was judged"
    return where + (", ".join(parts) or nothing) + "."


def _ranked(rows: list[Summary], key: str, higher: bool) -> list[Summary]:
    """Best first, of those that have the figure; those that were judged on fewer scans after the others."""
    having = [one for one in rows if key in one.figures]
    return sorted(having, key=lambda one: (one.groups, one.figures[key] * (1 if higher else -1)), reverse=True)


def _told_of(result: Evaluation, one: Summary, key: str) -> str:
    """In how many of the scans the method has this figure, and a finite one, where not in all."""
    rows = _picked(result, one.modality, one.question)
    having = sum(
        isfinite(score.figures.get(key, nan))
        for score in result.scores
        if (score.modality, score.question, score.method) == (one.modality, one.question, one.method)
    )
    return measured_in(having, max(row.groups for row in rows))


def _refusals(result: Evaluation) -> list[str]:
    """What could not be judged: groups in one line, then each method that was refused on others."""
    whole = [one.words for one in result.refused if not one.method]
    lines = [f"{len(whole)} of the groups could not be judged: {' '.join(whole)}"] if whole else []
    scans = len({score.group for score in result.scores})
    for method in dict.fromkeys(one.method for one in result.refused if one.method):
        reasons = [one.reason for one in result.refused if one.method == method]
        lines.append(f"{label(method)} was refused on {len(reasons)} of {scans} scans: {' '.join(reasons)}")
    return lines


def _words(one: Summary, key: str) -> str:
    value = one.figures[key]
    if key == "psnr_db":
        return f"reaches {figure_text(value, 1)} dB" + (f" ({WINDOW})" if one.modality == "CT" else "")
    return f"leaves {figure_text(100 * value, 0)} % of the {'error' if key == 'share' else 'noise'}"


def _section(result: Evaluation, modality: str, question: Question, examples: Sequence[Example]) -> Section:
    rows = _picked(result, modality, question)
    key, higher = _main(question)
    heading = _columns(question, modality)[[figure for figure, *_ in _COLUMNS[question]].index(key)].name
    chart = Bars(
        items=tuple((label(one.method), measured(one, key)) for one in rows if key in one.figures),
        unit="dB" if key == "psnr_db" else "",
        digits=1 if key == "psnr_db" else 2,
        caption=f"{heading}: {'higher' if higher else 'lower'} is better.",
    )
    pictures = [
        Viewer(pairs=example.pairs, caption=f"{label(example.method)} on scan {example.group}.")
        for example in _chosen(result, rows, key, higher, examples)
        if (example.modality, example.question) == (modality, question)
    ]
    return Section(
        title=f"{modality}: {_TITLES[question].lower()}",
        blocks=(Text(paragraphs=(_MEANING[question],)), _table(rows, modality, question), chart, *pictures),
    )


def _table(rows: list[Summary], modality: str, question: Question) -> Table:
    """One line a method; the noisy scan is never the best."""
    key, _ = _main(question)
    short = {"psnr_db": "PSNR", "share": "error left", "noise_left": "noise left"}[key]
    columns = (
        Column(name="Method"),
        *_columns(question, modality),
        Column(name=f"Worst {short}"),
        Column(name="s / scan"),
        Column(name="MB / scan", digits=0),
    )
    scans, people = rows[0].groups, rows[0].subjects
    cells = tuple(
        (
            label(one.method) + (f" ({one.groups} of {scans} scans)" if one.groups < scans else ""),
            *(_cell(one, name) for name, *_ in _COLUMNS[question]),
            one.worst.get(key) if one.groups > 1 else None,
            one.seconds if one.method != NOISY else None,
            one.peak_bytes / 1e6 if one.method != NOISY and one.peak_bytes is not None else None,
        )
        for one in rows
    )
    caption = f"Mean over {scans} scan{_s(scans)} of {people} subject{_s(people)}"
    caption += ", with 95 % intervals over subjects." if rows[0].intervals and people > 2 else "."
    return Table(columns=columns, rows=cells, caption=caption, unranked=unranked(rows))


def _s(number: int) -> str:
    return "" if number == 1 else "s"


def _chosen(
    result: Evaluation, rows: list[Summary], key: str, higher: bool, examples: Sequence[Example]
) -> list[Example]:
    """Pictures of every model, and of the best classical filter to compare with."""
    classical = _ranked([one for one in rows if one.method in BASELINES], key, higher)
    wanted = {*result.models, *(one.method for one in classical[:1])}
    return [example for example in examples if example.method in wanted]


def _unit(modality: str) -> str:
    return "HU" if modality == "CT" else "rel."


def _columns(question: Question, modality: str) -> list[Column]:
    decimals = 0 if modality == "CT" else 2  # MR figures are shares of 1, so they need more digits
    window = f"{WINDOW}, " if modality == "CT" else ""
    return [
        Column(
            name=name.format(unit=_unit(modality), window=window),
            digits=digits + (decimals if "{unit}" in name else 0),
            better=better,
        )
        for _, name, digits, better in _COLUMNS[question]
    ]


def _cell(one: Summary, key: str) -> Cell:
    return None if one.method == NOISY and key in ("noise_left", "mean_shift") else measured(one, key)


def _method(result: Evaluation) -> Section:
    tuned = [
        f"{modality}: the strengths of the classical filters were chosen on {one.chosen_on} by smallest "
        f"mean squared error: "
        + ", ".join(f"{label(name)} {value:g} ({BASELINES[name].meaning})" for name, value in one.strengths.items())
        + "."
        for modality, one in result.tuning.items()
        if one.strengths
    ]
    return Section(
        title="Method and limits",
        blocks=(
            Text(heading="Method", paragraphs=(
                f"Split judged: {result.split}. Manifest sha256 {result.manifest_sha256[:16]}…, "
                f"resampling seed {result.seed}.",
                "SSIM after Wang et al. 2004, slice by slice. Error from repeats a, b of a denoiser f: "
                "½·mean[(f(a)−b)² + (f(b)−a)² − (a−b)²] over the body, with an interval that only noise "
                "widens.",
                "Seconds include measuring the noise where a method is told of it. Memory is the most that the process "
                "held over what it held before, C++ libraries included, without a graphics card's.",
                *tuned,
                *_left_out(result),
            )),
            Text(heading="Limits", paragraphs=(
                "The estimate from repeats needs independent noise of equal strength and an object that "
                "did not move.",
                "Averages over a scan can improve while a small lesion fades: the lesions that were put in are "
                "round, and "
                "a method may answer otherwise to what it has never seen. The model observer is no reader.",
            )),
        ),
    )  # fmt: skip


def _left_out(result: Evaluation) -> list[str]:
    if not result.left_out:
        return []
    names = ", ".join(label(name) for name in result.left_out)
    return [f"Left out because they are not installed: {names} (pip install 'medn2n[baselines]')."]
