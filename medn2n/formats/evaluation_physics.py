"""The part of an evaluation's page that a medical physicist reads first: lesions, detectability, grain, repeats.

One section a question, a figure in each; `formats.evaluation_words` says the same in plain words on top. The figures
are defined in `core.quality`; medn2n/docs/evaluation.md explains them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from medn2n.core.display import SlicePair
from medn2n.core.lesion_trial import ROSE
from medn2n.core.scores import NOISY, Evaluation, Question, Score, Summary
from medn2n.formats.evaluation_tables import label, measured, unranked
from medn2n.formats.page_blocks import (
    Bars,
    Better,
    Cell,
    Column,
    Comparison,
    Curves,
    Frame,
    Picture,
    Section,
    Table,
    Text,
)

if TYPE_CHECKING:
    from medn2n.formats.evaluation_page import Example

MOST_CURVES = 6
_QUESTIONS: dict[Question, str] = {"truth": "with a truth", "repeats": "with repeats", "single": "alone"}
Columns = tuple[tuple[str, str, int, Better | None], ...]  # figure, heading, decimals, which end is better

_LESIONS: Columns = (
    ("lesion_contrast", "Contrast kept", 2, "higher"),
    ("lesion_vanished", "Vanished (share)", 2, "lower"),
    ("lesion_size", "Size kept", 2, None),
    ("lesion_contrast/faint", "Contrast kept, faint ones", 2, "higher"),
    ("lesion_vanished/faint", "Vanished, faint ones", 2, "lower"),
    ("lesion_cnr_before", "Contrast to noise before", 2, None),
    ("lesion_cnr_after", "Contrast to noise after", 2, "higher"),
)
_DETECTION: Columns = (
    ("auc_before", "AUC before", 3, None),
    ("auc_after", "AUC after", 3, "higher"),
    ("auc_change", "Change", 3, None),
)
_GRAIN: Columns = (
    ("grain_before", "Mean frequency before (1/mm)", 3, None),
    ("grain_after", "Mean frequency after (1/mm)", 3, None),
)
_REPEATS: Columns = (
    ("residual_correlation", "Removed in common", 3, "nearest zero"),
    ("residual_anatomy", "Anatomy removed ({unit})", 2, "nearest zero"),
    ("residual_share", "The same, squared, over the noise's variance", 2, "nearest zero"),
    ("residual_worst", "Worst region ({unit})", 2, "nearest zero"),
    ("residual_found", "Scans with a region beyond chance", 2, "lower"),
    ("removed_low", "Removed over noise, lowest band", 2, None),
    ("uncertainty", "Uncertainty ({unit})", 2, None),
    ("share_three", "Error left, three repeats", 2, "lower"),
)


def physics_sections(
    result: Evaluation, rows: Sequence[Summary], modality: str, question: Question, examples: Sequence[Example]
) -> list[Section]:
    """What this modality and question has of the four; rows: its summaries."""
    title = place(result, modality, question)
    scores = [one for one in result.scores if (one.modality, one.question) == (modality, question)]
    pictures = [one for one in examples if (one.modality, one.question) == (modality, question)]
    found = (
        _lesions(rows, modality, title),
        _detection(rows, scores, modality, title),
        _grain(rows, scores, modality, title),
        _repeats(rows, scores, modality, title, pictures),
    )
    return [section for section in found if section is not None]


def place(result: Evaluation, modality: str, question: Question) -> str:
    """The modality, and what it is judged by where the page has the modality twice."""
    several = len({one.question for one in result.summaries if one.modality == modality}) > 1
    return f"{modality} {_QUESTIONS[question]}" if several else modality


def _lesions(rows: Sequence[Summary], modality: str, title: str) -> Section | None:
    table = _table(rows, _LESIONS, modality)
    if modality != "CT" or table is None:
        return None
    text = (
        "Spheres of 3 to 10 mm and 10 to 60 HU were put into even tissue of at most eight middle slices, and "
        "each method "
        "denoised these with and without. Lesions whose contrast is at least "
        f"{ROSE:g} times the noise, averaged over the lesion, are seen with certainty before (Rose 1948): they "
        f"must keep "
        "half of their contrast. Fainter ones could be noise; what is left of them is told, and nothing is asked."
    )
    chart = _bars(rows, "lesion_contrast", 2, "Contrast kept by the lesions that noise cannot hide: 1 is all of it.")
    return Section(title=f"{title}: are lesions kept?", blocks=(Text(paragraphs=(text,)), table, *chart))


def _detection(rows: Sequence[Summary], scores: Sequence[Score], modality: str, title: str) -> Section | None:
    if modality not in ("CT", "MR"):
        return None
    title = f"{title}: is a faint disc still found?"
    table = _table(rows, _DETECTION, modality)
    if table is None:
        asked = [gate.words for score in scores for gate in score.gates if gate.name == "detectability"]
        return Section(title=title, blocks=(Text(paragraphs=tuple(dict.fromkeys(asked))),)) if asked else None
    text = (
        "A disc of 3 mm, so faint that it is found with an AUC of 0.8 before, is put at half of many even "
        "places; a model "
        "observer (channelized Hotelling) looks for it before and after. AUC is the probability that a place with the "
        "disc looks more like it than one without: 0.5 is guessing, 1 is certainty."
    )
    chart = _bars(rows, "auc_after", 3, "AUC after each method; that of the noisy scan is the AUC before.")
    return Section(title=title, blocks=(Text(paragraphs=(text,)), table, *chart))


def _grain(rows: Sequence[Summary], scores: Sequence[Score], modality: str, title: str) -> Section | None:
    table = _table(rows, _GRAIN, modality)
    spectra = _curves(scores, "noise_power_after")
    if table is None or not spectra:
        return None
    text = (
        "The noise power spectrum tells fine noise from coarse (AAPM TG-233). Where its mean frequency falls, the scan "
        "looks waxen, and coarse noise hides and imitates lesions of its own size. Measured between repeats "
        "where there "
        "are two, else in even tissue."
    )
    chart = Curves(
        lines=spectra,
        x_name="frequency (1/mm)",
        y_name=f"noise power ({'HU²·mm²' if modality == 'CT' else 'unit²·mm²'})",
        caption=f"Noise power spectrum of scan {scores[0].group}.",
    )
    title = f"{title}: how coarse is the noise that is left?"
    return Section(title=title, blocks=(Text(paragraphs=(text,)), table, chart))


def _repeats(
    rows: Sequence[Summary], scores: Sequence[Score], modality: str, title: str, pictures: Sequence[Example]
) -> Section | None:
    table = _table(rows, _REPEATS, modality)
    if table is None:
        return None
    text = (
        "What was removed from two repeats should have nothing in common but chance, and in no band of "
        "frequencies more "
        "power than noise has; what it shares is anatomy. Uncertainty is how much the denoised scan differs "
        "from repeat "
        "to repeat, place by place; it shows the noise that is left, and nothing of what was taken from both alike."
    )
    removed = _curves(scores, "removed", first="removed_noise", name="the noise itself")
    chart = Curves(
        lines=removed, x_name="frequency (1/mm)", y_name="power (unit²)",
        caption=f"Power of what was removed from scan {scores[0].group}, beside the noise's: none should lie above it.",
    )  # fmt: skip
    maps = [_map(one, *shown) for one in pictures if one.method != NOISY for shown in _maps(one)]
    blocks = (Text(paragraphs=(text,)), table, *((chart,) if removed else ()), *maps)
    return Section(title=f"{title}: was anything but noise removed?", blocks=blocks)


def _maps(example: Example) -> list[tuple[SlicePair, str, float]]:
    """A slice beside its map, what the map shows, and its white."""
    found: list[tuple[SlicePair, str, float]] = []
    if example.uncertainty is not None:
        top = float(np.percentile(example.uncertainty.after, 99)) or 1.0
        found.append((example.uncertainty, "uncertainty", top))
    if example.shared is not None:
        top = max(1.0, float(np.percentile(example.shared.after, 99)))
        found.append((example.shared, "shared by two removals (beyond 1 it is not chance)", top))
    return found


def _map(example: Example, pair: SlicePair, what: str, top: float) -> Comparison:
    pictures = (
        Picture(pixels=pair.before, window=pair.window, label="scan", aspect=pair.aspect),
        Picture(pixels=pair.after, window=(0.0, top), label=what, aspect=pair.aspect),
    )
    caption = f"{what.capitalize()}: {label(example.method)} on scan {example.group}."
    return Comparison(frames=(Frame(pictures=pictures, label=pair.label),), caption=caption)


def _table(rows: Sequence[Summary], columns: Columns, modality: str) -> Table | None:
    """One line a method but the noisy scan's; None where no method has any of the figures."""
    rows = [one for one in rows if one.method != NOISY]
    having = [column for column in columns if any(column[0] in one.figures for one in rows)]
    if not having:
        return None
    unit, more = ("HU", 0) if modality == "CT" else ("rel.", 2)
    heads = [
        Column(name=name.format(unit=unit), digits=digits + (more if "{unit}" in name else 0), better=better)
        for _, name, digits, better in having
    ]
    cells: tuple[tuple[Cell, ...], ...] = tuple(
        (label(one.method), *(measured(one, key) if key in one.figures else None for key, *_ in having)) for one in rows
    )
    return Table(columns=(Column(name="Method"), *heads), rows=cells, unranked=unranked(rows))


def _bars(rows: Sequence[Summary], key: str, digits: int, caption: str) -> tuple[Bars, ...]:
    items = tuple((label(one.method), measured(one, key)) for one in rows if key in one.figures)
    return (Bars(items=items, unit="", digits=digits, caption=caption),) if items else ()


def _curves(
    scores: Sequence[Score], key: str, *, first: str = "noise_power_before", name: str = "before"
) -> tuple[tuple[str, tuple[float, ...], tuple[float, ...]], ...]:
    """The `first` curve of the first scan, then the `key` curves of its methods, the last of which are the models."""
    of_scan = [one for one in scores if one.group == scores[0].group and one.method != NOISY and key in one.curves]
    if not of_scan or first not in of_scan[0].curves:
        return ()
    chosen = of_scan[-(MOST_CURVES - 1) :]
    return ((name, *of_scan[0].curves[first]), *((label(one.method), *one.curves[key]) for one in chosen))
