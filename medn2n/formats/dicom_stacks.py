"""Frames of one series into stacks: one direction, one contrast, one acquisition each."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from functools import lru_cache
from math import isfinite
from typing import TypeVar

import numpy as np

from medn2n.core.geometry import slice_normal
from medn2n.errors import InputError
from medn2n.formats.dicom_header import Frame

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


def grouped(values: Iterable[V], key: Callable[[V], K]) -> dict[K, list[V]]:
    """Values by key, keys in order of first appearance, values in their order."""
    groups: dict[K, list[V]] = {}
    for value in values:
        groups.setdefault(key(value), []).append(value)
    return groups


def require_geometry(frame: Frame) -> None:
    """InputError NO_GEOMETRY or BAD_SCALING where a frame cannot be placed in space or scaled."""
    if len(frame.position) != 3 or len(frame.pixel_spacing) != 2 or len(frame.orientation) != 6:
        raise InputError("NO_GEOMETRY", "its header does not say where its slices lie. Export it again.")
    if not all(map(isfinite, (*frame.position, *frame.pixel_spacing))) or min(frame.pixel_spacing) <= 0:
        raise InputError("NO_GEOMETRY", "position or pixel spacing are not usable numbers. Export it again.")
    if frame.slope == 0 or not (isfinite(frame.slope) and isfinite(frame.intercept)):
        raise InputError("BAD_SCALING", "its rescale slope is zero or not a number. Export it again.")
    _require_direction(frame.orientation)


@lru_cache(maxsize=256)  # most frames of a study share one
def _require_direction(orientation: tuple[float, ...]) -> None:
    slice_normal(orientation)


def by_direction(frames: Iterable[Frame]) -> list[list[Frame]]:
    """Frames with one orientation each, to 1e-4 (directions are printed with few digits)."""
    clusters: list[list[Frame]] = []
    for frame in frames:
        for cluster in clusters:
            first = cluster[0].orientation
            if first == frame.orientation or np.allclose(first, frame.orientation, rtol=0, atol=1e-4):
                cluster.append(frame)
                break
        else:
            clusters.append([frame])
    return clusters


def separate(frames: list[Frame]) -> list[list[Frame]]:
    """Take apart volumes that lie in the same place by the first header fields that do so. A split is believed only
    if every part then fills the same positions; where none does, the frames stay together and are refused later."""
    if not _coincide(frames):
        return [frames]
    parts = [frames]
    for index in range(len(frames[0].passes)):
        finer = [p for part in parts for p in grouped(part, lambda frame: frame.passes[index][1]).values()]  # noqa: B023
        if len(finer) == len(parts) or len({_places(part) for part in finer}) != 1:
            continue
        parts = finer
        if not any(_coincide(part) for part in parts):
            return parts
    return [frames]


def _places(frames: list[Frame]) -> tuple[tuple[float, ...], ...]:
    return tuple(sorted({tuple(round(value, 2) for value in frame.position) for frame in frames}))


def _coincide(frames: list[Frame]) -> bool:
    return len(_places(frames)) < len(frames)
