"""Recipe → simulated cases: quiet slices of a scan (or digital objects) measured anew, several times each.

Seeded by (recipe's seed, the group's name, number of the slice), so that adding a scan to a manifest leaves all other
draws as they were.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from medn2n.config import Recipe
from medn2n.config.second_views import SimulateCt, SimulateMr
from medn2n.core import digital_objects, simulation
from medn2n.core.body import tissue_mask
from medn2n.core.case_scaling import scaled_case
from medn2n.core.cases import Case
from medn2n.core.ct_projection import device_for
from medn2n.core.geometry import axial_order
from medn2n.core.noise import pair_sigma
from medn2n.core.volume import UNITS, Volume
from medn2n.errors import InputError
from medn2n.log import logger

DIGITAL_STREAM = 2  # a random stream of its own
DIGITAL_SIDES = (160, 224, 288)
DIGITAL_FIELD_MM = 400.0
Quieten = Callable[[Volume], Volume]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Task:
    """Acquisitions of one base, simulated in one go (and, for CT, from one projection). turn: its group of samples."""

    turn: str
    base: simulation.Base
    section: SimulateCt | SimulateMr
    seed: tuple[int, ...]


def simulated_cases(
    voxels: npt.NDArray[np.float32],
    affine: npt.NDArray[np.float64],
    group: str,
    recipe: Recipe,
    *,
    quieten: Quieten | None,
    device: str,
) -> list[Case]:
    """Simulated repeats of a group's scan, or of the mean of its repeats, (R,I,J,K) in physical units.

    quieten: denoises a single scan first (the recipe's base_model). device: where CT is projected. InputError for a CT
    that no scanner would measure so: oblique slices, pixels that are not square.
    """
    try:
        bases = _bases(voxels, affine, recipe, quieten)
    except InputError as error:
        raise InputError(error.code, f"Group {group}: {error}") from None
    section = _section(recipe)
    quiet = [base for base in bases if simulation.quiet_enough(base, _loudest(base, section))]
    if len(quiet) < len(bases):
        logger.warning(
            "group %s: %d of %d slices are left out. Their own noise is more than 1/%g of the loudest that the recipe "
            "adds, and would be learned as anatomy. Name a base_model, or a louder %s.",
            group, len(bases) - len(quiet), len(bases), simulation.ABOVE_OWN,
            "simulate_ct.noise_hu" if isinstance(section, SimulateCt) else "simulate_mr.snr",
        )  # fmt: skip
    return _measured(_tasks(quiet, group, recipe), recipe, device)


def _loudest(base: simulation.Base, section: SimulateCt | SimulateMr) -> float:
    """The strongest noise that the recipe adds to this slice, in its unit."""
    return section.noise_hu[1] if isinstance(section, SimulateCt) else simulation.mr_signal(base) / section.snr[0]


def digital_cases(recipe: Recipe, *, device: str = "auto") -> list[Case]:
    """Simulated repeats of digital objects, as many scans of them as the recipe says."""
    if "simulate" not in recipe.pairs:
        return []
    section = _section(recipe)
    make = digital_objects.digital_ct if recipe.modality == "CT" else digital_objects.digital_mr
    tasks: list[_Task] = []
    for number in range(section.digital):
        generator = np.random.default_rng((recipe.seed, DIGITAL_STREAM, number))
        side = int(generator.choice(DIGITAL_SIDES))
        scan = make(generator, side=side, slices=section.slices)
        bases = [simulation.Base(image=scan[:, :, k], pixel_mm=DIGITAL_FIELD_MM / side) for k in range(scan.shape[2])]
        tasks += _tasks(bases, f"digital object {number + 1}", recipe)
    return _measured(tasks, recipe, device)


def _bases(
    voxels: npt.NDArray[np.float32], affine: npt.NDArray[np.float64], recipe: Recipe, quieten: Quieten | None
) -> list[simulation.Base]:
    """Quiet slices of one group, from its scan or repeats (R,I,J,K)."""
    section = _section(recipe)
    mean = np.ascontiguousarray(voxels.mean(axis=0))
    base = Volume(
        voxels=mean,
        affine=affine,
        unit=UNITS[recipe.modality],
        modality=recipe.modality,
    )
    if recipe.modality == "CT":
        base = base.with_axes(axial_order(affine))
    # The mean of repeats is the quietest base there is, and their difference tells how quiet.
    own = None
    if len(voxels) > 1:  # in tissue: air is less noisy than that, and none where it was masked
        own = float(pair_sigma(voxels[0], voxels[1], tissue_mask(mean)) / np.sqrt(len(voxels)))
    quiet = base if quieten is None or own is not None else quieten(base)
    if isinstance(section, SimulateCt):
        return simulation.ct_bases(
            quiet.voxels, quiet.spacing_mm, slab_mm=section.slab_mm, quiet_hu=section.quiet_hu, count=section.slices
        )
    return simulation.mr_bases(quiet.voxels, quiet.spacing_mm, count=section.slices, own_sigma=own)


def _section(recipe: Recipe) -> SimulateCt | SimulateMr:
    section = recipe.simulate_ct if recipe.modality == "CT" else recipe.simulate_mr
    assert section is not None  # the recipe was validated
    return section


def _tasks(bases: Sequence[simulation.Base], group: str, recipe: Recipe) -> list[_Task]:
    name_seed = int.from_bytes(hashlib.sha256(group.encode()).digest()[:8], "big")
    # A turn of their own: there are many of them, and real repeats of the same group would hardly be drawn otherwise.
    return [
        _Task(turn=f"{group} (simulated)", base=base, section=_section(recipe), seed=(recipe.seed, name_seed, number))
        for number, base in enumerate(bases)
    ]


def _measured(tasks: Sequence[_Task], recipe: Recipe, device: str) -> list[Case]:
    there = device_for(device)
    # On a GPU the drawing of counts is what is left for the CPU, and runs in several threads.
    with ThreadPoolExecutor(8 if there == "cuda" else 1) as pool:
        made = pool.map(lambda task: _draw(task, there), tasks)
        return [
            scaled_case(draw.repeats[..., None], draw.truth[None, ..., None], task.turn, recipe)
            for task, draws in zip(tasks, made, strict=True)
            for draw in draws
        ]


def _draw(task: _Task, device: str) -> list[simulation.Draw]:
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
