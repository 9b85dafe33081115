"""A modern residual network in the manner of NAFNet (Chen et al. 2022), 2D and 3D: gates in place of activations.

What is taken over: blocks that add to their input, layer norm over the channels of each voxel, the simple gate (half of
the channels times the other half), skips that are added, up-sampling by pixel shuffle.

What is not: the simplified channel attention. It weighs channels by their mean over the whole image, so a tile would
not be denoised as the whole is, and a training patch not as a slice; a scan must not depend on how much memory was
free. Nor the depthwise convolutions, which processors run at a fraction of the speed of full ones: see `GatedBlock`.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from medn2n.core.networks import Padding, pad_to_multiple
from medn2n.core.tiling import HALO
from medn2n.errors import UsageError

SHARE = 0.3  # of what a block adds, at first
FLOOR = 1e-5  # of the variance; torch's own
LEVELS = {2: 5, 3: 4}  # halvings at most, so that the engines' multiples of 32 and 16 hold them


def _convolution(dims: int) -> type[nn.Conv2d] | type[nn.Conv3d]:
    return {2: nn.Conv2d, 3: nn.Conv3d}[dims]  # type: ignore[return-value]


class ChannelNorm(nn.Module):
    """Layer norm over the channels of each voxel by itself, (B,C,…) → the same: no voxel sees another through it.

    Written twice: a training step with torch's own takes 0.7 of the time, but its transpositions make a pass of
    OpenVINO 1.3 times as long (processors with AVX-512).
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        weight, bias = self.weight.to(x.dtype), self.bias.to(x.dtype)
        if self.training:
            return functional.layer_norm(x.movedim(1, -1), weight.shape, weight, bias, FLOOR).movedim(-1, 1)
        shape = (1, -1, *[1] * (x.dim() - 2))
        apart = x.float() - x.float().mean(dim=1, keepdim=True)
        normed: Tensor = apart * torch.rsqrt(apart.square().mean(dim=1, keepdim=True) + FLOOR)
        return normed.to(x.dtype) * weight.reshape(shape) + bias.reshape(shape)


class GatedBlock(nn.Module):
    """x + gated 3×3 mixing of neighbours, then + gated mixing of channels, each by a learned share a channel. One full
    3×3 convolution stands where NAFNet has a 1×1 and a depthwise 3×3. NAFNet's shares start at zero; here they do
    not, for the sake of runs of minutes."""

    def __init__(self, dims: int, channels: int, padding: Padding) -> None:
        super().__init__()
        convolution = _convolution(dims)
        self.norm_space, self.norm_channels = ChannelNorm(channels), ChannelNorm(channels)
        self.space = convolution(channels, 2 * channels, 3, padding=1, padding_mode=padding)
        self.space_out = convolution(channels, channels, 1)
        self.mix = convolution(channels, 2 * channels, 1)
        self.mix_out = convolution(channels, channels, 1)
        self.share_space, self.share_mix = (
            nn.Parameter(torch.full((1, channels, *[1] * dims), SHARE)) for _ in range(2)
        )

    def forward(self, x: Tensor) -> Tensor:
        x = x + _share_of(self.space_out, self.share_space, _gate(self.space(self.norm_space(x))))
        return x + _share_of(self.mix_out, self.share_mix, _gate(self.mix(self.norm_channels(x))))


def _share_of(convolution: nn.Conv2d | nn.Conv3d, share: nn.Parameter, x: Tensor) -> Tensor:
    """share · convolution(x), one pixel wide: on the few weights, not on all voxels."""
    assert convolution.bias is not None
    weight, bias = convolution.weight * share.movedim(1, 0), convolution.bias * share.flatten()
    return functional.conv2d(x, weight, bias) if x.dim() == 4 else functional.conv3d(x, weight, bias)


def _gate(x: Tensor) -> Tensor:
    half, other = x.chunk(2, dim=1)
    return half * other


class NAFNet(nn.Module):
    """(B,C,I,J[,K]) → (B,M,I,J[,K]) of any size.

    reduce: edge of the voxels that the first convolution takes together; 2 works on half the grid each way throughout,
    where a network of the same cost is several times as wide and deep. channels: on the finest grid; twice as many
    after each halving. blocks: on each level down, then again up; middle: on the coarsest. padding: what convolutions
    see beyond the border, as of `networks.UNet`.
    """

    def __init__(
        self,
        *,
        dims: int = 2,
        in_channels: int = 1,
        out_channels: int = 1,
        channels: int = 32,
        blocks: Sequence[int] = (1, 1),
        middle: int = 2,
        reduce: int = 2,
        padding: Padding = "zeros",
    ) -> None:
        super().__init__()
        _require_possible(dims, blocks, middle, reduce)
        convolution = _convolution(dims)
        self.reduce, self.multiple = reduce, reduce * 2 ** len(blocks)
        kernel = 3 if reduce == 1 else 2 * reduce
        self.first = convolution(
            in_channels, channels, kernel, stride=reduce, padding=1 if reduce == 1 else reduce // 2,
            padding_mode=padding,
        )  # fmt: skip
        self.down, self.up = nn.ModuleList(), nn.ModuleList()
        self.encode, self.decode = nn.ModuleList(), nn.ModuleList()
        width = channels
        for count in blocks:
            self.encode.append(_blocks(dims, width, count, padding))
            self.down.append(convolution(width, 2 * width, 2, stride=2))
            width *= 2
        self.bottom = _blocks(dims, width, middle, padding)
        for count in reversed(blocks):
            self.up.append(convolution(width, width // 2 * 2**dims, 1, bias=False))
            width //= 2
            self.decode.append(_blocks(dims, width, count, padding))
        self.last = convolution(width, out_channels * reduce**dims, 3, padding=1, padding_mode=padding)

    def forward(self, image: Tensor) -> Tensor:
        padded, crop = pad_to_multiple(image, self.multiple)
        x = self.first(padded)
        skips = []
        for encode, down in zip(self.encode, self.down, strict=True):
            x = encode(x)
            skips.append(x)
            x = down(x)
        x = self.bottom(x)
        for up, decode in zip(self.up, self.decode, strict=True):
            x = decode(shuffled(up(x), 2) + skips.pop())
        return shuffled(self.last(x), self.reduce)[crop]


def _require_possible(dims: int, blocks: Sequence[int], middle: int, reduce: int) -> None:
    """UsageError for a network that the engines could not run, or not in tiles."""
    levels = len(blocks) + reduce.bit_length() - 1
    if dims not in LEVELS or reduce not in (1, 2, 4) or not 1 <= levels <= LEVELS[dims]:
        raise UsageError(
            "NAFNet: expected dims 2 with at most 5 halvings, or 3 with at most 4, and reduce 1, 2 or 4; "
            f"found dims {dims}, {len(blocks)} levels, reduce {reduce}."
        )
    reach = receptive_radius(blocks, middle, reduce)
    if reach > HALO[dims]:  # a tile's answer would not be the whole scan's
        raise UsageError(
            f"NAFNet: its answer depends on voxels up to {reach} away, expected at most {HALO[dims]} with dims "
            f"{dims}. Take fewer levels or blocks, or a smaller reduce; found blocks {list(blocks)}, middle "
            f"{middle}, reduce {reduce}."
        )


def receptive_radius(blocks: Sequence[int], middle: int, reduce: int) -> int:
    """How far away the farthest voxel lies that an answer depends on, along an axis, wherever the answer lies in the
    coarsest grid. What is followed backwards is the first and the last cell that count, from grid to grid."""
    farthest = 0
    before, after = (1, 1) if reduce == 1 else (reduce // 2, 3 * reduce // 2 - 1)  # of a cell, by the first convolution
    for voxel in range(reduce * 2 ** len(blocks)):
        low, high = voxel // reduce - 1, voxel // reduce + 1
        for count in blocks:
            low, high = (low - count) // 2, (high + count) // 2
        low, high = low - middle, high + middle
        for count in reversed(blocks):
            low, high = 2 * low - count, 2 * high + 1 + count
        farthest = max(farthest, voxel - (low * reduce - before), high * reduce + after - voxel)
    return farthest


def _blocks(dims: int, channels: int, count: int, padding: Padding) -> nn.Sequential:
    return nn.Sequential(*(GatedBlock(dims, channels, padding) for _ in range(count)))


def shuffled(x: Tensor, factor: int) -> Tensor:
    """(B,C·f^d,…) → (B,C,…·f): channels become the voxels of a grid `factor` times as fine, any number of axes."""
    if factor == 1:
        return x
    if x.dim() == 4:
        return functional.pixel_shuffle(x, factor)
    batch, channels, *size = x.shape
    dims = len(size)
    split = x.reshape(batch, channels // factor**dims, *[factor] * dims, *size)
    order = [0, 1] + [axis for d in range(dims) for axis in (2 + dims + d, 2 + d)]
    return split.permute(order).reshape(batch, channels // factor**dims, *(edge * factor for edge in size))
