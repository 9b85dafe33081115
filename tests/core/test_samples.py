"""Pairs for training: every ordered pair in turn, one crop for both, noise never shared, the same draw for a seed."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch
from monai.data import get_track_meta, set_track_meta

from medn2n.config import Recipe, parse_recipe
from medn2n.core.cases import Case, held_out_slices
from medn2n.core.samples import PairedSamples
from medn2n.errors import UsageError

torch.set_num_threads(1)


def recipe(*, patch: int = 16, dims: int = 2, **changes: object) -> Recipe:
    return parse_recipe(
        {
            "name": "t",
            "modality": "MR",
            "pairs": "repeats",
            "network": {"dims": dims},
            "scaling": {"kind": "percentile"},
            "samples": {"patch": patch, "batch": 2, "epoch": 8},
            **changes,
        }
    )


def coordinates(repeats: int, shape: tuple[int, int, int], *, group: str = "g", offset: int = 0) -> Case:
    """Voxel (i,j,k) of repeat r holds r·10⁶ + i·10⁴ + j·10² + k: a sample tells where it was cut."""
    i, j, k = np.indices(shape)
    place = i * 10_000 + j * 100 + k
    image = np.stack([(r + offset) * 1_000_000 + place for r in range(repeats)]).astype(np.float32)
    return Case(image=torch.from_numpy(image), truth=None, group=group)


def noisy(repeats: int, shape: tuple[int, int, int], *, seed: int = 0, group: str = "g") -> Case:
    generator = torch.Generator().manual_seed(seed)
    truth = torch.rand(1, *shape, generator=generator)
    noise = torch.randn(repeats, *shape, generator=generator)
    return Case(image=truth + noise, truth=truth, group=group)


def repeat_of(patch: torch.Tensor) -> int:
    return int(patch.flatten()[0]) // 1_000_000


def test_every_ordered_pair_takes_its_turn_with_roles_swapped() -> None:
    samples = PairedSamples([coordinates(3, (20, 20, 2))], recipe(), length=6)
    seen = Counter()
    for epoch in range(3):
        samples.start_at(epoch * len(samples))
        for n in range(len(samples)):
            sample = samples[n]
            seen[repeat_of(sample["input"]), repeat_of(sample["target"])] += 1
    assert seen == {(a, b): 3 for a in range(3) for b in range(3) if a != b}


@pytest.mark.parametrize("dims", [2, 3])
def test_one_crop_flip_and_rotation_for_input_and_target(dims: int) -> None:
    samples = PairedSamples([coordinates(2, (24, 27, 20))], recipe(dims=dims), length=40)
    orientations, corners = set(), set()
    for n in range(40):
        sample = samples[n]
        assert sample["input"].shape == (1, *(16,) * dims)
        assert sample["input"].dtype == sample["target"].dtype == torch.float32
        first, second = sample["input"][0] % 1_000_000, sample["target"][0] % 1_000_000
        assert torch.equal(first, second)
        steps = tuple(int(first[(0,) * a + (1,) + (0,) * (dims - 1 - a)] - first[(0,) * dims]) for a in range(dims))
        assert {abs(step) for step in steps} == ({10_000, 100} if dims == 2 else {10_000, 100, 1})
        orientations.add(steps)
        corners.add(float(first.min()))
    assert len(orientations) >= (7 if dims == 2 else 10)  # 8 ways to lay a square, 16 a block turned in its plane
    assert len(corners) > 20


def test_without_flip_and_rotation_patches_stand_as_the_scan_does() -> None:
    plain = recipe(samples={"patch": 16, "batch": 2, "epoch": 8, "flip": False, "rotate": False})
    samples = PairedSamples([coordinates(2, (24, 24, 3))], plain, length=10)
    for n in range(10):
        patch = samples[n]["input"][0]
        assert (float(patch[1, 0] - patch[0, 0]), float(patch[0, 1] - patch[0, 0])) == (10_000, 100)


def test_input_and_target_never_share_noise() -> None:
    case = noisy(2, (64, 64, 8))
    plain = recipe(patch=32, samples={"patch": 32, "batch": 2, "epoch": 8, "flip": False, "rotate": False})
    # The truth rides along as a third repeat of a twin case, so that the same crop shows it.
    both = torch.cat([case.image, case.truth.expand(2, -1, -1, -1)])
    inputs, targets = [], []
    for n in range(60):
        samples = PairedSamples([case], plain, length=60)
        sample = samples[n]
        twin = PairedSamples([Case(image=both[2:], truth=None, group="g")], plain, length=60)[n]
        assert torch.equal(twin["input"], twin["target"])
        inputs.append((sample["input"] - twin["input"]).flatten())
        targets.append((sample["target"] - twin["target"]).flatten())
    first, second = torch.cat(inputs).numpy(), torch.cat(targets).numpy()
    assert np.std(first) == pytest.approx(1, abs=0.02)  # the noise is whole
    assert np.std(second) == pytest.approx(1, abs=0.02)
    assert abs(np.corrcoef(first, second)[0, 1]) < 0.02
    assert abs(first.mean()) < 0.02


def test_the_same_seed_epoch_and_number_give_the_same_sample_in_any_order() -> None:
    cases = [noisy(3, (40, 40, 4), seed=n, group=f"g{n}") for n in range(3)]
    one, two = (PairedSamples(cases, recipe(), length=12) for _ in range(2))
    for samples in (one, two):
        samples.start_at(5 * len(samples))
    forward = [one[n] for n in range(12)]
    backward = [two[n] for n in reversed(range(12))][::-1]
    for first, second in zip(forward, backward, strict=True):
        assert torch.equal(first["input"], second["input"])
        assert torch.equal(first["target"], second["target"])
    two.start_at(6 * len(two))
    assert not torch.equal(two[0]["input"], forward[0]["input"])
    other = PairedSamples(cases, recipe(seed=1), length=12)
    other.start_at(5 * len(other))
    assert not torch.equal(other[0]["input"], forward[0]["input"])
    validation = PairedSamples(cases, recipe(), length=12, stream=1)
    validation.start_at(5 * len(validation))
    assert not torch.equal(validation[0]["input"], forward[0]["input"])


def test_groups_count_equally_however_large() -> None:
    cases = [coordinates(2, (20, 20, 1), group="many", offset=10 * n) for n in range(5)]
    cases.append(coordinates(2, (20, 20, 40), group="one", offset=90))
    samples = PairedSamples(cases, recipe(), length=30)
    seen = Counter(repeat_of(samples[n]["input"]) >= 90 for n in range(30))
    assert seen == {True: 15, False: 15}


def test_an_epoch_shorter_than_the_list_of_groups_still_visits_all_and_swaps_roles() -> None:
    cases = [coordinates(2, (20, 20, 1), group=f"g{n}", offset=10 * n) for n in range(5)]
    samples = PairedSamples(cases, recipe(), length=2)
    seen = Counter()
    for epoch in range(10):
        samples.start_at(epoch * len(samples))
        seen.update((repeat_of(samples[n]["input"]), repeat_of(samples[n]["target"])) for n in range(2))
    assert seen == Counter({pair: 2 for n in range(5) for pair in ((10 * n, 10 * n + 1), (10 * n + 1, 10 * n))})


def test_a_scan_smaller_than_the_patch_is_mirrored_alike_for_both() -> None:
    samples = PairedSamples([coordinates(2, (10, 12, 2))], recipe(), length=8)
    for n in range(8):
        sample = samples[n]
        assert sample["input"].shape == (1, 16, 16)
        assert torch.equal(sample["input"] % 1_000_000, sample["target"] % 1_000_000)


def test_clean_targets_need_a_truth() -> None:
    clean = recipe(targets="clean")
    with pytest.raises(UsageError, match="truth"):
        PairedSamples([coordinates(2, (20, 20, 2))], clean, length=4)
    case = noisy(2, (20, 20, 2))
    sample = PairedSamples([Case(image=case.image + 100, truth=case.truth, group="g")], clean, length=4)[0]
    assert float(sample["target"].max()) <= 1
    assert float(sample["input"].min()) > 50


def test_nothing_to_train_on_is_a_usage_error() -> None:
    with pytest.raises(UsageError, match="repeats"):
        PairedSamples([], recipe(), length=4)


@pytest.mark.parametrize("track", [True, False])
def test_global_random_states_and_monai_settings_stay_as_they_were(track: bool) -> None:
    before_setting = get_track_meta()
    set_track_meta(track)
    try:
        samples = PairedSamples([noisy(2, (30, 30, 3))], recipe(), length=4)
        before = np.random.get_state()[1].copy(), torch.get_rng_state()
        for n in range(4):
            sample = samples[n]
            assert type(sample["input"]) is torch.Tensor
        assert np.array_equal(before[0], np.random.get_state()[1])
        assert torch.equal(before[1], torch.get_rng_state())
        assert get_track_meta() is track
    finally:
        set_track_meta(before_setting)


def test_samples_do_not_depend_on_global_random_state() -> None:
    samples = PairedSamples([noisy(2, (30, 30, 3))], recipe(), length=4)
    np.random.seed(1)
    torch.manual_seed(1)
    first = samples[3]["input"]
    np.random.seed(2)
    torch.manual_seed(2)
    assert torch.equal(samples[3]["input"], first)


def test_a_group_s_samples_do_not_change_when_another_joins() -> None:
    few, more = ([noisy(3, (40, 40, 4), seed=n, group=f"g{n}") for n in range(count)] for count in (2, 3))
    one, two = PairedSamples(few, recipe(), length=12), PairedSamples(more, recipe(), length=18)
    for visit in range(6):
        for position in range(2):
            first, second = one[2 * visit + position], two[3 * visit + position]
            assert torch.equal(first["input"], second["input"])
            assert torch.equal(first["target"], second["target"])


def slices_of(cases: list[Case]) -> list[int]:
    return [int(case.image[0, 0, 0, k]) % 100 for case in cases for k in case.centres()]


def test_held_out_slices_have_no_neighbour_in_training() -> None:
    training, validation = held_out_slices([coordinates(2, (20, 20, 20))], dims=2)
    held, kept = slices_of(validation), slices_of(training)
    assert held == [2, 7, 12, 17]
    assert min(abs(a - b) for a in held for b in kept) == 2
    assert len(kept) == 8
    for cases, allowed in ((training, kept), (validation, held)):
        samples = PairedSamples(cases, recipe(), length=60)
        assert {int(samples[n]["input"][0, 0, 0]) % 100 for n in range(60)} == set(allowed)


def test_a_block_stays_in_one_piece_for_a_3d_network() -> None:
    training, validation = held_out_slices([coordinates(2, (4, 4, 20))], dims=3)
    assert slices_of(validation) == [16, 17, 18, 19]
    assert slices_of(training) == list(range(15))


def test_thin_cases_are_held_out_whole_and_a_lone_one_is_kept() -> None:
    cases = [coordinates(2, (4, 4, 1), offset=10 * n) for n in range(7)]
    training, validation = held_out_slices(cases, dims=2)
    assert (len(training), len(validation)) == (6, 1)
    assert validation[0] is cases[-1]
    training, validation = held_out_slices(cases[:1], dims=2)
    assert (len(training), len(validation)) == (1, 0)


def test_truths_are_cut_with_their_scans() -> None:
    training, validation = held_out_slices([noisy(2, (4, 4, 10))], dims=3)
    for case in [*training, *validation]:
        assert case.truth.shape == (1, *case.image.shape[1:])
