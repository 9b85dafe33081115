"""Training losses on (B,C,…) tensors: what the network said, the noisy target, the noisy input. Scalars come out.

valid: (B,1,…) 1 where a voxel counts and 0 where not (a carried prediction does not reach everywhere); None: all do.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

Objective = Callable[[Tensor, Tensor, Tensor, Tensor | None], Tensor]


def l2(output: Tensor, target: Tensor, _input: Tensor, valid: Tensor | None = None) -> Tensor:
    """Mean squared error: noisy targets with zero-mean noise give the clean expectation (Lehtinen 2018, eq. 2-4)."""
    square = (output - target).square()
    return square.mean() if valid is None else (square * valid).sum() / valid.expand_as(square).sum().clamp_min(1)


def l1(output: Tensor, target: Tensor, _input: Tensor, valid: Tensor | None = None) -> Tensor:
    """Mean absolute error: gives the median of the targets (Lehtinen 2018, §3.2, text removal)."""
    apart = (output - target).abs()
    return apart.mean() if valid is None else (apart * valid).sum() / valid.expand_as(apart).sum().clamp_min(1)


def balanced_l2(output: Tensor, target: Tensor, input: Tensor, valid: Tensor | None = None) -> Tensor:
    """Each sample's mean squared error divided by mean (input − target)² of that sample, then averaged.

    (input − target)² is twice the noise variance, so a quiet scan counts as much as a loud one; with plain L2 a model
    blind over a decade of noise levels would learn from the loudest scans alone. The divisor is a mean over a whole
    patch: it hardly depends on any one target voxel, so the target's expectation stays the optimum.
    """
    return shares_left(output, target, input, valid).mean()


def shares_left(output: Tensor, target: Tensor, input: Tensor, valid: Tensor | None = None) -> Tensor:
    """(B,): mean (output − target)² over mean (input − target)² of each sample; 0 for one without a valid voxel."""
    noise = sample_means((input - target).square(), valid).clamp_min(1e-8)
    return sample_means((output - target).square(), valid) / noise


def sample_means(values: Tensor, valid: Tensor | None = None) -> Tensor:
    """(B,): the mean over each sample's (valid) voxels."""
    axes = tuple(range(1, values.dim()))
    if valid is None:
        return values.mean(dim=axes)
    return (values * valid).sum(dim=axes) / valid.expand_as(values).sum(dim=axes).clamp_min(1)


OBJECTIVES: dict[str, Objective] = {"l2": l2, "l1": l1, "balanced_l2": balanced_l2}
