"""A model bundle: a folder in MONAI-bundle layout, read from JSON and safetensors alone. Nothing in it is executed.

configs/metadata.json       what the model is: modality, dims, scaling, network, scope, figures, sha256 of its files
configs/inference.json      for people who run it through monai.bundle
models/model.safetensors    weights
models/model.xml, .bin      the same network for OpenVINO
docs/README.md              model card
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError

from medn2n.config import Network, Scaling
from medn2n.config.second_views import Strict
from medn2n.core.scope import Seen
from medn2n.core.volume import Unit
from medn2n.errors import ModelError
from medn2n.formats.manifest import file_sha256, write_json

WEIGHTS = "models/model.safetensors"
OPENVINO = "models/model.xml"
HASHED = (WEIGHTS, OPENVINO, "models/model.bin")


class Scope(Strict):
    """What the model has seen, so that a scan outside can be told (`core.scope`). texture: correlation of the noise
    between neighbouring pixels; it, edge of a pixel and step of slices as (lowest, highest). field_t, kernels: that the
    headers named. None and empty where not known."""

    unit: Unit
    groups: int
    subjects: int
    noise_share: tuple[float, float] = Field(description="noise σ over scale, 5th and 95th percentile of training")
    texture: tuple[float, float] | None = None
    pixel_mm: tuple[float, float] | None = None
    slice_mm: tuple[float, float] | None = None
    field_t: tuple[float, ...] = ()
    kernels: tuple[str, ...] = ()

    def seen(self) -> Seen:
        """As `core.scope` holds a scan against it."""
        return Seen(**self.model_dump(exclude={"unit", "groups", "subjects"}))


class ModelInfo(Strict):
    """The medn2n part of metadata.json."""

    name: str
    modality: Literal["CT", "MR", "PHOTO"]
    network: Network
    scaling: Scaling
    scope: Scope
    recipe: dict[str, Any]
    manifest_sha256: str
    started_from: str = Field(default="", description="model whose weights training started from")
    medn2n_version: str
    figures: dict[str, float] = Field(default_factory=dict)
    sha256: dict[str, str] = Field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Bundle:
    """A checked bundle. sha256: of its weights, the model's identity in provenance and UIDs."""

    folder: Path
    info: ModelInfo

    @property
    def sha256(self) -> str:
        return self.info.sha256[WEIGHTS]


def shipped_models() -> dict[str, Path]:
    """Name → folder of the bundles that come with medn2n."""
    home = Path(__file__).parent.parent / "models"
    return {path.parent.parent.name: path.parent.parent for path in sorted(home.glob("*/configs/metadata.json"))}


def find_bundle(model: str | Path) -> Path:
    """The folder of a model given by name, bundle folder or run folder. ModelError UNKNOWN_MODEL otherwise."""
    shipped = shipped_models()
    if str(model) in shipped:
        return shipped[str(model)]
    for candidate in (Path(model), Path(model) / "bundle"):
        if (candidate / "configs" / "metadata.json").is_file():
            return candidate
    names = ", ".join(shipped) or "none"
    raise ModelError(
        "UNKNOWN_MODEL",
        f"Unknown model: expected one of the shipped models ({names}), a bundle folder, "
        "or a run folder of `medn2n train`.",
    )


def read_bundle(model: str | Path) -> Bundle:
    """Find, validate, and check every file's sha256. ModelError where anything is missing or altered."""
    folder = find_bundle(model)
    try:
        metadata = json.loads((folder / "configs" / "metadata.json").read_text(encoding="utf-8"))
        info = ModelInfo.model_validate(metadata["medn2n"])
    except (OSError, ValueError, KeyError, ValidationError) as error:
        raise ModelError(
            "DAMAGED_MODEL", f"The bundle's metadata.json is not valid ({type(error).__name__})."
        ) from None
    for name, expected in info.sha256.items():
        path = folder / name
        if name not in HASHED or not path.is_file() or file_sha256(path) != expected:
            raise ModelError(
                "DAMAGED_MODEL",
                f"The bundle's {Path(name).name} is missing or altered (expected sha256 {expected[:12]}…).",
            )
    if WEIGHTS not in info.sha256:
        raise ModelError("DAMAGED_MODEL", "The bundle's metadata.json lists no weights.")
    return Bundle(folder=folder, info=info)


def write_bundle(folder: Path, info: ModelInfo, *, card: str, versions: dict[str, str]) -> Bundle:
    """Add metadata, inference configuration and model card to a folder that holds the weights already."""
    hashes = {name: file_sha256(folder / name) for name in HASHED if (folder / name).is_file()}
    info = info.model_copy(update={"sha256": hashes})
    write_json(_monai_metadata(info, versions), folder / "configs" / "metadata.json")
    write_json(_monai_inference(info), folder / "configs" / "inference.json")
    (folder / "docs").mkdir(exist_ok=True)
    (folder / "docs" / "README.md").write_text(card, encoding="utf-8")
    return Bundle(folder=folder, info=info)


def _monai_metadata(info: ModelInfo, versions: dict[str, str]) -> dict[str, Any]:
    dims = info.network.dims
    image: dict[str, Any] = {
        "type": "image",
        "format": {"CT": "hounsfield", "MR": "magnitude", "PHOTO": "intensity"}[info.modality],
        "modality": info.modality,
        "num_channels": 1,
        "spatial_shape": ["*"] * dims,
        "dtype": "float32",
        "value_range": [],
        "is_patch_data": False,
        "channel_def": {"0": "image"},
    }
    return {
        "schema": "https://github.com/Project-MONAI/MONAI-extra-test-data/releases/download/0.8.1/meta_schema_20220324.json",
        "version": info.medn2n_version,
        "changelog": {info.medn2n_version: "first release"},
        "monai_version": versions["monai"],
        "pytorch_version": versions["torch"],
        "numpy_version": versions["numpy"],
        "optional_packages_version": {},
        "task": f"Denoising of {info.modality} images, learned by Noise2Noise",
        "description": "Predicts an image with less noise from one noisy image. Research use, not a medical device.",
        "authors": "medn2n",
        "copyright": "Apache-2.0",
        "network_data_format": {"inputs": {"image": _with_channels(image, info)}, "outputs": {"pred": image}},
        "medn2n": info.model_dump(mode="json"),
    }


def _with_channels(image: dict[str, Any], info: ModelInfo) -> dict[str, Any]:
    """The input's description: the slice itself between its neighbours, where the network sees any."""
    around = range(-info.network.neighbours, info.network.neighbours + 1)
    names = {str(n): f"slice {step:+d}" if step else "image" for n, step in enumerate(around)}
    return image | {"num_channels": info.network.channels, "channel_def": names}


def _monai_inference(info: ModelInfo) -> dict[str, Any]:
    """Keys as MONAI bundles use them; values that monai.bundle.ConfigParser instantiates."""
    return {
        "imports": [],
        "bundle_root": ".",
        "network_def": {
            "_target_": "medn2n.core.networks.build_network",
            "name": info.network.name,
            "arguments": info.network.build_arguments(),
            "residual": info.network.residual,
        },
        "inferer": {
            "_target_": "SlidingWindowInferer",
            "roi_size": [512, 512] if info.network.dims == 2 else [96, 96, 96],
            "sw_batch_size": 2,
            "mode": "gaussian",
        },
    }
