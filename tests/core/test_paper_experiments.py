"""The paper's experiments are fair (the same inputs for clean and noisy targets), and k-space is as the paper says."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import fft

from medn2n.config import parse_corrupt
from medn2n.core.cases import Case
from medn2n.core.corruption import corrupt, corruption_of
from medn2n.core.kspace_keeping import keep_chance, undersampled, with_kept
from medn2n.core.objectives import with_measured
from medn2n.core.samples import PairedSamples
from medn2n.core.second_views import UndersampleTwiced
from medn2n.errors import InputError, UsageError
from medn2n.recipes import find_recipe, read_recipe, recipes_folder
from medn2n.stages.samples_to_bundle import train

torch.set_num_threads(1)
PAPER = sorted(path.stem for path in recipes_folder().glob("paper_*.yaml"))
TINY = ["network.arguments={channels: 3, levels: 2}", "samples={patch: 32, batch: 2, epoch: 8}", "precision=32-true"]


def picture(seed: int = 0, shape: tuple[int, int] = (40, 45)) -> np.ndarray:
    """A smooth picture between −½ and ½, with an edge."""
    made = np.random.default_rng(seed).normal(size=shape).cumsum(axis=0).cumsum(axis=1)
    made[8:20, 10:30] += made.max()
    return ((made - made.min()) / np.ptp(made) - 0.5).astype(np.float32)


def cases(count: int = 2) -> list[Case]:
    return [Case(image=torch.from_numpy(picture(n))[None, ..., None], truth=None, group=f"g{n}") for n in range(count)]


def recipe(name: str, *over: str):

    return read_recipe(find_recipe(name), [*TINY, *over])


@pytest.mark.parametrize("name", PAPER)
def test_clean_and_noisy_targets_come_with_the_same_inputs(name: str) -> None:
    noisy = PairedSamples(cases(), recipe(name), length=8)
    objective = ["objective=l2"] if name == "paper_bernoulli" else []
    clean = PairedSamples(cases(), recipe(name, "targets=clean", *objective), length=8)
    for epoch in (0, 1):
        noisy.start_at(epoch * len(noisy))
        clean.start_at(epoch * len(clean))
        for n in range(8):
            one, other = noisy[n], clean[n]
            assert torch.equal(one["input"], other["input"])
            assert not torch.equal(one["target"], other["target"])
            assert not torch.equal(one["target"], one["input"])
            for key in {"measured", "kept"} & set(one):
                assert torch.equal(one[key], other[key])


def test_clean_and_noisy_targets_start_from_the_same_weights(tmp_path: Path) -> None:
    still = ["optimiser.steps=1", "optimiser.learning_rate=1e-30"]
    noisy, clean = (
        train(cases(), [], recipe("paper_gaussian", *still, f"targets={kind}"), folder=tmp_path / kind, device="cpu")
        for kind in ("noisy", "clean")
    )
    for one, other in zip(noisy.network.parameters(), clean.network.parameters(), strict=True):
        assert torch.allclose(one, other, rtol=0, atol=1e-20)
    assert any(parameter.abs().sum() > 0 for parameter in noisy.network.parameters())


def test_keep_last_is_the_model_of_the_end_and_keep_best_of_the_best(tmp_path: Path) -> None:
    # A rate that destroys the network: each validation is worse than the one before.
    over = ["optimiser.steps=6", "validate_every=2", "optimiser.learning_rate=0.3", "optimiser.ema=0"]
    last, best = (
        train(cases(), [], recipe("paper_gaussian", *over, f"keep={keep}"), folder=tmp_path / keep, device="cpu")
        for keep in ("last", "best")
    )
    figures = [entry["validation"] for entry in last.progress.history]
    assert last.progress.best_step == 6
    assert best.progress.best_step == 2 * (1 + int(np.argmin(figures))) < 6
    differ = [
        not torch.equal(one, other)
        for one, other in zip(last.network.parameters(), best.network.parameters(), strict=True)
    ]
    assert any(differ)


@settings(max_examples=20, deadline=None)
@given(st.integers(5, 24), st.integers(5, 24), st.integers(0, 10**6))
def test_an_undersampled_image_is_its_kept_frequencies_divided_by_their_chance(i: int, j: int, seed: int) -> None:
    image = picture(seed, (i, j))
    made = undersampled(image, np.random.default_rng(seed), edge=0.1)
    spectrum = fft.fft2(image.astype(np.float64))
    assert np.allclose(made.measured, spectrum * made.kept)
    assert np.allclose(fft.fft2(made.image) * keep_chance((i, j), 0.1), made.measured)  # real, and nothing lost
    assert made.kept[0, 0]


def test_many_draws_have_the_image_as_their_mean() -> None:
    image, generator = picture(), np.random.default_rng(1)
    draws = np.stack([undersampled(image, generator, edge=0.2).image for _ in range(600)])
    error = draws.std(axis=0) / np.sqrt(len(draws))
    assert np.abs((draws.mean(axis=0) - image) / error).mean() == pytest.approx(np.sqrt(2 / np.pi), rel=0.15)


def test_views_of_kspace_share_the_shift_and_nothing_else() -> None:
    image = torch.from_numpy(picture())[None]
    shifts = set()
    for seed in range(12):
        data = {"input": image, "target": image, "seed": seed}
        noisy, clean = (UndersampleTwiced(edge=0.1, clean_targets=kind)(data) for kind in (False, True))
        whole = clean["target"][0].numpy()
        rolled = [
            (i, j)
            for i in range(40)
            for j in range(45)
            if np.array_equal(np.roll(image[0].numpy(), (i, j), (0, 1)), whole)
        ]
        assert len(rolled) == 1
        shifts.add(rolled[0])
        spectra = fft.fft2(whole), fft.fft2(noisy["target"][0].numpy().astype(np.float64))
        kept = noisy["kept"][0].numpy() > 0
        assert np.allclose(noisy["measured"][0].numpy(), spectra[0] * kept, atol=1e-2)
        others = np.abs(spectra[1]) > 1e-4 * np.abs(spectra[1]).max()
        chance = keep_chance(whole.shape, 0.1)
        both = float((kept & others).mean())
        assert both == pytest.approx(float((chance**2).mean()), abs=0.05)  # drawn apart from one another
    assert len(shifts) > 8


def test_what_was_measured_is_put_back_as_in_training() -> None:
    image, answer = picture(3), picture(4)
    made = undersampled(image, np.random.default_rng(0))
    there = with_kept(answer[..., None], made.image.astype(np.float32)[..., None])[..., 0]
    measured = torch.from_numpy(made.measured)[None, None]
    trained = with_measured(
        torch.from_numpy(answer)[None, None].double(), measured, torch.from_numpy(made.kept)[None, None]
    )
    assert np.abs(there - trained[0, 0].numpy()).max() < 1e-5
    with pytest.raises(InputError, match="lacks 0%"):
        with_kept(answer[..., None], image[..., None])


def test_photographs_and_slices_lose_their_frequencies_by_the_same_rule() -> None:
    colour = np.stack([picture(n) for n in range(3)], axis=2) * 255
    made = corrupt(colour, corruption_of(parse_corrupt({"kind": "kspace", "p_edge": 0.1})), np.random.default_rng(0))
    assert made.image.shape == colour.shape
    assert made.drawn["kept"] == pytest.approx(float(keep_chance((40, 45), 0.1).mean()), abs=0.05)
    assert made.image.mean() == pytest.approx(float(colour.mean()), rel=1e-4)  # the zero frequency is always kept


@pytest.mark.parametrize(
    ("name", "setting"),
    [
        ("paper_mri", "objective=l2"),
        ("paper_gaussian", "objective=kspace_l2"),
        ("paper_mri", "network.neighbours=1"),
        ("paper_mri", "corrupt.p_edge=0"),
        ("paper_mri", "corrupt.sigma=3"),
        ("paper_gaussian", "corrupt.p_edge=0.1"),
        ("paper_gaussian", "keep=first"),
    ],
)
def test_what_does_not_fit_together_is_refused(name: str, setting: str) -> None:
    with pytest.raises(UsageError):
        recipe(name, setting)
