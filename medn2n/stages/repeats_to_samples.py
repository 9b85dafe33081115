"""Manifest → training cases: groups are loaded through MONAI and, where the recipe says so, repeats are simulated.

Done once a run; `core.samples` draws the random (input, target) patches from the cases.
"""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from monai.transforms import LoadImaged

from medn2n.config import Recipe, SimulateCt, SimulateMr
from medn2n.core import digital_objects, simulation
from medn2n.core.alignment import Rigid
from medn2n.core.ct_projection import device_for
from medn2n.core.intensity import IntensityScale, fit_scale
from medn2n.core.noise import pair_sigma
from medn2n.core.placement import Placement, through_plane_slices
from medn2n.core.samples import Case, held_out_slices
from medn2n.core.volume import Volume
from medn2n.errors import InputError
from medn2n.formats.manifest import Group, Manifest
from medn2n.formats.monai_reader import ScanReader
from medn2n.log import logger

DIGITAL_STREAM = 2  # a random stream of its own
DIGITAL_SIDES = (160, 224, 288)
DIGITAL_FIELD_MM = 400.0
THROUGH_PLANE_SLICES = 0.2  # blurs less than the slice profile does; the in-plane motion is corrected all the same
BELOW_AIR_HU = -1100.0  # what is stored outside a scanner's field of view
Quieten = Callable[[Volume], Volume]


def load_cases(
    groups: Sequence[Group], root: Path, recipe: Recipe, *, quieten: Quieten | None = None, device: str = "auto"
) -> list[Case]:
    """All groups of one split, in network units: their repeats, and simulated repeats, as the recipe's `pairs` says.

    quieten: denoises the scans that repeats are simulated from (the recipe's base_model). device: where CT is
    projected: cpu, cuda or auto.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="NvImgCodec")  # about another of MONAI's readers
        load = LoadImaged("image", reader=ScanReader(modality=recipe.modality), image_only=True)
    cases: list[Case] = []
    tasks: list[Task] = []
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
            cases += _repeats(voxels, affine, group, recipe)
        if "simulate" in recipe.pairs:
            tasks += _tasks(_bases(voxels[group.unmoved], affine, recipe, quieten), group.group, recipe)
    return cases + _simulated(tasks, recipe, device_for(device))


def _repeats(
    voxels: npt.NDArray[np.float32], affine: npt.NDArray[np.float64], group: Group, recipe: Recipe
) -> list[Case]:
    """The case of one group's repeats (R,I,J,K), with what its corrections say; none where fewer than two are left.
    A 2D network's prediction can be moved in its plane only: for one, scans that moved through it are left out."""
    case = _scaled(voxels, None, group.group, recipe)
    if not group.corrections or recipe.align == "off":
        return [case]
    placement = _placement(group, affine, voxels.shape[1:], _scale(voxels, recipe))
    left_out: list[int] = []
    if recipe.network.dims == 2:
        moved = [through_plane_slices(found, voxels.shape[1:]) for found in placement.index_maps]
        left_out = [n for n, slices in enumerate(moved) if slices > THROUGH_PLANE_SLICES]
    if left_out:
        logger.info(
            "group %s: %d of %d scans moved by more than %.2f slices through the plane: left out for a 2D network",
            group.group, len(left_out), len(voxels), THROUGH_PLANE_SLICES,
        )  # fmt: skip
    if len(voxels) - len(left_out) < 2:
        return []
    kept = [n for n in range(len(voxels)) if n not in left_out]
    return [replace(case, image=case.image[kept], placement=placement.without(left_out))]


def _placement(
    group: Group, affine: npt.NDArray[np.float64], shape: tuple[int, ...], scale: IntensityScale
) -> Placement:
    """A group's corrections in voxels and network units."""
    maps, levels = [], []
    for scan in group.corrections:
        motion = Rigid(rotation_deg=scan.rotation_deg, translation_mm=scan.translation_mm)
        maps.append(motion.index_map(affine, shape))
        levels.append((scan.gain, (scale.offset * (scan.gain - 1) + scan.offset) / scale.scale))
    return Placement(index_maps=np.stack(maps), levels=np.array(levels), slices=tuple(range(shape[2])))


def _bases(
    voxels: npt.NDArray[np.float32], affine: npt.NDArray[np.float64], recipe: Recipe, quieten: Quieten | None
) -> list[simulation.Base]:
    """Quiet slices of one group, from its scan or repeats (R,I,J,K)."""
    section = _section(recipe)
    mean = np.ascontiguousarray(voxels.mean(axis=0))
    base = Volume(
        voxels=mean,
        padding=mean < BELOW_AIR_HU if recipe.modality == "CT" else None,
        affine=affine,
        unit="HU" if recipe.modality == "CT" else "a.u.",
        modality=recipe.modality,
    )
    # The mean of repeats is the quietest base there is, and their difference tells how quiet.
    own = float(pair_sigma(voxels[0], voxels[1]) / np.sqrt(len(voxels))) if len(voxels) > 1 else None
    quiet = base if quieten is None or own is not None else quieten(base)
    if isinstance(section, SimulateCt):
        return simulation.ct_bases(
            quiet.voxels, quiet.spacing_mm, slab_mm=section.slab_mm, quiet_hu=section.quiet_hu, count=section.slices
        )
    return simulation.mr_bases(quiet.voxels, quiet.spacing_mm, count=section.slices, own_sigma=own)


def digital_cases(recipe: Recipe, *, device: str = "auto") -> list[Case]:
    """Simulated repeats of digital objects, as many scans of them as the recipe says."""
    if "simulate" not in recipe.pairs:
        return []
    section = _section(recipe)
    make = digital_objects.digital_ct if recipe.modality == "CT" else digital_objects.digital_mr
    tasks: list[Task] = []
    for number in range(section.digital):
        generator = np.random.default_rng((recipe.seed, DIGITAL_STREAM, number))
        side = int(generator.choice(DIGITAL_SIDES))
        scan = make(generator, side=side, slices=section.slices)
        bases = [simulation.Base(image=scan[:, :, k], pixel_mm=DIGITAL_FIELD_MM / side) for k in range(scan.shape[2])]
        tasks += _tasks(bases, f"digital object {number + 1}", recipe)
    return _simulated(tasks, recipe, device_for(device))


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """Acquisitions of one base, simulated in one go (and, for CT, from one projection). turn: its group of samples."""

    turn: str
    base: simulation.Base
    section: SimulateCt | SimulateMr
    seed: tuple[int, ...]


def _section(recipe: Recipe) -> SimulateCt | SimulateMr:
    section = recipe.simulate_ct if recipe.modality == "CT" else recipe.simulate_mr
    assert section is not None  # the recipe was validated
    return section


def _tasks(bases: list[simulation.Base], group: str, recipe: Recipe) -> list[Task]:
    # Seeded by the group's name, so that adding a scan to the manifest leaves all other draws as they were.
    name_seed = int.from_bytes(hashlib.sha256(group.encode()).digest()[:8], "big")
    # A turn of their own: there are many of them, and real repeats of the same group would hardly be drawn otherwise.
    return [
        Task(turn=f"{group} (simulated)", base=base, section=_section(recipe), seed=(recipe.seed, name_seed, number))
        for number, base in enumerate(bases)
    ]


def _simulated(tasks: list[Task], recipe: Recipe, device: str) -> list[Case]:
    if not tasks:
        return []
    logger.info("simulating %d acquisitions of %d slices", len(tasks) * tasks[0].section.draws, len(tasks))
    # On a GPU the drawing of counts is what is left for the CPU, and runs in several threads.
    with ThreadPoolExecutor(8 if device == "cuda" else 1) as pool:
        made = pool.map(lambda task: _draw(task, device), tasks)
        return [
            _scaled(draw.repeats[..., None], draw.truth[None, ..., None], task.turn, recipe)
            for task, draws in zip(tasks, made, strict=True)
            for draw in draws
        ]


def _draw(task: Task, device: str) -> list[simulation.Draw]:
    base, section, generator = task.base, task.section, np.random.default_rng(task.seed)
    if isinstance(section, SimulateMr):
        return simulation.mr_draws(
            base,
            snr=section.snr,
            zero_fill=section.zero_fill,
            repeats=section.repeats,
            draws=section.draws,
            generator=generator,
        )
    return simulation.ct_draws(
        base,
        noise_hu=section.noise_hu,
        kernels=section.kernels,
        cutoff=section.cutoff,
        noise_cutoff=section.noise_cutoff,
        device=device,
        views=section.views,
        electronic_sigma=section.electronic_sigma,
        repeats=section.repeats,
        draws=section.draws,
        generator=generator,
    )


def _scaled(
    repeats: npt.NDArray[np.float32], truth: npt.NDArray[np.float32] | None, group: str, recipe: Recipe
) -> Case:
    scale = _scale(repeats, recipe)
    clean = None if truth is None else torch.from_numpy(scale.to_network(truth))
    return Case(image=torch.from_numpy(scale.to_network(repeats)), truth=clean, group=group)


def _scale(repeats: npt.NDArray[np.float32], recipe: Recipe) -> IntensityScale:
    """One scale for all repeats, from their mean: a scale of its own for each would differ by its noise."""
    scaling = recipe.scaling
    return fit_scale(
        repeats.mean(axis=0),
        kind=scaling.kind,
        offset=scaling.offset,
        scale=scaling.scale,
        percentile=scaling.percentile,
    )


def training_and_validation(
    manifest: Manifest, root: Path, recipe: Recipe, *, quieten: Quieten | None = None, device: str = "auto"
) -> tuple[list[Case], list[Case]]:
    """Cases of both splits; where the manifest has no validation split, slices are held out instead."""
    training = load_cases(manifest.training, root, recipe, quieten=quieten, device=device)
    validation = load_cases(manifest.validation, root, recipe, quieten=quieten, device=device)
    if training and not validation:
        training, validation = held_out_slices(training, dims=recipe.network.dims)
    return training + digital_cases(recipe, device=device), validation
