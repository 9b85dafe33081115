"""Noise of simulated CT against theory, against another simulator's public phantom, and between repeats."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from medn2n.core import ct_physics
from medn2n.core.ct_counting import expected_counts, log_moments
from medn2n.core.ct_figures import body_of, ct_figures, photons_for_dose, square_in
from medn2n.core.ct_noise_theory import Reconstruction, covariance_at, periodogram_at, variance_at
from medn2n.core.ct_physics import CtProtocol, Sinogram, acquire, filtered_back_projection, sinogram
from medn2n.core.ct_projection import Beam, fan_beam, parallel_beam
from medn2n.core.noise_figures import Figure, correlation, radial

SIDE, PIXEL_MM = 64, 1.2
BEAMS = {
    "parallel": parallel_beam(SIDE, 96),
    "fan": fan_beam(SIDE, 120, source=150.0),
    "fine detector": parallel_beam(SIDE, 96, pitch=0.7),
}
PROTOCOL = CtProtocol(photons=4e4, views=96, kernel="ramp")


def body() -> np.ndarray:
    i, j = np.indices((SIDE, SIDE)) - SIDE // 2
    return np.where((i / 28) ** 2 + (j / 20) ** 2 < 1, 40.0, -1000.0).astype(np.float32)


@pytest.mark.parametrize("beam", BEAMS.values(), ids=BEAMS)
@pytest.mark.parametrize(("kernel", "cutoff"), [("ramp", 1.0), ("cosine", 0.6)])
def test_variance_and_correlation_follow_from_the_rays(beam: Beam, kernel: str, cutoff: float) -> None:
    generator, draws = np.random.default_rng(0), 120
    # Rays differ by a factor of nine along the detector and of three round the turn.
    variance = 1e-4 * (1 + 8 * np.exp(-((beam.offsets / 20) ** 2)))[:, None] * (2 + np.cos(2 * np.array(beam.angles)))
    noise = (generator.normal(size=(draws, *variance.shape)) * np.sqrt(variance)).astype(np.float32)
    images = filtered_back_projection(noise, pixel_mm=1.5, kernel=kernel, cutoff=cutoff, beam=beam, side=SIDE).astype(
        np.float64
    )
    made = Reconstruction(beam=beam, side=SIDE, pixel_mm=1.5, kernel=kernel, cutoff=cutoff)
    i, j = np.indices((SIDE, SIDE)) - SIDE // 2
    within = np.hypot(i, j) < 28
    expected = variance_at(variance, made, i[within].astype(float), j[within].astype(float))
    ratio = np.mean(images[:, within] ** 2, axis=0) / expected
    assert float(ratio.mean()) == pytest.approx(1, abs=0.025)
    assert float(ratio.std()) < 1.25 * np.sqrt(2 / draws)  # nothing but the spread of an estimate from 120 draws
    lags = np.array([0.0, 1.0, 0.0]), np.array([0.0, 0.0, 1.0])
    middle = covariance_at(variance, made, (np.array([0.0]), np.array([0.0])), *lags)
    square = images[:, SIDE // 2 - 6 : SIDE // 2 + 6, SIDE // 2 - 6 : SIDE // 2 + 6]
    energy = np.mean(square**2)
    assert float(np.mean(square[:, 1:] * square[:, :-1]) / energy) == pytest.approx(middle[1] / middle[0], abs=0.05)
    assert float(np.mean(square[:, :, 1:] * square[:, :, :-1]) / energy) == pytest.approx(
        middle[2] / middle[0], abs=0.05
    )


def test_the_periodogram_s_mean_is_the_square_s_variance() -> None:
    beam = BEAMS["fan"]
    variance = np.full((beam.elements, len(beam.angles)), 1e-4)
    made = Reconstruction(beam=beam, side=SIDE, pixel_mm=1.5, kernel="hann", cutoff=1.0)
    i, j = np.indices((24, 24)) - 12.0
    expected = variance_at(variance, made, i.ravel(), j.ravel()).mean()
    assert float(periodogram_at(variance, made, (0.0, 0.0), 24).mean()) == pytest.approx(expected, rel=1e-6)


def measured(protocol: CtProtocol, *, repeats: int = 2, realisations: int = 12) -> dict[str, Figure]:
    scan = sinogram(body(), pixel_mm=PIXEL_MM, protocol=protocol)
    made = acquire(scan, protocol, repeats=repeats, realisations=realisations, generator=np.random.default_rng(1))
    figures = ct_figures(scan, protocol, made, body_of(body()), repeats=repeats)
    return {figure.name: figure for figure in figures}


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"geometry": "fan", "views": 120, "source_mm": 180.0},
        {"split": "counts"},
        {"split": "views", "views": 192},
        {"kernel": "hann", "cutoff": 0.7, "photons": 100.0},
    ],
    ids=["parallel", "fan", "counts", "views", "few photons"],
)
def test_what_is_measured_is_what_theory_expects(changes: dict) -> None:
    figures = measured(replace(PROTOCOL, **changes))
    for name in ("noise in the body", "noise in the middle"):
        assert figures[name].measured == pytest.approx(figures[name].expected, rel=0.03)
    for name in ("lag-1 along rows", "lag-1 along columns"):
        assert figures[name].measured == pytest.approx(figures[name].expected, abs=0.03)
    powers = np.array([[f.measured, f.expected] for name, f in figures.items() if name.startswith("noise power")])
    assert powers.shape == (8, 2)
    assert np.abs(powers[:, 0] / powers[:, 1] - 1).mean() < 0.12  # 24 squares of 20 pixels: a few hundred values a ring
    assert np.corrcoef(powers.T)[0, 1] > 0.9
    bias = figures["bias in the body"]
    assert abs(bias.measured - bias.expected) < 5 * bias.error
    assert abs(bias.measured) < 0.02 * figures["noise in the body"].measured
    assert abs(figures["correlation of repeats"].measured) < 0.01


def test_variance_falls_with_dose_as_photons_and_read_out_say() -> None:
    scan = sinogram(body(), pixel_mm=PIXEL_MM, protocol=PROTOCOL)
    attenuation = np.exp(float(scan.integrals.max()))
    for photons in (1e3, 1e4, 1e5):
        one = measured(replace(PROTOCOL, photons=photons), realisations=10)["noise in the middle"]
        ten = measured(replace(PROTOCOL, photons=10 * photons), realisations=10)["noise in the middle"]
        # Quantum noise alone would give ten; read-out noise of 5 photons adds 25·e^p/N0 of it in the densest ray.
        assert 9.3 < (one.measured / ten.measured) ** 2 < 10.7 * (1 + 25 * attenuation / photons)
        assert one.measured == pytest.approx(one.expected, rel=0.05)


def parts(split: str, *, realisations: int) -> np.ndarray:
    """Noise in the body of the first and of the second part of each acquisition, (2, realisations, pixels)."""
    protocol = replace(PROTOCOL, split=split, views=192 if split == "views" else 96)
    scan = sinogram(body(), pixel_mm=PIXEL_MM, protocol=protocol)
    made = acquire(scan, protocol, repeats=2, realisations=realisations, generator=np.random.default_rng(2))
    noise = (made.repeats - made.clean)[:, body_of(body())].astype(np.float64)
    return np.stack([noise[0::2], noise[1::2]])


@pytest.mark.parametrize("split", ct_physics.SPLITS)
def test_repeats_of_one_acquisition_are_independent(split: str) -> None:
    first, second = parts(split, realisations=90)
    scan = sinogram(body(), pixel_mm=PIXEL_MM, protocol=PROTOCOL)
    made = Reconstruction(beam=scan.beam, side=SIDE, pixel_mm=PIXEL_MM, kernel="ramp", cutoff=1.0)
    variance = log_moments(expected_counts(scan.integrals, PROTOCOL.photons), PROTOCOL.electronic_sigma)[1]
    power = periodogram_at(variance, made, (0.0, 0.0), 32).ravel()[1:]
    effective = first.size * power.mean() ** 2 / np.mean(power**2)
    assert effective >= 1e5
    rho = float(np.corrcoef(first.ravel(), second.ravel())[0, 1])
    assert abs(rho) <= 0.01
    # The same photons twice would be told at once.
    assert np.corrcoef(first.ravel(), (first + second).ravel())[0, 1] > 0.6


def test_parts_of_an_acquisition_have_its_photons() -> None:
    counts, views = PROTOCOL, replace(PROTOCOL, split="views", views=192)
    half = replace(PROTOCOL, split="counts").of_one(2)
    assert (half.photons, half.views) == (counts.photons / 2, counts.views)
    assert half.electronic_sigma == pytest.approx(counts.electronic_sigma / np.sqrt(2))
    assert (views.of_one(2).photons, views.of_one(2).views) == (views.photons, 96)
    noise = {split: float(parts(split, realisations=10).std()) for split in ct_physics.SPLITS}
    assert noise["counts"] == pytest.approx(np.sqrt(2) * noise["draws"], rel=0.03)
    assert noise["views"] == pytest.approx(noise["draws"], rel=0.03)


def test_view_splits_are_equally_aliased() -> None:
    protocol = replace(PROTOCOL, split="views", views=192)
    scan = sinogram(body(), pixel_mm=PIXEL_MM, protocol=protocol)
    made = acquire(scan, protocol, repeats=4, generator=np.random.default_rng(0))
    streaks = np.sqrt(np.mean((made.clean - made.truth)[:, body_of(body())] ** 2, axis=1))
    assert float(streaks.max() / streaks.min()) < 1.25
    np.testing.assert_allclose(made.clean.mean(axis=0), made.truth, atol=1e-2)


@pytest.mark.parametrize("split", ["draws", "counts", "views"])
@pytest.mark.parametrize("fraction", [0.1, 0.5])
def test_a_dose_fraction_adds_the_noise_that_the_dose_has_not(split: str, fraction: float) -> None:
    protocol = replace(PROTOCOL, split=split, kernel="hann")
    scan, where = sinogram(body(), pixel_mm=PIXEL_MM, protocol=protocol), body_of(body())
    photons = photons_for_dose(fraction, 12.0, scan, protocol, where, repeats=2, kept_sigma=7.0)
    done = replace(protocol, photons=photons)
    made = acquire(scan, done, repeats=2, realisations=10, generator=np.random.default_rng(3))
    added = float((made.repeats - made.clean)[:, where].std())
    assert 7.0**2 + added**2 == pytest.approx(12.0**2 / fraction, rel=0.05)


@pytest.mark.parametrize("kernel", ["hann", "ramp"])
def test_a_noisy_scan_at_half_its_dose_has_the_noise_of_an_acquisition_at_half_its_photons(kernel: str) -> None:
    protocol = replace(PROTOCOL, kernel=kernel, photons=2e5)
    where = body_of(body())
    clean = sinogram(body(), pixel_mm=PIXEL_MM, protocol=protocol)

    def noise(photons: float, seed: int) -> np.ndarray:
        made = acquire(clean, replace(protocol, photons=photons), repeats=20, generator=np.random.default_rng(seed))
        return made.repeats - made.clean

    own, half = float(noise(2e5, 0)[:, where].std()), float(noise(1e5, 1)[:, where].std())
    totals = []
    for seed in range(4):
        noisy = clean.without_noise(protocol) + noise(2e5, 10 + seed)[0]
        scan = sinogram(noisy, pixel_mm=PIXEL_MM, protocol=protocol)
        through = scan.without_noise(protocol) - clean_through(clean, protocol)
        kept = float(through[where].std())
        photons = photons_for_dose(0.5, own, scan, protocol, where, repeats=2, kept_sigma=kept)
        made = acquire(scan, replace(protocol, photons=photons), repeats=20, generator=np.random.default_rng(seed))
        totals.append(float((made.repeats - clean_through(clean, protocol))[:, where].std()))
    assert np.mean(totals) == pytest.approx(half, rel=0.05)
    assert kept < 0.8 * own  # which is why it is measured


def clean_through(clean: Sinogram, protocol: CtProtocol) -> np.ndarray:
    """The reconstruction of the clean scan, projected and reconstructed once more."""
    again = sinogram(clean.without_noise(protocol), pixel_mm=PIXEL_MM, protocol=protocol)
    return again.without_noise(protocol)


def test_a_dose_needs_noise_to_be_told_by() -> None:
    scan = sinogram(body(), pixel_mm=PIXEL_MM, protocol=PROTOCOL)
    with pytest.raises(ValueError, match="Give photons instead"):
        photons_for_dose(0.5, 0.0, scan, PROTOCOL, body_of(body()), repeats=2, kept_sigma=0.0)
    with pytest.raises(ValueError, match="between 0 and 1, found 1"):
        photons_for_dose(1.0, 12.0, scan, PROTOCOL, body_of(body()), repeats=2, kept_sigma=9.0)


@pytest.mark.parametrize("electronic_sigma", [0.0, 5.0])
def test_ten_photons_in_the_densest_ray_leave_no_shift_in_hu(electronic_sigma: float) -> None:
    scan = sinogram(body(), pixel_mm=PIXEL_MM, protocol=PROTOCOL)
    photons = 10 * float(np.exp(scan.integrals.max()))
    protocol = replace(PROTOCOL, photons=photons, electronic_sigma=electronic_sigma, kernel="hann")
    bias = measured(protocol, realisations=25)["bias in the body"]
    assert abs(bias.measured - bias.expected) < 5 * bias.error
    assert abs(bias.expected) < 2.5  # the plain logarithm, floored at one count, is off by a hundred


def test_a_slice_without_a_body_is_measured_over_the_field_of_view() -> None:
    where = body_of(np.full((40, 30), -1000.0, np.float32))
    assert where.any()
    assert not where[0].any()
    assert [cut.stop - cut.start for cut in square_in(where)] == [14, 14]


# The public low-contrast phantom (DIDSR/LCD_CT): water, 200 mm, 0.859 mm pixels, fan beam, water μ of 0.02059/mm,
# MIRT's "hann205" kernel. Its detector element at the axis is not stated; 0.98 mm gives the spectrum.
LCD = CtProtocol(
    photons=1e5, kernel="hann", cutoff=2.05, views=580, electronic_sigma=0.0, geometry="fan", detector_mm=0.98
)
LCD_PIXEL_MM, LCD_WATER = 220 / 256, 0.02059


def public_noise(dose: str) -> np.ndarray:
    path = Path(os.environ["MEDN2N_DATA"]) / "ct_sim" / f"lcdct_fbp_dose{dose}_signal_absent.npz"
    images = np.load(path)["hu"].astype(np.float64)
    return (images - images.mean(axis=0)) * np.sqrt(10 / 9)


@pytest.mark.skipif("MEDN2N_DATA" not in os.environ, reason="MEDN2N_DATA is not set")
@pytest.mark.parametrize(("dose", "photons"), [("100", 1e5), ("010", 1e4)])
def test_a_public_phantom_has_the_noise_that_theory_expects(dose: str, photons: float) -> None:
    i, j = np.indices((256, 256)) - 128
    water = np.where(np.hypot(i, j) * LCD_PIXEL_MM < 100, 1000 * (LCD_WATER / 0.0193 - 1), -1000).astype(np.float32)
    protocol = replace(LCD, photons=photons)
    scan: Sinogram = sinogram(water, pixel_mm=LCD_PIXEL_MM, protocol=protocol)
    made = acquire(scan, protocol, repeats=4, generator=np.random.default_rng(0))
    middle = (slice(None), slice(96, 160), slice(96, 160))
    ours = (made.repeats - made.clean)[middle] * (0.0193 / LCD_WATER)  # HU of the phantom's own water
    theirs = public_noise(dose)[middle]
    assert float(theirs.std()) == pytest.approx(float(ours.std()), rel=0.06)
    powers = [np.mean(np.abs(np.fft.fft2(noise)) ** 2, axis=0) for noise in (theirs, ours)]
    for _, found, expected in radial(powers[0] / powers[0].mean(), powers[1] / powers[1].mean(), bins=8):
        assert found == pytest.approx(expected, rel=0.2, abs=0.05)
    for axis in (1, 2):
        found, expected = (
            float(np.mean(noise * np.roll(noise, 1, axis=axis)) / np.mean(noise**2)) for noise in (theirs, ours)
        )
        assert found == pytest.approx(expected, abs=0.03)
    rho, error = correlation(theirs.reshape(10, -1) * np.sqrt(0.9), powers[0])
    # Their mean was taken off the ten, which leaves −1/9 between independent ones.
    assert rho == pytest.approx(-1 / 9, abs=5 * error)
