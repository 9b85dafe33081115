"""A manifest's group as scans: what `evaluate` judges on, and what it can ask of them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from medn2n.core.scores import Question
from medn2n.core.volume import Volume
from medn2n.errors import InputError
from medn2n.formats.manifest import Correction, Group

MOST_REPEATS = 20
MOST_VOXELS = 40_000_000  # of all repeats beyond the third: phantoms are small, and need many


class Load(Protocol):
    """What `formats.scan.load` does: one Volume from a scan reference below `root`."""

    def __call__(self, reference: str, *, root: Path, modality: str) -> Volume: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A group that was loaded. scans: one, or two repeats and more. truth: where the group has one."""

    group: Group
    question: Question
    scans: tuple[Volume, ...]
    truth: Volume | None


def question_of(group: Group) -> Question:
    """What a group offers to compare with."""
    if group.truth is not None:
        return "truth"
    return "repeats" if len(group.unmoved) > 1 and group.check.verdict != "unfit" else "single"


def load_case(group: Group, root: Path, load: Load) -> Case:
    """The group's scans, in the intensity of its reference: of repeats three, and up to 20 where they are small.
    InputError where they are not 3D and of one shape."""
    question = question_of(group)
    chosen = group.unmoved[: MOST_REPEATS if question == "repeats" else 1]
    scans: tuple[Volume, ...] = ()
    for number, n in enumerate(chosen):
        if number < 3 or (number + 1) * scans[0].voxels.size <= MOST_VOXELS:
            scans += (_matched(group, n, load(group.image[n], root=root, modality=group.modality)),)
    truth = load(group.truth, root=root, modality=group.modality) if group.truth is not None else None
    shapes = {volume.voxels.shape for volume in (*scans, *([truth] if truth else []))}
    if len(shapes) > 1 or any(len(shape) != 3 for shape in shapes):
        raise InputError(
            "SHAPES_DIFFER",
            f"Group {group.group}: expected 3D scans of one shape, found "
            f"{' and '.join(map(str, sorted(shapes)))}. "
            "Name single frames of a 4D file with #frame=N, and only repeats on one grid.",
        )
    return Case(group=group, question=question, scans=scans, truth=truth)


def load_scan(reference: str, *, root: Path, modality: str) -> Volume:
    """`formats.scan.load`, whose readers are imported only where scans are read."""
    from medn2n.formats.scan import load

    return load(reference, root=root, modality=modality)


def _matched(group: Group, position: int, volume: Volume) -> Volume:
    """A scan of the group in the intensity of the group's reference."""
    if not group.corrections or group.corrections[position] == Correction():
        return volume
    differs = group.corrections[position]
    return volume.with_voxels((volume.voxels - np.float32(differs.offset)) / np.float32(differs.gain))
