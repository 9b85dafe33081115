"""The network of the paper to the last parameter, and what every network here promises about sizes."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional

from medn2n.core.networks import Residual, UNet, build_network, pad_to_multiple, parameter_count
from medn2n.errors import UsageError

torch.set_num_threads(1)


@pytest.mark.parametrize(("colours", "count"), [(1, 988_609), (3, 991_203)])
def test_the_paper_s_network_has_its_number_of_parameters(colours: int, count: int) -> None:
    assert parameter_count(UNet(in_channels=colours, out_channels=colours)) == count


def by_hand(network: UNet, x: torch.Tensor) -> torch.Tensor:
    """Table 2 of the paper, written out."""

    def layer(convolution: nn.Module, value: torch.Tensor) -> torch.Tensor:
        return functional.leaky_relu(convolution(value), 0.1)

    def up(value: torch.Tensor) -> torch.Tensor:
        return value.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)

    pool1 = functional.max_pool2d(layer(network.encode[0], layer(network.encode_input, x)), 2)
    pool2 = functional.max_pool2d(layer(network.encode[1], pool1), 2)
    pool3 = functional.max_pool2d(layer(network.encode[2], pool2), 2)
    pool4 = functional.max_pool2d(layer(network.encode[3], pool3), 2)
    pool5 = functional.max_pool2d(layer(network.encode[4], pool4), 2)
    value = layer(network.bottom, pool5)
    for position, skip in enumerate((pool4, pool3, pool2, pool1, x)):
        value = torch.cat([up(value), skip], dim=1)
        value = layer(network.decode_b[position], layer(network.decode_a[position], value))
    return network.last(value)


def test_skips_are_the_pooled_maps_and_the_input() -> None:
    network = UNet(in_channels=2, out_channels=3).eval()
    image = torch.randn(1, 2, 64, 96)
    with torch.no_grad():
        torch.testing.assert_close(network(image), by_hand(network, image))
    wide = [layer.in_channels for layer in network.decode_a]
    assert wide == [96, 144, 144, 144, 98]
    assert [layer.out_channels for layer in network.decode_b] == [96, 96, 96, 96, 32]
    assert not any(isinstance(module, nn.modules.batchnorm._NormBase | nn.Dropout) for module in network.modules())


def test_weights_start_he_normal_and_biases_zero() -> None:
    torch.manual_seed(0)
    network = UNet()
    convolution = network.decode_a[1]
    expected = (2 / (144 * 9)) ** 0.5
    assert float(convolution.weight.detach().std()) == pytest.approx(expected, rel=0.02)
    assert float(network.last.weight.detach().std()) == pytest.approx((1 / (32 * 9)) ** 0.5, rel=0.15)
    assert all(
        float(module.bias.detach().abs().max()) == 0 for module in network.modules() if isinstance(module, nn.Conv2d)
    )


@pytest.mark.parametrize("size", [(32, 32), (33, 47), (5, 64), (1, 1), (31, 200)])
def test_any_size_in_the_same_size_out(size: tuple[int, int]) -> None:
    network = UNet(channels=4)
    with torch.no_grad():
        assert network(torch.randn(2, 1, *size)).shape == (2, 1, *size)


@pytest.mark.parametrize("size", [(8, 8, 8), (9, 17, 3)])
def test_three_dimensions(size: tuple[int, int, int]) -> None:
    network = build_network("unet", {"dims": 3, "channels": 4, "levels": 3}, residual=True)
    with torch.no_grad():
        assert network(torch.randn(1, 1, *size)).shape == (1, 1, *size)


@pytest.mark.parametrize(("dims", "levels"), [(3, 4), (2, 6), (2, 0), (1, 3), (4, 1)])
def test_depths_that_the_engines_could_not_run_are_refused(dims: int, levels: int) -> None:
    with pytest.raises(UsageError, match="found dims"):
        UNet(dims=dims, levels=levels)


def test_a_residual_network_starts_as_the_identity() -> None:
    network = build_network("unet", {"dims": 2, "channels": 6}, residual=True)
    image = torch.randn(1, 1, 40, 40)
    with torch.no_grad():
        assert torch.equal(network(image), image)
    plain = build_network("unet", {"dims": 2, "channels": 6}, residual=False)
    with torch.no_grad():
        assert not torch.allclose(plain(image), image, atol=0.1)


def test_residual_adds_in_the_image_s_own_precision() -> None:
    class Half(nn.Module):
        def forward(self, image: torch.Tensor) -> torch.Tensor:
            return torch.full_like(image, 0.5, dtype=torch.bfloat16)

    image = torch.full((1, 1, 2, 2), 1000.25)
    assert torch.equal(Residual(Half())(image), image + 0.5)


def test_a_network_of_monai_by_name() -> None:
    network = build_network(
        "BasicUNet",
        {"spatial_dims": 2, "in_channels": 1, "out_channels": 1, "features": [4] * 6, "norm": None},
        residual=True,
    )
    with torch.no_grad():
        assert network(torch.randn(1, 1, 33, 40)).shape == (1, 1, 33, 40)


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("NoSuchNet", {}),
        ("torch", {}),  # there, but no class
        ("monai.networks.nets.UNet", {}),
        ("unet", {"chanels": 4}),
        ("unet", {"channels": 0}),
        ("unet", {"channels": -4}),
        ("nafnet", {"channels": 0}),
        ("BasicUNet", {"spatial_dims": 2, "depth": 3}),
        ("BasicUNet", {"spatial_dims": 2, "features": [1, 2]}),
    ],
)
def test_what_cannot_be_built_is_a_usage_error(name: str, arguments: dict) -> None:
    with pytest.raises(UsageError):
        build_network(name, arguments, residual=False)


def test_padding_repeats_the_edge_where_reflection_is_not_defined() -> None:
    image = torch.arange(3.0).reshape(1, 1, 3, 1)
    padded, crop = pad_to_multiple(image, 4)
    assert padded.shape == (1, 1, 4, 4)
    assert torch.equal(padded[0, 0, :, 0], torch.tensor([0.0, 1.0, 2.0, 2.0]))
    assert torch.equal(padded[crop], image)
    reflected, _ = pad_to_multiple(torch.arange(12.0).reshape(1, 1, 3, 4), 4)
    assert torch.equal(reflected[0, 0, 3], torch.tensor([4.0, 5.0, 6.0, 7.0]))


@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning", "ignore::DeprecationWarning")
def test_a_traced_network_runs_on_other_sizes() -> None:
    network = build_network("unet", {"dims": 2, "channels": 4}, residual=False).eval()
    with torch.no_grad():
        traced = torch.jit.trace(network, torch.zeros(1, 1, 64, 64), check_trace=False)
        for size in ((32, 32), (96, 128)):
            image = torch.randn(2, 1, *size)
            torch.testing.assert_close(traced(image), network(image))


@pytest.mark.parametrize(("dims", "levels"), [(2, 5), (3, 3)])
def test_receptive_radius_fits_the_halo_of_a_denoise_run(dims: int, levels: int) -> None:
    from medn2n.core.tiling import HALO
    from medn2n.stages.volume_to_denoised import MULTIPLE, TILE

    # Every axis alike, so that two dimensions tell of three; the mean in place of the maximum reaches as far, always.
    network, edge = UNet(dims=2, channels=2, levels=levels).double(), 96 * levels
    network.pool = nn.AvgPool2d(2)
    for parameter in network.parameters():
        nn.init.constant_(parameter, 0.1 if parameter.dim() > 1 else 0.0)
    image = torch.ones(1, 1, edge, edge, dtype=torch.float64, requires_grad=True)
    output = network(image)
    reach = 0
    for centre in range(edge // 2, edge // 2 + 2**levels):
        (gradient,) = torch.autograd.grad(output[0, 0, centre, centre], image, retain_graph=True)
        reach = max(reach, int((torch.nonzero(gradient[0, 0]) - centre).abs().max()))
    assert reach < edge // 2 - 2**levels
    assert reach <= HALO[dims]
    inside = TILE[dims] - 2 * HALO[dims]
    assert all(value % MULTIPLE[dims] == 0 for value in (TILE[dims], HALO[dims], inside))


@pytest.mark.parametrize("dims", [2, 3])
def test_with_edges_repeated_an_even_picture_stays_even_up_to_its_border(dims: int) -> None:
    """Then a patch and the whole picture look alike to the deepest level."""
    size = (64,) * dims
    even = torch.full((1, 1, *size), 0.3)
    network = UNet(dims=dims, channels=6, levels=3, padding="replicate")
    answer = network(even)
    assert torch.allclose(answer, answer.flatten()[0].expand_as(answer), atol=1e-5)
    assert torch.allclose(network(even[..., :32]), answer[..., :32], atol=1e-5)
    zeros = UNet(dims=dims, channels=6, levels=3)(even)
    assert not torch.allclose(zeros, zeros.flatten()[0].expand_as(zeros), atol=1e-2)


@pytest.mark.parametrize(("dims", "edge"), [(2, 64), (3, 32)])
@pytest.mark.parametrize("padding", ["zeros", "replicate"])
def test_the_training_form_computes_and_learns_the_same(dims: int, edge: int, padding: str) -> None:
    """In training, up-sampling and convolution are one operation on the coarse grid, where that is large enough."""
    torch.manual_seed(0)
    network = UNet(dims=dims, channels=4, levels=2, padding=padding).double()
    image = torch.randn(1, 1, edge, *[edge + 4] * (dims - 1)).double()
    learned = {}
    for training in (True, False):
        network.train(training).zero_grad()
        output = network(image)
        output.square().mean().backward()
        learned[training] = [output.detach(), *(parameter.grad.clone() for parameter in network.parameters())]
    assert not torch.equal(learned[True][0], learned[False][0])  # else the two forms were one
    for one, other in zip(learned[True], learned[False], strict=True):
        torch.testing.assert_close(one, other)
