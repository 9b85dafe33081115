"""The networks: Noise2Noise's own U-Net in 2D, its 3D counterpart, others of ours and any of MONAI by name.

All take (B,C,I,J[,K]) float tensors of any size and give (B,M,I,J[,K]).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from medn2n.config import OWN_NETWORKS
from medn2n.errors import UsageError

Padding = Literal["zeros", "replicate"]  # what convolutions see beyond the border


def _convolution(dims: int) -> type[nn.Conv2d] | type[nn.Conv3d]:
    return {2: nn.Conv2d, 3: nn.Conv3d}[dims]  # type: ignore[return-value]


class UNet(nn.Module):
    """The U-Net of Lehtinen et al. 2018, Table 2: one convolution a level on the way down, the pooled maps and the
    raw input as skips, two convolutions a level on the way up, nearest-neighbour up-sampling, leaky ReLU 0.1, no
    normalisation, He-normal weights.

    dims=2, channels=48, levels=5 is the paper's network: 988,609 parameters for one channel, 991,203 for three.
    dims=3 is its counterpart with at most three levels. Sizes that are no multiple of 2**levels are padded by
    reflection and cropped back, so that any size is taken.

    padding: what convolutions see beyond the border, "zeros" as in the paper, or "replicate". With zeros, a network
    that learns long from small patches comes to rely on them: of a 64×64 patch the deepest level is 2×2 cells, which
    sees more zeros than picture, and in a larger picture none. With "replicate" it sees the same in both.
    """

    def __init__(
        self,
        *,
        dims: int = 2,
        in_channels: int = 1,
        out_channels: int = 1,
        channels: int = 48,
        levels: int = 5,
        padding: Padding = "zeros",
    ) -> None:
        super().__init__()
        if not 1 <= levels <= {2: 5, 3: 3}.get(dims, 0):
            raise UsageError(
                f"UNet: expected dims 2 with at most 5 levels, or 3 with at most 3; found dims {dims}, levels {levels}."
            )
        convolution = _convolution(dims)
        self.multiple = 2**levels
        self.pool = nn.MaxPool2d(2) if dims == 2 else nn.MaxPool3d(2)

        def layer(inputs: int, outputs: int) -> nn.Module:
            return convolution(inputs, outputs, 3, padding=1, padding_mode=padding)

        n, m, c = in_channels, out_channels, channels
        self.encode_input = layer(n, c)
        self.encode = nn.ModuleList(layer(c, c) for _ in range(levels))
        self.bottom = layer(c, c)
        # Skips, deepest first: pooled maps of all levels but the last, then the input itself.
        skips = [c] * (levels - 1) + [n]
        self.decode_a, self.decode_b = nn.ModuleList(), nn.ModuleList()
        inputs = c
        for position, skip in enumerate(skips):
            last = position == levels - 1
            first, second = (round(c * 4 / 3), round(c * 2 / 3)) if last else (2 * c, 2 * c)
            self.decode_a.append(layer(inputs + skip, first))
            self.decode_b.append(layer(first, second))
            inputs = second
        self.last = layer(inputs, m)
        self._initialise()

    def _initialise(self) -> None:
        for module in self.modules():
            if isinstance(module, (nn.Conv2d, nn.Conv3d)):
                fan_in = module.in_channels * math.prod(module.kernel_size)
                gain = 1.0 if module is self.last else math.sqrt(2.0)
                nn.init.normal_(module.weight, std=gain / math.sqrt(fan_in))
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def forward(self, image: Tensor) -> Tensor:
        padded, crop = pad_to_multiple(image, self.multiple)
        skips = [padded]
        x = functional.leaky_relu(self.encode_input(padded), 0.1)
        for convolution in self.encode:
            x = self.pool(functional.leaky_relu(convolution(x), 0.1))
            skips.append(x)
        skips.pop()
        x = functional.leaky_relu(self.bottom(x), 0.1)
        for first, second in zip(self.decode_a, self.decode_b, strict=True):
            upward = _on_coarse_grid if self.training and _pays_on_coarse_grid(x) else _on_fine_grid
            x = functional.leaky_relu(upward(first, x, skips.pop()), 0.1)
            x = functional.leaky_relu(second(x), 0.1)
        return self.last(x)[crop]  # type: ignore[no-any-return]


def _on_fine_grid(layer: nn.Module, x: Tensor, skip: Tensor) -> Tensor:
    """A 3×3(×3) convolution of x, each voxel repeated in a grid twice as fine, and of the skip."""
    x = functional.interpolate(x, scale_factor=2.0, mode="nearest")
    return layer(torch.cat([x, skip], dim=1))  # type: ignore[no-any-return]


def _on_coarse_grid(layer: Any, x: Tensor, skip: Tensor) -> Tensor:
    """The same but for rounding, without the repeats: up-sampling and convolution are together one transposed
    convolution of x with stride 2, whose kernel is the layer's convolved with (1, 1) along each axis. It multiplies
    4/9 as often in 2D, 8/27 in 3D."""
    dims = x.dim() - 2
    kernel = functional.pad(layer.weight[:, : x.shape[1]], [1, 1] * dims)
    for axis in range(2, 2 + dims):
        length = kernel.shape[axis] - 1
        kernel = kernel.narrow(axis, 0, length) + kernel.narrow(axis, 1, length)
    kernel = kernel.transpose(0, 1).flip(tuple(range(2, 2 + dims)))
    transposed, convolved = {
        2: (functional.conv_transpose2d, functional.conv2d),
        3: (functional.conv_transpose3d, functional.conv3d),
    }[dims]
    mode = "constant" if layer.padding_mode == "zeros" else layer.padding_mode
    x, skip = (functional.pad(one, [1, 1] * dims, mode=mode) for one in (x, skip))
    of_skip = convolved(skip, layer.weight[:, -skip.shape[1] :], layer.bias)
    return of_skip + transposed(x, kernel, stride=2, padding=3)


def _pays_on_coarse_grid(x: Tensor) -> bool:
    """On a processor, but for grids so small that making the kernel costs more. A whole training step of the 2D network
    of 24 channels takes 0.8 of the time (patches of 64, AVX2). Never outside training: an engine's graph is of the
    plain form."""
    return x.device.type == "cpu" and min(x.shape[2:]) >= 16


def pad_to_multiple(image: Tensor, multiple: int) -> tuple[Tensor, Any]:
    """The image padded at its far ends to multiples of `multiple`, and the index that undoes it. Reflection where
    the image is larger than the padding, else its edge repeated (reflection is not defined there)."""
    missing = [-size % multiple for size in image.shape[2:]]
    if not any(missing):
        return image, ...  # no slicing: a traced graph must stay free of this image's size
    crop = (slice(None), slice(None), *(slice(0, size) for size in image.shape[2:]))
    padding = [amount for pad in reversed(missing) for amount in (0, pad)]
    reflectable = all(pad < size for pad, size in zip(missing, image.shape[2:], strict=True))
    return functional.pad(image, padding, mode="reflect" if reflectable else "replicate"), crop


def middle_channel(image: Tensor) -> Tensor:
    """(B,C,…) → (B,1,…): the slice that is denoised, among its neighbours."""
    middle = image.shape[1] // 2
    return image[:, middle : middle + 1]


class Residual(nn.Module):
    """image + network(image): the network predicts the (negative) noise, which keeps bf16 exact enough for HU. Of
    several channels the middle one is the image, the others its neighbours."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: Tensor) -> Tensor:
        return middle_channel(image) + self.network(image).to(image.dtype)  # type: ignore[no-any-return]


def build_network(name: str, arguments: Mapping[str, Any], *, residual: bool) -> nn.Module:
    """The network of a recipe: a name of `OWN_NETWORKS` is ours; any other is a class of ``monai.networks.nets``."""
    own = name in OWN_NETWORKS
    try:
        if own and (channels := arguments.get("channels", 1)) < 1:
            raise UsageError(f"Network {name}: channels: expected 1 or more, found {channels}.")
        network = (_own_network(name) if own else _monai_network(name))(**arguments)
    except (TypeError, ValueError, ArithmeticError, RuntimeError) as error:
        raise UsageError(f"Network {name}: its arguments do not fit: {error}.") from None
    if residual and own:
        # Start as the identity: a random last layer would add noise of the image's own size at first.
        for parameter in network.last.parameters():  # type: ignore[union-attr]
            nn.init.zeros_(parameter)
    return Residual(network) if residual else network


def _own_network(name: str) -> type[nn.Module]:
    from medn2n.core.nafnet import NAFNet  # these two build on what is above
    from medn2n.core.tanh_autoencoder import TanhAutoencoder

    return {"unet": UNet, "nafnet": NAFNet, "tanh_autoencoder": TanhAutoencoder}[name]


def _monai_network(name: str) -> type[nn.Module]:
    from monai.networks import nets

    found = getattr(nets, name, None)
    if not (isinstance(found, type) and issubclass(found, nn.Module)):
        raise UsageError(
            f"Network {name!r}: expected {', '.join(OWN_NETWORKS)} or a network class of monai.networks.nets; "
            "found neither."
        )
    return found


def parameter_count(network: nn.Module) -> int:
    """Number of trainable parameters."""
    return sum(parameter.numel() for parameter in network.parameters() if parameter.requires_grad)
