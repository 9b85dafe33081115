"""Scans of a manifest, decoded for training: into a run's own cache, or into one portable file.

Above the stages, which never import one another.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from medn2n.config import Recipe
from medn2n.core.cases import Case
from medn2n.core.scope import noise_traits
from medn2n.errors import UsageError
from medn2n.formats.case_cache import is_case_file
from medn2n.formats.manifest import data_root, read_manifest, verify_files
from medn2n.formats.photo import read_mark
from medn2n.formats.prepared_file import Origin, origin_of, write_prepared
from medn2n.log import logger
from medn2n.stages.repeats_to_samples import CacheFiles, fill_cache
from medn2n.stages.volume_to_denoised import Denoiser

TEXTURE_CASES = 24  # a measurement takes some 60 ms a slice of 512 × 512


def prepare_scans(
    recipe: Recipe, manifest_path: Path, cache: Path, *, device: str = "auto"
) -> tuple[CacheFiles, Origin]:
    """Decode what the folder `cache` does not hold yet. The manifest's files are checked against their sha256 first."""
    manifest = read_manifest(manifest_path)
    root = data_root(manifest, manifest_path)
    verify_files(manifest, root)
    # The network alone: noise that goes back into a base would be shared by all its repeats.
    quieten = Denoiser.load(recipe.base_model, device=device, returns=False) if recipe.base_model else None
    files = fill_cache(
        manifest,
        root,
        recipe,
        cache,
        quieten=quieten,
        quieten_sha256=quieten.bundle.sha256 if quieten else "",
        device=device,
    )
    origin = origin_of(manifest, recipe)
    if recipe.modality != "PHOTO":
        origin = origin.model_copy(update={"texture": _textures(files.cases().training)})
    return files, origin


def _textures(cases: Sequence[Case]) -> tuple[float, float] | None:
    """As `Origin.texture` says, of some of the cases; None without any."""
    chosen = cases[:: max(1, len(cases) // TEXTURE_CASES)]
    found = [noise_traits(case.image[0].numpy(), 1.0)[1] for case in chosen]
    return (float(np.percentile(found, 5)), float(np.percentile(found, 95))) if found else None


def recipe_mark(recipe: Recipe) -> Tensor | None:
    """(I,J) coverage of the watermark whose picture a recipe names; None where it names none. UsageError where there is
    no such picture, or nothing on it."""
    if recipe.corrupt is None or recipe.corrupt.mark is None:
        return None
    path = Path(recipe.corrupt.mark)
    mark = torch.from_numpy(read_mark(path)) if path.is_file() else None
    if mark is None or float(mark.max()) <= 0:
        raise UsageError(
            f"corrupt.mark: expected a grey PNG or TIFF, white where the mark covers all, found "
            f"{'no such file' if mark is None else 'a black one'}. Give the path of the mark's picture."
        )
    return mark


def prepare_file(recipe: Recipe, manifest_path: Path, target: Path, *, device: str = "auto") -> None:
    """Write all that a training with this recipe needs to one file. UsageError where another file is in the way."""
    if target.is_dir() or (target.exists() and not is_case_file(target)):
        raise UsageError("--prepare: something that is no prepared file has that name. Choose another name.")
    mark = recipe_mark(recipe)
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".medn2n-") as folder:
        files, origin = prepare_scans(recipe, manifest_path, Path(folder), device=device)
        write_prepared(target, files.parts(), recipe, origin, mark=mark)
    logger.info("prepared: %.1f MB", target.stat().st_size / 1e6)
