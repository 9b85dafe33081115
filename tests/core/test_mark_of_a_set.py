"""A mark that a whole set shares, against marks that were laid on."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter

from medn2n.core.corruption import Levels
from medn2n.core.mark_of_a_set import MOST_PIXELS, common_mark
from medn2n.errors import InputError

SIZE = (72, 80)


def pictures(count: int, seed: int) -> np.ndarray:
    """(N,I,J) of 0 to 255: fields as rough as photographs are (1/f), some of them with texture on top, some flat."""
    rng = np.random.default_rng(seed)
    frequency = np.hypot(np.fft.fftfreq(SIZE[0])[:, None], np.fft.fftfreq(SIZE[1])[None])
    spectrum = np.fft.fft2(rng.normal(size=(count, *SIZE))) / np.maximum(frequency, 1 / max(SIZE)) ** 1.2
    fields = np.fft.ifft2(spectrum).real
    fields = fields / fields.std(axis=(1, 2), keepdims=True) * rng.uniform(15, 60, (count, 1, 1))
    fields += rng.normal(size=fields.shape) * rng.choice([0.5, 6.0], (count, 1, 1))
    return np.clip(fields + rng.uniform(60, 190, (count, 1, 1)), 0, 255)


def ring_and_bar() -> np.ndarray:
    """(I,J) coverage with a smooth outline: a filled disc, a hole in it, and a bar that crosses the frame's edge."""
    i, j = np.indices(SIZE)
    away = np.hypot(i - 34, j - 36)
    cover = ((away < 20) & (away > 8)) | ((np.abs(i - 60) < 4) & (j > 50))
    return gaussian_filter(cover.astype(float), 0.7)


def under(truth: np.ndarray, coverage: np.ndarray, shade: float) -> np.ndarray:
    """What a camera program would store."""
    return np.round((1 - coverage) * truth + coverage * 255 * shade)


@settings(max_examples=6, deadline=None)
@given(
    strength=st.floats(0.2, 0.7),
    shade=st.sampled_from([0.0, 0.9, 1.0]),
    count=st.integers(30, 50),
    seed=st.integers(0, 99),
)
def test_a_light_or_dark_mark_is_found(strength: float, shade: float, count: int, seed: int) -> None:
    truth, coverage = pictures(count, seed), strength * ring_and_bar()
    found = common_mark(under(truth, coverage, shade))
    marked = coverage > 0.02
    assert np.corrcoef(found.coverage.ravel(), coverage.ravel())[0, 1] > 0.97
    away, said = (np.sqrt(np.mean(one[marked] ** 2)) for one in (found.coverage - coverage, found.error))
    assert away < max(0.05, 3 * said)  # where the set's own mean is grey by chance, a faint mark is known no better
    assert found.shade == pytest.approx(shade, abs=0.03 / strength)  # of a faint mark, hardly known
    assert found.strength == pytest.approx(strength, abs=0.07)


def test_a_grey_mark_is_found_by_what_it_flattens() -> None:
    truth, coverage = pictures(60, 1), 0.6 * ring_and_bar()
    found = common_mark(under(truth, coverage, 0.5))
    assert np.corrcoef(found.coverage.ravel(), coverage.ravel())[0, 1] > 0.95
    assert np.sqrt(np.mean((found.coverage - coverage)[coverage > 0.02] ** 2)) < 0.09
    assert found.shade == pytest.approx(0.5, abs=0.05)


def test_errors_are_as_large_as_they_are_said_to_be() -> None:
    away = []
    for seed in range(4):
        coverage = 0.5 * ring_and_bar()
        found = common_mark(under(pictures(40, 10 + seed), coverage, 1.0))
        there = found.coverage > 0.1
        away.append(np.mean(((found.coverage - coverage)[there] / found.error[there]) ** 2))
    assert 0.5 < np.sqrt(np.mean(away)) < 2.0


def test_more_pictures_make_it_surer() -> None:
    coverage, truth = 0.5 * ring_and_bar(), pictures(120, 3)
    few, many = (common_mark(under(truth[:n], coverage, 1.0)) for n in (30, 120))
    there = coverage > 0.3
    assert many.error[there].mean() < 0.65 * few.error[there].mean()
    assert many.shade == pytest.approx(1.0, abs=0.02)


@pytest.mark.parametrize("count", [20, 60])
def test_no_mark_is_found_where_there_is_none(count: int) -> None:
    for seed in range(3):
        with pytest.raises(InputError, match="No mark stands out") as refused:
            common_mark(pictures(count, 20 + seed))
        assert refused.value.code == "NO_COMMON_MARK"


def test_a_mark_with_nothing_around_it_is_refused() -> None:
    stripes = np.zeros(pictures(1, 0).shape[1:])
    stripes[::6] = stripes[1::6] = 0.5
    with pytest.raises(InputError, match="covers") as refused:
        common_mark(under(pictures(40, 0), stripes, 0.94))
    assert refused.value.code == "NO_COMMON_MARK"


def test_too_few_and_too_large_pictures_are_refused() -> None:
    with pytest.raises(InputError, match=r"at least 20 different grey pictures of one size, found \(19"):
        common_mark(list(pictures(19, 0)))
    with pytest.raises(InputError, match="20 different grey pictures"):
        common_mark(np.repeat(pictures(19, 0), 2, axis=0))  # what copies of one picture share is the picture
    with pytest.raises(InputError, match="grey pictures"):
        common_mark(np.repeat(pictures(20, 0)[..., None], 3, axis=-1))
    with pytest.raises(InputError, match="Crop all of them"):
        common_mark(np.broadcast_to(np.arange(20.0)[:, None, None], (20, 1001, MOST_PIXELS // 1000)))


def test_the_mark_comes_off_again_and_its_shape_is_cropped() -> None:
    truth, coverage = pictures(40, 5), 0.5 * ring_and_bar()
    levels = Levels(black=-0.5, white=0.5)
    marked = under(truth, coverage, 1.0)
    found = common_mark(marked / 255 - 0.5, levels=levels)
    colour = np.repeat(marked[0, :, :, None], 3, axis=2) / 255 - 0.5
    back = (found.taken_off(colour, levels=levels) + 0.5) * 255
    there = coverage > 0.1
    before, after = (np.sqrt(np.mean((one - truth[0])[there] ** 2)) for one in (marked[0], back[:, :, 1]))
    assert after < 0.12 * before
    untouched = found.coverage == 0
    np.testing.assert_allclose(back[:, :, 0][untouched], marked[0][untouched], atol=1e-3)
    shape = found.shape()
    inked = np.argwhere(found.coverage > found.strength / 10)
    assert shape.shape == tuple(np.ptp(inked, axis=0) + 1)
    assert shape.max() == 1


def test_opaque_pixels_stay_finite() -> None:
    truth, coverage = pictures(40, 6), np.clip(1.2 * ring_and_bar(), 0, 1)
    found = common_mark(under(truth, coverage, 1.0))
    assert found.strength > 0.97
    assert np.isfinite(found.taken_off(under(truth, coverage, 1.0)[0])).all()
