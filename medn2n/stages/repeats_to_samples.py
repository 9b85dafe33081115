"""Manifest → training cases: groups are decoded once, through MONAI, into a memory-mapped cache.

Where the recipe says so, repeats are simulated in the same step. `core.samples` draws the random (input, target)
patches from the cases. Each group has a file of its own in the cache, named by the sha256 of all that its content
follows from: the scans' own sha256, their corrections, and what of the recipe matters here. A scan that joins the
manifest, or a longer training, decodes nothing again.
"""

from __future__ import annotations

import hashlib
import json
import logging
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from monai.transforms import LoadImaged

from medn2n.config import Recipe
from medn2n.core.alignment import Rigid
from medn2n.core.case_scaling import repeats_scale, scaled_case
from medn2n.core.cases import Case, CaseSet
from medn2n.core.intensity import IntensityScale
from medn2n.core.noise_texture import noise_kernel, noise_level, unfit_because
from medn2n.core.objectives import learns_for
from medn2n.core.placement import Placement, through_plane_slices
from medn2n.core.second_views import SINGLE_VIEWS
from medn2n.core.simulated_cases import Quieten, digital_cases, simulated_cases
from medn2n.errors import InputError
from medn2n.formats.case_cache import SCHEMA, read_cases, write_cases
from medn2n.formats.manifest import Group, Manifest, file_sha256
from medn2n.formats.monai_reader import ScanReader
from medn2n.formats.prepared_file import decoding
from medn2n.formats.reference import ScanReference
from medn2n.log import logger

THROUGH_PLANE_SLICES = 0.2  # blurs less than the slice profile does; the in-plane motion is corrected all the same


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheFiles:
    """Files of a cache, one a group, in the manifest's order; digital: that of the digital objects, if there are."""

    training: tuple[Path, ...]
    validation: tuple[Path, ...]
    digital: tuple[Path, ...]

    def cases(self) -> CaseSet:
        """Their cases, memory-mapped."""
        parts = [[case for path in paths for case in read_cases(path)] for paths in self.parts()]
        return CaseSet(training=parts[0], validation=parts[1], digital=parts[2])

    def parts(self) -> tuple[tuple[Path, ...], tuple[Path, ...], tuple[Path, ...]]:
        """Training, validation, digital."""
        return self.training, self.validation, self.digital


def fill_cache(
    manifest: Manifest,
    root: Path,
    recipe: Recipe,
    cache: Path,
    *,
    quieten: Quieten | None = None,
    quieten_sha256: str = "",
    device: str = "auto",
) -> CacheFiles:
    """Decode (and simulate) what the folder `cache` does not hold yet, one group at a time.

    quieten: denoises the scans that repeats are simulated from (the recipe's base_model, of that sha256). device: where
    CT is projected: cpu, cuda or auto. InputError OTHER_OBJECTIVE, before any is decoded, for repeats from which the
    recipe's objective would learn something else.
    """
    settings = decoding(recipe) | {"schema": SCHEMA, "base_model": quieten_sha256}

    def cached(what: dict[str, Any], make: Callable[[], list[Case]]) -> Path:
        text = json.dumps(settings | what, sort_keys=True, ensure_ascii=True)
        path = cache / f"{hashlib.sha256(text.encode()).hexdigest()}.safetensors"
        if not path.is_file():
            write_cases(make(), path)
        return path

    def split(groups: Sequence[Group]) -> tuple[Path, ...]:
        return tuple(
            cached(
                _content(group, root, recipe),
                partial(load_cases, [group], root, recipe, quieten=quieten, device=device),
            )
            for group in groups
            if group.modality == recipe.modality
        )

    for group in (*manifest.training, *manifest.validation):
        if group.modality == recipe.modality:
            check_objective(group, recipe)
    if "repeats" in recipe.pairs:
        _say_verdicts([group for group in (*manifest.training, *manifest.validation) if _are_repeats(group, recipe)])
    files = split(manifest.training), split(manifest.validation)
    digital: tuple[Path, ...] = ()
    if "simulate" in recipe.pairs:
        digital = (cached({"group": "digital objects"}, partial(digital_cases, recipe, device=device)),)
    return CacheFiles(training=files[0], validation=files[1], digital=digital)


def _content(group: Group, root: Path, recipe: Recipe) -> dict[str, Any]:
    """What a group's cases follow from, whatever its files are called."""
    truth = _truth(group, root, recipe)
    references = [ScanReference.parse(image) for image in group.image]
    return {
        "group": group.group,
        "sha256": group.sha256 or [file_sha256(root / reference.path) for reference in references],
        "volumes": [[reference.series, reference.part, reference.frame] for reference in references],
        "corrections": [correction.model_dump(mode="json") for correction in group.corrections],
        "verdict": group.check.verdict,
        "truth": truth and file_sha256(root / ScanReference.parse(truth).path),
    }


def _truth(group: Group, root: Path, recipe: Recipe) -> str | None:
    """The reference of the truth that a recipe with clean targets wants of a group's repeats, None where there is none:
    of repeats that moved, it is not known which one it lies under. InputError MISSING_FILE."""
    if recipe.targets != "clean" or group.truth is None or group.corrections or not _has_repeats(group, recipe):
        return None
    if not (root / ScanReference.parse(group.truth).path).exists():
        raise InputError("MISSING_FILE", f"Group {group.group}: its truth is not below the manifest's data root.")
    return group.truth


@cache
def _loader(modality: str) -> LoadImaged:
    """MONAI's, made once: each one looks for a codec of another reader, and complains that it is not there."""
    logging.getLogger("monai.data.nvimgcodec_pydicom_plugin").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="NvImgCodec")
        return LoadImaged("image", reader=ScanReader(modality=modality, fill=True), image_only=True)


def load_cases(
    groups: Sequence[Group], root: Path, recipe: Recipe, *, quieten: Quieten | None = None, device: str = "auto"
) -> list[Case]:
    """The groups in network units, in memory: their repeats, and simulated repeats, as the recipe's `pairs` says."""
    load = _loader(recipe.modality)
    cases: list[Case] = []
    for group in groups:
        if group.modality != recipe.modality:
            continue
        truth_name = _truth(group, root, recipe)
        references = [str(root / reference) for reference in (*group.image, *([truth_name] if truth_name else []))]
        data = load({"image": references if len(references) > 1 else references[0]})
        image = data["image"]
        if image.ndim != (4 if len(references) > 1 else 3):
            raise InputError(
                "NEEDS_A_FRAME", f"Group {group.group}: its scan is 4D; name one volume of it as FILE#frame=N."
            )
        voxels = np.asarray(image, np.float32).reshape(len(references), *image.shape[-3:])
        voxels, truth = voxels[: len(group.image)], voxels[len(group.image) :] if truth_name else None
        affine = np.asarray(image.affine)
        if _has_repeats(group, recipe):
            cases += _repeats(voxels, truth, affine, group, recipe)
        if recipe.pairs in SINGLE_VIEWS:
            cases += _single(voxels, affine, group, recipe)
        if "simulate" in recipe.pairs:
            still = voxels[group.unmoved]
            cases += simulated_cases(still, affine, group.group, recipe, quieten=quieten, device=device)
    return cases


def check_objective(group: Group, recipe: Recipe) -> None:
    """InputError OTHER_OBJECTIVE for repeats whose mean is not the clean image, unless the recipe learns what is."""
    if not _has_repeats(group, recipe):
        return
    if group.objective == "masked_l2":
        raise InputError("OTHER_OBJECTIVE", f"Group {group.group}: its repeats were {group.check.reason}.")
    if not learns_for(recipe.objective, group.objective):
        raise InputError(
            "OTHER_OBJECTIVE",
            f"Group {group.group}: its repeats were {group.check.reason}, and the recipe has objective "
            f"{recipe.objective}, which would learn something else. Set objective={group.objective}.",
        )


def _are_repeats(group: Group, recipe: Recipe) -> bool:
    return group.modality == recipe.modality and len(group.image) > 1


def _has_repeats(group: Group, recipe: Recipe) -> bool:
    """That this recipe would train on."""
    return "repeats" in recipe.pairs and _are_repeats(group, recipe) and group.check.verdict != "unfit"


def _say_verdicts(repeats: Sequence[Group]) -> None:
    """A line on the groups whose check found them unfit, and one on those whose independence it could not show."""
    for verdict, fate in (
        ("unfit", "left out"),
        ("unproven", "trained on, and what noise their scans share will be kept as if it were anatomy"),
    ):
        found = [group for group in repeats if group.check.verdict == verdict]
        if found:
            logger.warning(
                "%d of %d groups of repeats are %s, and %s. Group %s: %s",
                len(found), len(repeats), verdict, fate, found[0].group, found[0].check.reason,
            )  # fmt: skip


def _single(
    voxels: npt.NDArray[np.float32], affine: npt.NDArray[np.float64], group: Group, recipe: Recipe
) -> list[Case]:
    """The case of scans (R,I,J,K) that each serve alone; one each where noise is added, which is a scan's own.
    InputError NOISE_UNFIT where the noise of one is not what the strategy asks for."""
    asked: dict[str, Any] = {
        "spacing_mm": float(np.linalg.norm(affine[:3, 2])),
        "thickness_mm": group.acquisition and group.acquisition.thickness_mm,
        "sees_slices": recipe.network.dims == 3 or recipe.network.neighbours > 0,
    }
    for number, scan in enumerate(voxels, start=1):
        reason = unfit_because(scan, recipe.pairs, **asked)
        if reason is not None:
            raise InputError("NOISE_UNFIT", f"Group {group.group}, scan {number} of {len(voxels)}: {reason}.")
    case = scaled_case(voxels, None, group.group, recipe)
    if recipe.pairs != "added_noise":
        return [case]
    scale = np.float32(repeats_scale(voxels, recipe).scale)
    return [
        replace(
            case,
            image=case.image[n : n + 1],
            noise=torch.from_numpy(noise_kernel(scan) / scale),
            level=torch.from_numpy(noise_level(scan)[None]),
        )
        for n, scan in enumerate(voxels)
    ]


def _repeats(
    voxels: npt.NDArray[np.float32],
    truth: npt.NDArray[np.float32] | None,
    affine: npt.NDArray[np.float64],
    group: Group,
    recipe: Recipe,
) -> list[Case]:
    """The case of one group's repeats (R,I,J,K) and truth (1,I,J,K), with what its corrections say; none where fewer
    than two are left. A 2D network's prediction can be moved in its plane only: for one, scans that moved through it
    are left out."""
    case = scaled_case(voxels, truth, group.group, recipe)
    if not group.corrections or recipe.align == "off":
        return [case]
    placement = _placement(group, affine, voxels.shape[1:], repeats_scale(voxels, recipe))
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
    return Placement(index_maps=np.stack(maps), levels=np.array(levels))
