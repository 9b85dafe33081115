"""What repeats tell of a method whose error is known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy import ndimage

from medn2n.core.limits import Limits
from medn2n.core.quality import quality, trials
from medn2n.core.repeat_figures import figures_together, repeat_figures
from medn2n.core.scan_proof import scan_proof
from medn2n.core.volume import Volume

SIGMA = 20.0


def truth() -> np.ndarray:
    i, j, k = np.indices((96, 96, 6))
    inside = np.hypot(i - 48, j - 48) < 44
    return np.where(inside, 40 + 30 * np.sin(i / 2.0) * np.sin(j / 2.0) + k, -1000.0)


def scan(seed: int) -> Volume:
    noise = np.random.default_rng(seed).normal(0, SIGMA, truth().shape)
    return Volume(voxels=(truth() + noise).astype(np.float32), affine=np.diag([-1.0, -1.0, 2.0, 1.0]), unit="HU",
                  modality="CT")  # fmt: skip


def halved(one: Volume) -> Volume:
    return one.with_voxels((truth() + 0.5 * (one.voxels - truth())).astype(np.float32))


def smoothed(one: Volume) -> Volume:
    return one.with_voxels(ndimage.gaussian_filter(one.voxels, (1.5, 1.5, 0)))


def test_a_method_that_halves_the_noise_leaves_a_quarter_of_the_error_and_takes_no_anatomy() -> None:
    scans = [scan(seed) for seed in range(3)]
    found = repeat_figures(scans, halved(scans[0]), halved(scans[1]))
    figures, intervals = found.figures, found.intervals
    assert figures["share"] == pytest.approx(0.25, abs=0.03)
    assert intervals["share"][0] < 0.25 < intervals["share"][1]
    assert figures["share_three"] == pytest.approx(0.25, abs=0.05)
    assert intervals["share_three"][0] < 0.25 < intervals["share_three"][1]
    assert figures["body_rmse_estimated"] == pytest.approx(10, rel=0.1)
    expected = 20 * np.log10(400 / 10)
    assert figures["body_psnr_db_estimated"] == pytest.approx(expected, abs=0.5)
    assert intervals["body_psnr_db_estimated"][0] < expected < intervals["body_psnr_db_estimated"][1]
    assert figures["residual_correlation"] == pytest.approx(0, abs=0.03)
    assert figures["residual_found"] == 0
    assert figures["removed_low"] == pytest.approx(0.25, abs=0.05)
    assert figures["uncertainty"] == pytest.approx(10, rel=0.05)
    assert found.power_before is not None
    assert found.power_after is not None
    assert found.power_before.variance == pytest.approx(SIGMA**2, rel=0.05)
    assert found.power_after.variance == pytest.approx(SIGMA**2 / 4, rel=0.05)


def test_a_method_that_smooths_detail_away_takes_it_from_both_repeats() -> None:
    scans = [scan(seed) for seed in range(2)]
    figures = repeat_figures(scans, smoothed(scans[0]), smoothed(scans[1])).figures
    assert figures["residual_correlation"] > 0.1
    assert figures["residual_found"] == 1
    assert figures["residual_worst"] > 5
    assert "share_three" not in figures


def test_coarser_noise_has_a_lower_mean_frequency_and_the_curves_say_where() -> None:
    scans = [scan(seed) for seed in range(2)]
    denoised = smoothed(scans[0])
    asked = trials(scans, np.random.default_rng(0))
    found = quality(scans, denoised, smoothed, scan_proof(scans[0], denoised), asked=asked, limits=Limits(),
                    repeats=True)  # fmt: skip
    assert found.figures["grain_before"] == pytest.approx(0.25, abs=0.02)  # half of Nyquist: white
    assert found.figures["grain_after"] < 0.15
    x, y = found.curves["noise_power_after"]
    # Under a Gaussian of 1.5 mm white noise keeps exp(−(2π·f·1.5)²) of its power.
    before = np.interp(x, *found.curves["noise_power_before"])
    low = (np.array(x) > 0.07) & (np.array(x) < 0.16)  # the lowest ring lost to the plane that is taken off
    assert low.any()
    assert np.array(y)[low] == pytest.approx((before * np.exp(-((2 * np.pi * 1.5 * np.array(x)) ** 2)))[low], rel=0.25)
    assert set(found.curves) == {"noise_power_before", "noise_power_after", "removed", "removed_noise"}
    assert found.uncertainty is not None
    assert found.uncertainty.shape == denoised.voxels.shape


def test_what_has_no_number_outside_the_body_changes_no_figure() -> None:
    """A head whose background somebody set to NaN, as loaded: without a number, and known as no measurement."""
    whole = [replace(scan(seed), modality="MR", unit="a.u.") for seed in range(2)]
    whole = [one.with_voxels(np.where(truth() == -1000, 0, one.voxels)) for one in whole]
    cut = [one.with_voxels(np.where(truth() == -1000, np.nan, one.voxels)) for one in whole]

    def inside(one: Volume) -> Volume:
        return one.with_voxels(np.where(truth() == -1000, one.voxels, halved(one).voxels))

    found, expected = (repeat_figures(scans, *map(inside, scans)).figures for scans in (cut, whole))
    assert found.keys() == expected.keys()
    for name in ("share", "body_rmse_estimated", "body_psnr_db_estimated", "uncertainty", "residual_anatomy"):
        assert found[name] == pytest.approx(expected[name], rel=0.02, abs=1e-3), name


def test_padding_reaches_no_method_of_all_repeats() -> None:
    def mean_of_all(frames: np.ndarray) -> np.ndarray:
        assert np.isfinite(frames).all()
        return np.broadcast_to(frames.mean(axis=3, keepdims=True), frames.shape).copy()

    padding = np.zeros(truth().shape, bool)
    padding[:8] = True
    padded = [
        replace(one, voxels=np.where(padding, np.nan, one.voxels), padding=padding) for one in map(scan, range(6))
    ]
    figures, intervals = figures_together(padded, mean_of_all)
    assert figures["share"] == pytest.approx(1 / 5, abs=0.03)
    assert intervals["share"][0] < 1 / 5 < intervals["share"][1]
