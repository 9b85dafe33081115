"""Verbs that need two stages: a catalogue first, then what is done with it. Stages never import one another."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from medn2n.config import parse_corrupt
from medn2n.core.catalogue import PassedOver
from medn2n.core.corruption import Levels, corruption_of
from medn2n.core.repeat_groups import Decision
from medn2n.core.volume import Volume
from medn2n.errors import UsageError
from medn2n.formats.declaration import read_declaration
from medn2n.formats.gate_limits import read_limits
from medn2n.formats.manifest import Manifest, data_root, read_manifest, write_manifest
from medn2n.formats.photo import read_mark
from medn2n.log import logger
from medn2n.places import check_output
from medn2n.stages.catalogue_to_repeats import find_repeats
from medn2n.stages.folder_to_catalogue import catalogue
from medn2n.stages.image_to_repeats import CorruptionPlan, corrupt_repeats
from medn2n.stages.repeats_to_page import write_repeats_page
from medn2n.stages.scans_to_report import Evaluation
from medn2n.stages.volume_to_repeats import SimulatedSeries, ct_simulation, mr_simulation, simulate_repeats


def pair_scans(
    scans: Path,
    output: Path | None,
    *,
    declare: Path | None = None,
    modality: str = "",
    singles: bool = False,
    root: str = "",
    source: str = "",
    licence: str = "",
    page: Path | None = None,
) -> tuple[Manifest, Sequence[Decision]]:
    """Find the repeats below `scans` and write the manifest (none for output None) and the page (none for page None).

    singles: list scans without a repeat too. root: "$NAME", an environment variable that the manifest is to start
    from; else its references start from its own folder. source, licence: of the scans, for every group.
    """
    if not scans.is_dir():
        raise UsageError("SCANS is not a folder. Give the folder that holds the scans.")
    if root and not re.fullmatch(r"\$[A-Za-z_][A-Za-z0-9_]*", root):
        raise UsageError("--root is an environment variable, written as '$MEDN2N_DATA'.")
    everything = catalogue(scans, modality=modality)
    if everything.refused and not len(everything):
        raise everything.nothing("There is no scan to pair.")
    found = everything if singles else everything.without_photographs()
    manifest, decisions = find_repeats(
        found, scans, name="repeats" if output is None else output.stem,
        declaration=None if declare is None else read_declaration(declare),
        modality=modality, singles=singles, manifest_root=root, source=source, licence=licence,
    )  # fmt: skip
    if output is not None:
        # References from the manifest's own folder, where MONAI looks for them too.
        below = "." if root else Path(os.path.relpath(scans.resolve(), output.resolve().parent)).as_posix()
        write_manifest(manifest if below == "." else _below(manifest, below), output)
    if page is not None:
        write_repeats_page(page, manifest, decisions, found, scans, modality=modality, dry_run=output is None)
    return manifest, decisions


def _below(manifest: Manifest, folder: str) -> Manifest:
    """The manifest with every reference put below `folder`."""
    splits = {
        split: [
            group.model_copy(update={"image": [f"{folder}/{reference}" for reference in group.image]})
            for group in getattr(manifest, split)
        ]
        for split in ("training", "validation", "test")
    }
    return manifest.model_copy(update=splits)


def simulate(
    modality: str, scans: Path, output: Path, *, seed: int, **settings: Any
) -> tuple[Manifest, list[SimulatedSeries], tuple[PassedOver, ...]]:
    """Simulated repeats of every series of `modality` below `scans` into `output`, their manifest, what was measured of
    each beside theory, and what was refused. settings: of `ct_simulation` or `mr_simulation`."""
    if not scans.exists():
        raise UsageError("The scan does not exist. Give a scan file, a series folder or a tree.")
    check_output(scans, output)
    for name, value in settings.items():
        if isinstance(value, float) and not math.isfinite(value):
            raise UsageError(f"{name}: expected a finite number, found {value}.")
    said = {key: value for key, value in settings.items() if value is not None}
    description = f"simulated {modality}: " + ", ".join(f"{key} {value}" for key, value in said.items())
    try:
        simulation = (ct_simulation if modality == "CT" else mr_simulation)(**settings)
    except ValueError as error:
        raise UsageError(f"{error}.") from None
    root = scans if scans.is_dir() else scans.parent
    found = catalogue(scans, modality="")
    manifest, done, refused = simulate_repeats(
        found, root, modality=modality, simulation=simulation, output=output, seed=seed, description=description
    )
    return manifest, done, (*found.refused, *refused)


def simulate_corruption(
    scans: Path,
    output: Path,
    *,
    section: Mapping[str, Any],
    repeats: int,
    seed: int,
    modality: str = "",
    levels: tuple[float, float] | None = None,
) -> tuple[Manifest, tuple[PassedOver, ...]]:
    """Corrupted repeats of every photograph and series below `scans` into `output`, with their manifest, and what was
    refused.

    section: kind and settings as a recipe's section `corrupt` has them. levels: the values of black and white, where
    not those of the modality (`medn2n.stages.image_to_repeats`)."""
    if not scans.exists():
        raise UsageError("The scan does not exist. Give a photograph, a scan file, a series folder or a tree.")
    check_output(scans, output)
    settings = parse_corrupt(section)
    if levels is not None and not -math.inf < levels[0] < levels[1] < math.inf:
        raise UsageError(f"--black must lie below --white, found {levels[0]:g} and {levels[1]:g}.")
    if settings.mark is not None and not Path(settings.mark).is_file():
        raise UsageError("The picture of the mark does not exist. Check the path.")
    mark = None if settings.mark is None else read_mark(Path(settings.mark))
    given = {name: value for name, value in settings.parameters().items() if name != "mark"}
    plan = CorruptionPlan(
        kind=settings.kind,
        corruption=corruption_of(settings, mark=mark),
        repeats=repeats,
        seed=seed,
        levels=None if levels is None else Levels(black=levels[0], white=levels[1]),
        description=", ".join([f"corrupted: {settings.kind}"] + [f"{name} {value}" for name, value in given.items()]),
    )
    root = scans if scans.is_dir() else scans.parent
    found = catalogue(scans, modality=modality).with_pictures_refused()
    manifest, refused = corrupt_repeats(found, root, plan=plan, output=output)
    return manifest, (*found.refused, *refused)


def evaluate_models(
    manifest_path: Path,
    output: Path,
    *,
    models: Sequence[str],
    baselines: Sequence[str],
    copies: Sequence[str] = (),
    split: str = "test",
    device: str = "auto",
    limits: Path | None = None,
) -> Evaluation:
    """Score models (names or folders; "auto" = the shipped one of each modality), copies that were made elsewhere
    (NAME=FOLDER) and baselines on a manifest."""
    from medn2n.stages.scans_to_report import evaluate

    if output.exists() and not output.is_dir():
        raise UsageError("-o: expected a folder, or the name of one to be made, found a file there.")
    manifest = read_manifest(manifest_path)
    return evaluate(
        manifest,
        data_root(manifest, manifest_path),
        denoisers=_denoisers(models, device),
        copies=_named_folders(copies),
        baselines=baselines,
        output=output,
        split=split,
        limits=read_limits(limits),
        progress=logger.info,
    )


def _denoisers(models: Sequence[str], device: str) -> dict[str, Callable[[Volume], Volume]]:
    """By the name that a result gives them."""
    from medn2n.stages.volume_to_denoised import Denoiser

    loaded: dict[str, Denoiser] = {}

    def by_modality(volume: Volume) -> Volume:
        name = volume.modality.lower()
        loaded.setdefault(name, Denoiser.load(name, device=device))
        return loaded[name](volume)

    return {
        name: by_modality if model == "auto" else Denoiser.load(model, device=device)
        for name, model in zip(_told_apart(models), models, strict=True)
    }


def _told_apart(models: Sequence[str]) -> list[str]:
    """A name for each: of a folder its own, and as many of those above it as tell them apart. UsageError where one is
    given twice."""
    parts = [("medn2n",) if name == "auto" else Path(name).resolve().parts if Path(name).exists() else (name,)
             for name in models]  # fmt: skip
    for length in range(1, 1 + max(map(len, parts), default=0)):
        names = ["/".join(one[-length:]) for one in parts]
        if len(set(names)) == len(names):
            return names
    if not models:
        return []
    raise UsageError("--model: expected each model once, found one twice.")


def _named_folders(named: Sequence[str]) -> dict[str, Path]:
    """From NAME=FOLDER."""
    found: dict[str, Path] = {}
    for one in named:
        name, mark, folder = one.partition("=")
        if not (name and mark and Path(folder).is_dir()) or name in found:
            raise UsageError(
                "--copies: expected NAME=FOLDER, each name once, with a folder that exists and mirrors the manifest's "
                f"scans; found {'no folder there' if mark else 'no ='}."
            )
        found[name] = Path(folder)
    return found
