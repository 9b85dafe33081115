"""The encoder-decoder that introductory articles about Noise2Noise print, so that readers can measure what it costs.

Two convolutions with a stride of 2 and their mirrored transposed ones, 32 channels, tanh after each but the last. It
has no skips: all detail must pass through a quarter of the pixels each way, and tanh bounds what passes.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from medn2n.core.networks import pad_to_multiple


class TanhAutoencoder(nn.Module):
    """(B,C,I,J[,K]) → (B,M,I,J[,K]), 2D or 3D: 3×3 convolutions, padding 1. Sizes that are no multiple of 4 are padded
    and cropped back, so that the output has the input's size. The last layer has no tanh, since values have no bounds.
    """

    def __init__(self, *, dims: int = 2, in_channels: int = 1, out_channels: int = 1, channels: int = 32) -> None:
        super().__init__()
        down: type[nn.Module] = {2: nn.Conv2d, 3: nn.Conv3d}[dims]
        up: type[nn.Module] = {2: nn.ConvTranspose2d, 3: nn.ConvTranspose3d}[dims]
        self.encode = nn.ModuleList(
            [
                down(in_channels, channels, 3, stride=2, padding=1),
                down(channels, channels, 3, stride=2, padding=1),
            ]
        )
        self.decode = up(channels, channels, 3, stride=2, padding=1, output_padding=1)
        self.last = up(channels, out_channels, 3, stride=2, padding=1, output_padding=1)

    def forward(self, image: Tensor) -> Tensor:
        x, crop = pad_to_multiple(image, 4)
        for convolution in self.encode:
            x = torch.tanh(convolution(x))
        x = torch.tanh(self.decode(x))
        return self.last(x)[crop]  # type: ignore[no-any-return]
