"""Training losses on (B,C,…) tensors: what the network said, the noisy target, the noisy input. Scalars come out.

valid: (B,1,…) or (B,C,…) 1 where a voxel of the target counts and 0 where not (a carried prediction does not reach
everywhere; a pixel that the target's own corruption erased is no measurement); None: all do.
known: what else a loss may use; most use nothing of it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from medn2n.errors import UsageError


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """What training knows at a step besides the images.

    share_done: of the run, 0 to 1. measured: (B,C,…) complex spectrum that the input was made from, in FFT order
    (zero frequency first) and not divided by the probability of keeping it; kept: (B,1,…) 1 where it was measured.
    """

    share_done: float = 0.0
    measured: Tensor | None = None
    kept: Tensor | None = None


NOTHING = Known()
Objective = Callable[[Tensor, Tensor, Tensor, Tensor | None, Known], Tensor]
L0_FLOOR = 0.01  # 2.6 grey levels of a picture; the paper has 1e-8
HDR_FLOOR = 0.01


def l2(output: Tensor, target: Tensor, _input: Tensor, valid: Tensor | None = None, _known: Known = NOTHING) -> Tensor:
    """Mean squared error: noisy targets with zero-mean noise give the clean expectation (Lehtinen 2018, eq. 2-4)."""
    return mean_of((output - target).square(), valid)


def l1(output: Tensor, target: Tensor, _input: Tensor, valid: Tensor | None = None, _known: Known = NOTHING) -> Tensor:
    """Mean absolute error: gives the median of the targets (Lehtinen 2018, §3.2, text removal)."""
    return mean_of((output - target).abs(), valid)


def annealed_l0(
    output: Tensor, target: Tensor, _input: Tensor, valid: Tensor | None = None, known: Known = NOTHING
) -> Tensor:
    """mean (|output − target| + 0.01)^γ, γ falling from 2 to 0 over the run: ends at the mode of the targets, which
    replaced pixels do not move (Lehtinen 2018, §3.2, random-valued impulse noise). The paper adds 1e-8. Towards the
    end the slope is then γ/|output − target|, so that pixels which are right already outweigh all others."""
    gamma = 2.0 * (1.0 - min(1.0, max(0.0, known.share_done)))
    return mean_of(((output - target).abs() + L0_FLOOR).pow(gamma), valid)


def masked_l2(
    output: Tensor, target: Tensor, _input: Tensor, valid: Tensor | None = None, _known: Known = NOTHING
) -> Tensor:
    """L2 over the pixels that the target's own mask kept (Lehtinen 2018, §3.2, multiplicative Bernoulli noise). Erased
    pixels have no zero-mean noise, so a target without its mask is refused: UsageError."""
    if valid is None:
        raise UsageError("objective masked_l2 needs targets with a mask: use it with corrupt: {kind: bernoulli}.")
    return mean_of((output - target).square(), valid)


def relative_l2(
    output: Tensor, target: Tensor, _input: Tensor, valid: Tensor | None = None, _known: Known = NOTHING
) -> Tensor:
    """mean (output − target)² / (output + 0.01)², no gradient through the divisor: bright outliers of images with a
    high dynamic range count by their share (Lehtinen 2018, §3.3, L_HDR). Zero of the images is to be black, as recipes
    are held to; what a network puts below that counts as black does. The target's expectation stays the optimum, since
    only the output divides."""
    return mean_of((output - target).square() / (output.detach().clamp_min(0) + HDR_FLOOR).square(), valid)


def kspace_l2(
    output: Tensor, target: Tensor, _input: Tensor, valid: Tensor | None = None, known: Known = NOTHING
) -> Tensor:
    """L2 after the frequencies that were measured are put back into the output (Lehtinen 2018, §3.4), so that the
    network learns the missing ones alone. UsageError where the sample brings no measured spectrum."""
    if known.measured is None or known.kept is None:
        raise UsageError("objective kspace_l2 needs samples with a measured spectrum: undersampled k-space of MR.")
    return mean_of((with_measured(output, known.measured, known.kept) - target).square(), valid)


def with_measured(image: Tensor, measured: Tensor, kept: Tensor) -> Tensor:
    """The real image whose spectrum is `measured` where `kept` is 1, and the image's own elsewhere; both in FFT order
    over all spatial axes, unnormalised forward. Real where kept and measured are conjugate-symmetric; else its real
    part. What a denoise run does to the network's output too."""
    axes = tuple(range(2, image.dim()))
    spectrum = torch.fft.fftn(image, dim=axes)
    consistent: Tensor = torch.fft.ifftn(torch.where(kept.bool(), measured, spectrum), dim=axes).real
    return consistent


def balanced_l2(
    output: Tensor, target: Tensor, input: Tensor, valid: Tensor | None = None, _known: Known = NOTHING
) -> Tensor:
    """Each sample's mean squared error divided by mean (input − target)² of that sample, then averaged.

    (input − target)² is twice the noise variance, so a quiet scan counts as much as a loud one; with plain L2 a model
    blind over a decade of noise levels would learn from the loudest scans alone. The divisor is a mean over a whole
    patch: it hardly depends on any one target voxel, so the target's expectation stays the optimum.
    """
    return shares_left(output, target, input, valid).mean()


def shares_left(output: Tensor, target: Tensor, input: Tensor, valid: Tensor | None = None) -> Tensor:
    """(B,): mean (output − target)² over mean (input − target)² of each sample; 0 for one without a valid voxel, and
    for one whose input is its target, as where neither has a mark: it has no noise that could be left."""
    noise = sample_means((input - target).square(), valid)
    shares = sample_means((output - target).square(), valid) / noise.clamp_min(1e-8)
    return torch.where(noise > 0, shares, torch.zeros_like(shares))


def learns_for(objective: str, asked: str) -> bool:
    """Whether `objective` ends at the clean image of repeats that ask for the objective `asked`, "" for any. Where more
    than half of all targets show the clean value it is their mode as well as their median, so L0 serves where L1 does;
    the median of impulses is another value."""
    return not asked or objective == asked or (asked, objective) == ("l1", "annealed_l0")


def neighbour_regulariser(output: Tensor, target: Tensor, first: Tensor, second: Tensor) -> Tensor:
    """(B,): mean (output − target − (first − second))²: what two neighbouring sub-images differ in is anatomy, too, and
    the network's output for the whole image, sub-sampled alike into first and second, says how much (Huang 2021, eq.
    8). No gradient goes through first and second."""
    return sample_means((output - target - (first - second).detach()).square())


def mean_of(values: Tensor, valid: Tensor | None = None) -> Tensor:
    """Scalar: the mean over the (valid) voxels of the batch; 0 where none is valid."""
    return values.mean() if valid is None else (values * valid).sum() / valid.expand_as(values).sum().clamp_min(1)


def sample_means(values: Tensor, valid: Tensor | None = None) -> Tensor:
    """(B,): the mean over each sample's (valid) voxels."""
    axes = tuple(range(1, values.dim()))
    if valid is None:
        return values.mean(dim=axes)
    return (values * valid).sum(dim=axes) / valid.expand_as(values).sum(dim=axes).clamp_min(1)


OBJECTIVES: dict[str, Objective] = {
    "l2": l2, "l1": l1, "balanced_l2": balanced_l2, "annealed_l0": annealed_l0, "masked_l2": masked_l2,
    "relative_l2": relative_l2, "kspace_l2": kspace_l2,
}  # fmt: skip
