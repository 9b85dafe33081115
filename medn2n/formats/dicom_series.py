"""From the headers of DICOM files to volumes: which frames belong together, in which order, on which grid.

A SeriesInstanceUID is only a start: a series may hold a localizer, two matrix sizes, several echoes or time points.
Verdicts: a volume; a volume whose slices are uneven (slice-wise only); passed over; refused with a code.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from medn2n.core.catalogue import Scalar
from medn2n.core.geometry import check_spacing, dicom_affine, order_slices, require_complete, slice_normal
from medn2n.errors import InputError
from medn2n.formats.dicom_header import Frame, Header
from medn2n.formats.dicom_stacks import by_direction, grouped, require_geometry, separate
from medn2n.log import keyed_id


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class DicomVolume:
    """One volume. frames[k][t]: the plane at slice k, time t. headers: its files, each once, in slice order.

    part: 1, 2, … where its series holds several volumes, else None. folder: set where copies of one series lie in
    several folders, so that the UID alone does not name it.
    """

    id: str
    series_uid: str
    modality: str
    headers: tuple[Header, ...]
    frames: tuple[tuple[Frame, ...], ...]
    affine: npt.NDArray[np.float64]
    positions_mm: npt.NDArray[np.float64] | None
    acquisition: Mapping[str, Scalar]
    part: int | None = None
    folder: Path | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """(I,J,K), or (I,J,K,T) for more than one time point."""
        times = len(self.frames[0])
        grid = (self.headers[0].columns, self.headers[0].rows, len(self.frames))
        return grid if times == 1 else (*grid, times)


@dataclass(frozen=True, slots=True, kw_only=True)
class NotUsed:
    """Files that make no volume, and why: status "passed" or "refused", code, and a sentence for people."""

    id: str
    paths: tuple[Path, ...]
    status: str
    code: str
    reason: str
    series_uid: str = ""


Outcome = DicomVolume | NotUsed


def not_used(
    series: str, headers: Iterable[Header], status: str, code: str, reason: str, series_uid: str = ""
) -> NotUsed:
    """The sentence begins with the keyed id of the series and its number of files."""
    paths = tuple(sorted(header.path for header in headers))
    sentence = f"Series {series} ({len(paths)} file{'' if len(paths) == 1 else 's'}): {reason}"
    return NotUsed(id=series, paths=paths, status=status, code=code, reason=sentence, series_uid=series_uid)


def volumes(headers: Iterable[Header]) -> list[Outcome]:
    """All volumes and verdicts of these files, whichever series they belong to."""
    found: list[Outcome] = []
    for (study, series), members in grouped(headers, _series_key).items():
        series = series if members[0].series_uid else min(header.sop_uid for header in members)
        folders = grouped(members, lambda header: header.path.parent)
        if len(folders) > 1 and _shares_instances(folders.values()):
            for folder, copies in folders.items():
                name = keyed_id(f"{study}|{series}|{folder.name}")
                found += [_in_folder(item, folder) for item in _series(name, copies)]
        else:
            found += _series(keyed_id(f"{study}|{series}"), members)
    return found


def _series_key(header: Header) -> tuple[str, str]:
    """Study and series; where an anonymiser emptied the series UID, the folder stands in."""
    return header.study_uid, header.series_uid or f"folder {header.path.parent.as_posix()}"


def _shares_instances(groups: Iterable[list[Header]]) -> bool:
    seen: set[str] = set()
    for group in groups:
        uids = {header.sop_uid for header in group}
        if seen & uids:
            return True
        seen |= uids
    return False


def _in_folder(item: Outcome, folder: Path) -> Outcome:
    return replace(item, folder=folder) if isinstance(item, DicomVolume) else item


def _series(name: str, headers: list[Header]) -> list[Outcome]:
    """One series: what is passed over leaves first; one refused file refuses the rest, since a hole is no volume."""
    uid = headers[0].series_uid
    found: list[Outcome] = []
    for (code, reason), group in grouped(
        (header for header in headers if header.fault and header.fault[0] == "passed"),
        lambda header: header.fault[1:] if header.fault else ("", ""),
    ).items():
        found.append(not_used(name, group, "passed", code, reason, uid))
    rest = [header for header in headers if not header.fault or header.fault[0] != "passed"]
    bad = [header for header in rest if header.fault]
    if bad and bad[0].fault:
        _, code, reason = bad[0].fault
        which = "" if len(rest) == 1 else f"{len(bad)} of them: "
        return [*found, not_used(name, rest, "refused", code, which + reason, uid)]
    if not rest:
        return found
    try:
        kept, copies = _without_copies(rest)
    except InputError as error:
        return [*found, not_used(name, rest, "refused", error.code, str(error), uid)]
    if copies:
        reason = "byte for byte the same as another file of the series"
        found.append(not_used(name, copies, "passed", "DUPLICATE_FILE", reason, uid))
    return [*found, *_parts(name, kept)]


def _without_copies(headers: list[Header]) -> tuple[list[Header], list[Header]]:
    """Files with an SOP Instance UID of their own, and copies of them."""
    kept, copies = [], []
    for same in grouped(headers, lambda header: header.sop_uid).values():
        first = min(same, key=lambda header: header.path)
        content = _content(first) if len(same) > 1 else b""
        for other in same:
            if other is first:
                kept.append(other)
            elif _content(other) == content:
                copies.append(other)
            else:
                raise InputError(
                    "DUPLICATE_SLICES",
                    "two files carry the same SOP Instance UID but differ. Keep the right one of them.",
                )
    return kept, copies


def _content(header: Header) -> bytes:
    try:
        return header.path.read_bytes()
    except OSError:
        raise InputError("UNREADABLE", "one of its files went away while it was read. Catalogue again.") from None


def _parts(name: str, headers: list[Header]) -> list[Outcome]:
    by_path = {header.path: header for header in headers}
    stacks: list[list[Frame]] = []
    unusable: dict[tuple[str, str], list[Header]] = {}
    for header in headers:
        try:
            if not header.frames:
                raise InputError("ENHANCED_UNSUPPORTED", "it describes no frames. Export it again.")
            for frame in header.frames:
                require_geometry(frame)
        except InputError as error:
            unusable.setdefault((error.code, str(error)), []).append(header)
    if unusable:
        (code, reason), _ = next(iter(unusable.items()))
        return [not_used(name, headers, "refused", code, reason, headers[0].series_uid)]
    for group in grouped(headers, _grid_key).values():
        for frames in by_direction(frame for header in group for frame in header.frames):
            stacks += grouped(frames, lambda frame: (frame.contrast, frame.pixel_spacing)).values()
    stacks.sort(key=lambda frames: min((by_path[f.path].instance_number, f.path, f.index) for f in frames))
    found: list[Outcome] = []
    for stack in stacks:
        found += _volumes_of_stack(name, stack, by_path)
    return _numbered(_one_file_one_volume(name, found, by_path))


def _grid_key(header: Header) -> tuple[Hashable, ...]:
    return header.sop_class, header.rows, header.columns


def _volumes_of_stack(name: str, stack: list[Frame], by_path: Mapping[Path, Header]) -> list[Outcome]:
    files = _files_of(stack, by_path)
    try:
        return [_volume(name, frames, by_path) for frames in separate(stack)]
    except InputError as error:
        return [not_used(name, files, "refused", error.code, str(error), files[0].series_uid)]


def _files_of(frames: Iterable[Frame], by_path: Mapping[Path, Header]) -> list[Header]:
    return [by_path[path] for path in dict.fromkeys(frame.path for frame in frames)]


def _volume(name: str, frames: list[Frame], by_path: Mapping[Path, Header]) -> DicomVolume:
    normal = slice_normal(frames[0].orientation)
    order, distances = order_slices([frame.position for frame in frames], normal)
    ordered = [frames[index] for index in order]
    spacing = check_spacing([frame.position for frame in ordered], distances)
    require_complete(spacing)
    files = tuple(_files_of(ordered, by_path))
    first = files[0]
    affine = dicom_affine(
        ordered[0].position,
        ordered[-1].position,
        len(ordered),
        ordered[0].orientation,
        ordered[0].pixel_spacing,
        single_step_mm=ordered[0].thickness_mm or 1.0,
    )
    return DicomVolume(
        id=name,
        series_uid=first.series_uid,
        modality=first.modality,
        headers=files,
        frames=tuple((frame,) for frame in ordered),
        affine=affine,
        positions_mm=None if spacing.even else distances,
        acquisition=_acquisition(first, ordered[0]),
    )


def _acquisition(header: Header, frame: Frame) -> dict[str, Scalar]:
    """The first file's values, with what an enhanced file keeps in its frames."""
    values = dict(header.acquisition)
    if frame.thickness_mm is not None:
        values.setdefault("thickness_mm", frame.thickness_mm)
    for key, text in zip(("echo_time_ms", "", "b_value"), frame.contrast, strict=True):
        if key and text:
            try:
                values.setdefault(key, float(text))
            except ValueError:
                continue
    return values


def _one_file_one_volume(name: str, found: list[Outcome], by_path: Mapping[Path, Header]) -> list[Outcome]:
    """A file is written back whole, so all its frames must be in one volume: time points become the T axis of
    one; anything else that shares a file (echoes, stacks) is refused."""
    multi = [item for item in found if isinstance(item, DicomVolume) and item.headers[0].kind == "enhanced"]
    together = [item for item in multi if _frames_in(item.headers) > sum(map(len, item.frames))]
    if not together:
        return found
    others = [item for item in found if item not in together]
    first = together[0]
    alike = all(
        item.shape == first.shape
        and np.allclose(item.affine, first.affine, rtol=0, atol=1e-3)
        and item.frames[0][0].contrast == first.frames[0][0].contrast
        for item in together
    )
    files = _files_of((frame for item in together for slot in item.frames for frame in slot), by_path)
    whole = _frames_in(files) == sum(len(slot) for item in together for slot in item.frames)
    if alike and whole and len(together) == len(multi):
        planes = zip(*(item.frames for item in together), strict=True)
        frames = tuple(tuple(plane[0] for plane in slot) for slot in planes)
        return [*others, replace(first, frames=frames, headers=tuple(files))]
    holds = f"holds {len(together)} different volumes" if whole else "holds frames that fit into no volume"
    reason = f"one multi-frame file {holds}. Export each volume as its own series."
    return [*others, not_used(name, files, "refused", "ENHANCED_UNSUPPORTED", reason, files[0].series_uid)]


def _frames_in(headers: Iterable[Header]) -> int:
    return sum(len(header.frames) for header in headers)


def _numbered(found: list[Outcome]) -> list[Outcome]:
    """Number the volumes of one series from 1, where there are several."""
    several = sum(isinstance(item, DicomVolume) for item in found) > 1
    numbered: list[Outcome] = []
    part = 0
    for item in found:
        if isinstance(item, DicomVolume) and several:
            part += 1
            item = replace(item, part=part, id=keyed_id(f"{item.id}|{part}"))
        numbered.append(item)
    return numbered
