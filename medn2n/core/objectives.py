"""Training losses on (B,C,…) tensors: what the network said, the noisy target, the noisy input. Scalars come out."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

Objective = Callable[[Tensor, Tensor, Tensor], Tensor]


def l2(output: Tensor, target: Tensor, _input: Tensor) -> Tensor:
    """Mean squared error: noisy targets with zero-mean noise give the clean expectation (Lehtinen 2018, eq. 2-4)."""
    return (output - target).square().mean()


def l1(output: Tensor, target: Tensor, _input: Tensor) -> Tensor:
    """Mean absolute error: gives the median of the targets (Lehtinen 2018, §3.2, text removal)."""
    return (output - target).abs().mean()


def balanced_l2(output: Tensor, target: Tensor, input: Tensor) -> Tensor:
    """Each sample's mean squared error divided by mean (input − target)² of that sample, then averaged.

    (input − target)² is twice the noise variance, so a quiet scan counts as much as a loud one; with plain L2 a model
    blind over a decade of noise levels would learn from the loudest scans alone. The divisor is a mean over a whole
    patch: it hardly depends on any one target voxel, so the target's expectation stays the optimum.
    """
    axes = tuple(range(1, output.dim()))
    noise = (input - target).square().mean(dim=axes).clamp_min(1e-8)
    return ((output - target).square().mean(dim=axes) / noise).mean()


OBJECTIVES: dict[str, Objective] = {"l2": l2, "l1": l1, "balanced_l2": balanced_l2}
