"""`medn2n benchmark pairs`: what the pair check finds, and what it finds where there is nothing, on given anatomy.

The objects are the user's scans, quietened by the shipped models so that their own noise, which both repeats of a built
pair share, does not count as a fault; phantoms and digital objects join them.
"""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
from scipy import ndimage
from skimage.data import shepp_logan_phantom

from medn2n.core import digital_objects
from medn2n.core.pair_check import check_pair
from medn2n.core.pair_faults import FAULTS, Fault, faulty_pair
from medn2n.core.pair_result import Verdict
from medn2n.core.volume import FloatArray, Volume
from medn2n.errors import InputError
from medn2n.formats.scan import load_series
from medn2n.stages.folder_to_catalogue import catalogue
from medn2n.stages.volume_to_denoised import Denoiser

SLICES, SIDE = 6, 192
LEAST_VOXELS = 60 * 60
LEAST_SLICES_ALONG_K = 4  # with fewer, nothing shows a shift along K

Kind = Literal["phantom", "digital", "scan"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Object:
    """What is measured twice. kind: a phantom (flat but for its edges), a digital body, or a user's quietened scan."""

    voxels: FloatArray
    kind: Kind


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One built pair: what it was, and what the check said. The fields of the pair: see `pair_faults.FaultyPair`."""

    fault: Fault
    kind: Kind
    slices: int
    snr: float
    grain: str
    stored: str
    flat_voxels: float
    mean_error: float
    verdict: Verdict
    code: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PairBenchmark:
    """cases: all of them, of every fault and of none. objects: how many served, by kind."""

    cases: tuple[Case, ...]
    objects: tuple[tuple[Kind, int], ...]
    seed: int


def benchmark_pairs(scans: Path | None, *, cases: int, seed: int = 0, modality: str = "") -> PairBenchmark:
    """`cases` built pairs of each fault. modality: of files that do not say theirs; without it, what holds air at less
    than −500 is CT."""
    objects = built_objects() + (_quiet_scans(scans, modality) if scans is not None else [])
    work = [(fault, number) for fault in FAULTS for number in range(cases)]
    with ProcessPoolExecutor(os.cpu_count(), mp_context=multiprocessing.get_context("spawn")) as pool:
        done = tuple(pool.map(partial(one_case, objects, seed), work, chunksize=8))
    kinds: tuple[Kind, ...] = ("phantom", "digital", "scan")
    counts = tuple((kind, sum(item.kind == kind for item in objects)) for kind in kinds)
    return PairBenchmark(cases=done, objects=counts, seed=seed)


def one_case(objects: Sequence[Object], seed: int, work: tuple[Fault, int]) -> Case:
    """The check of the pair with this fault and number. Faults that not every object can show are built on those that
    can: a little shared noise on phantoms and digital bodies, a shift along K on volumes that are no phantoms."""
    fault, number = work
    fitting = [item for item in objects if _can_show(item, fault)]
    # The same noise for each fault of one number, so that faults differ in nothing else.
    generator = np.random.default_rng((seed, number))
    # Another object from half the list away: neighbours may be repeats of one.
    item = fitting[number % len(fitting)]
    other = objects[(objects.index(item) + len(objects) // 2) % len(objects)]
    pair = faulty_pair(item.voxels, other.voxels, fault, generator)
    result = check_pair(pair.first, pair.second, turn=False)
    return Case(
        fault=fault,
        kind=item.kind,
        slices=item.voxels.shape[2],
        snr=pair.snr,
        grain=pair.grain,
        stored=pair.stored,
        flat_voxels=pair.flat_voxels,
        mean_error=pair.mean_error,
        verdict=result.verdict,
        code=result.code,
    )


def _can_show(item: Object, fault: Fault) -> bool:
    if fault == "little shared":
        return item.kind != "scan"
    return fault != "shift along K" or (item.kind != "phantom" and item.voxels.shape[2] >= LEAST_SLICES_ALONG_K)


def built_objects() -> list[Object]:
    """Uniform discs as MR and CT see them, one of them with rods of low contrast, the head phantom of Shepp and Logan
    (1974), and a digital body of each modality."""
    i, j = np.indices((SIDE, SIDE)) - SIDE / 2
    disc = np.where(np.hypot(i, j) < 0.37 * SIDE, 1000.0, 0.0)
    rods = disc.copy()
    for n, size in enumerate((3, 5, 8, 12)):
        angle = np.pi * n / 2
        away = np.hypot(i - 0.2 * SIDE * np.cos(angle), j - 0.2 * SIDE * np.sin(angle))
        rods[away < size] += 10.0 * (n + 1)
    logan = 1000 * ndimage.zoom(shepp_logan_phantom(), SIDE / 400, order=1)
    flat = [disc, disc - 1000, rods - 1000, np.maximum(logan, 0), logan - 1000]
    phantoms = [np.repeat(ndimage.gaussian_filter(part, 0.8)[..., None], SLICES, axis=2) for part in flat]
    generator = np.random.default_rng(0)
    bodies = [
        make(generator, side=SIDE, slices=SLICES) for make in (digital_objects.digital_ct, digital_objects.digital_mr)
    ]
    made = [Object(voxels=part.astype(np.float32), kind="phantom") for part in phantoms]
    return made + [Object(voxels=np.asarray(body, np.float32), kind="digital") for body in bodies]


def _quiet_scans(scans: Path, modality: str) -> list[Object]:
    """The middle of each series, denoised twice and slightly smoothed."""
    denoisers: dict[str, Denoiser] = {}
    quiet = []
    for series in catalogue(scans, modality=modality).without_photographs():
        try:
            volume = load_series(series, root=scans if scans.is_dir() else scans.parent, modality=modality)
        except InputError:
            continue
        middle = _middle(volume)
        if middle.voxels.shape[0] * middle.voxels.shape[1] < LEAST_VOXELS:
            continue
        name = middle.modality.lower()
        denoisers.setdefault(name, Denoiser.load(name))
        twice = denoisers[name](denoisers[name](middle)).voxels
        voxels = np.asarray(ndimage.gaussian_filter(twice, (0.6, 0.6, 0)), np.float32)
        quiet.append(Object(voxels=voxels, kind="scan"))
    return quiet


def _middle(volume: Volume) -> Volume:
    voxels = volume.voxels if volume.voxels.ndim == 3 else volume.voxels[..., 0]
    starts = [max(0, (size - most) // 2) for size, most in zip(voxels.shape, (SIDE, SIDE, SLICES), strict=True)]
    i, j, k = starts
    cut = np.ascontiguousarray(voxels[i : i + SIDE, j : j + SIDE, k : k + SLICES])
    modality = volume.modality or ("CT" if float(voxels.min()) < -500 else "MR")
    return Volume(voxels=cut, affine=volume.affine, unit=volume.unit, modality=modality)
