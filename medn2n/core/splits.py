"""Subjects to training, validation and test: by a hash of the subject alone, so that order and names never matter."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Literal

Split = Literal["training", "validation", "test"]


def place(subject: str) -> float:
    """A number in [0, 1) that only the subject decides."""
    return int.from_bytes(hashlib.sha256(subject.encode()).digest()[:8], "big") / 2**64


def split_subjects(subjects: Iterable[str], *, validation: float = 0.2, test: float = 0.0) -> dict[str, Split]:
    """subject → split. Test takes the lowest places, validation the next. With two subjects or more, training and
    validation are never empty; a single subject goes to training, where slices are held out instead."""
    order = sorted(set(subjects), key=lambda subject: (place(subject), subject))
    splits: dict[str, Split] = dict.fromkeys(order, "training")
    if len(order) < 2:
        return splits
    for subject in order:
        where = place(subject)
        if where < test + validation:
            splits[subject] = "test" if where < test else "validation"
    if "training" not in splits.values():
        splits[order[-1]] = "training"
    if "validation" not in splits.values():
        spare = [subject for subject in order if splits[subject] == "training"]
        splits[spare[0] if len(spare) > 1 else order[0]] = "validation"
    return splits
