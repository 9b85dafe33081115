"""Simulated low-dose CT: the right HU, noise that is independent, falls with dose, and has no bias."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from skimage import transform

from medn2n.core import ct_physics, ct_projection
from medn2n.core.ct_field import AIR_HU, pad_to_square
from medn2n.core.ct_physics import (
    CtProtocol,
    CtRepeats,
    acquire,
    filtered_back_projection,
    kernel_response,
    measure,
    project,
    sinogram,
)

SIDE, PIXEL_MM, VIEWS = 96, 2.0, 160


def disc(hu: float = 40.0, radius: int = 36) -> np.ndarray:
    i, j = np.indices((SIDE, SIDE)) - SIDE // 2
    return np.where(i**2 + j**2 <= radius**2, hu, -1000.0).astype(np.float32)


def reconstruct(integrals: np.ndarray, *, kernel: str, cutoff: float = 1.0) -> np.ndarray:
    return filtered_back_projection(integrals, pixel_mm=PIXEL_MM, kernel=kernel, cutoff=cutoff) + np.float32(AIR_HU)


def low_dose(slice_hu: np.ndarray, protocol: CtProtocol, *, repeats: int, generator: np.random.Generator) -> CtRepeats:
    scan = sinogram(slice_hu, pixel_mm=PIXEL_MM, protocol=protocol)
    return acquire(scan, protocol, repeats=repeats, generator=generator)


def inside(radius: int) -> np.ndarray:
    i, j = np.indices((SIDE, SIDE)) - SIDE // 2
    return i**2 + j**2 <= radius**2


@pytest.fixture(scope="module")
def integrals() -> np.ndarray:
    return project(disc(), pixel_mm=PIXEL_MM, views=VIEWS)


def test_line_integrals_are_attenuation_times_length(integrals: np.ndarray) -> None:
    expected = 1.04 * ct_physics.WATER_ATTENUATION_PER_MM * PIXEL_MM * 73
    assert float(integrals[SIDE // 2].mean()) == pytest.approx(expected, rel=0.02)
    assert float(np.abs(integrals[:5]).max()) < 1e-6


@pytest.mark.parametrize("kernel", ct_physics.KERNELS)
def test_a_disc_comes_back_with_its_hu(integrals: np.ndarray, kernel: str) -> None:
    image = reconstruct(integrals, kernel=kernel)
    assert image.shape == (SIDE, SIDE)
    assert image.dtype == np.float32
    assert float(image[inside(28)].mean()) == pytest.approx(40, abs=6)
    corner = ~inside(42) & inside(47)
    assert float(image[corner].mean()) == pytest.approx(-1000, abs=6)


@pytest.mark.parametrize("kernel", ct_physics.KERNELS)
@pytest.mark.parametrize("cutoff", [0.5, 1.0])
def test_kernel_response_has_the_ramp_s_own_zero_frequency(kernel: str, cutoff: float) -> None:
    size = 256
    response = kernel_response(kernel, cutoff, size)
    # Kak & Slaney: the sampled ramp is not 0 at 0, but ≈ 2/(π² · size/2); exactly 0 would lower every HU.
    odd = np.arange(1, size // 2 + 1, 2)
    assert response[0] == pytest.approx(2 * (0.25 - 2 * np.sum(1 / (np.pi * odd) ** 2)), abs=1e-12)
    assert 0 < response[0] < 0.01
    frequency = np.abs(np.fft.fftfreq(size))
    assert np.all(response[frequency > 0.5 * cutoff + 1e-9] == 0)
    low = (frequency > 0.02) & (frequency < 0.05)
    np.testing.assert_allclose(response[low], 2 * frequency[low], rtol=0.13)
    np.testing.assert_allclose(response[1 : size // 2], response[: size // 2 : -1], atol=1e-12)


def test_an_unknown_kernel_is_named() -> None:
    with pytest.raises(ValueError, match="bone"):
        kernel_response("bone", 1.0, 64)


def test_repeats_are_independent_and_stand_where_the_slice_stood() -> None:
    slice_hu = disc()[:, 10:-6]
    made = low_dose(slice_hu, CtProtocol(photons=5e4, views=VIEWS), repeats=2, generator=np.random.default_rng(0))
    assert made.repeats.shape == (2, *slice_hu.shape)
    assert made.truth.shape == slice_hu.shape
    within = inside(28)[:, 10:-6]
    noise = (made.repeats - made.truth)[:, within]
    assert noise.std() > 5
    assert abs(np.corrcoef(noise)[0, 1]) < 4 / np.sqrt(within.sum() / 8)  # neighbours are correlated: fewer are free
    assert float(made.truth[within].mean()) == pytest.approx(40, abs=6)


def test_the_same_seed_gives_the_same_scan(integrals: np.ndarray) -> None:
    protocol = CtProtocol(photons=1e4)
    one, two, other = (measure(integrals, protocol, np.random.default_rng(seed)) for seed in (3, 3, 4))
    assert np.array_equal(one, two)
    assert not np.array_equal(one, other)


def test_variance_falls_with_the_photons(integrals: np.ndarray) -> None:
    def variance(photons: float) -> float:
        protocol = CtProtocol(photons=photons, electronic_sigma=0.0)
        noise = measure(integrals, protocol, np.random.default_rng(1)) - integrals
        return float(noise[SIDE // 2].var())

    few, many = variance(1e4), variance(1e6)
    assert few / many == pytest.approx(100, rel=0.35)
    expected = np.exp(float(integrals[SIDE // 2].mean())) / 1e6
    assert many == pytest.approx(expected, rel=0.25)


@pytest.mark.parametrize("counts", [10.0, 30.0])
def test_half_a_count_takes_the_logarithm_s_bias_away(counts: float) -> None:
    integral = np.full((400, 1000), np.log(1e4 / counts), np.float32)
    protocol = CtProtocol(photons=1e4, electronic_sigma=0.0)
    measured = measure(integral, protocol, np.random.default_rng(2)).astype(np.float64)
    bias, without = float((measured - integral).mean()), 1 / (2 * counts)
    assert abs(bias) < 0.1 * without
    assert abs(bias) < 1e-3 + 1 / (12 * counts**2)


def test_a_starved_ray_is_finite() -> None:
    blocked = np.full((8, 8), 30.0, np.float32)
    assert np.isfinite(measure(blocked, CtProtocol(photons=100.0), np.random.default_rng(0))).all()


def test_a_narrower_kernel_has_less_noise(integrals: np.ndarray) -> None:
    noise = measure(integrals, CtProtocol(photons=5e4), np.random.default_rng(5)) - integrals

    def level(kernel: str, cutoff: float) -> float:
        clean, noisy = (reconstruct(values, kernel=kernel, cutoff=cutoff) for values in (integrals, integrals + noise))
        return float((noisy - clean)[inside(28)].std())

    assert level("hann", 0.6) < 0.7 * level("hann", 1.0) < 0.7 * level("ramp", 1.0)


def test_padding_centres_the_slice_in_air() -> None:
    square, window = pad_to_square(np.full((5, 9), -3024.0, np.float32))
    assert square.shape == (10, 10)
    assert (square == AIR_HU).all()
    assert square[window].shape == (5, 9)


@pytest.mark.parametrize("shape", [(90, 90), (71, 90)])
@pytest.mark.parametrize("tissue", [40.0, -850.0])
def test_a_slice_cut_out_of_a_body_is_measured_to_its_corners(shape: tuple[int, int], tissue: float) -> None:
    slice_hu = tissue + np.random.default_rng(0).normal(0, 5, shape).astype(np.float32)
    made = low_dose(slice_hu, CtProtocol(photons=1e6, views=VIEWS), repeats=2, generator=np.random.default_rng(1))
    noise = made.repeats - made.truth
    for corner in (np.s_[:6, :6], np.s_[:6, -6:], np.s_[-6:, :6], np.s_[-6:, -6:]):
        assert float(made.truth[corner].mean()) == pytest.approx(tissue, abs=0.2 * (tissue + 1000))  # an edge rings
        assert noise[:, *corner].std(axis=0).min() > 0


def test_air_and_the_end_of_a_table_beyond_the_field_of_view_stay_there() -> None:
    slice_hu = disc() + np.random.default_rng(0).normal(0, 80, (SIDE, SIDE)).astype(np.float32)
    slice_hu[-2:, :6] = -300
    square, _ = pad_to_square(slice_hu)
    assert square.shape == (SIDE, SIDE)


@pytest.mark.parametrize("side", [64, 65])
def test_projection_and_back_projection_equal_those_of_scikit_image(side: int) -> None:
    rows, columns = np.ogrid[:side, :side]
    image = np.random.default_rng(0).random((side, side)).astype(np.float32)
    image[(rows - side // 2) ** 2 + (columns - side // 2) ** 2 > (side // 2 - 2) ** 2] = 0
    angles = np.linspace(0.0, 180.0, VIEWS, endpoint=False)
    expected = transform.radon(image, theta=angles, circle=True)
    found = ct_projection.radon(image, ct_projection.parallel_beam(side, VIEWS))
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, atol=2e-4 * expected.max())
    filtered = np.random.default_rng(1).normal(size=(2, side, VIEWS)).astype(np.float32)
    back = ct_projection.back_project(filtered, ct_projection.parallel_beam(side, VIEWS), side=side)
    for one, single in zip(filtered, back, strict=True):
        slow = transform.iradon(one, theta=angles, filter_name=None, circle=True, output_size=side)
        np.testing.assert_allclose(single, slow, atol=1e-4 * np.abs(slow).max())


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
def test_projection_on_a_gpu_equals_the_processor() -> None:
    image = disc()
    on_gpu = project(image, pixel_mm=PIXEL_MM, views=VIEWS, device="cuda")
    np.testing.assert_allclose(on_gpu, project(image, pixel_mm=PIXEL_MM, views=VIEWS), atol=1e-3)


def test_noise_of_one_photon_a_ray_tells_the_dose_for_a_noise_level(integrals: np.ndarray) -> None:
    generator = np.random.default_rng(7)
    unit = ct_physics.filtered_back_projection(
        ct_physics.unit_noise(integrals, generator), pixel_mm=PIXEL_MM, kernel="hann"
    )
    photons = ct_physics.photons_for(25.0, integrals, float(unit[inside(28)].std()))
    made = low_dose(
        disc(), CtProtocol(photons=photons, views=VIEWS, electronic_sigma=0.0), repeats=1, generator=generator
    )
    assert float((made.repeats[0] - made.truth)[inside(28)].std()) == pytest.approx(25, rel=0.15)
    # Asked for more noise than any ray could bear, the dose stays where the densest path still counts photons.
    least = ct_physics.photons_for(1e9, integrals, float(unit.std()))
    assert least * float(np.exp(-integrals.max())) >= 0.9 * ct_physics.STARVED_PHOTONS
