"""The part of an evaluation's page that says which limits held: one line a method, one a scan that failed."""

from __future__ import annotations

from collections.abc import Sequence

from medn2n.core.error_gate import ERROR_GATES
from medn2n.core.limits import GATES, TRIAL_GATES, Gate, failed
from medn2n.core.scores import NOISY, Evaluation, Score
from medn2n.formats.evaluation_tables import label
from medn2n.formats.gate_words import not_measured, verdict
from medn2n.formats.page_blocks import Cell, Column, Section, Table, Text

_HEADINGS = {
    "numbers": "CT numbers or signal", "sharpness": "Sharpness", "position": "Position", "spots": "Spots",
    "weakening": "Weakening", "invention": "Invention", "noise": "Noise", "lesions": "Lesions",
    "detectability": "Detectability", "error": "Error", "anatomy": "Anatomy",
}  # fmt: skip
_SHOWN = (*GATES, *TRIAL_GATES, *ERROR_GATES)


def gates_section(result: Evaluation) -> Section | None:
    """Every method but the noisy scan itself; None where nothing was judged."""
    methods = list(dict.fromkeys(score.method for score in result.scores if score.method != NOISY and score.gates))
    if not methods:
        return None
    columns = (
        Column(name="Method"),
        Column(name="Verdict"),
        *(Column(name=_HEADINGS[name]) for name in _SHOWN),
    )
    rows = tuple(_row(method, [one for one in result.scores if one.method == method]) for method in methods)
    broken = [score for score in result.scores if score.method != NOISY and failed(score.gates)]
    lines = tuple((score.group, label(score.method), gate.words) for score in broken for gate in failed(score.gates))
    details = (
        [Table(columns=(Column(name="Scan"), Column(name="Method"), Column(name="What failed")), rows=lines)]
        if lines
        else []
    )
    meaning = (
        "Limits on what denoising may do to one scan, each but the last two measured on the scan itself: the means of "
        "even tissue, the blur of edges, how far they moved, spots in what was removed (a lesion that went or came), "
        "fine structure that went with the noise or that the scan does not hold, the noise that is left, lesions put "
        "in, how well a faint disc is found, and, where a truth or repeats tell it, the error that is left and what "
        "was removed from two repeats alike. The limits were chosen from faults of known size "
        "(medn2n/docs/gates.md); what could not be measured in a scan is no failure, and no pass: where CT numbers or "
        "signal, sharpness or spots are open, the verdict is partly measured."
    )
    table = Table(columns=columns, rows=rows, caption="Scans in which each limit held.")
    return Section(title="Do the limits hold?", blocks=(Text(paragraphs=(meaning,)), table, *details))


def gates_sentence(result: Evaluation, method: str) -> str:
    """Plain words for the top of the page; "" where nothing was judged."""
    scores = [score for score in result.scores if score.method == method and score.gates]
    if not scores:
        return ""
    bad = [score for score in scores if failed(score.gates)]
    gates = [gate for score in scores for gate in score.gates]
    where = f"in {len(scores)} scan{'' if len(scores) == 1 else 's'}"
    judged = sum(gate.passed is not None for gate in gates)
    if bad:
        names = dict.fromkeys(_HEADINGS[gate.name].lower() for score in bad for gate in failed(score.gates))
        words = f"limits failed in {len(bad)} of {len(scores)} scans ({', '.join(names)})."
    elif not judged:
        words = "nothing that is limited could be measured."
    elif judged < len(gates):
        words = f"no limit that was measured failed {where} ({judged} of {len(gates)} were measured)."
    else:
        words = f"all limits hold {where}."
    return f"{label(method)}: {words} {not_measured([score.gates for score in scores])}".strip()


def _row(method: str, scores: Sequence[Score]) -> tuple[Cell, ...]:
    return (
        label(method),
        verdict([score.gates for score in scores]),
        *(_held([_gate(score, name) for score in scores]) for name in _SHOWN),
    )


def _gate(score: Score, name: str) -> Gate | None:
    return next((gate for gate in score.gates if gate.name == name), None)


def _held(found: Sequence[Gate | None]) -> str:
    measured = [gate for gate in found if gate is not None and gate.passed is not None]
    return f"{sum(bool(gate.passed) for gate in measured)} of {len(measured)}" if measured else "not measured"
