"""Simulated MR acquisitions: what coils, averages, complex images and undersampling do, against theory."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import fft

from medn2n.core.kspace_keeping import keep_chance, kept
from medn2n.core.mr_acquisition import MrProtocol, acquire, coil_sensitivities
from medn2n.core.mr_figures import mr_figures, own_noise_kept
from medn2n.core.noise_figures import Figure, correlation

SHAPE = (90, 75)


def image(shape: tuple[int, int] = SHAPE) -> np.ndarray:
    made = np.zeros(shape, np.float32)
    made[20:70, 15:60] = 300
    made[35:50, 30:45] = 120
    return made


def measured(protocol: MrProtocol, *, repeats: int = 20) -> dict[str, Figure]:
    made = acquire(image(), protocol, repeats=repeats, generator=np.random.default_rng(0))
    return {figure.name: figure for figure in mr_figures(made, protocol)}


@pytest.mark.parametrize(
    "changes",
    [{}, {"coils": 8}, {"averages": 4}, {"zero_fill": 0.6}, {"coils": 4, "averages": 2, "sigma": 90.0}],
    ids=str,
)
def test_magnitudes_have_the_moments_of_theory(changes: dict) -> None:
    figures = measured(MrProtocol(**({"sigma": 15.0} | changes)))
    noise = figures["noise in tissue"].expected
    for name in ("noise in air", "noise in tissue"):
        assert figures[name].measured == pytest.approx(figures[name].expected, rel=0.03)
    for name in ("mean of air above its signal", "mean of tissue above its signal"):
        assert figures[name].measured == pytest.approx(figures[name].expected, abs=0.015 * noise)
    rho = figures["correlation of repeats"]
    assert abs(rho.measured) < max(0.003, 5 * rho.error)
    for name, figure in figures.items():
        if name.startswith("lag-1"):
            assert figure.measured == pytest.approx(figure.expected, abs=0.03)


def test_where_no_tissue_stands_above_the_noise_no_correlation_is_told() -> None:
    figures = measured(MrProtocol(sigma=300.0, coils=8), repeats=2)
    assert not [name for name in figures if name.startswith("lag-1")]
    assert np.isfinite([figure.measured for figure in figures.values()]).all()


def test_averages_are_taken_before_the_magnitude() -> None:
    one, four = (measured(MrProtocol(sigma=60.0, averages=n))["mean of air above its signal"] for n in (1, 4))
    assert one.measured / four.measured == pytest.approx(2, rel=0.03)  # of magnitudes, the mean would not change


@pytest.mark.parametrize("coils", [1, 6])
@pytest.mark.parametrize("zero_fill", [1.0, 0.7])
def test_complex_images_have_gaussian_noise_and_the_truth_as_their_mean(coils: int, zero_fill: float) -> None:
    protocol = MrProtocol(sigma=40.0, coils=coils, zero_fill=zero_fill, image="complex")
    made = acquire(image(), protocol, repeats=40, generator=np.random.default_rng(1))
    assert made.repeats.shape == (40, 2, *SHAPE)
    assert made.truth.shape == (2, *SHAPE)
    noise = made.repeats - made.truth
    band = {1.0: 1.0, 0.7: np.sqrt(np.mean(_band(zero_fill) ** 2))}[zero_fill]
    assert float(noise.std()) == pytest.approx(40 * band, rel=0.02)
    assert abs(float(noise[:, 0].mean())) < 0.5
    assert float(np.abs(noise.mean(axis=0)).max()) < 5.5 * 40 / np.sqrt(40)
    flat = noise.reshape(40, 2, -1)
    assert abs(np.corrcoef(flat[:, 0].ravel(), flat[:, 1].ravel())[0, 1]) < 0.01  # real against imaginary
    assert abs(np.corrcoef(flat[0::2].ravel(), flat[1::2].ravel())[0, 1]) < 0.01  # one repeat against another
    assert float(np.hypot(*made.truth).max()) > 290
    assert float(np.abs(made.truth[1]).max()) > 30  # there is a phase


def _band(share: float) -> np.ndarray:
    from medn2n.core.mr_physics import acquired_band

    return acquired_band(SHAPE, share)


@pytest.mark.parametrize("coils", [1, 2, 8])
def test_sensitivities_add_up_to_one_and_are_smooth(coils: int) -> None:
    made = coil_sensitivities(SHAPE, coils)
    assert made.shape == (coils, *SHAPE)
    np.testing.assert_allclose(np.sum(np.abs(made) ** 2, axis=0), 1)
    assert float(np.abs(np.diff(made, axis=1)).max()) < 0.06
    if coils > 1:
        assert float(np.abs(made[0]).max() / np.abs(made[0]).min()) > 1.5


def conjugate(spectrum: np.ndarray) -> np.ndarray:
    rows, columns = (-np.arange(size) % size for size in spectrum.shape)
    return spectrum[np.ix_(rows, columns)]


@given(shape=st.tuples(st.integers(3, 40), st.integers(3, 40)), seed=st.integers(0, 99))
@settings(max_examples=30, deadline=None)
def test_conjugates_are_kept_together(shape: tuple[int, int], seed: int) -> None:
    chance = keep_chance(shape)
    np.testing.assert_allclose(chance, conjugate(chance))
    mask = kept(chance, np.random.default_rng(seed))
    assert np.array_equal(mask, conjugate(mask))
    assert mask[0, 0]


def test_the_paper_s_share_of_frequencies() -> None:
    chance = keep_chance((255, 255))
    assert float(chance[0, 127]) == pytest.approx(0.025)
    assert float(chance[0, 1]) == pytest.approx(0.025 ** (1 / 127))
    assert float(chance.mean()) == pytest.approx(0.1048, abs=1e-4)
    assert float(kept(chance, np.random.default_rng(0)).mean()) == pytest.approx(0.1048, abs=0.003)


@pytest.mark.parametrize("shape", [(15, 15), (16, 12)])
def test_each_of_a_pair_is_drawn_with_the_root_and_both_survive_with_m(shape: tuple[int, int]) -> None:
    """The rule itself: U² < m has probability √m, and of two independent draws both succeed with m."""
    chance, generator, draws = keep_chance(shape, edge=0.1), np.random.default_rng(3), 6000
    single = np.mean([generator.random(shape) ** 2 < chance for _ in range(draws)], axis=0)
    np.testing.assert_allclose(single, np.sqrt(chance), atol=5 * 0.5 / np.sqrt(draws))
    both = np.mean([kept(chance, generator) for _ in range(draws)], axis=0)
    np.testing.assert_allclose(both, chance, atol=5 * 0.5 / np.sqrt(draws))


@pytest.mark.parametrize("shape", [(45, 39), (40, 36)])
def test_dividing_by_m_is_unbiased_and_the_image_stays_real(shape: tuple[int, int]) -> None:
    base = np.random.default_rng(4).normal(100, 30, shape)
    chance, generator, draws = keep_chance(shape, edge=0.2), np.random.default_rng(5), 4000
    total = np.zeros(shape)
    for _ in range(draws):
        made = fft.ifft2(fft.fft2(base) * kept(chance, generator) / chance)
        assert float(np.abs(made.imag).max()) < 1e-9
        total += made.real
    power = np.abs(fft.fft2(base)) ** 2 / base.size**2
    spread = np.sqrt(np.sum(power * (1 / chance - 1)) / draws)
    error = total / draws - base
    assert float(np.sqrt(np.mean(error**2))) == pytest.approx(spread, rel=0.2)
    assert float(np.abs(error).max()) < 6 * spread


@pytest.mark.parametrize("sigma", [0.0, 12.0])
def test_undersampled_repeats_have_the_error_of_theory(sigma: float) -> None:
    protocol = MrProtocol(sigma=sigma, undersample="bspec")
    made = acquire(image(), protocol, repeats=60, generator=np.random.default_rng(6))
    np.testing.assert_array_equal(made.truth[0], image())
    assert made.repeats.min() < 0  # never a magnitude
    figures = {figure.name: figure for figure in mr_figures(made, protocol)}
    error, gain = figures["error of one repeat (RMS)"], figures["signal gained or lost"]
    assert error.measured == pytest.approx(error.expected, rel=0.05)
    assert abs(gain.measured) < 4 * gain.error
    assert abs(figures["correlation of repeats"].measured) < 5 * figures["correlation of repeats"].error


def test_the_same_seed_gives_the_same_scan() -> None:
    protocol = MrProtocol(sigma=20.0, coils=2)
    one, two, other = (
        acquire(image(), protocol, repeats=2, generator=np.random.default_rng(seed)).repeats for seed in (3, 3, 4)
    )
    assert np.array_equal(one, two)
    assert not np.array_equal(one, other)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"image": "phase"}, "image: expected one of magnitude, complex, found 'phase'"),
        ({"undersample": "radial"}, "undersample: expected one of none, bspec"),
        ({"undersample": "bspec", "coils": 2}, "one coil"),
        ({"undersample": "bspec", "image": "complex"}, "real image"),
        ({"undersample": "bspec", "zero_fill": 0.5}, "all frequencies"),
        ({"coils": 0}, "1 or more"),
        ({"averages": 0}, "1 or more"),
    ],
)
def test_what_cannot_be_is_said(changes: dict, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        MrProtocol(sigma=1.0, **changes)


def test_repeats_without_noise_have_no_correlation_to_tell() -> None:
    assert correlation(np.zeros((2, 9)), np.zeros((3, 3))) == (None, None)
    figure = Figure(name="x", measured=float("nan"), expected=1.0, error=float("inf")).finite()
    assert (figure.measured, figure.expected, figure.error) == (None, 1.0, None)


@pytest.mark.parametrize("zero_fill", [1.0, 0.5, 0.3])
def test_of_a_scan_s_own_noise_the_share_that_is_acquired_is_left(zero_fill: float) -> None:
    rng = np.random.default_rng(8)
    clean = np.full((192, 192), 1000, np.float32)
    noisy = (clean + rng.normal(0, 8, clean.shape)).astype(np.float32)
    protocol = MrProtocol(sigma=0.0, zero_fill=zero_fill)
    with_noise, without = (acquire(one, protocol, repeats=1, generator=rng).truth[0] for one in (noisy, clean))
    left = (with_noise - without)[20:-20, 20:-20]
    assert own_noise_kept(8.0, (192, 192), protocol) == pytest.approx(float(left.std()), rel=0.05)
