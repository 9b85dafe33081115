"""Corruptions against their statistics: the means and variances that the paper's experiments rest on, never clipped."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medn2n.config.second_views import Corrupt
from medn2n.core.corruption import (
    KINDS,
    Bernoulli,
    Gaussian,
    Impulse,
    Levels,
    Poisson,
    Rician,
    Text,
    Watermark,
    corrupt,
    corruption_of,
)
from medn2n.core.lettering import random_line, written
from medn2n.core.random_marks import random_mark

NETWORK = Levels(black=-0.5, white=0.5)


def draws(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def ramp(shape: tuple[int, ...] = (64, 48)) -> np.ndarray:
    """Grey levels from 20 to 235."""
    return np.broadcast_to(np.linspace(20, 235, shape[0]).reshape(-1, *[1] * (len(shape) - 1)), shape).copy()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("shape", "colour"), [((40, 33), False), ((40, 33, 3), True), ((40, 33, 2), False)])
def test_every_kind_keeps_the_shape_and_follows_from_its_generator(kind: str, shape: tuple, colour: bool) -> None:
    image, corruption = ramp(shape), KINDS[kind]()
    before = image.copy()
    first, again = (corrupt(image, corruption, draws(3), colour=colour) for _ in range(2))
    other = corrupt(image, corruption, draws(4), colour=colour)
    assert first.image.shape == shape
    assert first.image.dtype == np.float32
    np.testing.assert_array_equal(first.image, again.image)
    assert first.drawn == again.drawn
    assert not np.array_equal(first.image, other.image)
    np.testing.assert_array_equal(image, before)
    assert (first.valid is not None) == (kind == "bernoulli")


@settings(max_examples=25, deadline=None)
@given(
    kind=st.sampled_from(sorted(KINDS)),
    black=st.floats(-2000, 2000),
    width=st.floats(0.5, 5000),
    seed=st.integers(0, 99),
)
def test_strength_is_a_share_of_the_range(kind: str, black: float, width: float, seed: int) -> None:
    """The same picture in other units is corrupted alike. In float64: a rate off by the rounding of float32 may draw
    another count, and other numbers from there on."""
    image, levels = ramp((24, 20)), Levels(black=black, white=black + width)
    plain = corrupt(image, KINDS[kind](), draws(seed)).image
    other = corrupt(black + width * Levels().shares(image), KINDS[kind](), draws(seed), levels=levels).image
    np.testing.assert_allclose(levels.shares(other), Levels().shares(plain), atol=3e-3)


def test_gaussian_noise_is_white_unclipped_and_of_its_own_level_in_each_call() -> None:
    image = np.full((400, 300), 0.49)  # next to white
    made = [corrupt(image, Gaussian(), draws(n), levels=NETWORK) for n in range(60)]
    sigmas = np.array([one.drawn["sigma"] for one in made])
    assert sigmas.min() < 5
    assert sigmas.max() > 45
    assert sigmas.mean() == pytest.approx(25, abs=6)
    for one, sigma in zip(made, sigmas, strict=True):
        noise = (one.image - 0.49) * 255
        assert noise.std() == pytest.approx(sigma, rel=0.02)
        assert abs(noise.mean()) < 0.02 * sigma
    loud = corrupt(image, Gaussian(sigma=(50, 50)), draws(1), levels=NETWORK).image
    assert loud.max() > 1.0
    assert len(np.unique(loud)) > 100_000


def test_two_calls_share_no_noise() -> None:
    image, generator = ramp((200, 200, 3)), draws()
    for kind in ("gaussian", "poisson", "rician"):
        one, two = (corrupt(image, KINDS[kind](), generator).image - image for _ in range(2))
        one, two = (noise - noise.mean(axis=1, keepdims=True) for noise in (one, two))
        assert abs(np.corrcoef(one.ravel(), two.ravel())[0, 1]) < 0.015
        flat = one.reshape(200, -1, 3)
        assert abs(np.corrcoef(flat[..., 0].ravel(), flat[..., 1].ravel())[0, 1]) < 0.025


@pytest.mark.parametrize("chi", [0.5, 5.0, 30.0])
def test_poisson_noise_has_the_clean_mean_and_its_variance(chi: float) -> None:
    image = np.full((300, 300), 0.2)  # share 0.7 of white
    found = corrupt(image, Poisson(chi=(chi, chi)), draws(), levels=NETWORK).image + 0.5
    assert found.mean() == pytest.approx(0.7, abs=4 * np.sqrt(0.7 / chi / found.size))
    assert found.var() == pytest.approx(0.7 / chi, rel=0.03)
    np.testing.assert_allclose(found * chi, np.round(found * chi), atol=1e-3)  # whole counts


def test_poisson_below_black_counts_nothing() -> None:
    assert corrupt(np.full((4, 4), -9.0), Poisson(), draws()).image.tolist() == [[0.0] * 4] * 4


def test_bernoulli_returns_its_mask_and_erases_all_planes_of_a_pixel() -> None:
    image = ramp((200, 150, 3))
    made = corrupt(image, Bernoulli(p=(0.5, 0.5)), draws(), colour=True)
    assert made.valid is not None
    assert made.valid.mean() == pytest.approx(0.5, abs=0.01)
    assert (made.valid == made.valid[:, :, :1]).all()
    np.testing.assert_allclose(made.image[made.valid], image[made.valid], rtol=1e-6)
    assert (made.image[~made.valid] == 0).all()
    apart = corrupt(image, Bernoulli(p=(0.5, 0.5)), draws()).valid
    assert apart is not None
    assert not (apart == apart[:, :, :1]).all()  # slices of a scan each have their own


def test_impulses_are_uniform_over_the_range_and_leave_the_rest() -> None:
    image = np.full((300, 200, 3), 100.0)
    made = corrupt(image, Impulse(p=(0.7, 0.7)), draws(), colour=True).image
    replaced = made != 100
    assert replaced.mean() == pytest.approx(0.7, abs=0.01)
    assert (replaced[..., 0] == replaced[..., 2]).mean() > 0.999
    assert not np.array_equal(made[..., 0], made[..., 2])
    values = made[replaced]
    assert values.mean() == pytest.approx(127.5, abs=1)
    assert values.std() == pytest.approx(255 / np.sqrt(12), rel=0.02)
    assert values.min() >= 0
    assert values.max() <= 255


@pytest.mark.parametrize(("snr", "mean"), [(0.0, 1.2533), (1.0, 1.5486), (3.0, 3.1715)])
def test_rician_magnitudes_have_their_known_mean(snr: float, mean: float) -> None:
    made = corrupt(np.full((400, 400), snr), Rician(sigma=(255.0, 255.0)), draws(), levels=Levels(white=1.0)).image
    assert made.mean() == pytest.approx(mean, abs=0.01)
    assert (made.astype(np.float64) ** 2).mean() == pytest.approx(snr**2 + 2, rel=0.01)


@pytest.mark.parametrize("p", [0.0, 0.25, 0.5])
def test_lettering_covers_the_share_asked_for(p: float) -> None:
    image = np.full((256, 256), 128.0)
    made = corrupt(image, Text(p=(p, p)), draws())
    assert made.drawn["covered"] == pytest.approx(p, abs=0.05)
    touched = np.mean(np.abs(made.image - 128) > 0.5)  # rims of letters, which ink covers in part, too
    assert 0.95 * made.drawn["covered"] <= touched <= made.drawn["covered"] + 0.12
    assert made.image.min() >= -1e-3
    assert made.image.max() <= 255 + 1e-3


def test_lettering_lies_in_one_place_in_all_colours_and_in_places_of_its_own_in_slices() -> None:
    image = np.full((128, 128, 3), 300.0)  # brighter than any ink
    together = corrupt(image, Text(p=(0.3, 0.3)), draws(), colour=True).image < 299.99
    assert (together[..., 0] == together[..., 1]).mean() > 0.995
    apart = corrupt(image, Text(p=(0.3, 0.3)), draws()).image < 299.99
    assert (apart[..., 0] == apart[..., 1]).mean() < 0.8


def test_letters_stand_upright_where_i_runs_right_and_j_down() -> None:
    letter = written("L", size=60)
    columns, rows = letter.sum(axis=1), letter.sum(axis=0)
    assert columns[0] > 2 * columns[-1]  # the stem is left
    assert rows[-1] > 2 * rows[0]  # the foot is below
    assert letter.min() >= 0
    assert letter.max() == 1
    assert letter.shape[1] == pytest.approx(0.73 * 60, abs=2)
    assert written(" ", size=20).size == 0


def test_random_lines_have_the_length_asked_for() -> None:
    lengths = {len(random_line(draws(n), characters=(3, 5))) for n in range(40)}
    assert lengths == {3, 4, 5}


def test_drawn_marks_are_many_and_leave_most_of_a_picture_free() -> None:
    marks = [random_mark(draws(seed), edge=90) for seed in range(60)]
    assert all(max(mark.shape) <= 90 and mark.min() >= 0 and mark.max() <= 1 for mark in marks)
    assert sum(mark.max() > 0.9 for mark in marks) > 50
    assert 0.1 < np.mean([mark.sum() / 90**2 for mark in marks]) < 0.3
    assert np.mean([mark.sum() / 90**2 > 0.5 for mark in marks]) < 0.1
    assert len({mark.tobytes() for mark in marks}) == 60


@settings(max_examples=40, deadline=None)
@given(edge=st.integers(8, 120), seed=st.integers(0, 10_000))
def test_a_drawn_mark_fits_into_its_edge(edge: int, seed: int) -> None:
    mark = random_mark(draws(seed), edge=edge)
    assert mark.dtype == np.float32
    assert 0 < min(mark.shape) <= max(mark.shape) <= edge
    assert np.isfinite(mark).all()


def test_a_given_mark_is_laid_over_by_its_strength_and_shade() -> None:
    mark = np.ones((20, 10), np.float32)
    watermark = Watermark(mark=mark, strength=(0.4, 0.4), size=(0.25, 0.25), shade=(1.0, 1.0), marks=(1, 1))
    image = np.full((80, 100, 3), 50.0)
    made = [corrupt(image, watermark, draws(n), colour=True) for n in range(30)]
    whole = 0
    for one in made:
        covered = one.image[..., 0] > 50.001
        np.testing.assert_allclose(one.image[covered], 0.6 * 50 + 0.4 * 255, rtol=1e-5)
        np.testing.assert_array_equal(one.image[~covered], 50)
        whole += covered.sum() == 20 * 10
        assert one.drawn["covered"] == pytest.approx(0.4 * covered.mean(), rel=1e-6)
    assert whole > 10  # others hang over an edge
    assert len({tuple(np.argwhere(one.image[..., 0] > 50.001)[0]) for one in made}) > 25


def test_a_given_mark_keeps_about_its_own_size_unless_one_is_given() -> None:
    mark = np.zeros((30, 20), np.float32)
    mark[10:20, 5:15] = 1.0
    watermark = Watermark(mark=mark, strength=(1, 1), shade=(1.0, 1.0), marks=(1, 1))
    areas = [(corrupt(np.zeros((200, 200)), watermark, draws(n)).image / 255).sum() for n in range(80)]
    whole = [area for area in areas if area > 60]  # others hang over an edge
    assert min(whole) == pytest.approx(100 * 0.8**2, rel=0.08)
    assert max(whole) == pytest.approx(100 * 1.25**2, rel=0.08)


def test_a_section_of_a_recipe_makes_its_corruption() -> None:
    assert corruption_of(Corrupt(kind="gaussian")) == Gaussian(sigma=(0, 50))
    assert corruption_of(Corrupt.model_validate({"kind": "poisson", "chi": 30})) == Poisson(chi=(30, 30))
    assert corruption_of(Corrupt(kind="bernoulli")) == Bernoulli(p=(0, 0.95))
    assert corruption_of(Corrupt(kind="impulse", p=(0.1, 0.2))) == Impulse(p=(0.1, 0.2))
    assert corruption_of(Corrupt(kind="text")) == Text(p=(0, 0.5))
    assert corruption_of(Corrupt(kind="rician", sigma=(1, 2))) == Rician(sigma=(1, 2))
    mark = np.ones((4, 4), np.float32)
    marked = corruption_of(Corrupt(kind="watermark", strength=(0.1, 0.2), mark="mark.png"), mark=mark)
    assert isinstance(marked, Watermark)
    assert marked.mark is mark
    assert marked.strength == (0.1, 0.2)


@pytest.mark.parametrize(
    "section",
    [
        {"kind": "blur"},
        {"kind": "gaussian", "chi": 3},
        {"kind": "gaussian", "sigma": -1},
        {"kind": "gaussian", "sigma": [9, 3]},
        {"kind": "gaussian", "sigma": True},
        {"kind": "poisson", "chi": 0},
        {"kind": "bernoulli", "p": 1.2},
        {"kind": "text", "size": 1},
        {"kind": "watermark", "size": 40},
        {"kind": "impulse", "mark": "a.png"},
        {"kind": "gaussian", "sigma": float("nan")},
        {"kind": "gaussian", "extra": 1},
    ],
)
def test_a_section_that_means_nothing_is_refused(section: dict) -> None:
    with pytest.raises(ValueError, match=r"sigma|chi|kind|p:|size|mark|extra"):
        Corrupt.model_validate(section)
