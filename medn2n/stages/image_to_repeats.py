"""Image → corrupted repeats: K copies of a photograph or scan with independent corruptions, the truth, and a ready
manifest.

Copies are float32 (TIFF for photographs, NIfTI for scans), never clipped and never quantised: either would move the
mean of the noise.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from medn2n.core.catalogue import Catalogue, PassedOver, Series
from medn2n.core.corruption import Corrupted, Corruption, Levels, corrupt, countable, of_a_pair
from medn2n.core.volume import Volume
from medn2n.errors import UsageError
from medn2n.formats import photo
from medn2n.formats.manifest import Group, Manifest, PairCheck, file_sha256, named_modality, write_manifest
from medn2n.formats.repeat_files import (
    of_each,
    refuse_others,
    remove_earlier,
    scan_to_repeat,
    seeds_of,
    write_scan,
    write_simulation,
)
from medn2n.formats.results import write_whole
from medn2n.log import logger

FloatArray = npt.NDArray[np.float32]
CT_LEVELS = Levels(black=-1000.0, white=1000.0)
# What a mean over such targets is not the clean image for, and what learns from them all the same.
OBJECTIVES = {"bernoulli": "masked_l2", "impulse": "annealed_l0", "text": "l1", "watermark": "l1", "rician": ""}
NEEDS = {
    "bernoulli": "the masks valid-N beside the repeats: train on the clean pictures instead, as paper_bernoulli does",
    "impulse": "objective annealed_l0",
    "text": "objective l1 or annealed_l0",
    "watermark": "objective l1 or annealed_l0, and marks that cover less than half of any place over the repeats",
    "rician": "a correction of the Rician bias",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class CorruptionPlan:
    """kind: its name. levels: black and white, or None for those of the modality: photographs 0 and 255, CT −1000 and
    1000 HU, MR 0 and the scan's 99.9th percentile. description: for the manifest."""

    kind: str
    corruption: Corruption
    repeats: int
    seed: int
    levels: Levels | None = None
    description: str = ""


def corrupt_repeats(
    found: Catalogue, root: Path, *, plan: CorruptionPlan, output: Path
) -> tuple[Manifest, tuple[PassedOver, ...]]:
    """Corrupt every series below root; write OUTPUT/<id>/repeat-N, truth (and valid-N, 1 where a pixel was kept, of
    kind bernoulli) as .tiff or .nii.gz, OUTPUT/manifest.json and OUTPUT/simulation.json. The truth of counts (poisson)
    is the scan with what lies below black raised to it; the manifest's figure below_black says how much that was. A 4D
    series gives its first frame. All groups go into the training split: which subjects to keep for other splits is the
    user's to say. UsageError for a scan whose modality nobody said, or where OUTPUT holds repeats of others; without a
    series the first refusal, else NothingToDo."""
    if not len(found):
        raise found.nothing("There is no photograph and no CT or MR series to corrupt.")
    if not all(series.modality for series in found):
        raise UsageError("A scan does not say whether it is CT or MR. Give --modality ct or --modality mr.")
    refuse_others(output, [series.id for series in found])
    made, refused = of_each(found, lambda series: _one(series, root, plan, output), output)
    manifest = Manifest(
        name=output.name,
        description=f"{plan.description}; seed {plan.seed}",
        training=[group for group, _ in made],
    )
    write_manifest(manifest, output / "manifest.json")
    about = {"corruption": plan.description, "seed": plan.seed}
    write_simulation(output, about, [record for _, record in made])
    return manifest, refused


def _one(series: Series, root: Path, plan: CorruptionPlan, output: Path) -> tuple[Group, dict[str, Any]]:
    """Its group, and what simulation.json says of it."""
    volume = scan_to_repeat(series, root, series.modality)
    given = Volume(voxels=volume.filled(), affine=volume.affine, unit=volume.unit, modality=series.modality)
    seeds = seeds_of(plan.seed, given, series.id, output)
    generator = np.random.default_rng(seeds)
    colour, levels = series.format == "photo", plan.levels or _levels(given)
    truth, clipped = _truth(given, series.id, plan, levels)
    corruption = of_a_pair(plan.corruption, generator)
    made = [corrupt(truth.voxels, corruption, generator, levels=levels, colour=colour) for _ in range(plan.repeats)]
    names = [_write(output, f"{series.id}/repeat-{n}", truth, one.image) for n, one in enumerate(made, start=1)]
    masks = [
        _write(output, f"{series.id}/valid-{n}", truth, one.valid.astype(np.float32))
        for n, one in enumerate(made, start=1)
        if one.valid is not None
    ]
    truth_name = _write(output, f"{series.id}/truth", truth, truth.voxels)
    remove_earlier(output, series.id, [*names, *masks, truth_name])
    group = Group(
        group=series.id,
        subject=str(series.acquisition.get("patient") or series.id),
        modality=named_modality(series.modality),
        image=names,
        sha256=[file_sha256(output / name) for name in names],
        truth=truth_name,
        noise_sigma=[] if plan.kind in OBJECTIVES else [_rms(one, truth) for one in made],
        source=plan.description,
        check=PairCheck(verdict="fit", reason=_reason(plan.kind), figures=_figures(made, truth) | clipped),
        objective=OBJECTIVES.get(plan.kind, ""),
    )
    return group, {"id": series.id, "seed": seeds, "shape": given.voxels.shape}


def _truth(given: Volume, series: str, plan: CorruptionPlan, levels: Levels) -> tuple[Volume, dict[str, float]]:
    """What the repeats' mean is the mean of, and as a figure the share of its voxels that had to be raised to black for
    that: nothing counts fewer photons than none."""
    if plan.kind != "poisson":
        return given, {}
    clean, share = countable(given.voxels, levels)
    if share:
        logger.warning(
            "series %s: %.2g %% of the voxels lie below black (%g) and count as black, in the truth too. "
            "A lower --black keeps them.", series, 100 * share, levels.black,
        )  # fmt: skip
    return given.with_voxels(clean), {"below_black": share}


def _levels(truth: Volume) -> Levels:
    if truth.modality == "PHOTO":
        return Levels()
    if truth.modality == "CT":
        return CT_LEVELS
    white = float(np.percentile(truth.voxels, 99.9))
    return Levels(white=white if white > 0 else 1.0)


def _write(output: Path, name: str, truth: Volume, image: FloatArray) -> str:
    """Write one image beside the others; its name with the suffix, relative to `output`."""
    if truth.modality == "PHOTO":
        write_whole(output / f"{name}.tiff", photo.encode_new(image))
        return f"{name}.tiff"
    write_scan(output / f"{name}.nii.gz", truth.with_voxels(image))
    return f"{name}.nii.gz"


def _reason(kind: str) -> str:
    needs = f"; training needs {NEEDS[kind]}" if kind in NEEDS else ""
    return f"corrupted independently ({kind}){needs}"


def _rms(made: Corrupted, truth: Volume) -> float:
    return float(np.sqrt(np.mean((made.image.astype(np.float64) - truth.voxels) ** 2)))


def _figures(made: list[Corrupted], truth: Volume) -> dict[str, float]:
    """What each repeat drew, and its distance from the truth, in the truth's unit."""
    figures = {f"{name}_{n}": value for n, one in enumerate(made, start=1) for name, value in one.drawn.items()}
    return figures | {f"rms_{n}": _rms(one, truth) for n, one in enumerate(made, start=1)}
