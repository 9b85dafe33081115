"""Groups of repeats: what part of a scan is checked, which outcome is kept, whose scans belong to one subject."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from medn2n.core.catalogue import Series
from medn2n.core.drift import Drift
from medn2n.core.pair_check import check_pair
from medn2n.core.pair_result import NOISE_CODES, PairResult
from medn2n.core.repeat_alignment import SAME, Match, Slab, align, intensity_match, looks_moved, slab_of

CHECKED_SLICES = 24  # the middle slab of a tall volume: enough voxels for every figure, checked in a second

Outcome = Literal["fit", "correctable", "unfit", "unproven", "alone", "not repeats", "refused"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """Two scans that were checked on their voxels. first, second: their references, never shown; first_id, second_id:
    what people see: the series' keyed id, and the volume's number in a 4D one."""

    first: str
    second: str
    first_id: str
    second_id: str
    result: PairResult


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """One line of `medn2n pair --dry-run`. series: keyed ids; scans: how many volumes it is about; group and
    split: where they went, "" where they were left out; figures: of the voxel check, if there was one; compared: the
    pairs of scans behind it, for a group each against the one that all were checked against."""

    series: tuple[str, ...]
    scans: int
    verdict: Outcome
    reason: str
    group: str = ""
    split: str = ""
    figures: tuple[tuple[str, float], ...] = ()
    compared: tuple[Compared, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Scan:
    """One volume. reference: as the manifest names it; frame: its index in a 4D file, else None; content: id of what
    it holds, whatever its file is called; slab: the part that is checked; padding: of the slab, or None; match: how
    it differs from its group's reference, which training makes up for."""

    series: Series
    reference: str
    frame: int | None
    content: str
    slab: npt.NDArray[Any]
    padding: npt.NDArray[np.bool_] | None = None
    match: Match = SAME

    def placed_slab(self) -> Slab:
        """The slab in its place."""
        shape, affine = self.series.geometry.shape, np.array(self.series.geometry.affine)
        return slab_of(self.slab, self.padding, affine, shape, slab_start(shape[2]))

    @property
    def id(self) -> str:
        """Keyed id of the series, and the volume's number (from 1) where it is one of several."""
        return self.series.id if self.frame is None else f"{self.series.id} volume {self.frame + 1}"


@dataclass(slots=True, kw_only=True, eq=False)
class CandidateGroup:
    """A group in the making. small: thumbnail of the scan that all others were checked against. drift: of the series
    that its frames come from."""

    scans: list[Scan]
    small: npt.NDArray[np.float64] | None = None
    compared: list[Compared] = field(default_factory=list)
    drift: Drift | None = None
    subject: str = ""


def checked(first: Scan, second: Scan, separate: bool) -> PairResult:
    """The voxel check of two scans, with what either of them stored as padding left out."""
    paddings = [part for part in (first.padding, second.padding) if part is not None]
    padding = np.logical_or.reduce(paddings) if paddings else None
    return check_pair(first.slab, second.slab, padding=padding, acquired_apart=separate)


def _pair(first: Scan, second: Scan, result: PairResult) -> Compared:
    return Compared(
        first=first.reference, second=second.reference, first_id=first.id, second_id=second.id, result=result
    )


def join(group: CandidateGroup, item: Scan, *, separate: bool) -> Compared | None:
    """Add a scan that passes the check against the group's first, as it is or once its intensity and its place are
    corrected; else return the check that it failed.

    It must not share noise with the others either: with any of them, or for the frames of a long series with the
    one before in time and with any that holds the same voxels.
    """
    result, match = matched(group.scans[0], item, separate)
    if match is None:
        return _pair(group.scans[0], item, result)
    last = group.scans[-1]
    for other in group.scans[1:]:
        if item.frame is None or other is last or np.array_equal(other.slab, item.slab):
            against = checked(other, item, separate)
            if against.code in NOISE_CODES:
                return _pair(other, item, against)
    item = replace(item, match=match)
    group.scans.append(item)
    group.compared.append(_pair(group.scans[0], item, result))
    return None


def name_subjects(groups: Sequence[CandidateGroup], links: Iterable[tuple[str, str]]) -> None:
    """Give each group its subject: the declared one, the header's patient, else what the scans hold; groups joined
    by `links` (content, content) of scans that show the same object get one."""
    subjects: dict[str, str] = {}
    known = []
    for group in groups:
        own = min(item.content for item in group.scans).split("/")[0]
        for item in group.scans:
            patient = group.subject or str(item.series.acquisition.get("patient") or "")
            subjects[item.content] = patient or own
            known.append((group.scans[0].content, item.content))
    known += [link for link in links if link[0] in subjects and link[1] in subjects]
    joined = one_subject(subjects, known)
    for group in groups:
        group.subject = joined[group.scans[0].content]


def matched(first: Scan, item: Scan, separate: bool) -> tuple[PairResult, Match | None]:
    """The check of a scan against its group's first, and what corrects it: nothing where it is fit, its intensity, or
    its place too. None for what does not train; what is unproven waits until it is declared."""
    result = checked(first, item, separate)
    if looks_moved(result):
        aligned, match = align(first.placed_slab(), item.placed_slab(), acquired_apart=separate)
        if aligned.verdict == "correctable":
            return aligned, match
        tried = f"{result.reason}. Alignment does not help: {aligned.reason}"
        return replace(result, reason=tried, same_object=result.same_object or aligned.same_object), None
    usable = result.verdict == "fit" or (result.verdict, result.code) == ("correctable", "INTENSITY")
    return result, intensity_match(result) if usable else None


def slab_start(slices: int) -> int:
    """The first of the slices that `slab` takes."""
    return max(0, (slices - CHECKED_SLICES) // 2)


def slab(voxels: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """The middle slices of (I,J,K) or (I,J,K,T), all of them up to 24."""
    start = slab_start(voxels.shape[2])
    return voxels[:, :, start : start + CHECKED_SLICES]


def thumbnail(voxels: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """The scan at about 16×16×4 block means, as one row, standardised: to see at a glance that two scans show
    different things."""
    axes = [np.array_split(np.arange(n), min(n, most)) for n, most in zip(voxels.shape, (16, 16, 4), strict=True)]
    small = np.nan_to_num(voxels).astype(np.float64)
    for axis, parts in enumerate(axes):
        small = np.stack([small.take(part, axis=axis).mean(axis=axis) for part in parts], axis=axis)
    row = small.ravel() - small.mean()
    return np.asarray(row / max(float(np.linalg.norm(row)), 1e-30))


def evenly(members: Sequence[int], most: int) -> list[int]:
    """At most `most` of the members, evenly spaced, first and last included."""
    if len(members) <= most:
        return list(members)
    return [members[i] for i in np.linspace(0, len(members) - 1, most).round().astype(int)]


def summary(group: CandidateGroup) -> tuple[Literal["fit", "correctable"], str, dict[str, float]]:
    """Verdict, sentence and figures of a group: of each figure the value that lies farthest from a perfect pair; of
    the series' drift the whole."""
    results = [compared.result for compared in group.compared]
    matches = [item.match for item in group.scans]
    verdict: Literal["fit", "correctable"] = "fit"
    if any(result.verdict != "fit" for result in results):
        verdict = "correctable"
    rows = [result.figures() for result in results]
    figures: dict[str, float] = {}
    for name in sorted({name for row in rows for name in row}):
        perfect = 1.0 if name in ("gain", "edge_ratio", "line_ratio", "ring_ratio", "anatomy_correlation") else 0.0
        figures[name] = max((row[name] for row in rows if name in row), key=lambda value: abs(value - perfect))
    for name in ("sigma_first", "sigma_second", "sigma_pair"):
        figures[name] = float(np.median([row[name] for row in rows]))
    figures["pairs_checked"] = float(len(results))
    if group.drift is not None:
        figures |= group.drift.figures(figures["sigma_pair"])
    if verdict == "fit":
        return (
            verdict,
            results[0].reason if len(results) == 1 else "same place, same signal, every scan",
            figures,
        )
    figures["moved_mm"] = max(match.displacement_mm for match in matches)
    figures["turned_deg"] = round(max(match.angle_deg for match in matches), 3)
    figures["moved_error_mm"] = max(match.error_mm for match in matches)
    return verdict, _corrected(matches), figures


def _corrected(matches: Sequence[Match]) -> str:
    """What was corrected, in a sentence."""
    moved = [match for match in matches if match.displacement_mm]
    parts = []
    if moved:
        farthest, most = max(match.displacement_mm for match in moved), max(match.angle_deg for match in moved)
        whom = f"{len(moved)} of {len(matches)} scans " if len(matches) > 2 else ""
        parts.append(f"{whom}moved by up to {farthest:.1f} mm and {most:.1f}°, corrected")
    off = max(abs(match.gain - 1) for match in matches)
    if any(match.gain != 1 or match.offset for match in matches):
        parts.append(f"intensity differs by up to {100 * off:.1f} %, matched by gain and offset")
    return "; ".join(parts)


def one_subject(subjects: Mapping[str, str], links: Iterable[tuple[str, str]]) -> dict[str, str]:
    """item → subject, where `links` join items that show the same object: all joined items get the smallest of
    their subjects' names, so that nobody ends up in two splits."""
    parent = {subject: subject for subject in subjects.values()}

    def top(subject: str) -> str:
        while parent[subject] != subject:
            subject = parent[subject]
        return subject

    for first, second in links:
        ones, twos = top(subjects[first]), top(subjects[second])
        parent[max(ones, twos)] = min(ones, twos)
    return {item: top(subject) for item, subject in subjects.items()}
