"""BM3D, BM4D, MP-PCA and adaptive non-local means: what they are told, what they keep, what they refuse."""

from __future__ import annotations

import numpy as np
import pytest

from medn2n.core.classical import ScanNoise, filter_volume, noise_told
from medn2n.core.metrics import mse
from medn2n.core.packaged_filters import BASELINES, noise_spectrum
from medn2n.core.textured_noise import textured_noise
from medn2n.core.tuning import BLOCK, TuningCase, tune, tuning_case
from medn2n.core.volume import Volume
from medn2n.errors import InputError

SIGMA = 20.0
BINOMIAL = np.outer([1.0, 2.0, 1.0], [1.0, 2.0, 1.0])
KERNEL = (SIGMA * BINOMIAL / np.sqrt(np.sum(BINOMIAL**2))).astype(np.float32)
PACKAGED = [name for name, filter_ in BASELINES.items() if filter_.package]


def scene(edge: int = 40, slices: int = 2) -> np.ndarray:
    i, j = np.indices((edge, edge))
    half = edge / 2
    flat = np.where((i - half) ** 2 + (j - half) ** 2 < (0.4 * edge) ** 2, 0.0, -200.0) + np.where(i > half, 60.0, 0.0)
    return np.repeat(flat[..., None], slices, axis=2).astype(np.float32)


def noisy(truth: np.ndarray, kernel: np.ndarray | None = None, seed: int = 0) -> np.ndarray:
    generator = np.random.default_rng(seed)
    if kernel is None:
        return (truth + generator.normal(0, SIGMA, truth.shape)).astype(np.float32)
    planes = textured_noise(kernel, (truth.shape[2], *truth.shape[:2]), generator)
    return np.asarray(truth + np.moveaxis(planes, 0, 2), np.float32)


@pytest.mark.parametrize("name", PACKAGED)
def test_a_packaged_filter_removes_error_and_keeps_the_mean(name: str) -> None:
    """BM4D across slices and under smooth noise, whose spectrum it is told; the others on one slice of white noise."""
    filter_ = BASELINES[name]
    pytest.importorskip(filter_.package)
    kernel, slices = (KERNEL, 5) if name == "bm4d" else (None, 1)
    truth = scene(32, slices)
    scan = noisy(truth, kernel)
    found = filter_(scan, filter_.default, ScanNoise(sigma=SIGMA, kernel=kernel))
    assert found.shape == scan.shape
    assert found.dtype == np.float32
    assert mse(truth, found) < 0.7 * mse(truth, scan)
    assert abs(float(np.mean(found - scan))) < 1.5


@pytest.mark.parametrize("name", ["bm3d", "mppca", "anlm"])  # BM4D is BM3D's engine, and slow
def test_the_unit_does_not_matter(name: str) -> None:
    filter_ = BASELINES[name]
    pytest.importorskip(filter_.package)
    scan = noisy(scene(16, 1))
    plain = filter_(scan, filter_.default, SIGMA)
    assert 100 * filter_(scan / 100, filter_.default, SIGMA / 100) == pytest.approx(plain, abs=0.1 * SIGMA)


@pytest.mark.parametrize("name", ["bm3d", "mppca", "anlm"])
def test_a_constant_near_zero_stays(name: str) -> None:
    filter_ = BASELINES[name]
    pytest.importorskip(filter_.package)
    constant, told = np.full((16, 16), 7.0, np.float32), ScanNoise(sigma=SIGMA, kernel=KERNEL)
    assert filter_(constant, filter_.default, told) == pytest.approx(constant, abs=0.01 * SIGMA)


def test_block_matching_told_the_spectrum_beats_the_level_alone_on_smooth_noise() -> None:
    filter_ = BASELINES["bm3d"]
    pytest.importorskip(filter_.package)
    truth = scene(32, 1)
    scan = noisy(truth, KERNEL)
    told = mse(truth, filter_(scan, 1.0, ScanNoise(sigma=SIGMA, kernel=KERNEL)))
    untold = mse(truth, filter_(scan, 1.0, ScanNoise(sigma=SIGMA)))
    assert told < 0.8 * untold


def test_the_spectrum_is_that_of_noise_under_the_kernel() -> None:
    shape = (32, 48)
    generator = np.random.default_rng(0)
    fields = textured_noise(KERNEL, (1500, *shape), generator)
    measured = np.mean(np.abs(np.fft.fft2(fields)) ** 2, axis=0)
    expected = noise_spectrum(KERNEL, shape)
    assert expected.mean() == pytest.approx(shape[0] * shape[1] * SIGMA**2, rel=1e-5)
    strong = expected > 0.05 * expected.max()
    assert measured[strong] == pytest.approx(expected[strong], rel=0.3)
    small = noise_spectrum(np.pad(KERNEL, 3), (6, 40))
    assert small.shape == (6, 40)
    assert small.mean() == pytest.approx(6 * 40 * SIGMA**2, rel=1e-5)


def test_a_filter_is_told_no_more_than_it_asks_for() -> None:
    scan = noisy(scene(128), KERNEL)
    nothing = noise_told(BASELINES["gaussian"], scan, "CT")
    assert (nothing.sigma, nothing.kernel, nothing.rician) == (0.0, None, False)
    level, spectrum = (noise_told(BASELINES[name], scan, "CT") for name in ("tv", "bm3d"))
    assert level.kernel is None
    assert level.sigma == pytest.approx(SIGMA, rel=0.2)
    assert spectrum.sigma == pytest.approx(level.sigma, rel=1e-5)
    assert spectrum.kernel is not None
    assert noise_told(BASELINES["anlm"], scan + 1000, "MR").rician
    assert not noise_told(BASELINES["anlm"], scan + 1000, "PHOTO").rician


def test_principal_components_take_a_series_and_refuse_a_short_one_or_a_small_slice() -> None:
    mppca = BASELINES["mppca"]
    with pytest.raises(InputError, match="needs 5 frames or more"):
        mppca(np.zeros((20, 20, 5, 3), np.float32), 3, 0.0)
    with pytest.raises(InputError, match="10 × 10 pixels or more; found 8 × 20"):
        mppca(np.zeros((8, 20, 5), np.float32), 3, 0.0)
    pytest.importorskip("dipy")
    truth = np.repeat(scene(20, 5)[..., None], 8, axis=3)
    series = noisy(truth)
    assert mse(truth, mppca(series, 3, 0.0)) < 0.2 * mse(truth, series)


def test_a_filter_that_looks_across_slices_is_tuned_on_one_block_and_others_on_two_slices() -> None:
    truth = Volume(voxels=scene(120, 8), affine=np.eye(4), unit="HU", modality="CT")
    scan = truth.with_voxels(noisy(truth.voxels))
    block = tuning_case(BASELINES["bm4d"], scan, truth, repeat=False)
    slices = tuning_case(BASELINES["median"], scan, truth, repeat=True)
    assert block.noisy.shape == block.target.shape == BLOCK
    assert np.array_equal(block.noisy, scan.voxels[20:100, 20:100, 1:6])
    assert block.window is not None
    assert slices.noisy.shape == (120, 120, 2)
    assert slices.window is None
    assert slices.sigma == pytest.approx(SIGMA, rel=0.2)


def test_the_noise_told_is_what_tuning_filters_with() -> None:
    truth = scene(64)
    scan = noisy(truth)
    filter_ = BASELINES["tv"]
    wrong = TuningCase(noisy=scan, target=truth, sigma=SIGMA, noise=ScanNoise(sigma=4 * SIGMA))
    right = TuningCase(noisy=scan, target=truth, sigma=SIGMA)
    assert tune(filter_, [wrong]) < 0.5 * tune(filter_, [right])


def test_padding_is_filled_for_the_filter_and_put_back() -> None:
    scan = noisy(scene(48))
    padding = np.zeros(scan.shape, bool)
    padding[:6] = True
    scan[padding] = -3024
    volume = Volume(voxels=scan, affine=np.eye(4), unit="HU", modality="CT", padding=padding)
    found = filter_volume(volume, BASELINES["gaussian"], 1.0)
    assert np.all(found.voxels[padding] == -3024)
    assert found.voxels[6:].min() > -300
