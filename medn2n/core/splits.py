"""Subjects to training, validation and test: by a hash of the subject alone, so that order and names never matter."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Literal

Split = Literal["training", "validation", "test"]


def place(subject: str) -> float:
    """A number in [0, 1) that only the subject decides."""
    return int.from_bytes(hashlib.sha256(subject.encode()).digest()[:8], "big") / 2**64


def split_subjects(
    subjects: Iterable[str], *, validation: float = 0.2, test: float = 0.0
) -> dict[str, Split]:
    """subject → split. Test takes the lowest places, validation the next. With two subjects or more, training and
    validation are never empty; a single subject goes to training, where slices are held out instead."""
    order = sorted(set(subjects), key=lambda subject: (place(subject), subject))
    if len(order) < 2:
        return {subject: "training" for subject in order}
    splits: dict[str, Split] = {}
    for subject in order:
        where = place(subject)
        splits[subject] = (
            "test" if where < test else "validation" if where < test + validation else "training"
        )
    if "training" not in splits.values():
        splits[order[-1]] = "training"
    if "validation" not in splits.values():
        splits[next(subject for subject in order if splits[subject] == "training" or len(order) == 2)] = (
            "validation"
        )
    if "training" not in splits.values():
        splits[order[-1]] = "training"
    return splits
