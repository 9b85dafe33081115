"""The optimisers of a recipe: Adam, as in the paper, and Muon.

Muon (Jordan et al. 2024, https://kellerjordan.github.io/posts/muon): a step whose matrix is orthogonal. Adam's steps on
a convolution's weights lie along few directions, and the others hardly learn. Here the direction of descent, as the
matrix (outputs × inputs·kernel), is replaced by the nearest one with singular values of one, so that all directions
learn alike. Each output's row is then divided by its own running size, so that all outputs learn alike too (NorMuon,
Li et al. 2025, arXiv:2510.05491, algorithm 1), and all rows are made about as long in every layer: as the rows of
torch's initial weights are, whatever the number of inputs, so that layers of one pixel learn as fast as those of nine.
(Steps of one size an entry, as of Adam and in Liu et al. 2025, arXiv:2502.16982, eq. 4, let the former fall behind:
configs/README.md.) A rate that suits Adam suits it as well. Weights fade as there (section 2.2).
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from medn2n.config import Optimiser

MOMENTUM = 0.95
MEMORY_OF_ROWS = 0.95
FADING = 0.1  # of the matrices in a step, times the rate
LENGTH = 4.0  # of a step's rows at a rate of one; their entries are as large as Adam's usual ones at some 400 inputs
QUINTIC = (3.4445, -4.7750, 2.0315)  # a σ + b σ³ + c σ⁵ takes σ of 0.01 to 1 near one in five passes
PASSES = 5


def build_optimiser(spec: Optimiser, network: nn.Module) -> torch.optim.Optimizer:
    """The optimiser of a recipe, for all parameters of a network."""
    kind = {"adam": torch.optim.Adam, "muon": Muon}[spec.name]
    # Fused: one call for all parameters. Of many small ones the calls themselves cost more than what they compute.
    return kind(network.parameters(), lr=spec.learning_rate, betas=spec.betas, eps=1e-8, fused=True)


class Muon(torch.optim.Adam):
    """Matrices (weights of several rows and columns) by Muon, all other parameters by Adam. A step uses the
    matrices' gradients up: they are None after it."""

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """One step of all parameters that have a gradient; `closure` computes the gradients first, and the loss."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            matrices = [one for one in group["params"] if one.grad is not None and _is_matrix(one)]
            if matrices:
                torch._foreach_mul_(matrices, 1.0 - group["lr"] * FADING)
                torch._foreach_add_(matrices, self._changes(matrices), alpha=-group["lr"])
            for one in matrices:
                one.grad = None  # so that Adam passes them over
        super().step()
        return loss

    def _changes(self, matrices: list[Tensor]) -> list[Tensor]:
        for one in matrices:
            if "rows" not in self.state[one]:  # "step" since Adam looks for it when a state is loaded
                self.state[one] |= {"step": torch.zeros(()), "momentum": torch.zeros_like(one)}
                self.state[one]["rows"] = one.new_zeros(len(one), 1)
        gradients = [one.grad for one in matrices if one.grad is not None]
        momenta = [self.state[one]["momentum"] for one in matrices]
        torch._foreach_mul_(momenta, MOMENTUM)
        torch._foreach_add_(momenta, gradients)
        ahead = torch._foreach_add(gradients, momenta, alpha=MOMENTUM)  # Nesterov's
        turned = orthogonal([one.flatten(1) for one in ahead])
        self._even(turned, [self.state[one]["rows"] for one in matrices])
        return [one.view(like.shape) for one, like in zip(turned, matrices, strict=True)]

    @staticmethod
    def _even(steps: list[Tensor], rows: list[Tensor]) -> None:
        """In place. rows: the running squares of their lengths, which are kept for the next step."""
        squares = [one.square().sum(dim=1, keepdim=True) for one in steps]
        torch._foreach_lerp_(rows, squares, 1.0 - MEMORY_OF_ROWS)
        torch._foreach_div_(steps, torch._foreach_clamp_min(torch._foreach_sqrt(rows), 1e-8))
        torch._foreach_div_(steps, torch._foreach_clamp_min(torch._foreach_norm(steps), 1e-8))
        torch._foreach_mul_(steps, [LENGTH * math.sqrt(len(one)) for one in steps])


def _is_matrix(parameter: Tensor) -> bool:
    return parameter.ndim > 1 and min(parameter.shape[0], parameter[0].numel()) > 1


def orthogonal(matrices: list[Tensor]) -> list[Tensor]:
    """U Vᵀ of each matrix (N,M) = U S Vᵀ, float32, roughly: singular values end between 0.7 and 1.2, those below a
    hundredth of the Frobenius norm lower.

    Newton-Schulz passes. Each multiplies the matrix by a polynomial of its Gram matrix; as these commute, the passes
    are done on the small Gram matrices alone, those of one size together, and each matrix is multiplied once."""
    wide = [one if one.shape[0] <= one.shape[1] else one.T for one in matrices]
    norms = torch._foreach_clamp_min(torch._foreach_norm(wide), 1e-12)
    wide = list(torch._foreach_div(wide, norms))
    factors: dict[int, Tensor] = {}
    for size in {len(one) for one in wide}:
        same = [number for number, one in enumerate(wide) if len(one) == size]
        passed = _passes(torch.stack([wide[number] @ wide[number].T for number in same]))
        factors |= dict(zip(same, passed, strict=True))
    results = [factors[number] @ one for number, one in enumerate(wide)]
    return [result if one.shape[0] <= one.shape[1] else result.T for result, one in zip(results, matrices, strict=True)]


def _passes(gram: Tensor) -> Tensor:
    """(B,N,N): what all passes together multiply matrices by whose Gram matrices these are."""
    a, b, c = QUINTIC
    one = torch.eye(gram.shape[-1], dtype=gram.dtype, device=gram.device)
    factor = one
    for _ in range(PASSES):
        by = torch.baddbmm(a * one + b * gram, gram, gram, alpha=c)
        factor, gram = by @ factor, by @ gram @ by
    return factor
