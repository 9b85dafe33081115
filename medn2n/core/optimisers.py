"""The optimisers of a recipe: Adam, as in the paper, and Muon.

Muon (Jordan et al. 2024, https://kellerjordan.github.io/posts/muon): a step whose matrix is orthogonal. Adam's steps on
a convolution's weights lie along few directions, and the others hardly learn. Here the direction of descent, as the
matrix (outputs × inputs·kernel), is replaced by the nearest one with singular values of one, so that all directions
learn alike. Its entries are then scaled to the size of Adam's (Liu et al. 2025, arXiv:2502.16982, eq. 4), so that a
rate that suits Adam suits it too.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

from medn2n.config import Optimiser

MOMENTUM = 0.95
ROOT_MEAN_SQUARE = 0.2  # of a step's entries at a rate of one, as Adam's
QUINTIC = (3.4445, -4.7750, 2.0315)  # a σ + b σ³ + c σ⁵ takes σ of 0.01 to 1 near one in five passes
PASSES = 5


def build_optimiser(spec: Optimiser, network: nn.Module, device: torch.device) -> torch.optim.Optimizer:
    """The optimiser of a recipe, for all parameters of a network."""
    if spec.name == "muon":
        return Muon(network.parameters(), lr=spec.learning_rate, betas=spec.betas)
    fused = device.type == "cuda"  # a GPU waits for the launch of each small kernel otherwise
    return torch.optim.Adam(network.parameters(), lr=spec.learning_rate, betas=spec.betas, eps=1e-8, fused=fused)


class Muon(torch.optim.Optimizer):
    """Matrices (convolutions of several outputs) by Muon, all other parameters by Adam with the given betas."""

    def __init__(self, parameters: Iterable[nn.Parameter], *, lr: float, betas: tuple[float, float]) -> None:
        super().__init__(parameters, {"lr": lr, "betas": betas})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        if closure is not None:
            raise NotImplementedError("Muon: gradients are computed before the step, not by a closure.")
        for group in self.param_groups:
            for parameter in (one for one in group["params"] if one.grad is not None):
                state, gradient = self.state[parameter], parameter.grad
                if parameter.ndim > 1 and min(parameter.shape[0], parameter[0].numel()) > 1:
                    change = _orthogonal_step(gradient, state)
                else:
                    change = _adam_step(gradient, state, group["betas"])
                parameter.sub_(change, alpha=group["lr"])


def _orthogonal_step(gradient: Tensor, state: dict[str, Any]) -> Tensor:
    if not state:
        state["momentum"] = torch.zeros_like(gradient)
    momentum: Tensor = state["momentum"]
    momentum.mul_(MOMENTUM).add_(gradient)
    matrix = torch.add(gradient, momentum, alpha=MOMENTUM).flatten(1)  # Nesterov's look ahead
    return orthogonal(matrix).mul_(ROOT_MEAN_SQUARE * math.sqrt(max(matrix.shape))).view(gradient.shape)


def orthogonal(matrix: Tensor) -> Tensor:
    """U Vᵀ of `matrix` (N,M) = U S Vᵀ, float32, roughly: singular values end between 0.7 and 1.2, those below a
    hundredth of the Frobenius norm lower.

    Newton-Schulz passes. Each multiplies the matrix by a polynomial of its Gram matrix; as these commute, the passes
    are done on the small Gram matrices alone, and the matrix is multiplied once."""
    wide = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T
    wide = wide / wide.norm().clamp(min=1e-12)
    gram, one = wide @ wide.T, torch.eye(len(wide), dtype=wide.dtype, device=wide.device)
    a, b, c = QUINTIC
    factor = one
    for _ in range(PASSES):
        by: Tensor = a * one + b * gram + c * gram @ gram
        factor, gram = by @ factor, by @ gram @ by
    result: Tensor = factor @ wide
    return result if matrix.shape[0] <= matrix.shape[1] else result.T


def _adam_step(gradient: Tensor, state: dict[str, Any], betas: tuple[float, float]) -> Tensor:
    if not state:
        state |= {"step": torch.zeros(()), "mean": torch.zeros_like(gradient), "square": torch.zeros_like(gradient)}
    mean: Tensor = state["mean"]
    square: Tensor = state["square"]
    state["step"] += 1
    count = float(state["step"])
    mean.lerp_(gradient, 1 - betas[0])
    square.lerp_(gradient.square(), 1 - betas[1])
    spread = (square / (1 - betas[1] ** count)).sqrt_().add_(1e-8)
    change: Tensor = (mean / (1 - betas[0] ** count)).div_(spread)
    return change
