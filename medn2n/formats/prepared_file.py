"""One portable file of decoded scans, from which training runs where nothing of the scans is, and no reader of them.

Beside the cases it holds the recipe, and of the manifest what a model card says: never a file name. Needs numpy,
torch, pydantic and safetensors alone.
"""

from __future__ import annotations

import itertools
from base64 import b64decode, b64encode
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from medn2n.config import Recipe
from medn2n.config.second_views import Strict
from medn2n.core.cases import CaseSet
from medn2n.core.objectives import learns_for
from medn2n.core.second_views import SINGLE_VIEWS
from medn2n.errors import InputError, UsageError
from medn2n.formats.case_cache import join, read_cases, read_extra
from medn2n.formats.manifest import Acquisition, Manifest, manifest_hash


class Source(Strict):
    """Where training scans come from, under which licence, and whose (keyed id) they are."""

    source: str
    licence: str
    subject: str


class Origin(Strict):
    """What a model card says of the manifest. groups: that the training split holds for the recipe's modality.
    acquisitions: theirs, each kind once. texture: lowest and highest correlation of their noise between neighbouring
    pixels, without the outermost twentieths (`core.scope`). objectives: those that their repeats ask for."""

    manifest_sha256: str
    groups: int
    subjects: int
    sources: list[Source]
    acquisitions: list[Acquisition] = Field(default_factory=list)
    texture: tuple[float, float] | None = None
    objectives: list[str] = Field(default_factory=list)


class PreparedMark(Strict):
    """The picture of the recipe's watermark. shape: (I,J). coverage: float32, little-endian, row by row, base64."""

    shape: tuple[int, int]
    coverage: str

    @classmethod
    def of(cls, mark: Tensor) -> PreparedMark:
        """(I,J) coverage, 0 to 1."""
        return cls(
            shape=(mark.shape[0], mark.shape[1]), coverage=b64encode(mark.numpy().astype("<f4").tobytes()).decode()
        )

    def tensor(self) -> Tensor:
        """What it was made of; ValueError where it was damaged."""
        return torch.from_numpy(np.frombuffer(b64decode(self.coverage), "<f4").reshape(self.shape).copy())


class PreparedInfo(Strict):
    """The header of a prepared file. cases: how many of training, validation and digital objects it holds."""

    recipe: Recipe
    origin: Origin
    cases: tuple[int, int, int]
    mark: PreparedMark | None = None


def origin_of(manifest: Manifest, recipe: Recipe) -> Origin:
    """Of the training groups that the recipe uses."""
    groups = [group for group in manifest.training if group.modality == recipe.modality]
    known = sorted({(group.source, group.licence, group.subject) for group in groups})
    return Origin(
        manifest_sha256=manifest_hash(manifest),
        groups=len(groups),
        subjects=len({group.subject for group in groups}),
        sources=[Source(source=source, licence=licence, subject=subject) for source, licence, subject in known],
        acquisitions=list(dict.fromkeys(group.acquisition for group in groups if group.acquisition)),
        objectives=sorted({group.objective for group in groups if group.objective and "repeats" in recipe.pairs}),
    )


def decoding(recipe: Recipe) -> dict[str, Any]:
    """The part of a recipe that decoded scans depend on: another one needs them decoded anew."""
    simulates, alone = "simulate" in recipe.pairs, recipe.pairs in SINGLE_VIEWS
    section = recipe.simulate_ct if recipe.modality == "CT" else recipe.simulate_mr
    return {
        "modality": recipe.modality,
        "pairs": recipe.pairs,
        "simulation": section.model_dump(mode="json") if simulates and section else None,
        "seed": recipe.seed if simulates else None,
        "scaling": recipe.scaling.model_dump(mode="json"),
        "dims": recipe.network.dims,
        "sees slices": alone and recipe.network.neighbours > 0,  # asks more of a scan's noise
        "aligned": recipe.align != "off",
        "targets": recipe.targets if "repeats" in recipe.pairs else None,  # clean ones bring a truth
    }


def write_prepared(
    path: Path, parts: Sequence[Sequence[Path]], recipe: Recipe, origin: Origin, *, mark: Tensor | None = None
) -> None:
    """Join cache files (of training, validation, digital objects) into one. mark: (I,J), the recipe's."""
    counts = [sum(len(read_cases(file)) for file in part) for part in parts]
    info = PreparedInfo(
        recipe=recipe,
        origin=origin,
        cases=(counts[0], counts[1], counts[2]),
        mark=None if mark is None else PreparedMark.of(mark),
    )
    join([file for part in parts for file in part], path, {"medn2n": info.model_dump_json()})


def read_prepared(path: Path) -> tuple[PreparedInfo, CaseSet]:
    """Header and memory-mapped cases. InputError DAMAGED_CACHE where it is no such file."""
    try:
        info = PreparedInfo.model_validate_json(read_extra(path).get("medn2n", ""))
        mark = None if info.mark is None else info.mark.tensor()
    except ValueError:
        raise InputError(
            "DAMAGED_CACHE",
            "The file of prepared scans lacks its recipe, or another version of medn2n wrote it. Make it again with "
            "`medn2n train … --prepare CACHE`.",
        ) from None
    cases = read_cases(path)
    if len(cases) != sum(info.cases):
        raise InputError("DAMAGED_CACHE", f"Expected {sum(info.cases)} cases in the prepared file, found {len(cases)}.")
    ends = list(itertools.accumulate(info.cases))
    found = CaseSet(training=cases[: ends[0]], validation=cases[ends[0] : ends[1]], digital=cases[ends[1] :])
    return info, found.under(mark)


def require_same_decoding(prepared: PreparedInfo, wanted: Recipe) -> None:
    """UsageError that names the first setting in which a prepared file's recipe differs where it matters."""
    for objective in prepared.origin.objectives:
        if not learns_for(wanted.objective, objective):
            raise UsageError(
                f"The prepared repeats ask for objective {objective}, and from them {wanted.objective} would learn "
                f"something else. Set objective={objective}."
            )
    both = (prepared.recipe, wanted)
    ones, twos = ({**decoding(one), "corrupt.mark": one.corrupt and one.corrupt.mark} for one in both)
    differing = [name for name in ones if ones[name] != twos[name]]
    if differing:
        raise UsageError(
            f"The scans were prepared for another recipe: its {differing[0]} differs. Prepare them again with this one."
        )
