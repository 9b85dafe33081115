"""Slices as a radiologist sees them: which way up, through which window, at what size."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

from medn2n.core.volume import Affine, Volume

Picture = npt.NDArray[Any]
Window = tuple[float, float]

# Soft tissue; the figures for CT are taken in the same window.
SOFT_TISSUE_HU: Window = (-160.0, 240.0)
# The windows that CT is read in; by level and width: −600/1500, 50/400, 40/80, 400/1800.
READING_WINDOWS_HU: Mapping[str, Window] = MappingProxyType(
    {
        "soft tissue": SOFT_TISSUE_HU,
        "chest": (-1350.0, 150.0),
        "abdomen": (-150.0, 250.0),
        "head": (0.0, 80.0),
        "bone": (-500.0, 1300.0),
    }
)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SlicePair:
    """One slice before and after, rows × columns float32 the way a radiologist sees it, never wider or
    higher than asked for. window: (low, high) for both; difference_half_width: the difference is shown from
    −this to +this. aspect: width of the picture over its height in millimetres. label: where it is ("axial,
    slice 12 of 40"). unit: of the values; "HU" can be shown in the windows that CT is read in."""

    before: Picture
    after: Picture
    window: Window
    difference_half_width: float
    aspect: float
    label: str
    unit: str = ""


def slice_pairs(
    before: Volume, after: Volume, *, number: int = 1, edge: int = 512, only: int | None = None
) -> tuple[SlicePair, ...]:
    """`number` slices spread over the middle half of the scan, or slice `only`, before and after, ready to be shown.

    The slices are the acquired ones (axis K), at most `edge` pixels high or wide (block means where they are
    larger). A 4D scan shows its first frame. The window is the soft-tissue one for HU, else 0 (or the 1st
    percentile) to the 99.5th percentile of the scan before.
    """
    first, second = _first_frame(before.voxels), _first_frame(after.voxels)
    count = first.shape[2]
    window = display_window(before)
    spread = 0.125 * (window[1] - window[0])
    chosen = (
        sorted({round(float(x)) for x in np.linspace(0.25, 0.75, number) * (count - 1)}) if number > 1 else [count // 2]
    )
    pairs = []
    for index in chosen if only is None else [only]:
        one, aspect, plane = oriented(first[..., index], before.affine)
        other, _, _ = oriented(second[..., index], before.affine)
        pairs.append(
            SlicePair(
                before=shrink(one, edge),
                after=shrink(other, edge),
                window=window,
                difference_half_width=spread,
                aspect=aspect,
                label=f"{plane}, slice {index + 1} of {count}",
                unit=before.unit,
            )
        )
    return tuple(pairs)


def display_window(volume: Volume) -> Window:
    """(low, high) for showing the scan: soft tissue for HU, else from the scan's own values."""
    if volume.unit == "HU":
        return SOFT_TISSUE_HU
    sample = _first_frame(volume.voxels)
    sample = sample[np.isfinite(sample)]
    low, high = (float(x) for x in np.percentile(sample, [1.0, 99.5])) if sample.size else (0.0, 1.0)
    low = 0.0 if low >= 0 else low
    return (low, high if high > low else low + 1.0)


def oriented(picture: Picture, affine: Affine) -> tuple[Picture, float, str]:
    """(rows × columns, width/height in mm, plane) of one (I,J) slice in radiological orientation.

    Axial: the patient's left on the right side, front on top. Coronal: left on the right, head on top.
    Sagittal: front on the left, head on top. Oblique slices go to the nearest of the three.
    """
    columns = affine[:3, :2] / np.maximum(np.linalg.norm(affine[:3, :2], axis=0), 1e-12)
    spacing = np.linalg.norm(affine[:3, :2], axis=0)
    # Patient axis (0 R, 1 A, 2 S) that each of I and J runs along; never the same one for both.
    along_i = int(np.argmax(np.abs(columns[:, 0])))
    rest = np.abs(columns[:, 1]).copy()
    rest[along_i] = -1.0
    along_j = int(np.argmax(rest))
    plane = {frozenset((0, 1)): "axial", frozenset((0, 2)): "coronal", frozenset((1, 2)): "sagittal"}[
        frozenset((along_i, along_j))
    ]
    horizontal = 1 if plane == "sagittal" else 0
    if along_i == horizontal:
        shown, width, height = picture.T, 0, 1
    else:
        shown, width, height = picture, 1, 0
    vertical = along_j if width == 0 else along_i
    # Columns run to the patient's left (sagittal: to the back), rows to the back or the feet: all negative
    # RAS.
    if columns[horizontal, width] > 0:
        shown = shown[:, ::-1]
    if columns[vertical, height] > 0:
        shown = shown[::-1, :]
    rows, across = shown.shape
    aspect = float(across * spacing[width] / max(rows * spacing[height], 1e-12))
    return np.asarray(shown), aspect, plane


def shrink(picture: Picture, edge: int) -> Picture:
    """Block means of the picture so that neither side exceeds `edge`; the picture itself where it already
    fits."""
    factor = -(-max(picture.shape) // edge)
    if factor <= 1:
        return np.ascontiguousarray(picture, dtype=np.float32)
    rows, columns = (size // factor * factor for size in picture.shape)
    blocks = picture[:rows, :columns].reshape(rows // factor, factor, columns // factor, factor)
    return np.asarray(blocks.mean(axis=(1, 3)), dtype=np.float32)


def _first_frame(voxels: Picture) -> Picture:
    return voxels if voxels.ndim == 3 else voxels[..., 0]
