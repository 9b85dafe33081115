"""The loss of one training step: what the recipe's objective says of a batch, and what its strategy adds."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from medn2n.config import Recipe
from medn2n.core.carrying import compared
from medn2n.core.networks import middle_channel
from medn2n.core.objectives import OBJECTIVES, Known, neighbour_regulariser, sample_means, with_measured
from medn2n.core.second_views import subsampled


def step_loss(network: nn.Module, batch: Mapping[str, Tensor], recipe: Recipe, *, share_done: float) -> Tensor:
    """Scalar, for a batch of `medn2n.core.samples`. share_done: of the run, 0 to 1."""
    output = network(batch["input"]).float()
    known = Known(share_done=share_done, measured=batch.get("measured"), kept=batch.get("kept"))
    loss = OBJECTIVES[recipe.objective](*compared(output, batch, recipe.align), known)
    if "whole" in batch:
        apart = _neighbours_apart(network, batch, output)
        if recipe.objective == "balanced_l2":  # in the loss's own measure, or it would weigh next to nothing
            noise = sample_means((middle_channel(batch["input"]) - batch["target"]).square())
            apart = apart / noise.clamp_min(1e-8)
        loss = loss + share_done * recipe.subsample.gamma * apart.mean()
    return loss


def finished(output: Tensor, batch: Mapping[str, Tensor]) -> Tensor:
    """What a denoise run makes of the network's output: where frequencies were measured, those are put back."""
    return with_measured(output, batch["measured"], batch["kept"]) if "measured" in batch else output


def _neighbours_apart(network: nn.Module, batch: Mapping[str, Tensor], output: Tensor) -> Tensor:
    """(B,): Neighbor2Neighbor's regulariser; see `core.second_views.SubsamplePaird`."""
    with torch.no_grad():
        whole = network(batch["whole"]).float()
    first, second = (subsampled(whole, batch[key]) for key in ("first", "second"))
    return neighbour_regulariser(output, batch["target"], first, second)
