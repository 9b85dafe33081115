"""The model card: what a bundle was trained on and how, in words, with every source and its licence."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from medn2n.formats.bundle_dir import ModelInfo
from medn2n.formats.prepared_file import Source


def model_card(info: ModelInfo, sources: Sequence[Source]) -> str:
    """Markdown for docs/README.md of the bundle."""
    unit = info.scope.unit if info.scaling.kind == "fixed" else "of the scan's own brightness scale"
    factor = info.scaling.scale if info.scaling.kind == "fixed" else 1.0
    low, high = (share * factor for share in info.scope.noise_share)
    lines = [
        f"# Model `{info.name}`",
        "",
        f"Removes noise from {info.modality} images. {info.recipe.get('description', '')}",
        "Research use, not a medical device.",
        "",
        "## How it was made",
        "",
        *_training(info),
        "",
        "## What it has seen",
        "",
        f"Noise of {low:.3g} to {high:.3g} {unit} (5th to 95th percentile over whole images, air included). "
        "Scans outside this range, other modalities and reconstructions with noise of another kind are "
        "outside its scope.",
        "",
        "## Measured",
        "",
        f"- Squared difference to {_target(info)}, as a share of the noisy input's own: "
        f"{info.figures['validation_share']:.3f} on held-out pairs ({0 if _clean(info) else 0.5} would be no error at "
        "all).",
        "",
        "## Sources of the training scans",
        "",
        "| source | subject | licence |",
        "|---|---|---|",
        *(f"| {known.source} | {known.subject} | {known.licence} |" for known in sources),
        "",
    ]
    return "\n".join(lines)


def _training(info: ModelInfo) -> list[str]:
    """Pairs, network, steps and manifest of the training, and what came before it."""
    figures, recipe = info.figures, info.recipe
    return [
        f"- Learned with medn2n {info.medn2n_version} {_lesson(info)}",
        f"- Pairs: {recipe['pairs']}; objective {recipe['objective']}; seed {recipe['seed']}.",
        *_digital(info),
        f"- Network: {info.network.name} {info.network.arguments}, {_dimensions(info)}, "
        f"{int(figures['parameters']):,} parameters, residual: {info.network.residual}.",
        f"- {int(figures['steps']):,} steps in {figures['training_minutes']} minutes; {_kept(info)}.",
        *_rounds(info),
        *_returned(info),
        f"- Manifest sha256 {info.manifest_sha256[:16]}…, {info.scope.groups} scans or groups of "
        f"{info.scope.subjects} subjects.",
    ]


def _clean(info: ModelInfo) -> bool:
    return info.recipe.get("targets") == "clean"


def _target(info: ModelInfo) -> str:
    return "the clean image" if _clean(info) else "an independent noisy repeat"


def _lesson(info: ModelInfo) -> str:
    if _clean(info):
        return "from clean targets, to compare: this is not Noise2Noise."
    return (
        "by Noise2Noise (Lehtinen et al. 2018): input and target were both noisy, always; no training target was clean."
    )


def _kept(info: ModelInfo) -> str:
    """Which of the steps the weights are of."""
    if info.recipe.get("keep") == "last":
        return "the last was kept"
    return f"best at step {int(info.figures['best_step']):,} on held-out {'' if _clean(info) else 'noisy '}pairs"


def _dimensions(info: ModelInfo) -> str:
    seen = f" that sees {info.network.neighbours} slices on either side" if info.network.neighbours else ""
    return f"{info.network.dims}D{seen}"


def _rounds(info: ModelInfo) -> list[str]:
    """What came before this training, where something did."""
    lines = []
    if info.started_from:
        lines.append(f"- Training started from the weights of an earlier round (`{Path(info.started_from).name}`).")
    if info.recipe.get("base_model"):
        lines.append(
            "- The single scans that repeats were simulated from were first denoised with a model of the same recipe "
            f"(`{Path(info.recipe['base_model']).name}`), so that their own noise, which all repeats share, does not "
            "pass for anatomy."
        )
    return lines


def _returned(info: ModelInfo) -> list[str]:
    back = info.recipe.get("returned") or {}
    if not back.get("share"):
        return []
    return [
        f"- Of what the network takes away on scales above {back['mm']:g} mm (sigma of a Gaussian, in plane), the scan "
        f"gets a share of {back['share']:g} back (why: medn2n/docs/evaluation.md, Detectability). medn2n does this; "
        "the bundle run by MONAI alone does not."
    ]


def _digital(info: ModelInfo) -> list[str]:
    section = info.recipe.get(f"simulate_{info.modality.lower()}") or {}
    if not section.get("digital"):
        return []
    return [
        f"- {section['digital']} scans of random digital objects (bodies and heads drawn by chance) stood "
        "beside the real ones as bases of simulated repeats, since those have no noise of their own."
    ]
