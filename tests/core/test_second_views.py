"""Second views of single scans: what input and target share, what each draw adds, and that networks learn from them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from medn2n.config import Recipe, parse_recipe
from medn2n.core.cases import Case
from medn2n.core.noise_texture import noise_kernel
from medn2n.core.samples import PairedSamples
from medn2n.core.second_views import (
    SINGLE_VIEWS,
    STRATEGIES,
    BlindSpotd,
    SubsamplePaird,
    network_levels,
    subsampled,
)
from medn2n.core.step_loss import step_loss
from medn2n.core.textured_noise import corrected_for_added, textured_noise
from medn2n.errors import UsageError

torch.set_num_threads(1)


def recipe(pairs: str, *, patch: int = 32, dims: int = 2, **changes: object) -> Recipe:
    return parse_recipe(
        {
            "name": "t",
            "modality": "PHOTO",
            "pairs": pairs,
            "network": {"dims": dims},
            "scaling": {"kind": "fixed", "offset": 127.5, "scale": 255.0},
            "samples": {"patch": patch, "batch": 2, "epoch": 8},
            "objective": "l2",
            **changes,
        }
    )


def scan(
    shape: tuple[int, int, int] = (64, 64, 6), *, sigma: float = 0.1, repeats: int = 1, seed: int = 0
) -> tuple[Case, torch.Tensor]:
    """A smooth object under white noise, and its truth (1,I,J,K)."""
    rng = np.random.default_rng(seed)
    truth = ndimage.gaussian_filter(rng.normal(size=shape), (6, 6, 2)) * 6
    noisy = truth + sigma * rng.normal(size=(repeats, *shape))
    clean = torch.from_numpy(truth[None].astype(np.float32))
    return Case(image=torch.from_numpy(noisy.astype(np.float32)), truth=None, group="g"), clean


def patches(samples: PairedSamples, count: int) -> dict[str, torch.Tensor]:
    drawn = [samples[n] for n in range(count)]
    return {key: torch.stack([sample[key] for sample in drawn]) for key in drawn[0]}


def test_every_way_is_described_and_every_single_one_makes_samples() -> None:
    assert set(SINGLE_VIEWS) < set(STRATEGIES)
    case, _ = scan()
    kernel = torch.from_numpy(noise_kernel(case.image[0].numpy()))
    for pairs in SINGLE_VIEWS:
        extra = {"corrupt": {"kind": "gaussian"}} if pairs == "corrupt" else {}
        made = recipe(pairs, **extra)
        item = PairedSamples([Case(image=case.image, truth=None, group="g", noise=kernel)], made, length=4)[0]
        edge = 16 if pairs == "subsample" else 32
        assert item["input"].shape == item["target"].shape == (1, edge, edge)
        assert item["input"].dtype == torch.float32
        assert not torch.equal(item["input"], item["target"])


@pytest.mark.parametrize("dims", [2, 3])
def test_each_visit_corrupts_input_and_target_anew(dims: int) -> None:
    flat = Case(image=torch.zeros(1, 64, 64, 32), truth=None, group="g")
    made = recipe("corrupt", dims=dims, corrupt={"kind": "gaussian", "sigma": 25}, patch=32 if dims == 2 else 24)
    drawn = patches(PairedSamples([flat], made, length=200), 12)
    first, second = drawn["input"].flatten(), drawn["target"].flatten()
    assert float(first.std()) == pytest.approx(25 / 255, rel=0.03)
    assert float(second.std()) == pytest.approx(25 / 255, rel=0.03)
    everything = torch.cat([drawn["input"], drawn["target"]]).flatten(1)
    shared = torch.corrcoef(everything) - torch.eye(24)
    assert float(shared.abs().max()) < (0.15 if dims == 2 else 0.05)
    clean = recipe("corrupt", dims=dims, corrupt={"kind": "gaussian", "sigma": 25}, targets="clean", patch=24)
    assert not PairedSamples([flat], clean, length=4)[0]["target"].any()
    again = PairedSamples([flat], made, length=200)[3]
    assert torch.equal(again["input"], drawn["input"][3])


def test_impulses_of_a_pair_are_independent_but_equally_frequent() -> None:
    grey = Case(image=torch.full((1, 64, 64, 2), 0.3), truth=None, group="g")
    drawn = patches(PairedSamples([grey], recipe("corrupt", corrupt={"kind": "impulse"}, patch=64), length=60), 60)
    hit = [(drawn[name] - 0.3).abs() > 1e-6 for name in ("input", "target")]
    shares = np.array([each.flatten(1).float().mean(1).numpy() for each in hit])
    assert np.corrcoef(shares)[0, 1] > 0.99
    assert shares.min() < 0.2
    assert shares.max() > 0.75
    both = (hit[0] & hit[1]).flatten(1).float().mean(1).numpy()
    assert both == pytest.approx(shares[0] * shares[1], abs=0.04)  # not at the same pixels
    clean = recipe("corrupt", corrupt={"kind": "impulse"}, patch=64, targets="clean")
    again = patches(PairedSamples([grey], clean, length=60), 60)
    assert torch.equal(again["input"], drawn["input"])


def test_a_mask_comes_with_erased_pixels_and_is_the_target_s() -> None:
    ones = Case(image=torch.ones(1, 64, 64, 2) * 0.3, truth=None, group="g")
    item = PairedSamples([ones], recipe("corrupt", corrupt={"kind": "bernoulli", "p": 0.5}), length=4)[0]
    assert torch.allclose(item["target"][item["valid"] > 0], torch.tensor(0.3))
    assert torch.all(item["target"][item["valid"] == 0] == -0.5)  # black
    assert 0.4 < float(item["valid"].mean()) < 0.6


def test_levels_are_black_and_white_of_each_modality() -> None:
    levels = network_levels(recipe("corrupt", corrupt={"kind": "text"}))
    assert (levels.black, levels.white) == (-0.5, 0.5)
    ct = recipe("corrupt", corrupt={"kind": "text"}, modality="CT", scaling={"kind": "fixed", "scale": 1000.0})
    assert (network_levels(ct).black, network_levels(ct).white) == (-1.0, 1.0)
    mr = recipe("corrupt", corrupt={"kind": "text"}, modality="MR", scaling={"kind": "percentile"})
    assert (network_levels(mr).black, network_levels(mr).white) == (0.0, 1.0)


def test_neighbouring_slices_are_input_and_target() -> None:
    k = torch.arange(6.0).expand(1, 40, 40, 6)
    samples = PairedSamples([Case(image=k.clone(), truth=None, group="g")], recipe("neighbours"), length=100)
    seen = {(int(samples[n]["input"][0, 0, 0]), int(samples[n]["target"][0, 0, 0])) for n in range(100)}
    assert seen == {(a, b) for a in range(6) for b in range(6) if abs(a - b) == 1}


@pytest.mark.parametrize("shape", [(40, 60, 61), (3, 12, 60, 61)])
def test_noise_under_a_kernel_has_its_level_and_texture(shape: tuple[int, ...]) -> None:
    kernel = ndimage.gaussian_filter(np.eye(1, 81, 40).reshape(9, 9), (1.0, 0.5))
    kernel *= 0.2 / np.sqrt((kernel**2).sum())
    drawn = textured_noise(kernel, shape, np.random.default_rng(0)).reshape(-1, 60, 61)
    assert drawn.std() == pytest.approx(0.2, rel=0.03)
    for axis, expected in ((1, (kernel[1:] * kernel[:-1]).sum()), (2, (kernel[:, 1:] * kernel[:, :-1]).sum())):
        ahead = drawn[:, 1:] if axis == 1 else drawn[..., 1:]
        behind = drawn[:, :-1] if axis == 1 else drawn[..., :-1]
        assert float((ahead * behind).mean() / (drawn**2).mean()) == pytest.approx(
            expected / (kernel**2).sum(), abs=0.03
        )
    assert abs(float((drawn[1:] * drawn[:-1]).mean() / (drawn**2).mean())) < 0.03  # planes are independent
    rim = [float(drawn[:, 0].std()), float(drawn[..., -1].std())]  # nothing wraps round, nothing fades
    assert rim == pytest.approx([0.2, 0.2], rel=0.1)


@pytest.mark.parametrize("dims", [2, 3])
def test_added_noise_is_on_the_input_alone(dims: int) -> None:
    case, _ = scan(sigma=0.1)
    kernel = torch.from_numpy(noise_kernel(case.image[0].numpy()))
    samples = PairedSamples(
        [Case(image=case.image, truth=None, group="g", noise=kernel)],
        recipe("added_noise", added_noise={"alpha": 0.5}, dims=dims),
        length=50,
    )
    added = torch.stack([item["input"] - item["target"] for item in (samples[n] for n in range(30))])
    assert float(added.std()) == pytest.approx(0.5 * 0.1, rel=0.1)
    assert abs(float(torch.corrcoef(added.flatten(1)).fill_diagonal_(0).mean())) < 0.02


@pytest.mark.parametrize("network", [{"dims": 2}, {"dims": 2, "neighbours": 1}, {"dims": 3}], ids=str)
def test_added_noise_is_as_strong_as_the_level_says_wherever_a_patch_lies(network: dict[str, object]) -> None:
    level = torch.ones(1, 64, 64, 6)
    level[:, :32] = 3.0
    case = Case(image=level.clone(), truth=None, group="g", noise=torch.tensor([[0.0, 0, 0], [0, 0.1, 0], [0, 0, 0]]))
    turned = {"patch": 32, "batch": 2, "epoch": 8, "rotate": True, "flip": True}
    made = recipe("added_noise", added_noise={"alpha": 1.0}, network=network, samples=turned)
    samples = PairedSamples([replace(case, level=level)], made, length=20)
    for sample in (samples[n] for n in range(20)):
        there = sample["target"].expand_as(sample["input"])  # the scan's values are its level
        for value in (1.0, 3.0):
            if (there == value).sum() > 200:
                added = (sample["input"] - there)[there == value]
                assert float(added.std()) == pytest.approx(0.1 * value, rel=0.25)


@pytest.mark.parametrize("dims", [2, 3])
def test_added_noise_lies_as_the_scan_s_own_does_however_a_patch_is_turned(dims: int) -> None:
    rng = np.random.default_rng(0)
    noise = ndimage.gaussian_filter1d(rng.normal(size=(64, 64, 6)), 1.2, axis=0)
    own = torch.from_numpy((noise / noise.std()).astype(np.float32))
    kernel = torch.from_numpy(noise_kernel(own.numpy()))
    case = Case(image=own[None], truth=None, group="g", noise=kernel)
    turned = {"patch": 32, "batch": 2, "epoch": 8, "rotate": True, "flip": True}
    samples = PairedSamples(
        [case], recipe("added_noise", added_noise={"alpha": 1.0}, dims=dims, samples=turned), length=40
    )

    def along(patch: torch.Tensor) -> bool:
        """Whether neighbours along the first axis are alike rather than along the second."""
        image = patch[0]
        return float((image[1:] - image[:-1]).square().mean()) < float((image[:, 1:] - image[:, :-1]).square().mean())

    drawn = [samples[n] for n in range(40)]
    ways = [(along(one["target"]), along(one["input"] - one["target"])) for one in drawn]
    assert set(ways) == {(True, True), (False, False)}


@pytest.mark.parametrize("alpha", [0.5, 1.0, 2.0])
def test_the_corrected_answer_is_that_of_recorrupted_targets(alpha: float) -> None:
    """Noisier2Noise with its correction and Recorrupted2Recorrupted (Pang 2021): one least-squares fit, here of a
    filter of five pixels."""
    generator = np.random.default_rng(0)
    clean = np.convolve(generator.normal(size=4000), np.ones(9) / 3, mode="same")
    noise, added = generator.normal(size=(2, 4000))
    noisy, noisier, recorrupted = clean + noise, clean + noise + alpha * added, clean + noise - added / alpha
    seen = np.stack([np.roll(noisier, shift) for shift in range(-2, 3)], axis=1)
    moran, pang = (seen @ np.linalg.lstsq(seen, target, rcond=None)[0] for target in (noisy, recorrupted))
    assert corrected_for_added(moran, noisier, alpha) == pytest.approx(pang, abs=1e-5)
    assert np.mean((pang - clean) ** 2) < np.mean((noisy - clean) ** 2)  # and it denoises


@settings(max_examples=40, deadline=None)
@given(rows=st.integers(2, 21), columns=st.integers(2, 21), seed=st.integers(0, 1000))
def test_of_each_cell_two_neighbours_are_taken(rows: int, columns: int, seed: int) -> None:
    image = torch.arange(float(rows * columns)).reshape(1, rows, columns)
    made = SubsamplePaird()({"input": image, "target": image, "seed": seed})
    assert made["input"].shape == (1, rows // 2, columns // 2)
    for key, places in (("input", "first"), ("target", "second")):
        for i in range(rows // 2):  # a plain loop as oracle
            for j in range(columns // 2):
                row, column = divmod(int(made[places][0, i, j]), 2)
                assert float(made[key][0, i, j]) == float(image[0, 2 * i + row, 2 * j + column])
    one, two = made["first"], made["second"]
    distance = (one // 2 - two // 2).abs() + (one % 2 - two % 2).abs()
    assert torch.all(distance == 1)
    assert torch.equal(subsampled(made["whole"][None], one[None])[0], made["input"])


@settings(max_examples=40, deadline=None)
@given(channels=st.sampled_from([1, 3]), edge=st.integers(6, 24), share=st.floats(0.01, 0.4), seed=st.integers(0, 999))
def test_hidden_pixels_show_another_s_value_and_the_rest_their_own(
    channels: int, edge: int, share: float, seed: int
) -> None:
    image = torch.arange(float(channels * edge * edge)).reshape(channels, edge, edge)
    made = BlindSpotd(share=share, radius=2)({"input": image, "target": image[channels // 2][None], "seed": seed})
    middle, own = made["input"][channels // 2], image[channels // 2]
    hidden = made["valid"][0] > 0
    assert torch.equal(middle[~hidden], own[~hidden])
    assert torch.all(middle[hidden] != own[hidden])
    row, column = (middle - own[0, 0]) // edge, (middle - own[0, 0]) % edge
    here = torch.meshgrid(torch.arange(edge), torch.arange(edge), indexing="ij")
    assert torch.all((row - here[0]).abs() <= 2)
    assert torch.all((column - here[1]).abs() <= 2)
    others = [c for c in range(channels) if c != channels // 2]
    assert torch.equal(made["input"][others], image[others])
    assert torch.equal(image, torch.arange(float(channels * edge * edge)).reshape(channels, edge, edge))


def test_share_of_hidden_pixels() -> None:
    image = torch.rand(1, 200, 200)
    made = BlindSpotd(share=0.02, radius=2)({"input": image, "target": image, "seed": 0})
    assert float(made["valid"].mean()) == pytest.approx(0.02, rel=0.15)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"pairs": "corrupt"}, "section corrupt"),
        ({"pairs": "repeats", "corrupt": {"kind": "text"}}, "section corrupt"),
        ({"pairs": "subsample", "network": {"dims": 3}}, "2D"),
        ({"pairs": "neighbours", "network": {"neighbours": 1}}, "2D"),
        ({"pairs": "blind_spot", "targets": "clean"}, "clean targets"),
    ],
)
def test_what_does_not_go_together_is_refused(changes: dict[str, object], words: str) -> None:
    pairs = str(changes.pop("pairs"))
    with pytest.raises(UsageError, match=words):
        recipe(pairs, **changes)


@pytest.mark.parametrize("objective", ["l2", "balanced_l2"])
def test_neighbor2neighbor_s_regulariser_weighs_alike_in_both_measures(objective: str) -> None:
    """Of noise alone, σ² in network units: left as it is the loss is 2σ², and γ = 2 times the regulariser of an answer
    of zero is 2σ² as well; both over 2σ² with the balanced objective. Without that it would weigh next to nothing."""
    torch.manual_seed(0)
    whole = 0.02 * torch.randn(4, 1, 64, 64)
    places = {"first": torch.zeros(4, 1, 32, 32, dtype=torch.int64), "second": torch.ones(4, 1, 32, 32).long()}
    pair = {"input": subsampled(whole, places["first"]), "target": subsampled(whole, places["second"])}
    made = recipe("subsample", objective=objective, subsample={"gamma": 2.0})
    left = step_loss(torch.nn.Identity(), pair, made, share_done=1.0)
    zero = torch.nn.Hardtanh(0.0, 1e-12)
    plain, whole_loss = (
        step_loss(zero, one, made, share_done=1.0) for one in (pair, {**pair, **places, "whole": whole})
    )
    assert float((whole_loss - plain) / left) == pytest.approx(1.0, rel=0.1)
