"""manifest and decisions → page: difference images and figures of every group, and of what failed on its voxels."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from medn2n.core.catalogue import Catalogue
from medn2n.core.display import SlicePair, slice_pairs
from medn2n.core.repeat_groups import Compared, Decision
from medn2n.core.volume import Volume
from medn2n.errors import InputError
from medn2n.formats import scan
from medn2n.formats.manifest import Manifest
from medn2n.formats.pair_page import GroupShown, PairPage, PairShown, write_pair_page
from medn2n.formats.reference import ScanReference, without_frame

MOST_GROUPS = 40  # groups with pictures; all others keep their line in the table
GROUP_FRAMES = 40  # slices with four pictures each, shared by the groups: about 0.3 MB apiece
MOST_OF_A_GROUP = 8
MOST_REFUSED = 12
EDGE_PIXELS = 256


def write_repeats_page(
    path: Path,
    manifest: Manifest,
    decisions: Sequence[Decision],
    catalogue: Catalogue,
    root: Path,
    *,
    modality: str = "",
    dry_run: bool = False,
) -> int:
    """Write the page of what `find_repeats` found below `root`; its size in bytes. Only scans that are pictured are
    read again, one 4D file at a time."""
    reader = _Reader(catalogue, root, modality)
    modalities = {group.group: group.modality for group in [*manifest.training, *manifest.validation, *manifest.test]}
    grouped = [decision for decision in decisions if decision.group and decision.compared]
    pictured = grouped[:MOST_GROUPS]
    each = max(1, min(MOST_OF_A_GROUP, GROUP_FRAMES // max(len(pictured), 1)))
    groups = [
        GroupShown(
            decision=decision,
            modality=modalities[decision.group],
            pairs=_members(decision.compared, reader, each if number < len(pictured) else 0),
        )
        for number, decision in enumerate(grouped)
    ]
    left_out = [decision for decision in decisions if not decision.group]
    refused = _varied([compared for decision in left_out for compared in decision.compared])
    shown = [_shown(one, reader, slices=int(number < MOST_REFUSED)) for number, one in enumerate(refused)]
    page = PairPage(groups=tuple(groups), refused=tuple(shown), left_out=tuple(left_out), dry_run=dry_run)
    return write_pair_page(path, page)


def _members(compared: Sequence[Compared], reader: _Reader, frames: int) -> tuple[PairShown, ...]:
    """Every pair of a group; pictures of the `frames` that show most structure, of several slices where few scans
    leave room for them."""
    worst = sorted(range(len(compared)), key=lambda n: -compared[n].result.edge_ratio)[:frames]
    slices = min(3, frames // max(len(worst), 1)) if worst else 0
    return tuple(_shown(one, reader, slices=slices if n in worst else 0) for n, one in enumerate(compared))


def _varied(refused: Sequence[Compared]) -> list[Compared]:
    """One of each kind first: a moving series would take all pictures for itself."""
    seen: Counter[tuple[str, str, str]] = Counter()
    ranks = []
    for one in refused:
        kind = (without_frame(one.first), without_frame(one.second), one.result.code)
        ranks.append(seen[kind])
        seen[kind] += 1
    return [refused[n] for n in sorted(range(len(refused)), key=lambda n: ranks[n])]


def _shown(one: Compared, reader: _Reader, *, slices: int) -> PairShown:
    pictures: tuple[SlicePair, ...] = ()
    if slices:
        try:
            first, second = reader.volume(one.first), reader.volume(one.second)
            if first.voxels.shape == second.voxels.shape:
                pictures = slice_pairs(first, second, number=slices, edge=EDGE_PIXELS)
        except InputError:
            pass  # the file went away since it was checked; its figures stand
    return PairShown(first_id=one.first_id, second_id=one.second_id, result=one.result, pictures=pictures)


class _Reader:
    """Scans by reference, from the files that the catalogue knows; remembers the last two series that it read."""

    def __init__(self, catalogue: Catalogue, root: Path, modality: str) -> None:
        self._series = {without_frame(series.path): series for series in catalogue}
        self._root, self._modality = root, modality
        self._read: dict[str, Volume] = {}

    def volume(self, reference: str) -> Volume:
        """One (I,J,K) volume. InputError as `formats.scan.load_series`."""
        name, frame = without_frame(reference), ScanReference.parse(reference).frame
        if name not in self._read:
            while len(self._read) > 1:
                del self._read[next(iter(self._read))]
            self._read[name] = scan.load_series(self._series[name], root=self._root, modality=self._modality)
        whole = self._read[name]
        if frame is None or whole.voxels.ndim == 3:
            return whole
        return replace(whole, voxels=whole.voxels[..., frame].copy(), padding=None, source=None)
