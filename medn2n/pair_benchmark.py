"""`medn2n benchmark pairs`: what the pair check finds, and what it finds where there is nothing, on given anatomy.

The objects are the user's scans, quietened by the shipped models so that their own noise, which both repeats of a built
pair share, does not count as a fault; a uniform phantom and digital objects join them.
"""

from __future__ import annotations

import multiprocessing
import os
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from scipy import ndimage

from medn2n.core import digital_objects
from medn2n.core.pair_check import check_pair
from medn2n.core.pair_faults import FAULTS, Fault, faulty_pair
from medn2n.core.volume import FloatArray, Volume
from medn2n.errors import InputError
from medn2n.formats.scan import load_series
from medn2n.stages.folder_to_catalogue import catalogue
from medn2n.stages.volume_to_denoised import Denoiser

SLICES, SIDE = 6, 192
PHANTOM_SIDE = 192
LEAST_VOXELS = 60 * 60


@dataclass(frozen=True, slots=True, kw_only=True)
class FaultRow:
    """One fault: how many pairs had it, in how many the check found a fault, and the codes it gave."""

    fault: Fault
    cases: int
    found: int
    codes: tuple[tuple[str, int], ...]

    @property
    def rate(self) -> float:
        """Share of the pairs in which a fault was found."""
        return self.found / self.cases


@dataclass(frozen=True, slots=True, kw_only=True)
class PairBenchmark:
    """rows: one a fault, "none" first: its rate is the false alarms. anatomies: how many objects served."""

    rows: tuple[FaultRow, ...]
    anatomies: int
    seed: int


def benchmark_pairs(scans: Path | None, *, cases: int, seed: int = 0, modality: str = "") -> PairBenchmark:
    """`cases` built pairs of each fault. A pair counts as found where its verdict is not "fit"; of a pair without a
    fault, "unproven" is no alarm, since it says that the anatomy shows no flat area, not that something is wrong."""
    objects = _phantoms() + (_quiet_scans(scans, modality) if scans is not None else [])
    work = [(fault, number) for fault in FAULTS for number in range(cases)]
    with ProcessPoolExecutor(os.cpu_count(), mp_context=multiprocessing.get_context("spawn")) as pool:
        codes = list(pool.map(partial(_one, objects, seed), work, chunksize=8))
    rows = []
    for fault in FAULTS:
        mine = [code for (built, _), code in zip(work, codes, strict=True) if built == fault]
        silent = ("FIT", "UNPROVEN_INDEPENDENCE") if fault == "none" else ("FIT",)
        found = sum(code not in silent for code in mine)
        rows.append(FaultRow(fault=fault, cases=cases, found=found, codes=tuple(Counter(mine).most_common())))
    return PairBenchmark(rows=tuple(rows), anatomies=len(objects), seed=seed)


def _one(objects: Sequence[FloatArray], seed: int, work: tuple[Fault, int]) -> str:
    fault, number = work
    # The same noise for each fault of one number, so that faults differ in nothing else.
    generator = np.random.default_rng((seed, number))
    # Another object from half the list away: neighbours may be repeats of one.
    quiet, other = (objects[(number + step) % len(objects)] for step in (0, len(objects) // 2))
    pair = faulty_pair(quiet, other, fault, generator)
    return check_pair(pair.first, pair.second).code


def _phantoms() -> list[FloatArray]:
    """A uniform disc in air as MR sees it, and a digital body of each modality."""
    i, j = np.indices((PHANTOM_SIDE, PHANTOM_SIDE)) - PHANTOM_SIDE / 2
    disc = np.where(np.hypot(i, j) < 0.37 * PHANTOM_SIDE, 1000.0, 0.0)
    smooth = ndimage.gaussian_filter(disc, 0.8)[..., None]
    generator = np.random.default_rng(0)
    made = [
        make(generator, side=SIDE, slices=SLICES) for make in (digital_objects.digital_ct, digital_objects.digital_mr)
    ]
    return [np.repeat(smooth, SLICES, axis=2).astype(np.float32), *made]


def _quiet_scans(scans: Path, modality: str) -> list[FloatArray]:
    """The middle of each series, denoised twice and slightly smoothed."""
    denoisers: dict[str, Denoiser] = {}
    quiet = []
    for series in catalogue(scans, modality=modality).without_photographs():
        try:
            volume = load_series(series, root=scans if scans.is_dir() else scans.parent, modality=modality)
        except InputError:
            continue
        middle = _middle(volume)
        if not volume.modality or middle.voxels.shape[0] * middle.voxels.shape[1] < LEAST_VOXELS:
            continue
        name = volume.modality.lower()
        denoisers.setdefault(name, Denoiser.load(name))
        twice = denoisers[name](denoisers[name](middle)).voxels
        quiet.append(np.asarray(ndimage.gaussian_filter(twice, (0.6, 0.6, 0)), np.float32))
    return quiet


def _middle(volume: Volume) -> Volume:
    voxels = volume.voxels if volume.voxels.ndim == 3 else volume.voxels[..., 0]
    cut = tuple(
        slice((size - keep) // 2, (size - keep) // 2 + keep)
        for size, keep in zip(
            voxels.shape, (min(n, m) for n, m in zip(voxels.shape, (SIDE, SIDE, SLICES), strict=True)), strict=True
        )
    )
    return Volume(
        voxels=np.ascontiguousarray(voxels[cut]), affine=volume.affine, unit=volume.unit, modality=volume.modality
    )
