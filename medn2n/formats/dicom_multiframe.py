"""Enhanced multi-frame files are written back whole: all magnitude frames of one must be in one volume."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from medn2n.formats.dicom_header import Header
from medn2n.formats.dicom_volume import DicomVolume, NotUsed, Outcome, files_of, not_used


def whole_files(name: str, found: list[Outcome], by_path: Mapping[Path, Header]) -> list[Outcome]:
    """`found` (the stacks of one series) with those that share an enhanced file put together: volumes on one grid (time
    points, echoes, diffusion weightings) become the T axis of one. Volumes on several grids are refused, and so is all
    of a file of which one stack is; a file without any magnitude frame is passed over."""
    files = [header for header in by_path.values() if header.kind == "enhanced"]
    for linked in _linked(files, found):
        touched = [item for item in found if _paths(item) & {header.path for header in linked}]
        place = found.index(touched[0]) if touched else len(found)
        found = [item for item in found if item not in touched]
        found.insert(place, _one(name, linked, touched))
    return found


def _paths(item: Outcome) -> set[Path]:
    return {header.path for header in item.headers} if isinstance(item, DicomVolume) else set(item.paths)


def _linked(files: list[Header], found: list[Outcome]) -> list[list[Header]]:
    """Enhanced files, together where one outcome holds frames of several."""
    groups: list[set[Path]] = []
    for header in files:
        near = {header.path}.union(*(paths for item in found if header.path in (paths := _paths(item))))
        apart = [group for group in groups if not group & near]
        groups = [*apart, near.union(*(group for group in groups if group & near))]
    return [[header for header in files if header.path in group] for group in groups]


def _one(name: str, files: list[Header], parts: list[Outcome]) -> Outcome:
    uid = files[0].series_uid
    refused = next((item for item in parts if isinstance(item, NotUsed)), None)
    volumes = [item for item in parts if isinstance(item, DicomVolume)]
    if refused is not None:
        reason = refused.reason.partition(": ")[2]
        return not_used(name, files, refused.status, refused.code, reason, uid)
    if not volumes:
        return not_used(name, files, "passed", "NOT_MAGNITUDE", "none of its frames is a magnitude image", uid)
    first = volumes[0]
    if len(volumes) == 1:
        return first
    if not all(_same_grid(item, first) for item in volumes):
        reason = f"one multi-frame file holds {len(volumes)} volumes on different grids. Export each as its own series."
        return not_used(name, files, "refused", "ENHANCED_UNSUPPORTED", reason, uid)
    planes = zip(*(item.frames for item in volumes), strict=True)
    frames = tuple(tuple(plane[0] for plane in slot) for slot in planes)
    by_path = {header.path: header for header in files}
    return replace(first, frames=frames, headers=tuple(files_of((f for slot in frames for f in slot), by_path)))


def _same_grid(item: DicomVolume, first: DicomVolume) -> bool:
    even = (item.positions_mm is None) == (first.positions_mm is None)
    return item.shape == first.shape and even and np.allclose(item.affine, first.affine, rtol=0, atol=1e-3)
