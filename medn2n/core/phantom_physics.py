"""A phantom scanned several times, before and after a method: noise spectrum, sharpness at an insert, detection.

These are the three that AAPM TG-233 asks of a CT scanner, and they belong together: a method may buy a lower noise with
blur, or with coarse grain, and then a faint lesion is found no better.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from medn2n.core.body import body_mask
from medn2n.core.detection_trial import DIAMETER_MM, detection_trial, detections
from medn2n.core.noise_power import NoisePower, power_of_repeats
from medn2n.core.observer import Detection, DetectionChange, detection_change
from medn2n.core.resolution import Insert, TaskTransfer, find_insert, task_transfer
from medn2n.core.volume import Volume

Method = Callable[[Volume], Volume]
BoolArray = npt.NDArray[np.bool_]
SIDE = 32  # pixels, of the squares of noise: a small phantom holds several


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PhantomState:
    """Of the repeats as they are, or denoised. power: noise power spectrum, unit²·mm². transfer: None without an
    insert. detection: None where there is too little even area."""

    power: NoisePower
    transfer: TaskTransfer | None
    detection: Detection | None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PhantomPhysics:
    """change: of the detection; contrast: of its disc, in the scan's unit, and places: how many; None, 0 and 0 where
    there is too little even area."""

    before: PhantomState
    after: PhantomState
    change: DetectionChange | None
    contrast: float
    places: int


def phantom_physics(
    repeats: Sequence[Volume],
    method: Method,
    *,
    generator: np.random.Generator,
    insert_at: tuple[float, float] | None = None,
    insert_radius_mm: float = 10.0,
    where: BoolArray | None = None,
    diameter_mm: float = DIAMETER_MM,
    contrast: float | None = None,
) -> PhantomPhysics:
    """repeats: (I,J,K) each, of one object on one grid; the method is run on each by itself, twice.

    Noise: between the repeats, in squares of 32 pixels in `where` (I,J), or the body. Sharpness: at the round
    insert of about that radius near (i, j) = `insert_at`, found in the mean of the repeats. Detection: of a disc, in
    `where` or what is found to be even (`detection_trial`). generator: resamples the insert's edge. ValueError for
    fewer than two repeats, where no square of noise fits, or no insert is found.
    """
    voxels = np.stack([one.voxels for one in repeats])
    denoised = np.stack([method(one).voxels for one in repeats])
    spacing, mean = repeats[0].spacing_mm[:2], voxels.mean(axis=0)
    asked = body_mask(mean, repeats[0].modality) if where is None else np.broadcast_to(where[..., None], mean.shape)
    trial = detection_trial(repeats, where=where, diameter_mm=diameter_mm, contrast=contrast)
    found = (None, None) if trial is None else detections(trial, method)
    insert = _insert(mean, spacing, insert_at, insert_radius_mm)
    states = [
        PhantomState(
            power=power_of_repeats(scans, spacing, where=asked, side=SIDE),
            transfer=None if insert is None else _transfer(scans, spacing, insert, generator),
            detection=detection,
        )
        for scans, detection in zip((voxels, denoised), found, strict=True)
    ]
    return PhantomPhysics(
        before=states[0],
        after=states[1],
        change=None if found[0] is None or found[1] is None else detection_change(found[0], found[1]),
        contrast=0.0 if trial is None else trial.contrast,
        places=0 if trial is None else len(trial.placed.corners),
    )


def _insert(
    mean: npt.NDArray[Any], spacing_mm: tuple[float, float], near: tuple[float, float] | None, radius_mm: float
) -> Insert | None:
    return None if near is None else find_insert(mean.mean(axis=2), spacing_mm, near=near, radius_mm=radius_mm)


def _transfer(
    scans: npt.NDArray[Any], spacing_mm: tuple[float, float], insert: Insert, generator: np.random.Generator
) -> TaskTransfer:
    """Of (R,I,J,K) scans, every slice of every repeat."""
    stack = np.moveaxis(scans, 0, -1).reshape(*scans.shape[1:3], -1)
    return task_transfer(stack, spacing_mm, insert, generator=generator)
