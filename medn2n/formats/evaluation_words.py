"""The sentences on top of an evaluation's page that tell of each model what a medical physicist asks first.

A phrase counts the scans in which it was measured where these are not all of them: what one scan could not tell is
neither good nor bad there.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite

from medn2n.core.limits import Gate
from medn2n.core.scores import Evaluation, Score, Summary
from medn2n.formats.evaluation_physics import place
from medn2n.formats.evaluation_tables import label
from medn2n.formats.gate_words import measured_in
from medn2n.formats.page_parts import figure_text

Scores = Sequence[Score]


def physics_sentence(result: Evaluation, one: Summary) -> str:
    """Plain words about one method: noise, numbers, edges, lesions, detection."""
    scores = [
        score
        for score in result.scores
        if (score.modality, score.question, score.method) == (one.modality, one.question, one.method)
    ]
    parts = [
        _noise(one, scores), _numbers(scores), _edges(scores), _lesion_words(one, scores),
        _detection_words(one, scores),
    ]  # fmt: skip
    where = place(result, one.modality, one.question)
    return f"{label(one.method)}, {where}: " + "; ".join(part for part in parts if part) + "."


def _noise(one: Summary, scores: Scores) -> str:
    if "noise_left" not in one.figures:
        return "noise not measured"
    down, interval = 100 * (1 - one.figures["noise_left"]), one.intervals.get("noise_left")
    between = ""
    if interval:
        low, high = (figure_text(100 * (1 - edge), 0) for edge in reversed(interval))
        between = f" [{low}, {high}]"
    return f"noise down {figure_text(down, 0)} %{between}{_having(scores, 'noise_left')}"


def _having(scores: Scores, key: str) -> str:
    return measured_in(sum(key in score.figures for score in scores), len(scores))


def _gates(scores: Scores, name: str) -> list[Gate]:
    return [gate for score in scores for gate in score.gates if gate.name == name]


def _numbers(scores: Scores) -> str:
    """Largest shift of fat and soft tissue, or of MR signal. A scan whose means are too uncertain to tell, and a tissue
    of a single patch, whose error nobody knows, were not measured."""
    if not _gates(scores, "numbers"):
        return ""
    sure = [one for one in scores if not any(gate.too_uncertain for gate in _gates([one], "numbers"))]
    if scores[0].modality != "CT":
        moved = [max(shares) for one in sure if (shares := _signal_shifts(one))]
        within = f"signal within {100 * max(moved):.1f} %" if moved else "signal not measured"
        return within + (measured_in(len(moved), len(scores)) if moved else "")
    shifts = {region: _ct_shifts(sure, region) for region in ("fat", "soft tissue")}
    names = [f"{region}{measured_in(len(each), len(scores))}" for region, each in shifts.items() if each]
    if not names:
        return "CT numbers of fat and soft tissue not measured"
    largest = max(shift for each in shifts.values() for shift in each)
    return f"CT numbers of {' and '.join(names)} within {largest:.1f} HU"


def _ct_shifts(scores: Scores, region: str) -> list[float]:
    key, error = f"ct_number_shift/{region}", f"ct_number_shift_error/{region}"
    return [abs(one.figures[key]) for one in scores if key in one.figures and isfinite(one.figures[error])]


def _signal_shifts(score: Score) -> list[float]:
    return [
        abs(value - 1)
        for key, value in score.figures.items()
        if key.startswith("signal_share/") and not key.endswith("background")
    ]


def _edges(scores: Scores) -> str:
    """By the gate, which knows what is chance."""
    gates = _gates(scores, "sharpness")
    found = [gate for gate in gates if gate.passed is not None]
    if not found:
        return "edges not measured" if gates else ""
    worst = max(found, key=lambda gate: gate.excess)
    does = "softer" if (worst.value or 0.0) > 0 else "harder"
    words = "edges as sharp as before, within the limit" if worst.passed else f"edges {does} than the limit allows"
    return words + measured_in(len(found), len(scores))


def _lesion_words(one: Summary, scores: Scores) -> str:
    if "lesion_contrast" not in one.figures:
        return ""
    counts = [(score.figures["lesion_count"], score.figures.get("lesion_vanished", 0.0)) for score in scores
              if "lesion_count" in score.figures]  # fmt: skip
    total, lost = sum(count for count, _ in counts), sum(count * share for count, share in counts)
    words = f"lesions that noise cannot hide keep {100 * one.figures['lesion_contrast']:.0f} % of their contrast, "
    words += f"{lost:.0f} of {total:.0f} vanished{_having(scores, 'lesion_contrast')}"
    faint = one.figures.get("lesion_contrast/faint")
    if faint is None:
        return words
    return f"{words}, fainter ones keep {100 * faint:.0f} %{_having(scores, 'lesion_contrast/faint')}"


def _detection_words(one: Summary, scores: Scores) -> str:
    if "auc_after" not in one.figures:
        return ""
    arrow = f"{one.figures['auc_before']:.2f} \N{RIGHTWARDS ARROW} {one.figures['auc_after']:.2f}"
    return f"detectability {arrow}{_having(scores, 'auc_after')}"
