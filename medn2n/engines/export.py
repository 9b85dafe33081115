"""A trained network to the file that an engine runs."""

from __future__ import annotations

import warnings
from pathlib import Path

import torch
from torch import nn


def export_openvino(network: nn.Module, path: Path, *, dims: int, channels: int = 1) -> None:
    """Write `path` (.xml, with its .bin): batch and spatial sizes open, float32, sizes must be multiples of 32 (2D) or
    16 (3D)."""
    import openvino

    edge = 64 if dims == 2 else 32
    example = torch.zeros(1, channels, *([edge] * dims))
    with torch.no_grad(), warnings.catch_warnings():
        # "This size is a constant of the trace": wanted, since the example needs no padding and neither do the engine's
        # images.
        warnings.simplefilter("ignore", torch.jit.TracerWarning)  # type: ignore[attr-defined]
        model = openvino.convert_model(network.eval(), example_input=example, input=[-1, channels, *([-1] * dims)])
    path.parent.mkdir(parents=True, exist_ok=True)
    openvino.save_model(model, str(path), compress_to_fp16=False)
