"""Where patches lie: neighbouring slices as channels, centres in tissue, one place for input and target."""

from __future__ import annotations

import dataclasses
from collections import Counter

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from medn2n.core.samples import PairedSamples
from tests.core.test_samples import coordinates, recipe, repeat_of

torch.set_num_threads(1)


def test_neighbouring_slices_are_channels_and_the_last_slice_stands_in_for_what_lies_beyond() -> None:
    wide = recipe(network={"dims": 2, "neighbours": 2})
    samples = PairedSamples([coordinates(2, (20, 24, 6))], wide, length=60)
    middles = set()
    for n in range(60):
        sample = samples[n]
        assert sample["input"].shape == (5, 16, 16)
        assert sample["target"].shape == (1, 16, 16)
        noisy_slices, target = sample["input"] % 1_000_000, sample["target"][0] % 1_000_000
        assert torch.equal(noisy_slices[2], target)
        k = int(target[0, 0]) % 100
        middles.add(k)
        seen = [int(channel[0, 0]) % 100 for channel in noisy_slices]
        assert seen == [min(max(k + step, 0), 5) for step in range(-2, 3)]
        for channel in noisy_slices:  # one crop, flip and rotation for all channels
            assert torch.equal(channel // 100, target // 100)
        assert repeat_of(sample["input"]) != repeat_of(sample["target"])
    assert middles == set(range(6))


@pytest.mark.parametrize("dims", [2, 3])
def test_patches_are_centred_on_tissue_as_often_as_asked(dims: int) -> None:
    tissue = torch.zeros(10, 12, 40)
    tissue[6, 2, 13] = 0.5  # pixels 48 to 55, 16 to 23
    tissue[1, 9, 13] = 1.0  # pixels 8 to 15, 72 to 79
    case = dataclasses.replace(coordinates(2, (80, 96, 40)), tissue=tissue)
    plain = {"patch": 16, "batch": 2, "epoch": 8, "flip": False, "rotate": False}
    samples = PairedSamples([case], recipe(dims=dims, samples={**plain, "tissue": 0.75}), length=400)
    seen: Counter[str] = Counter()
    for n in range(400):
        i, j, k = place(samples[n]["input"], dims)
        inside = {(6, 2): "half", (1, 9): "whole"}.get((i // 8, j // 8))
        seen[inside if inside and k == 13 else "anywhere"] += 1
    assert seen["anywhere"] == pytest.approx(100, abs=30)
    assert seen["whole"] == pytest.approx(200, abs=40)
    assert seen["half"] == pytest.approx(100, abs=30)
    elsewhere = PairedSamples([case], recipe(dims=dims, samples={**plain, "tissue": 0.0}), length=200)
    corners = {place(elsewhere[n]["input"], dims)[:2] for n in range(200)}
    assert min(i for i, _ in corners) <= 10
    assert max(i for i, _ in corners) >= 80 - 8 - 3


def place(patch: torch.Tensor, dims: int) -> tuple[int, int, int]:
    """The voxel in the middle of a patch of `coordinates`."""
    at = int(patch[(0, *(8,) * dims)]) % 1_000_000
    return at // 10_000, at // 100 % 100, at % 100


def test_without_any_tissue_patches_lie_anywhere() -> None:
    case = dataclasses.replace(coordinates(2, (40, 40, 3)), tissue=torch.zeros(5, 5, 3))
    samples = PairedSamples([case], recipe(), length=40)
    assert len({float(samples[n]["input"].min()) for n in range(40)}) > 20


@settings(max_examples=60, deadline=None)
@given(
    shape=st.tuples(st.integers(8, 40), st.integers(8, 40), st.integers(1, 9)),
    repeats=st.integers(2, 4),
    dims=st.sampled_from([2, 3]),
    neighbours=st.integers(0, 2),
    index=st.integers(0, 10_000),
    tissue=st.booleans(),
)
def test_input_and_target_are_one_place_of_two_repeats(
    shape: tuple[int, int, int], repeats: int, dims: int, neighbours: int, index: int, tissue: bool
) -> None:
    case = coordinates(repeats, shape)
    if tissue:
        blocks = (-(-shape[0] // 8), -(-shape[1] // 8), shape[2])
        generator = torch.Generator().manual_seed(index)
        case = dataclasses.replace(case, tissue=torch.rand(blocks, generator=generator))
    network = {"dims": dims, "neighbours": neighbours if dims == 2 else 0}
    sample = PairedSamples([case], recipe(dims=dims, network=network), length=8)[index]
    channels = sample["input"].shape[0]
    first, second = sample["input"][channels // 2], sample["target"][0]
    assert torch.equal(first % 1_000_000, second % 1_000_000)  # the same voxels,
    assert not set((first // 1_000_000).unique().tolist()) & set(
        (second // 1_000_000).unique().tolist()
    )  # never one scan
    assert len((sample["input"] // 1_000_000).unique()) == 1
