"""From the headers of DICOM files to volumes: which frames belong together, in which order, on which grid.

A SeriesInstanceUID is only a start: a series may hold a localizer, two matrix sizes, several echoes or time points.
Verdicts: a volume; a volume whose slices are uneven (slice-wise only); passed over; refused with a code.
"""

from __future__ import annotations

import filecmp
from collections.abc import Hashable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from medn2n.core.catalogue import Scalar
from medn2n.core.geometry import check_spacing, dicom_affine, order_slices, require_complete, slice_normal
from medn2n.errors import InputError
from medn2n.formats.dicom_header import Frame, Header
from medn2n.formats.dicom_multiframe import whole_files
from medn2n.formats.dicom_pixels import read_dataset, stored_frames
from medn2n.formats.dicom_stacks import by_direction, grouped, require_geometry, separate
from medn2n.formats.dicom_volume import DicomVolume, Outcome, files_of, not_used
from medn2n.log import keyed_id


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
        for other in same:
            if other is first:
                kept.append(other)
            elif _same_content(first.path, other.path):
                copies.append(other)
            else:
                raise InputError(
                    "DUPLICATE_SLICES",
                    "two files carry the same SOP Instance UID but differ. Keep the right one of them.",
                )
    return kept, copies


def _same_content(first: Path, second: Path) -> bool:
    try:
        return filecmp.cmp(first, second, shallow=False)
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
        for frames in by_direction(frame for header in group for frame in header.frames if frame.magnitude):
            stacks += grouped(frames, lambda frame: (frame.contrast, frame.pixel_spacing)).values()
    stacks.sort(key=lambda frames: min((by_path[f.path].instance_number, f.path, f.index) for f in frames))
    found: list[Outcome] = []
    for stack in stacks:
        found += _volumes_of_stack(name, stack, by_path)
    return _numbered(whole_files(name, found, by_path))


def _grid_key(header: Header) -> tuple[Hashable, ...]:
    return header.sop_class, header.rows, header.columns


def _volumes_of_stack(name: str, stack: list[Frame], by_path: Mapping[Path, Header]) -> list[Outcome]:
    files = files_of(stack, by_path)
    try:
        return [_volume(name, frames, by_path) for frames in separate(stack)]
    except InputError as error:
        copies = _same_pixels(stack, by_path) if error.code == "DUPLICATE_SLICES" else []
        if not copies:
            return [not_used(name, files, "refused", error.code, str(error), files[0].series_uid)]
    rest = [frame for frame in stack if by_path[frame.path] not in copies]
    reason = "the same place and the same pixels as another slice of the series"
    passed = not_used(name, copies, "passed", "DUPLICATE_SLICE", reason, files[0].series_uid)
    return [*_volumes_of_stack(name, rest, by_path), passed]


def _same_pixels(stack: list[Frame], by_path: Mapping[Path, Header]) -> list[Header]:
    """Files whose one frame lies where another's does and holds the same numbers; the first by instance number is
    none of them. Pixels are read only here, where headers cannot tell."""
    copies: list[Header] = []
    for frames in grouped(stack, lambda frame: tuple(round(value, 2) for value in frame.position)).values():
        kept: list[tuple[Frame, npt.NDArray[Any]]] = []
        for frame in sorted(frames, key=lambda frame: (by_path[frame.path].instance_number, frame.path)):
            if len(frames) == 1 or by_path[frame.path].kind != "single":
                continue
            pixels = stored_frames(read_dataset(frame.path))
            if any(_alike(frame, pixels, *other) for other in kept):
                copies.append(by_path[frame.path])
            else:
                kept.append((frame, pixels))
    return copies


def _alike(frame: Frame, pixels: npt.NDArray[Any], other: Frame, others: npt.NDArray[Any]) -> bool:
    scaling = (frame.slope, frame.intercept) == (other.slope, other.intercept)
    return scaling and np.array_equal(pixels, others)


def _volume(name: str, frames: list[Frame], by_path: Mapping[Path, Header]) -> DicomVolume:
    normal = slice_normal(frames[0].orientation)
    order, distances = order_slices([frame.position for frame in frames], normal)
    ordered = [frames[index] for index in order]
    spacing = check_spacing([frame.position for frame in ordered], distances)
    require_complete(spacing)
    files = tuple(files_of(ordered, by_path))
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
