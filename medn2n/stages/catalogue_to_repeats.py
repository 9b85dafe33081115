"""catalogue → manifest: which scans repeat each other, checked on their voxels, split by subject.

Candidates come from headers and geometry (`medn2n.core.pairing_rules`, `medn2n.core.frames`) or from the user's
declaration, never from file names. Each candidate is then checked on voxels (`medn2n.core.pair_check`) against one
scan of its group. Kept is what is fit, or becomes so by a gain, an offset and a rigid motion, which the manifest holds
for training (`medn2n.core.repeat_groups.matched`). Left out, with its reason, is what is unfit, or unproven.

Scans are taken in the order of their content's sha256, so neither names nor the order of files change the result.
A bare NIfTI has no patient: unless its path holds a BIDS subject or it is declared, its subject is what it shows,
and two of them are one subject where the voxel check finds the same object.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from medn2n.core import frames
from medn2n.core.catalogue import Catalogue, Series
from medn2n.core.drift import level_drift, tissue_levels
from medn2n.core.pairing_rules import acquired_apart, not_repeats_because, other_grid
from medn2n.core.repeat_groups import (
    CandidateGroup,
    Compared,
    Decision,
    Outcome,
    Scan,
    checked,
    evenly,
    join,
    name_subjects,
    slab,
    summary,
    thumbnail,
)
from medn2n.core.splits import Split, split_subjects
from medn2n.core.volume import Volume, air_of
from medn2n.errors import InputError, UsageError
from medn2n.formats import scan
from medn2n.formats.declaration import Declaration, DeclaredGroup
from medn2n.formats.gradients import read_gradients
from medn2n.formats.manifest import Group, Manifest, PairCheck, acquisition_of, corrections, named_modality
from medn2n.formats.reference import ScanReference, without_frame
from medn2n.formats.series_contents import SeriesContents
from medn2n.log import keyed_id

MOST_FRAMES = 32  # evenly spaced over a long series: more repeats of one object hardly help training
MOST_COMPARED = 12  # groups that one scan is checked against; an atlas-aligned study has hundreds on one grid
WORTH_A_CHECK = 0.8  # correlation of thumbnails: repeats 0.97 and more
ONE_SUBJECT = "One subject: all groups are in training; hold out slices for validation."


def find_repeats(
    catalogue: Catalogue,
    root: Path,
    *,
    name: str,
    declaration: Declaration | None = None,
    modality: str = "",
    validation: float = 0.2,
    test: float = 0.0,
    singles: bool = False,
    manifest_root: str = "",
    source: str = "",
    licence: str = "",
) -> tuple[Manifest, list[Decision]]:
    """Groups of repeats below `root` as a manifest, and what was decided about every series.

    catalogue: of `root`. modality: for files that do not say theirs. validation, test: shares of the subjects.
    singles: also list scans without a repeat, for recipes that simulate one. manifest_root: what the manifest is to
    call its data root. UsageError where the declaration names a scan that the catalogue does not hold.
    """
    search = _Search(root=root, declaration=declaration or Declaration(), modality=modality)
    for series in sorted(catalogue, key=search.contents.of):
        search.add(series)
    for declared in search.declaration.repeats:
        search.add_declared(declared, catalogue)
    groups = search.finished(singles=singles)
    splits = split_subjects((group.subject for group in groups), validation=validation, test=test)
    entries: dict[Split, list[Group]] = {"training": [], "validation": [], "test": []}
    for group in groups:
        entries[splits[group.subject]].append(search.entry(group, splits, source=source, licence=licence))
    ordered = {split: sorted(found, key=lambda entry: entry.group) for split, found in entries.items()}
    manifest = Manifest(
        name=name,
        description=ONE_SUBJECT if len(splits) == 1 else "",
        root=manifest_root,
        training=ordered["training"],
        validation=ordered["validation"],
        test=ordered["test"],
    )
    return manifest, sorted(search.decisions, key=lambda made: (made.group == "", made.series, made.reason))


class _Search:
    """The work of one call: what was read, grouped and decided so far."""

    def __init__(self, *, root: Path, declaration: Declaration, modality: str) -> None:
        self.root, self.declaration, self.modality = root, declaration, modality
        self.contents = SeriesContents(root)
        self.decisions: list[Decision] = []
        self._groups: list[CandidateGroup] = []
        self._links: list[tuple[str, str]] = []
        self._seen: set[str] = set()
        named = (scan_name for group in declaration.repeats for scan_name in group.scans)
        self._declared = {without_frame(scan_name) for scan_name in named}

    def add(self, series: Series) -> None:
        """Sort one series into the groups, or say why not."""
        if without_frame(series.path) in self._declared:
            return
        if self.contents.of(series) in self._seen:
            self._leave_out([series], "not repeats", "its files are a copy of another series'")
            return
        self._seen.add(self.contents.of(series))
        if not (series.modality or self.modality):
            self._leave_out([series], "refused", "nothing says whether it is CT or MR: name the modality")
            return
        try:
            volume = scan.load_series(series, root=self.root, modality=self.modality)
            if series.format == "photo":  # a single always: it does not say what it shows
                self._groups.append(CandidateGroup(scans=[self.contents.scan(series, volume)]))
            elif volume.voxels.ndim == 4:
                self._add_frames(series, volume)
            else:
                self._add_volume(self.contents.scan(series, volume))
        except InputError as error:
            self._leave_out([series], "refused", f"{error.code}: {error}")

    def add_declared(self, declared: DeclaredGroup, catalogue: Catalogue) -> None:
        """A group that the user vouches for: header rules do not apply, grid and voxels are still checked."""
        by_path = {without_frame(series.path): series for series in catalogue}
        found: list[Scan] = []
        for text in declared.scans:
            series = by_path.get(without_frame(text))
            if series is None:
                raise UsageError("The declaration names a scan that is not among the series found in the folder.")
            frame = ScanReference.parse(text).frame
            volume = scan.load_series(series, root=self.root, modality=self.modality)
            found.append(self.contents.scan(series, volume, frame))
        found.sort(key=lambda item: item.content)
        group = CandidateGroup(scans=found[:1])
        group.subject = keyed_id(declared.subject, "p") if declared.subject else ""
        for item in found[1:]:
            apart = other_grid(found[0].series, item.series)
            if apart is not None:
                self._leave_out([found[0].series, item.series], "not repeats", apart)
            else:
                self._try(group, item, separate=True)
        self._groups.append(group)

    def finished(self, *, singles: bool) -> list[CandidateGroup]:
        """The groups with their subjects; those of one scan only if `singles`, else they are decisions."""
        name_subjects(self._groups, self._links)
        finished = []
        for group in self._groups:
            if len(group.scans) > 1 or singles:
                finished.append(group)
            else:
                self._leave_out([group.scans[0].series], "alone", "no other scan repeats it")
        return finished

    def entry(self, group: CandidateGroup, splits: dict[str, Split], *, source: str, licence: str) -> Group:
        """The group as the manifest holds it; also records the decision."""
        contents = sorted(item.content for item in group.scans)
        check = PairCheck(verdict="unchecked", reason="a single scan")
        if group.compared:
            verdict, reason, figures = summary(group)
            check = PairCheck(verdict=verdict, reason=reason, figures=figures)
        first = group.scans[0].series
        made = Group(
            group=keyed_id("|".join(contents), "g"),
            subject=group.subject,
            modality=named_modality(first.modality or self.modality),
            image=[item.reference for item in group.scans],
            sha256=[self.contents.sha256(ScanReference.parse(item.reference).path) for item in group.scans],
            source=source,
            licence=licence,
            check=check,
            corrections=corrections(item.match for item in group.scans),
            acquisition=acquisition_of(first),
        )
        outcome: Outcome = "alone" if check.verdict == "unchecked" else check.verdict
        self.decisions.append(
            Decision(
                series=tuple(sorted({item.series.id for item in group.scans})),
                scans=len(group.scans),
                verdict=outcome,
                reason=check.reason,
                group=made.group,
                split=splits[group.subject],
                figures=tuple(sorted(check.figures.items())),
                compared=tuple(group.compared),
            )
        )
        return made

    def _add_frames(self, series: Series, volume: Volume) -> None:
        """Frames of one 4D series: groups of one signal, each checked against its most typical frame."""
        count = volume.voxels.shape[3]
        table = read_gradients(self.root / series.path, count) if series.format == "nifti" else None
        gradients = (table.b_values, table.directions) if table else (None, None)
        found = frames.group_frames(list(frames.frame_levels(slab(volume.voxels), air_of(volume.modality))), *gradients)
        if found.unsteady:
            reason = f"its first {len(found.unsteady)} volumes were taken before steady state (by their level)"
            self._leave_out([series], "not repeats", reason, scans=len(found.unsteady))
        lonely = sum(len(members) == 1 for members in found.groups)
        if lonely:
            self._leave_out(
                [series], "alone", f"{lonely} of its {count} volumes show a signal of their own", scans=lonely
            )
        for members in found.groups:
            if len(members) > 1:
                self._check_frames(series, volume, members)

    def _check_frames(self, series: Series, volume: Volume, everyone: Sequence[int]) -> None:
        members = evenly(everyone, MOST_FRAMES)
        reference = members[frames.typical_frame(slab(volume.voxels)[..., members])]
        group = CandidateGroup(scans=[self.contents.scan(series, volume, reference)])
        separate = (series.modality or self.modality) == "MR"  # a gated CT's phases share projections
        for frame in members:
            if frame != reference:
                self._try(group, self.contents.scan(series, volume, frame), separate=separate)
        group.small = thumbnail(group.scans[0].slab)
        group.drift = level_drift(tissue_levels(slab(volume.voxels), everyone), everyone)
        self._link_same_object(group)
        group.scans.sort(key=lambda item: item.content)
        if len(group.scans) > 1:
            self._groups.append(group)

    def _link_same_object(self, group: CandidateGroup) -> None:
        """Note which earlier 4D series on the same grid show the same object: a second run, or a stored copy."""
        first, compared = group.scans[0], 0
        for other in self._groups:
            there = other.scans[0]
            if there.frame is None or other.small is None:
                continue
            if other_grid(there.series, first.series) is not None or compared >= MOST_COMPARED:
                continue
            if there.content.split("/")[0] == first.content.split("/")[0]:
                continue
            if float(other.small @ thumbnail(first.slab)) >= WORTH_A_CHECK:
                compared += 1
                if checked(there, first, True).same_object:
                    self._links.append((there.content, first.content))

    def _add_volume(self, item: Scan) -> None:
        """Join the first group whose first scan it repeats, and whose others nothing forbids; else open its own."""
        small = thumbnail(item.slab)
        compared = 0
        for group in self._groups:
            first = group.scans[0]
            if first.frame is not None or group.small is None:
                continue
            if other_grid(first.series, item.series) is not None:
                continue
            if compared >= MOST_COMPARED or float(group.small @ small) < WORTH_A_CHECK:
                continue
            reasons = (not_repeats_because(other.series, item.series) for other in group.scans)
            reason = next((found for found in reasons if found is not None), None)
            if reason is None and self.declaration.keeps_apart(first.reference, item.reference):
                reason = "they are declared to be no repeats"
            if reason is not None:
                self._leave_out([first.series, item.series], "not repeats", reason)
                continue
            compared += 1
            if self._try(group, item, separate=acquired_apart(first.series, item.series)):
                return
        self._groups.append(CandidateGroup(scans=[item], small=small))

    def _try(self, group: CandidateGroup, item: Scan, *, separate: bool) -> bool:
        """Let one scan join a group, or record why not."""
        problem = join(group, item, separate=separate)
        if problem is None:
            return True
        first = group.scans[0]
        result = problem.result
        if result.same_object:
            self._links.append((first.content, item.content))
        reason = result.reason if item.frame is None else f"volume {item.frame + 1}: {result.reason}"
        self._leave_out([first.series, item.series], result.verdict, reason, scans=1, compared=problem)
        return False

    def _leave_out(
        self,
        series: list[Series],
        verdict: Outcome,
        reason: str,
        *,
        scans: int = 0,
        compared: Compared | None = None,
    ) -> None:
        ids = tuple(sorted({item.id for item in series}))
        figures = tuple(sorted(compared.result.figures().items())) if compared else ()
        pairs = (compared,) if compared else ()
        self.decisions.append(
            Decision(
                series=ids, scans=scans or len(ids), verdict=verdict, reason=reason, figures=figures, compared=pairs
            )
        )
