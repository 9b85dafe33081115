"""results.json and results.csv of an evaluation: the same figures as its page, for programs."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from medn2n.core.scores import FIGURES, PHYSICS, Evaluation, Score
from medn2n.formats.manifest import write_json
from medn2n.formats.results import write_csv

SCHEMA = "medn2n.evaluation/1"
HEAD = ("group", "subject", "modality", "question", "method")


def write_evaluation_files(result: Evaluation, output: Path) -> None:
    """OUTPUT/results.json (everything, figures that are not finite as null) and results.csv (a line a
    score)."""
    detail = [name for name in dict.fromkeys(name for one in result.scores for name in one.figures) if "/" in name]
    head = [*HEAD, *FIGURES, "seconds", "peak_bytes", *PHYSICS, *detail]
    summaries = [
        {key: getattr(one, key) for key in ("modality", "question", "method", "groups", "subjects")}
        | {"mean": one.figures, "interval_95": one.intervals, "worst": one.worst, "seconds": one.seconds}
        | {"peak_bytes": one.peak_bytes}
        for one in result.summaries
    ]
    patients = [
        {key: getattr(one, key) for key in ("subject", "modality", "question", "method", "groups")}
        | {"mean": one.figures}
        for one in result.patients
    ]
    tuning = {key: {"strengths": one.strengths, "chosen_on": one.chosen_on} for key, one in result.tuning.items()}
    data = {
        "schema": SCHEMA,
        "manifest_sha256": result.manifest_sha256,
        "split": result.split,
        "seed": result.seed,
        "models": result.models,
        "refused": [asdict(one) for one in result.refused],
        "tuning": tuning,
        "left_out": result.left_out,
        "summary": summaries,
        "patients": patients,
        "scores": [
            _row(score)
            | {"interval_95": score.intervals, "gates": [gate.as_json() for gate in score.gates]}
            | {"curves": score.curves}
            for score in result.scores
        ],
    }
    write_json(_plain(data), output / "results.json")
    write_csv(output / "results.csv", head, [_row(score) for score in result.scores])


def _row(score: Score) -> dict[str, Any]:
    return (
        {key: getattr(score, key) for key in HEAD}
        | dict(score.figures)
        | {
            "seconds": None if math.isnan(score.seconds) else round(score.seconds, 4),
            "peak_bytes": score.peak_bytes,
        }
    )


def _plain(value: Any) -> Any:
    """Mappings and tuples as JSON has them; infinity (a perfect score) has no JSON number and becomes
    null."""
    if isinstance(value, Mapping):
        return {key: _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
