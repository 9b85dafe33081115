"""Groups of repeats: what part of a scan is checked, which outcome is kept, whose scans belong to one subject."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from medn2n.core.pair_check import PairResult

CHECKED_SLICES = 24  # the middle slab of a tall volume: enough voxels for every figure, checked in a second
KEPT_GAIN = (
    0.05  # every ordered pair of a group trains, so an intensity difference averages out over the roles
)
KEPT_MISMATCH_SIGMAS = 0.6  # and leaves half of it, less than a third of the noise

Outcome = Literal["fit", "correctable", "unfit", "unproven", "alone", "not repeats", "refused"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """One line of `medn2n pair --dry-run`. series: keyed ids; scans: how many volumes it is about; group and
    split: where they went, "" where they were left out; figures: of the voxel check, if there was one."""

    series: tuple[str, ...]
    scans: int
    verdict: Outcome
    reason: str
    group: str = ""
    split: str = ""
    figures: tuple[tuple[str, float], ...] = ()


def kept(result: PairResult) -> bool:
    """True for what trains: fit, or different in intensity only and only a little. What moved is left out until it
    is aligned; what is unproven until it is declared."""
    if result.verdict == "fit":
        return True
    small = abs(result.gain - 1) <= KEPT_GAIN and result.mismatch_sigmas <= KEPT_MISMATCH_SIGMAS
    return result.verdict == "correctable" and result.code == "INTENSITY" and small


def slab(voxels: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """The middle slices of (I,J,K) or (I,J,K,T), all of them up to 24."""
    start = max(0, (voxels.shape[2] - CHECKED_SLICES) // 2)
    return voxels[:, :, start : start + CHECKED_SLICES]


def thumbnail(voxels: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """The scan at about 16×16×4 block means, as one row, standardised: to see at a glance that two scans show
    different things."""
    axes = [
        np.array_split(np.arange(n), min(n, most)) for n, most in zip(voxels.shape, (16, 16, 4), strict=True)
    ]
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


def summary(results: Sequence[PairResult]) -> tuple[Literal["fit", "correctable"], str, dict[str, float]]:
    """Verdict, sentence and figures of a group: of each figure the value that lies farthest from a perfect pair."""
    verdict: Literal["fit", "correctable"] = "fit"
    if any(result.verdict != "fit" for result in results):
        verdict = "correctable"
    rows = [result.figures() for result in results]
    figures: dict[str, float] = {}
    for name in rows[0]:
        perfect = 1.0 if name in ("gain", "edge_ratio", "anatomy_correlation") else 0.0
        figures[name] = max(
            (row[name] for row in rows if name in row), key=lambda value: abs(value - perfect)
        )
    for name in ("sigma_first", "sigma_second", "sigma_pair"):
        figures[name] = float(np.median([row[name] for row in rows]))
    figures["pairs_checked"] = float(len(results))
    if verdict == "fit":
        return (
            verdict,
            results[0].reason if len(results) == 1 else "same place, same signal, every scan",
            figures,
        )
    off = max(abs(result.gain - 1) for result in results)
    return (
        verdict,
        f"intensity differs by up to {100 * off:.1f} %, which averages out over the roles",
        figures,
    )


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
