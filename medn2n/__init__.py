"""medn2n: Noise2Noise denoising of CT and MR scans, written back with their metadata preserved.

    volume = medn2n.load("series/")               # one Volume, or an error that names the series found
    for series in medn2n.catalogue("study/"): …   # all of them
    denoiser = medn2n.Denoiser.load("ct")         # name, bundle folder, or run folder
    medn2n.save(denoiser(volume), "out/")         # header and geometry from volume.source
    LoadImaged(keys, reader=medn2n.ScanReader())  # the same loading inside any MONAI pipeline
    recipe = medn2n.read_recipe(medn2n.find_recipe("mr_repeats"), ["seed=7"])
    medn2n.train_model(recipe, manifest, run)     # what `medn2n train` does; Denoiser.load(run) is the model
    noise = medn2n.corruption_of(medn2n.config.parse_corrupt({"kind": "gaussian", "sigma": 25}))
    medn2n.corrupt(image, noise, generator).image # a noisy copy, as training makes them
    medn2n.phantom_physics(repeats, denoiser, generator=generator)  # noise spectrum, sharpness, detection of a phantom

Research use only: not a medical device.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

# Loaded on first use: torch and monai take seconds to import, and most commands need neither.
_HOME = {
    "corrupt": "medn2n.core.corruption",
    "corruption_of": "medn2n.core.corruption",
    "find_recipe": "medn2n.recipes",
    "read_recipe": "medn2n.recipes",
    "train_model": "medn2n.training",
    "load": "medn2n.formats.scan",
    "save": "medn2n.formats.scan",
    "common_mark": "medn2n.core.mark_of_a_set",
    "phantom_physics": "medn2n.core.phantom_physics",
    "catalogue": "medn2n.stages.folder_to_catalogue",
    "Denoiser": "medn2n.stages.volume_to_denoised",
    "ScanReader": "medn2n.formats.monai_reader",
    "Volume": "medn2n.core.volume",
}

__all__ = [
    "Denoiser", "ScanReader", "Volume", "catalogue", "common_mark", "corrupt", "corruption_of", "find_recipe", "load",
    "phantom_physics", "read_recipe", "save", "train_model",
]  # fmt: skip

if TYPE_CHECKING:
    from medn2n.core.corruption import corrupt, corruption_of
    from medn2n.core.mark_of_a_set import common_mark
    from medn2n.core.phantom_physics import phantom_physics
    from medn2n.core.volume import Volume
    from medn2n.formats.monai_reader import ScanReader
    from medn2n.formats.scan import load, save
    from medn2n.recipes import find_recipe, read_recipe
    from medn2n.stages.folder_to_catalogue import catalogue
    from medn2n.stages.volume_to_denoised import Denoiser
    from medn2n.training import train_model


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'medn2n' has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
