"""Muon: what its steps are, and that Adam's part is Adam."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from medn2n.config import Optimiser
from medn2n.core.networks import build_network
from medn2n.core.optimisers import LENGTH, Muon, build_optimiser, orthogonal
from medn2n.formats.checkpoint import load_checkpoint
from medn2n.stages.samples_to_bundle import train
from tests.tiny_training import cases, few

MUON = Optimiser(name="muon")


def draws(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("shape", [(8, 72), (72, 8), (24, 24), (2, 500)])
def test_an_orthogonal_step_keeps_the_directions_and_evens_their_lengths(shape: tuple[int, int]) -> None:
    matrix = draws(*shape)
    left, lengths, right = torch.linalg.svd(matrix, full_matrices=False)
    along = left.T @ orthogonal([draws(3, 5), matrix])[1] @ right.T
    told = lengths / lengths.norm() > 0.02
    assert torch.all((along.diagonal()[told] > 0.6) & (along.diagonal()[told] < 1.25))
    assert float((along - torch.diag(along.diagonal())).abs().max()) < 1e-4


def test_of_no_gradient_comes_no_step() -> None:
    assert not orthogonal([torch.zeros(4, 9)])[0].any()


@pytest.mark.parametrize("kernel", [1, 3, 7])
def test_a_step_has_the_same_part_of_the_first_weights_whatever_the_gradients_size_and_the_kernel(kernel: int) -> None:
    torch.manual_seed(0)
    first = nn.Conv2d(48, 48, kernel).weight.detach().flatten(1).norm(dim=1).mean()
    for size in (1e-6, 1.0, 1e6):
        weight = nn.Parameter(torch.zeros(48, 48, kernel, kernel))
        optimiser = Muon([weight], lr=0.001, betas=(0.9, 0.99))
        weight.grad = gradient = size * draws(48, 48, kernel, kernel)
        optimiser.step()
        assert float(weight.detach().flatten(1).norm(dim=1).mean() / first) == pytest.approx(0.00693, rel=0.03)
        assert float((weight.detach() * gradient).sum()) < 0


def test_all_outputs_learn_alike() -> None:
    weight = nn.Parameter(torch.zeros(72, 8))
    weight.grad = draws(72, 8) * torch.linspace(0.01, 1.0, 72)[:, None]
    Muon([weight], lr=0.1, betas=(0.9, 0.99)).step()
    torch.testing.assert_close(weight.detach().norm(dim=1), torch.full((72,), 0.1 * LENGTH), rtol=1e-4, atol=0)


def test_matrices_fade_and_nothing_else_does() -> None:
    weight, bias = nn.Parameter(torch.ones(4, 9)), nn.Parameter(torch.ones(4))
    optimiser = Muon([weight, bias], lr=0.5, betas=(0.9, 0.99))
    weight.grad, bias.grad = torch.zeros(4, 9), torch.zeros(4)
    optimiser.step()
    torch.testing.assert_close(weight.detach(), torch.full((4, 9), 0.95))
    assert torch.equal(bias.detach(), torch.ones(4))


def test_biases_and_single_outputs_are_left_to_adam() -> None:
    start = [draws(7), draws(1, 4, 3, 3)]
    ours, adams = ([nn.Parameter(one.clone()) for one in start] for _ in range(2))
    steps = (
        Muon(ours, lr=0.01, betas=(0.9, 0.99)),
        torch.optim.Adam(adams, lr=0.01, betas=(0.9, 0.99), eps=1e-8),
    )
    for turn in range(5):
        for parameters, optimiser in zip((ours, adams), steps, strict=True):
            for parameter in parameters:
                parameter.grad = draws(*parameter.shape, seed=turn)
            optimiser.step()
    for one, other in zip(ours, adams, strict=True):
        torch.testing.assert_close(one, other)


def test_it_learns_a_linear_map() -> None:
    inputs, wanted = draws(256, 12, seed=1), draws(256, 12, seed=1) @ draws(12, 6, seed=2)
    torch.manual_seed(0)
    layer = nn.Linear(12, 6)
    optimiser = build_optimiser(MUON, layer)
    losses = []
    for turn in range(200):
        optimiser.param_groups[0]["lr"] = 0.1 * (1 - turn / 200)
        optimiser.zero_grad()
        loss = (layer(inputs) - wanted).square().mean()
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 1e-3 * losses[0]


@pytest.mark.parametrize("kind", ["adam", "muon"])
def test_a_training_goes_on_where_it_stopped(tmp_path: Path, kind: str) -> None:
    one = {"name": kind, "learning_rate": 1e-3, "ema": 0.9, "ramp_down": 0.0}
    whole = train(cases(), [], few(optimiser=one | {"steps": 6}), folder=tmp_path / "whole", device="cpu")
    for steps in (3, 6):  # the first in the middle of an epoch
        parts = few(optimiser=one | {"steps": steps})
        trained = train(cases(), [], parts, folder=tmp_path / "parts", device="cpu", resume=steps == 6)
    for name, value in whole.network.state_dict().items():
        torch.testing.assert_close(trained.network.state_dict()[name], value)
    network = build_network("unet", {"dims": 2, "channels": 8, "levels": 2}, residual=True)
    optimiser = build_optimiser(Optimiser(name=kind), network)
    load_checkpoint(tmp_path / "parts" / "checkpoints" / "last.safetensors", network=network, optimiser=optimiser)
    assert any(("momentum" if kind == "muon" else "exp_avg") in state for state in optimiser.state.values())


def test_a_closure_computes_the_gradients_first() -> None:
    weights = [nn.Parameter(draws(4, 6)) for _ in range(2)]
    with_closure, without = (Muon([one], lr=0.1, betas=(0.9, 0.99)) for one in weights)

    def loss(weight: nn.Parameter) -> float:
        value = (weight - draws(4, 6, seed=1)).square().sum()
        value.backward()
        return float(value.detach())

    there = loss(weights[1])
    without.step()
    assert with_closure.step(lambda: loss(weights[0])) == there
    torch.testing.assert_close(*weights)
    assert not torch.equal(weights[0].detach(), draws(4, 6))
