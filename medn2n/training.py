"""The whole of `medn2n train`: manifest → cases → training → bundle, with its model card.

Above the stages, which never import one another.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

import medn2n
from medn2n.config import Recipe
from medn2n.core.samples import Case
from medn2n.engines.export import export_openvino
from medn2n.formats.bundle_dir import OPENVINO, Bundle, ModelInfo, Scope, read_bundle, write_bundle
from medn2n.formats.manifest import Group, Manifest, data_root, manifest_hash, read_manifest, verify_files, write_json
from medn2n.formats.model_card import model_card
from medn2n.formats.model_weights import load_weights, save_weights
from medn2n.log import logger
from medn2n.stages.repeats_to_samples import training_and_validation
from medn2n.stages.samples_to_bundle import Trained, train
from medn2n.stages.volume_to_denoised import Denoiser


def train_model(
    recipe: Recipe,
    manifest_path: Path,
    output: Path,
    *,
    start_from: str | None = None,
    resume: bool = False,
    device: str = "auto",
    max_minutes: float | None = None,
) -> Bundle:
    """Train and write OUTPUT/bundle, OUTPUT/log (recipe, history) and OUTPUT/checkpoints. The manifest's files are
    checked against their sha256 first."""
    manifest = read_manifest(manifest_path)
    root = data_root(manifest, manifest_path)
    verify_files(manifest, root)
    write_json(recipe.model_dump(mode="json"), output / "log" / "recipe.json")
    quieten = Denoiser.load(recipe.base_model, device=device) if recipe.base_model else None
    training, validation = training_and_validation(manifest, root, recipe, quieten=quieten, device=device)
    logger.info("%d cases to train on, %d to validate on", len(training), len(validation))
    trained = train(
        training,
        validation,
        recipe,
        folder=output,
        device=device,
        max_minutes=max_minutes,
        resume=resume,
        start_from=load_weights(read_bundle(start_from)) if start_from else None,
    )
    write_json(trained.progress.history, output / "log" / "history.json")
    return _write(trained, recipe, manifest, training, output / "bundle", started_from=start_from or "")


def _write(
    trained: Trained, recipe: Recipe, manifest: Manifest, cases: list[Case], folder: Path, *, started_from: str
) -> Bundle:
    import monai
    import torch

    save_weights(trained.network, folder)
    if recipe.network.name == "unet":
        export_openvino(trained.network, folder / OPENVINO, dims=recipe.network.dims)
    else:  # an earlier run's file in this folder would be another network
        (folder / OPENVINO).unlink(missing_ok=True)
        (folder / OPENVINO).with_suffix(".bin").unlink(missing_ok=True)
    groups = [group for group in manifest.training if group.modality == recipe.modality]
    progress = trained.progress
    info = ModelInfo(
        name=recipe.name,
        modality=recipe.modality,
        network=recipe.network,
        scaling=recipe.scaling,
        scope=_scope(groups, cases, recipe),
        recipe=recipe.model_dump(mode="json"),
        manifest_sha256=manifest_hash(manifest),
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
    write_bundle(folder, info, card=model_card(info, groups), versions=versions)
    return read_bundle(folder)


def _scope(groups: list[Group], cases: list[Case], recipe: Recipe) -> Scope:
    """Noise range in network units, from the difference of the first two repeats of each case."""
    shares = [float((case.image[0] - case.image[1]).std()) / np.sqrt(2) for case in cases]
    low, high = np.percentile(shares, [5, 95])
    return Scope(
        unit="HU" if recipe.modality == "CT" else "a.u.",
        groups=len(groups),
        subjects=len({group.subject for group in groups}),
        noise_share=(float(low), float(high)),
    )
