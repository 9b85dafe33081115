"""Manifest → training cases: groups are loaded through MONAI and, where the recipe says so, repeats are simulated.

Done once a run; `core.samples` draws the random (input, target) patches from the cases.
"""

from __future__ import annotations

import hashlib
import multiprocessing
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from monai.transforms import LoadImaged

from medn2n.config import Recipe, SimulateCt, SimulateMr
from medn2n.core import simulation
from medn2n.core.intensity import fit_scale
from medn2n.core.samples import Case, held_out_slices
from medn2n.core.volume import Volume
from medn2n.errors import InputError
from medn2n.formats.manifest import Group, Manifest
from medn2n.formats.monai_reader import ScanReader
from medn2n.log import logger

BELOW_AIR_HU = -1100.0  # what is stored outside a scanner's field of view
Quieten = Callable[[Volume], Volume]


def load_cases(groups: Sequence[Group], root: Path, recipe: Recipe, *, quieten: Quieten | None = None) -> list[Case]:
    """All groups of one split, in network units: their repeats, and simulated repeats, as the recipe's `pairs` says.

    quieten: denoises the scans that repeats are simulated from (the recipe's base_model).
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="NvImgCodec")  # about another of MONAI's readers
        load = LoadImaged("image", reader=ScanReader(modality=recipe.modality), image_only=True)
    cases: list[Case] = []
    for group in groups:
        if group.modality != recipe.modality:
            continue
        references = [str(root / reference) for reference in group.image]
        data = load({"image": references if len(references) > 1 else references[0]})
        image = data["image"]
        if image.ndim != (4 if len(references) > 1 else 3):
            raise InputError(
                "NEEDS_A_FRAME", f"Group {group.group}: its scan is 4D; name one volume of it as FILE#frame=N."
            )
        voxels = np.asarray(image, np.float32).reshape(len(references), *image.shape[-3:])
        affine = np.asarray(image.affine)
        if "repeats" in recipe.pairs and len(references) > 1 and group.check.verdict != "unfit":
            cases.append(_scaled(voxels, None, group.group, recipe))
        if "simulate" in recipe.pairs:
            mean = np.ascontiguousarray(voxels.mean(axis=0))
            base = Volume(
                voxels=mean,
                padding=mean < BELOW_AIR_HU if recipe.modality == "CT" else None,
                affine=affine,
                unit="HU" if recipe.modality == "CT" else "a.u.",
                modality=recipe.modality,
            )
            cases += _simulated(base if quieten is None else quieten(base), group.group, recipe)
    return cases


def _simulated(base: Volume, group: str, recipe: Recipe) -> list[Case]:
    section = recipe.simulate_ct if recipe.modality == "CT" else recipe.simulate_mr
    assert section is not None  # the recipe was validated
    if isinstance(section, SimulateCt):
        bases = simulation.ct_bases(
            base.voxels, base.spacing_mm, slab_mm=section.slab_mm, quiet_hu=section.quiet_hu, count=section.slices
        )
    else:
        bases = simulation.mr_bases(base.voxels, base.spacing_mm, count=section.slices)
    # Seeded by the group's name, so that adding a scan to the manifest leaves all other draws as they were.
    name_seed = int.from_bytes(hashlib.sha256(group.encode()).digest()[:8], "big")
    tasks: list[Task] = [
        (one, section, (recipe.seed, name_seed, number, draw))
        for number, one in enumerate(bases)
        for draw in range(section.draws)
    ]
    logger.info("%s: simulating %d acquisitions of %d slices", group, len(tasks), len(bases))
    draws = _in_parallel(tasks)
    # A turn of their own: there are many of them, and real repeats of the same group would hardly be drawn otherwise.
    turn = f"{group} (simulated)"
    return [_scaled(draw.repeats[..., None], draw.truth[None, ..., None], turn, recipe) for draw in draws]


Task = tuple[simulation.Base, SimulateCt | SimulateMr, tuple[int, ...]]


def _in_parallel(tasks: list[Task]) -> list[simulation.Draw]:
    if len(tasks) < 8 or isinstance(tasks[0][1], SimulateMr):
        return [_draw(*task) for task in tasks]
    workers = min(8, multiprocessing.cpu_count())
    with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as pool:
        return list(pool.map(_draw, *zip(*tasks, strict=True), chunksize=2))


def _draw(base: simulation.Base, section: SimulateCt | SimulateMr, seed: tuple[int, ...]) -> simulation.Draw:
    generator = np.random.default_rng(seed)
    if isinstance(section, SimulateMr):
        return simulation.mr_draw(
            base, snr=section.snr, zero_fill=section.zero_fill, repeats=section.repeats, generator=generator
        )
    return simulation.ct_draw(
        base,
        photons=section.photons,
        kernels=section.kernels,
        cutoff=section.cutoff,
        views=section.views,
        electronic_sigma=section.electronic_sigma,
        repeats=section.repeats,
        generator=generator,
    )


def _scaled(
    repeats: npt.NDArray[np.float32], truth: npt.NDArray[np.float32] | None, group: str, recipe: Recipe
) -> Case:
    # One scale for all repeats, from their mean: a scale of its own for each would differ by its noise.
    scaling = recipe.scaling
    scale = fit_scale(
        repeats.mean(axis=0),
        kind=scaling.kind,
        offset=scaling.offset,
        scale=scaling.scale,
        percentile=scaling.percentile,
    )
    clean = None if truth is None else torch.from_numpy(scale.to_network(truth))
    return Case(image=torch.from_numpy(scale.to_network(repeats)), truth=clean, group=group)


def training_and_validation(
    manifest: Manifest, root: Path, recipe: Recipe, *, quieten: Quieten | None = None
) -> tuple[list[Case], list[Case]]:
    """Cases of both splits; where the manifest has no validation split, slices are held out instead."""
    training = load_cases(manifest.training, root, recipe, quieten=quieten)
    validation = load_cases(manifest.validation, root, recipe, quieten=quieten)
    if training and not validation:
        training, validation = held_out_slices(training, dims=recipe.network.dims)
    return training, validation
