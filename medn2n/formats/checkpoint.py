"""Training checkpoints as safetensors: weights, their average, the optimiser's state; progress as JSON. No pickle."""

from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from medn2n.errors import ModelError


def save_checkpoint(
    path: Path, *, network: nn.Module, average: nn.Module, optimiser: torch.optim.Optimizer, progress: Any
) -> None:
    """Write whole or not at all. progress: a dataclass of plain values."""
    tensors: dict[str, Tensor] = {}
    for prefix, module in (("network", network), ("average", average)):
        tensors |= {f"{prefix}.{name}": value for name, value in _plain_state(module).items()}
    for index, state in optimiser.state_dict()["state"].items():
        for name, value in state.items():
            tensors[f"optimiser.{index}.{name}"] = torch.as_tensor(value)
    tensors = {name: value.detach().cpu().contiguous().clone() for name, value in tensors.items()}
    temporary = path.with_name(f".{path.name}.tmp")
    save_file(tensors, temporary, metadata={"progress": json.dumps(dataclasses.asdict(progress))})
    os.replace(temporary, path)


def load_checkpoint(
    path: Path,
    *,
    network: nn.Module | None = None,
    average: nn.Module | None = None,
    optimiser: torch.optim.Optimizer | None = None,
) -> dict[str, Any]:
    """Load what is asked for in place and return the progress. ModelError where the file does not fit."""
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            progress: dict[str, Any] = json.loads(file.metadata()["progress"])
        for prefix, module in (("network", network), ("average", average)):
            if module is not None:
                _plain(module).load_state_dict(_below(tensors, prefix))
        if optimiser is not None:
            _load_optimiser(optimiser, _below(tensors, "optimiser"))
    except (SafetensorError, RuntimeError, KeyError, OSError) as error:
        raise ModelError(
            "CHECKPOINT",
            f"The checkpoint does not fit this recipe or is damaged ({type(error).__name__}). "
            "Train with the recipe it was made from, or without --resume.",
        ) from None
    return progress


def unfinished_step(path: Path) -> int | None:
    """The step of a checkpoint whose training has more to do; None where it is done, or there is no such file. Its
    header alone is read."""
    if not path.exists():
        return None
    try:
        with safe_open(path, framework="pt") as file:
            progress = json.loads(file.metadata()["progress"])
    except (SafetensorError, KeyError, TypeError, OSError):
        return None  # damaged: nothing goes on from it
    return None if progress.get("finished", False) else int(progress["step"])


def _load_optimiser(optimiser: torch.optim.Optimizer, tensors: dict[str, Tensor]) -> None:
    state: dict[int, dict[str, Tensor]] = {}
    for name, value in tensors.items():
        index, _, key = name.partition(".")
        state.setdefault(int(index), {})[key] = value
    optimiser.load_state_dict({"state": state, "param_groups": optimiser.state_dict()["param_groups"]})
    for parameter, kept in optimiser.state.items():
        for key, value in kept.items():
            if value.shape == parameter.shape:  # fused steps read memory in order, and weights may be channels-last
                kept[key] = torch.empty_like(parameter, dtype=value.dtype).copy_(value)


def _plain(module: nn.Module) -> nn.Module:
    """The network inside Fabric's wrapper."""
    inner = getattr(module, "module", None)
    return inner if isinstance(inner, nn.Module) else module


def _plain_state(module: nn.Module) -> dict[str, Tensor]:
    return _plain(module).state_dict()


def _below(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(f"{prefix}."): value for name, value in tensors.items() if name.startswith(f"{prefix}.")}
