"""Weights between a network and a bundle folder: safetensors, never pickle."""

from __future__ import annotations

from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from medn2n.core.networks import build_network
from medn2n.errors import ModelError
from medn2n.formats.bundle_dir import WEIGHTS, Bundle


def save_weights(network: nn.Module, folder: Path) -> None:
    """Write models/model.safetensors: float32, contiguous."""
    (folder / WEIGHTS).parent.mkdir(parents=True, exist_ok=True)
    save_file({name: value.float().contiguous() for name, value in network.state_dict().items()}, folder / WEIGHTS)


def load_weights(bundle: Bundle) -> dict[str, Tensor]:
    """The state dict of a checked bundle."""
    try:
        return dict(load_file(bundle.folder / WEIGHTS))
    except (SafetensorError, OSError) as error:
        raise ModelError("DAMAGED_MODEL", f"The bundle's weights cannot be read ({type(error).__name__}).") from None


def load_network(bundle: Bundle) -> nn.Module:
    """The bundle's network with its weights, in evaluation mode."""
    spec = bundle.info.network
    network = build_network(spec.name, spec.build_arguments(), residual=spec.residual)
    try:
        network.load_state_dict(load_weights(bundle))
    except RuntimeError:
        raise ModelError("DAMAGED_MODEL", "The bundle's weights do not fit its network description.") from None
    return network.eval()
