"""The networks beside the paper's: what they are made of, any size, tiles as the whole, the identity at first."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from medn2n.core.nafnet import ChannelNorm, NAFNet, receptive_radius, shuffled
from medn2n.core.networks import build_network, parameter_count
from medn2n.errors import UsageError

torch.set_num_threads(1)


NAFNETS = [
    ({"dims": 2, "channels": 4}, 8),
    ({"dims": 2, "channels": 4, "blocks": (1, 1, 1), "middle": 1, "reduce": 1}, 8),
    ({"dims": 3, "channels": 4, "blocks": (1,), "middle": 1}, 4),
    ({"dims": 3, "channels": 2, "blocks": (1, 1), "reduce": 1}, 4),
]


def awake(network: nn.Module, seed: int = 0) -> nn.Module:
    """The network with every parameter at random: new blocks pass their input on, and would hide a fault."""
    torch.manual_seed(seed)
    for name, parameter in network.named_parameters():
        if "share" in name or "last" in name:
            nn.init.normal_(parameter, std=0.3)
    return network.eval()


@pytest.mark.parametrize(("arguments", "multiple"), NAFNETS)
def test_nafnet_takes_any_size_and_starts_as_the_identity(arguments: dict, multiple: int) -> None:
    network = build_network("nafnet", arguments, residual=True).eval()
    assert network.network.multiple == multiple
    for size in ((multiple,), (multiple + 3,), (1,), (29,)):
        image = torch.randn(2, 1, *size, *[9] * (arguments["dims"] - 1))
        with torch.no_grad():
            assert torch.equal(network(image), image)
    image = torch.randn(1, 1, *[17] * arguments["dims"])
    with torch.no_grad():
        assert not torch.allclose(awake(network)(image), image, atol=0.1)


def test_nafnet_has_the_channels_and_parameters_that_were_asked_for() -> None:
    def block(c: int) -> int:
        return 2 * 2 * c + (9 * c * 2 * c + 2 * c) + (c * c + c) + (c * 2 * c + 2 * c) + (c * c + c) + 2 * c

    expected = (16 * 2 * 8 + 8) + 2 * block(8) + (4 * 8 * 16 + 16) + 3 * block(16) + 16 * 32 + 2 * block(8)
    expected += 9 * 8 * 3 * 4 + 3 * 4
    network = NAFNet(in_channels=2, out_channels=3, channels=8, blocks=(2,), middle=3)
    assert parameter_count(network) == expected
    with torch.no_grad():
        assert network(torch.randn(1, 2, 12, 10)).shape == (1, 3, 12, 10)


def test_channel_norm_is_layer_norm_over_the_channels_of_one_voxel() -> None:
    x = torch.randn(2, 5, 4, 3, 2)
    norm = ChannelNorm(5)
    nn.init.normal_(norm.weight)
    nn.init.normal_(norm.bias)
    mean, spread = x.mean(dim=1, keepdim=True), x.var(dim=1, unbiased=False, keepdim=True)
    shape = (1, 5, 1, 1, 1)
    expected = (x - mean) / (spread + 1e-5).sqrt() * norm.weight.reshape(shape) + norm.bias.reshape(shape)
    torch.testing.assert_close(norm.train()(x), expected)
    torch.testing.assert_close(norm.eval()(x), expected)
    assert norm(x.bfloat16()).dtype == torch.bfloat16


def test_shuffling_is_pixel_shuffle_in_any_number_of_dimensions() -> None:
    flat = torch.randn(2, 12, 3, 5)
    torch.testing.assert_close(shuffled(flat, 2), functional.pixel_shuffle(flat, 2))
    deep = torch.arange(16.0).reshape(1, 16, 1, 1, 1)
    made = shuffled(deep, 2)
    assert made.shape == (1, 2, 2, 2, 2)
    assert torch.equal(made[0, 0].flatten(), torch.arange(8.0))
    assert torch.equal(made[0, 1].flatten(), torch.arange(8.0, 16.0))


@pytest.mark.parametrize("name", ["nafnet", "tanh_autoencoder"])
@pytest.mark.parametrize("dims", [2, 3])
def test_a_tile_is_denoised_as_the_whole_is(name: str, dims: int) -> None:
    from medn2n.core import tiling
    from medn2n.core.tiling import HALO
    from medn2n.stages.volume_to_denoised import MULTIPLE

    more = {"blocks": (1,), "middle": 1} if name == "nafnet" else {}
    network = awake(build_network(name, {"dims": dims, "channels": 4, **more}, residual=True))

    def run(batch: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            return network(torch.from_numpy(batch)).numpy()

    size = (448, 64) if dims == 2 else (144, 16, 16)
    image = np.random.default_rng(0).normal(size=(1, 1, *size)).astype(np.float32)
    tile = (2 * HALO[dims] + 2 * MULTIPLE[dims], *size[1:])
    tiled = tiling.run(run, image, multiple=MULTIPLE[dims], tile=tile, halo=HALO[dims])
    np.testing.assert_allclose(tiled, run(image), atol=1e-5)


@pytest.mark.parametrize("arguments", [{}, {"blocks": (1, 1, 1, 1), "reduce": 1}, {"dims": 3, "blocks": (1,)}])
def test_receptive_radius_of_nafnet_fits_the_halo(arguments: dict) -> None:
    from medn2n.core.tiling import HALO
    from medn2n.stages.volume_to_denoised import MULTIPLE

    dims = arguments.get("dims", 2)
    network = awake(build_network("nafnet", {"dims": dims, "channels": 2, **arguments}, residual=False)).double()
    multiple = network.multiple
    assert MULTIPLE[dims] % multiple == 0
    size = (2 * HALO[dims] + 4 * multiple, *[4 * multiple] * (dims - 1))
    image = torch.randn(1, 1, *size, dtype=torch.float64, requires_grad=True)
    output = network(image)
    middle = [2 * multiple] * (dims - 1)
    for centre in range(size[0] // 2, size[0] // 2 + multiple):
        (gradient,) = torch.autograd.grad(output[(0, 0, centre, *middle)], image, retain_graph=True)
        reach = int((torch.nonzero(gradient[0, 0])[:, 0] - centre).abs().max())
        assert 0 < reach <= HALO[dims]


@pytest.mark.parametrize(
    "arguments",
    [{"blocks": (1, 1)}, {"blocks": (1, 2), "middle": 1, "reduce": 1}, {"blocks": (2,), "reduce": 4}],
    ids=str,
)
def test_the_receptive_radius_of_nafnet_is_what_it_is_said_to_be(arguments: dict) -> None:
    network = awake(build_network("nafnet", {"channels": 2, **arguments}, residual=False)).double()
    said = receptive_radius(arguments["blocks"], arguments.get("middle", 2), arguments.get("reduce", 2))
    image = torch.randn(1, 1, 160, 4 * network.multiple, dtype=torch.float64, requires_grad=True)
    output, measured = network(image), 0
    for centre in range(80, 80 + network.multiple):
        (gradient,) = torch.autograd.grad(output[0, 0, centre, 8], image, retain_graph=True)
        measured = max(measured, int((torch.nonzero(gradient[0, 0])[:, 0] - centre).abs().max()))
    assert said == measured


@pytest.mark.parametrize(
    "arguments", [{"dims": 3, "blocks": (1, 1, 1)}, {"blocks": (1, 1, 1, 1), "middle": 4}], ids=str
)
def test_a_nafnet_that_reaches_beyond_the_halo_of_a_tile_is_refused(arguments: dict) -> None:
    with pytest.raises(UsageError, match=r"depends on voxels up to (78|222) away, expected at most (48|160)"):
        build_network("nafnet", arguments, residual=True)


@pytest.mark.parametrize(
    "arguments",
    [{"dims": 1}, {"blocks": (), "reduce": 1}, {"blocks": (1,) * 5}, {"reduce": 3}, {"dims": 3, "reduce": 8}],
)
def test_nafnets_that_cannot_be_are_refused(arguments: dict) -> None:
    with pytest.raises(UsageError, match="NAFNet"):
        build_network("nafnet", arguments, residual=True)


@pytest.mark.parametrize(("dims", "size"), [(2, (30, 41)), (2, (1, 1)), (2, (64, 64)), (3, (9, 8, 3))])
def test_the_articles_autoencoder_gives_the_size_it_takes(dims: int, size: tuple[int, ...]) -> None:
    network = build_network("tanh_autoencoder", {"dims": dims, "in_channels": 2}, residual=False)
    with torch.no_grad():
        assert network(torch.randn(2, 2, *size)).shape == (2, 1, *size)


def test_the_articles_autoencoder_has_32_channels_two_strides_and_tanh() -> None:
    network = build_network("tanh_autoencoder", {}, residual=False).eval()
    assert parameter_count(network) == (9 + 1) * 32 + 2 * (9 * 32 * 32 + 32) + 9 * 32 + 1
    image = torch.randn(1, 1, 16, 16)
    with torch.no_grad():
        x = torch.tanh(functional.conv2d(image, network.encode[0].weight, network.encode[0].bias, stride=2, padding=1))
        x = torch.tanh(functional.conv2d(x, network.encode[1].weight, network.encode[1].bias, stride=2, padding=1))
        assert x.shape == (1, 32, 4, 4)
        x = torch.tanh(functional.conv_transpose2d(x, network.decode.weight, network.decode.bias, 2, 1, 1))
        torch.testing.assert_close(
            network(image), functional.conv_transpose2d(x, network.last.weight, network.last.bias, 2, 1, 1)
        )


def test_own_networks_are_those_that_recipes_know() -> None:
    from medn2n.config import OWN_NETWORKS, Network

    for name in OWN_NETWORKS:
        small = Network(name=name, dims=3, arguments={"channels": 2} | ({"levels": 1} if name == "unet" else {}))
        network = build_network(name, small.build_arguments(), residual=True)
        image = torch.randn(1, 1, 8, 8, 8)
        with torch.no_grad():
            assert torch.equal(network(image), image)
