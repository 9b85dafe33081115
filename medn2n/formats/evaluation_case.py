"""A manifest's group as scans: what `evaluate` judges on, and what it can ask of them."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cache
from itertools import combinations
from pathlib import Path, PurePath
from typing import Protocol

import numpy as np

from medn2n.core.scores import Question
from medn2n.core.volume import Volume
from medn2n.errors import InputError
from medn2n.formats.manifest import Correction, Group, verify_group
from medn2n.formats.reference import ScanReference

MOST_REPEATS = 20
MOST_VOXELS = 40_000_000  # of all repeats beyond the third: phantoms are small, and need many
REACH_MM = 0.01  # how far geometry may differ: headers round
COPY_ROUNDING = 1e-3  # how far its padding may, of the scan's largest number: another scaling rounds
SMOOTHED = 0.1  # share of the padding that a filter may reach into from the scan's edge


class Load(Protocol):
    """What `formats.scan.load` does: one Volume from a scan reference below `root`."""

    def __call__(self, reference: str, *, root: Path, modality: str) -> Volume: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A group that was loaded. scans: one, or two repeats and more, beside a truth too. truth: where the group has
    one."""

    group: Group
    question: Question
    scans: tuple[Volume, ...]
    truth: Volume | None

    @property
    def proven(self) -> bool:
        """Whether nothing speaks against the repeats' noise being independent."""
        return self.group.check.verdict != "unproven"


def question_of(group: Group) -> Question:
    """What a group offers to compare with: a truth before repeats."""
    if group.truth is not None:
        return "truth"
    return "repeats" if _tell_the_error(group) else "single"


def _tell_the_error(group: Group) -> bool:
    """Whether the group holds repeats whose mean is what a method is to show (of lettering and impulses it is not)."""
    return len(group.unmoved) > 1 and group.check.verdict != "unfit" and not group.objective


def load_case(group: Group, root: Path, load: Load) -> Case:
    """The group's scans, in the intensity of its reference: of repeats three, and up to 20 where they are small; beside
    a truth too. InputError where a file is not the manifest's, and where they cannot be compared (`_comparable`)."""
    if group.sha256:  # twice for the few that filters are tuned on: hashing is far cheaper than one filter
        verify_group(group, root)
    chosen = group.unmoved[: MOST_REPEATS if _tell_the_error(group) else 1]
    scans: tuple[Volume, ...] = ()
    for number, n in enumerate(chosen):
        if number < 3 or (number + 1) * scans[0].voxels.size <= MOST_VOXELS:
            scans += (_matched(group, n, load(group.image[n], root=root, modality=group.modality)),)
    truth = load(group.truth, root=root, modality=group.modality) if group.truth is not None else None
    _comparable(f"Group {group.group}", scans, truth)
    return Case(group=group, question=question_of(group), scans=scans, truth=truth)


def _comparable(where: str, scans: Sequence[Volume], truth: Volume | None) -> None:
    """InputError where scans and truth are not 3D, of one shape and in one place, where no voxel of the first three was
    measured in all, or where two of them are the same."""
    everything = [*scans, *([truth] if truth else [])]
    shapes = {volume.voxels.shape for volume in everything}
    if len(shapes) > 1 or any(len(shape) != 3 for shape in shapes):
        raise InputError(
            "SHAPES_DIFFER",
            f"{where}: expected 3D scans of one shape, found {' and '.join(map(str, sorted(shapes)))}. "
            "Name single frames of a 4D file with #frame=N, and only repeats on one grid.",
        )
    if not all(_in_one_place(one, scans[0]) for one in everything):
        raise InputError(
            "OTHER_GRID",
            f"{where}: expected scans and truth in one place and of one spacing, found one elsewhere. Resample it onto "
            "the first scan's grid, or correct its header.",
        )
    if not np.logical_and.reduce([one.measured for one in (*scans[:3], *everything[len(scans) :])]).any():
        raise InputError("NO_VOXELS", f"{where}: expected voxels that all of its scans measured, found none.")
    if any(np.array_equal(one.voxels, two.voxels, equal_nan=True) for one, two in combinations(scans[:3], 2)):
        raise InputError(
            "SAME_DATA",
            f"{where}: expected repeats with noise of their own, found one image twice. Name each acquisition once.",
        )


def _in_one_place(one: Volume, other: Volume) -> bool:
    return np.allclose(one.affine, other.affine, atol=REACH_MM)


def first_cases(groups: Sequence[Group], root: Path, load: Load, *, most: int) -> list[Case]:
    """The first of them that can be loaded; what cannot is told of where it is judged."""
    cases: list[Case] = []
    for group in groups:
        with suppress(InputError):
            cases.append(load_case(group, root, load))
        if len(cases) == most:
            break
    return cases


@dataclass(frozen=True, slots=True, kw_only=True)
class CopiesFolder:
    """Where copies that were made elsewhere lie: at the paths of their scans, less `without` leading folders."""

    folder: Path
    without: int

    @staticmethod
    def of(folder: Path, groups: Sequence[Group]) -> CopiesFolder:
        """A manifest may name its scans from a folder above the one that was copied, so what all paths begin with is
        left out, part by part, until a copy is found; of a single series all of it, where `folder` holds the copy."""
        paths = [_parts(name) for group in groups for name in group.image]
        shared = len(PurePath(os.path.commonpath(["/".join(path) for path in paths])).parts)
        found = (n for n in range(shared + 1) if any(folder.joinpath(*path[n:]).exists() for path in paths))
        return CopiesFolder(folder=folder, without=next(found, 0))

    def reference(self, scan: str) -> str:
        """Of the scan's copy, below `folder`. A DICOM copy is a series of its own: it is what its folder holds."""
        return str(replace(ScanReference.parse(scan), path="/".join(_parts(scan)[self.without :]), series=None))


def _parts(reference: str) -> tuple[str, ...]:
    """Folders and name of a scan."""
    path = PurePath(ScanReference.parse(reference).path)
    return path.relative_to(path.anchor).parts


def stored_copies(case: Case, copies: CopiesFolder, load: Load) -> Callable[[Volume], Volume]:
    """A method that somebody ran elsewhere: asked for one of the case's scans, it answers with the scan's copy, in the
    intensity of the group's reference. InputError COPY_MISSING or COPY_DIFFERS (in shape, in geometry, in its padding,
    or without a number where the scan has one) for one that cannot be held against its scan. Each is read once.
    """

    @cache
    def answer(scan: Volume) -> Volume:
        n = case.group.unmoved[next(place for place, one in enumerate(case.scans) if one is scan)]
        where = f"Group {case.group.group}, scan {n + 1}"
        reference = copies.reference(case.group.image[n])
        try:
            copy = load(reference, root=copies.folder, modality=case.group.modality)
        except InputError as error:
            raise InputError("COPY_MISSING", f"{where}: its copy cannot be read ({error.code}). {error}") from None
        if copy.voxels.shape == scan.voxels.shape:
            copy = _matched(case.group, n, copy)
        differs = _difference(scan, copy)
        if differs:
            raise InputError("COPY_DIFFERS", f"{where}: expected a copy {differs}.")
        return scan.with_voxels(copy.voxels)

    return answer


def _difference(scan: Volume, copy: Volume) -> str:
    """What a copy should be and is not, "" where it can be held against its scan. Padding is no measurement: who
    rewrites it makes one up, so that the copy holds there what the scan does (`denoise` leaves it as it is)."""
    shape = scan.voxels.shape
    if copy.voxels.shape != shape:
        return f"of {shape} voxels in the same place, found {copy.voxels.shape}"
    if not _in_one_place(copy, scan):
        return f"of {shape} voxels in the same place, found {shape} elsewhere or of another spacing"
    lost = int(np.count_nonzero(~np.isfinite(copy.voxels) & np.isfinite(scan.voxels)))
    if lost:
        return (
            f"with a number in every voxel where the scan has one, found {lost} without (NaN). Write the scan's own "
            "values there"
        )
    if scan.padding is None or not scan.padding.any():
        return ""
    before, after = scan.voxels[scan.padding], copy.voxels[scan.padding]
    reach = COPY_ROUNDING * float(np.abs(scan.voxels[np.isfinite(scan.voxels)]).max(initial=0.0))
    moved = ~np.isclose(after, before, rtol=0.0, atol=reach, equal_nan=True)
    if moved.mean() <= SMOOTHED:
        return ""
    return (
        f"that leaves the scan's padding as it is, found {np.count_nonzero(moved)} of its {moved.size} voxels changed "
        f"({before[moved][0]:g} to {after[moved][0]:g} in the first). Write the scan's own values there"
    )


def with_copies(case: Case, copies: Callable[[Volume], Volume]) -> Case:
    """The case as copies that were made elsewhere (`stored_copies`) can answer it: beside a truth the first scan's copy
    is enough, and where the second has none, its repeats are left out."""
    if case.truth is None or len(case.scans) < 2:
        return case
    try:
        copies(case.scans[1])
    except InputError as error:
        if error.code != "COPY_MISSING":
            raise
        return replace(case, scans=case.scans[:1])
    return case


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
