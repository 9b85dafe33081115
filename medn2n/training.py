"""The whole of `medn2n train`: prepared scans → training → bundle, with its model card.

Above the stages, which never import one another. From a file of `medn2n train … --prepare CACHE` it runs with numpy,
torch, monai, pydantic, lightning and safetensors alone, as a bare GPU node has them (recipes that draw lettering or
marks take matplotlib and scipy too):

    python -m medn2n.training CACHE -o RUN --device cuda --max-minutes 20
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

import medn2n
from medn2n.config import OWN_NETWORKS, Recipe, parse_recipe
from medn2n.core.cases import Case, CaseSet
from medn2n.core.precision import precision_on
from medn2n.core.samples import PairedSamples
from medn2n.core.second_views import SINGLE_VIEWS
from medn2n.core.volume import UNITS
from medn2n.engines.export import export_openvino
from medn2n.errors import Medn2nError, UsageError, told
from medn2n.formats.bundle_dir import OPENVINO, Bundle, ModelInfo, Scope, read_bundle, write_bundle
from medn2n.formats.case_cache import is_case_file
from medn2n.formats.checkpoint import unfinished_step
from medn2n.formats.manifest import write_json
from medn2n.formats.model_card import model_card
from medn2n.formats.model_weights import load_weights, save_weights
from medn2n.formats.prepared_file import Origin, read_prepared, require_same_decoding
from medn2n.log import logger, setup_logging
from medn2n.stages.samples_to_bundle import Trained, train

SCOPE_SAMPLES = 64
MAY_CHANGE = ("name", "description", "optimiser.steps", "precision", "validate_every")  # of a training that goes on


def train_model(
    recipe: Recipe | None,
    data: Path,
    output: Path,
    *,
    start_from: str | None = None,
    resume: bool = False,
    device: str = "auto",
    max_minutes: float | None = None,
    part_minutes: float | None = None,
) -> Bundle:
    """Train and write OUTPUT/bundle, OUTPUT/log (recipe, history) and OUTPUT/checkpoints.

    data: a manifest, whose files are checked against their sha256 and decoded into OUTPUT/cache, or a prepared file.
    recipe: None takes the prepared file's own. part_minutes: this call ends after that time; the bundle is then of what
    was learned so far, and the same call with resume goes on. UsageError where OUTPUT holds a training that is not
    finished, and resume was not asked for, or that had other settings or scans, and it was.
    """
    _refuse_to_begin_anew(output, resume=resume)
    recipe, cases, origin = _data(recipe, data, output, device)
    recipe = recipe.model_copy(update={"precision": precision_on(device, recipe.precision)})
    if resume:
        _refuse_another(recipe, origin, output)
    write_json(recipe.model_dump(mode="json"), output / "log" / "recipe.json")
    write_json({"manifest_sha256": origin.manifest_sha256}, output / "log" / "data.json")
    training, validation = cases.split(dims=recipe.network.dims)
    logger.info("%d cases to train on, %d to validate on", len(training), len(validation))
    trained = train(
        training,
        validation,
        recipe,
        folder=output,
        device=device,
        max_minutes=max_minutes,
        part_minutes=part_minutes,
        resume=resume,
        start_from=load_weights(read_bundle(start_from)) if start_from else None,
    )
    write_json(trained.progress.history, output / "log" / "history.json")
    return _write(trained, recipe, origin, training, output / "bundle", started_from=start_from or "")


def _refuse_to_begin_anew(output: Path, *, resume: bool) -> None:
    """UsageError where OUTPUT holds a training with more to do, which a new one would begin by removing."""
    if not resume and (step := unfinished_step(output / "checkpoints" / "last.safetensors")) is not None:
        raise UsageError(
            f"RUN holds a training that stopped at step {step}, before its end. Go on with --resume, or name another "
            "folder."
        )


def _refuse_another(recipe: Recipe, origin: Origin, output: Path) -> None:
    """UsageError where OUTPUT's training has other settings or other scans: its best weights would be judged by one
    measure and go out under the name of another."""
    log = output / "log"
    if not (output / "checkpoints" / "last.safetensors").exists() or not (log / "data.json").exists():
        return
    earlier = parse_recipe(json.loads((log / "recipe.json").read_text(encoding="utf-8")))
    settings = zip(_settings(earlier.model_dump()), _settings(recipe.model_dump()), strict=False)
    changed = next((one[0] for one, other in settings if one != other and one[0] not in MAY_CHANGE), None)
    if changed is not None:
        raise UsageError(f"--resume: {changed} is another than this training began with. Name another folder for it.")
    if json.loads((log / "data.json").read_text(encoding="utf-8"))["manifest_sha256"] != origin.manifest_sha256:
        raise UsageError("--resume: the manifest is another than this training began with. Name another folder for it.")


def _settings(dump: Mapping[str, Any], within: str = "") -> Iterator[tuple[str, Any]]:
    """Every setting of a recipe by its dotted name, sections in order."""
    for name, value in dump.items():
        whole = isinstance(value, dict) and within + name != "network.arguments"
        yield from _settings(value, f"{within}{name}.") if whole else [(within + name, value)]


def _data(recipe: Recipe | None, data: Path, output: Path, device: str) -> tuple[Recipe, CaseSet, Origin]:
    if recipe is None or (data.is_file() and is_case_file(data)):
        info, cases = read_prepared(data)
        if recipe is not None:
            require_same_decoding(info, recipe)
        return recipe or info.recipe, cases, info.origin
    from medn2n.preparation import prepare_scans, recipe_mark  # read scans, which a bare node cannot

    mark = recipe_mark(recipe)
    files, origin = prepare_scans(recipe, data, output / "cache", device=device)
    return recipe, files.cases().under(mark), origin


def _write(
    trained: Trained, recipe: Recipe, origin: Origin, cases: list[Case], folder: Path, *, started_from: str
) -> Bundle:
    import monai
    import torch

    save_weights(trained.network, folder)
    _write_engine(trained, recipe, folder / OPENVINO)
    progress = trained.progress
    info = ModelInfo(
        name=recipe.name,
        modality=recipe.modality,
        network=recipe.network,
        scaling=recipe.scaling,
        scope=_scope(origin, cases, recipe),
        recipe=recipe.model_dump(mode="json"),
        manifest_sha256=origin.manifest_sha256,
        started_from=started_from,
        medn2n_version=medn2n.__version__,
        figures={
            "parameters": trained.parameters,
            "best_step": progress.best_step,
            "steps": progress.step,
            "training_minutes": round(progress.seconds / 60, 1),
            "validation_share": round(progress.best_validation, 5),
        },
    )
    versions = {"monai": monai.__version__, "torch": torch.__version__, "numpy": np.__version__}
    write_bundle(folder, info, card=model_card(info, origin.sources), versions=versions)
    return read_bundle(folder)


def _write_engine(trained: Trained, recipe: Recipe, path: Path) -> None:
    """The network for OpenVINO, of what is known to export well; a bundle without it runs in torch."""
    for stale in (path, path.with_suffix(".bin")):  # an earlier run's file in this folder would be another network
        stale.unlink(missing_ok=True)
    if recipe.network.name not in OWN_NETWORKS:
        return
    try:
        export_openvino(trained.network, path, dims=recipe.network.dims, channels=recipe.network.channels)
    except ModuleNotFoundError:
        logger.info("OpenVINO is not installed here: the bundle has no file for it and runs in torch")


def _scope(origin: Origin, cases: list[Case], recipe: Recipe) -> Scope:
    """Noise range in network units; the rest from the scans' grids and headers, where the manifest tells them."""
    low, high = np.percentile(_noise_shares(cases, recipe), [5, 95])
    seen = origin.acquisitions
    return Scope(
        unit=UNITS[recipe.modality],
        groups=origin.groups,
        subjects=origin.subjects,
        noise_share=(float(low), float(high)),
        texture=origin.texture,
        pixel_mm=_range([one.pixel_mm for one in seen]),
        slice_mm=_range([one.slice_mm for one in seen]),
        field_t=tuple(sorted({one.field_t for one in seen if one.field_t})),
        kernels=tuple(sorted({one.kernel for one in seen if one.kernel})),
    )


def _range(values: list[float]) -> tuple[float, float] | None:
    return (min(values), max(values)) if values else None


def _noise_shares(cases: list[Case], recipe: Recipe) -> list[float]:
    """Of each case: from the difference of its first two repeats, or the noise that was measured in its scan; where
    pictures are corrupted, of some samples."""
    if recipe.pairs in SINGLE_VIEWS and any(case.noise is None for case in cases):
        samples = PairedSamples(cases, recipe, length=SCOPE_SAMPLES)
        both = (samples[n] for n in range(SCOPE_SAMPLES))
        return [float((one["input"][len(one["input"]) // 2] - one["target"][0]).std()) / np.sqrt(2) for one in both]
    return [
        float((case.image[0] - case.image[1]).std() / np.sqrt(2) if case.noise is None else case.noise.norm())
        for case in cases
    ]


def _train_from_prepared_file() -> int:
    """The command line of a bare node; returns its exit code."""
    parser = argparse.ArgumentParser(prog="python -m medn2n.training", description="Train from a prepared file.")
    parser.add_argument("cache", type=Path, metavar="CACHE", help="what `medn2n train … --prepare CACHE` wrote")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="RUN")
    parser.add_argument("--resume", action="store_true", help="go on from the last checkpoint")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    parser.add_argument("--max-minutes", type=float, help="time budget; the schedule fits itself to it")
    parser.add_argument("--part-minutes", type=float, help="of this call; the next one goes on with --resume")
    options = parser.parse_args()
    setup_logging()
    try:
        bundle = train_model(
            None,
            options.cache,
            options.output,
            resume=options.resume,
            device=options.device,
            max_minutes=options.max_minutes,
            part_minutes=options.part_minutes,
        )
    except (Medn2nError, OSError, MemoryError) as error:
        sentence, code = told(error)
        logger.error("%s", sentence)
        return code
    print(f"{bundle.folder}  validation share {bundle.info.figures['validation_share']:.4f}")
    return 0


if __name__ == "__main__":
    sys.exit(_train_from_prepared_file())
