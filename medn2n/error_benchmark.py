"""`medn2n benchmark error`: does the error told from repeats agree with the true one, and do its intervals hold it?

Known objects (digital bodies, the phantoms of `benchmark pairs`, photographs that come with scikit-image), drawn noise,
drawn denoisers; see `medn2n.core.error_trials`.
"""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial

import numpy as np

from medn2n.core import digital_objects
from medn2n.core.error_trials import NOISES, ErrorTrial, Noise, error_trials
from medn2n.core.volume import FloatArray
from medn2n.pair_benchmark import built_objects

SHAPES = ((64, 64, 4), (96, 96, 4), (128, 128, 3), (256, 256, 2))
SHARES = (0.45, 0.3, 0.2, 0.05)  # of the trials: large ones take longest
BODIES = 3  # of each modality and shape


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorBenchmark:
    """trials: two for each scene, of two repeats and of three."""

    trials: tuple[ErrorTrial, ...]
    seed: int


def benchmark_error(*, trials: int, seed: int = 0, processes: int | None = None) -> ErrorBenchmark:
    """`trials` scenes of each kind of noise. processes: side by side, as many as there are cores if not given; what
    comes out does not depend on it."""
    objects = known_objects()
    work = [(noise, number) for noise in NOISES for number in range(trials)]
    run = partial(one_scene, objects, seed)
    count = processes or os.cpu_count() or 1
    if count == 1:
        scenes = [run(item) for item in work]
    else:
        with ProcessPoolExecutor(count, mp_context=multiprocessing.get_context("spawn")) as pool:
            scenes = list(pool.map(run, work, chunksize=32))
    return ErrorBenchmark(trials=tuple(trial for scene in scenes for trial in scene), seed=seed)


def one_scene(
    objects: dict[tuple[int, int, int], list[FloatArray]], seed: int, work: tuple[Noise, int]
) -> tuple[ErrorTrial, ErrorTrial]:
    """The scene of this noise and number, on an object that such noise occurs on: a magnitude is never negative."""
    noise, number = work
    generator = np.random.default_rng((seed, NOISES.index(noise), number))
    shape = SHAPES[int(generator.choice(len(SHAPES), p=SHARES))]
    fitting = [item for item in objects[shape] if noise != "Rician" or float(item.min()) >= 0]
    return error_trials(fitting[int(generator.integers(len(fitting)))], noise, generator)


def known_objects() -> dict[tuple[int, int, int], list[FloatArray]]:
    """By shape: digital CT and MR bodies, the middle of each phantom where it is large enough, and photographs."""
    from skimage.data import camera, coins, moon

    generator = np.random.default_rng(0)
    photographs = [picture().astype(np.float32) for picture in (camera, coins, moon)]
    objects: dict[tuple[int, int, int], list[FloatArray]] = {}
    for shape in SHAPES:
        side, _, slices = shape
        made = [
            make(generator, side=side, slices=slices)
            for make in (digital_objects.digital_ct, digital_objects.digital_mr)
            for _ in range(BODIES)
        ]
        phantoms = [item.voxels for item in built_objects() if item.kind == "phantom" and side <= item.voxels.shape[0]]
        made += [_middle(phantom, side)[:, :, :slices] for phantom in phantoms]
        made += [_pieces(picture, side, slices, generator) for picture in photographs]
        objects[shape] = made
    return objects


def _middle(voxels: FloatArray, side: int) -> FloatArray:
    """Off the centre, so that the object's edge is in view."""
    start = (voxels.shape[0] - side) // 4
    return voxels[start : start + side, start : start + side]


def _pieces(picture: FloatArray, side: int, slices: int, generator: np.random.Generator) -> FloatArray:
    """(side, side, slices): another piece of the photograph in each slice."""
    corners: Sequence[tuple[int, int]] = [
        (int(generator.integers(picture.shape[0] - side + 1)), int(generator.integers(picture.shape[1] - side + 1)))
        for _ in range(slices)
    ]
    return np.stack([picture[i : i + side, j : j + side] for i, j in corners], axis=-1)
