"""Figures in clinical windows and by tissue, against objects whose errors are known and against other libraries."""

from __future__ import annotations

import numpy as np
import pytest

from medn2n.core import metrics
from medn2n.core.ct_numbers import REGIONS_HU
from medn2n.core.truth_figures import RANGE_HU, WINDOWS_HU, region_figures, windowed_figures

BANDS = (-1000.0, -820.0, -100.0, 45.0, 700.0)


def truth() -> np.ndarray:
    return np.broadcast_to(np.repeat(BANDS, 20)[:, None, None], (100, 60, 3)).astype(np.float32).copy()


def noisy(sigma: float = 25.0) -> np.ndarray:
    clean = truth()
    return (clean + np.random.default_rng(0).normal(0, sigma, clean.shape)).astype(np.float32)


def test_windows_have_their_level_and_width_and_clip_both_scans() -> None:
    ends = {name: window for name, window in WINDOWS_HU.items() if window is not None}
    assert {name: (sum(ends[name]) / 2, ends[name][1] - ends[name][0]) for name in ends} == {
        "chest": (-600, 1500), "abdomen": (50, 400), "head": (40, 80),
    }  # fmt: skip
    found = windowed_figures(truth(), truth() + 10)
    assert found["rmse/unwindowed"] == found["bias/unwindowed"] == pytest.approx(10)
    assert found["psnr_db/unwindowed"] == pytest.approx(20 * np.log10(RANGE_HU / 10))
    # Of five equal bands, soft tissue alone moves inside the head's window, fat and it in the abdomen's, and all but
    # bone in the chest's.
    assert found["bias/head"] == pytest.approx(2)
    assert found["bias/abdomen"] == pytest.approx(4)
    assert found["bias/chest"] == pytest.approx(8)
    assert found["psnr_db/head"] == pytest.approx(20 * np.log10(80 / np.sqrt(20)))
    perfect = windowed_figures(truth(), truth())
    assert perfect["psnr_db/chest"] == np.inf
    assert perfect["ssim/chest"] == 1


def test_regions_are_the_truths_and_tell_inside_from_edge() -> None:
    denoised = truth()
    denoised[44:56] -= 8  # fat: its middle 12 rows
    denoised[40] += 30  # fat: the row at its edge
    found = region_figures(truth(), denoised)
    assert found["bias/fat/inside"] == pytest.approx(-8 * 12 / 16)
    assert found["bias/fat/edge"] == pytest.approx(30 / 4)
    assert found["rmse/fat/edge"] == pytest.approx(30 / 2)
    assert found["rmse/soft tissue/inside"] == 0
    assert found["psnr_db/fat/edge"] == pytest.approx(20 * np.log10(RANGE_HU / 15))
    assert {key.split("/")[1] for key in found} == set(REGIONS_HU)


def test_masked_voxels_and_small_regions_are_left_out() -> None:
    mask = np.ones(truth().shape, bool)
    mask[:38] = False  # air, and all but two rows of lung
    denoised = truth()
    denoised[~mask] = 9999
    found = region_figures(truth(), denoised, mask)
    assert {key.split("/")[1] for key in found} == {"lung", "fat", "soft tissue", "bone"}
    assert "rmse/lung/inside" not in found
    assert all(value == 0 for key, value in found.items() if key.startswith("rmse"))
    assert windowed_figures(truth(), denoised, mask)["rmse/chest"] == 0


def test_a_speck_in_the_truth_is_no_region_and_a_narrow_slice_has_no_ssim() -> None:
    clean = truth()
    clean[50, 30] = 900
    assert region_figures(clean, clean)["ssim/fat/inside"] == 1
    narrow = clean[:, :9]
    assert np.isnan(windowed_figures(narrow, narrow)["ssim/head"])
    assert np.isnan(region_figures(narrow, narrow)["ssim/fat/inside"])


@pytest.mark.parametrize("name", WINDOWS_HU)
def test_torchmetrics_finds_the_same_psnr_and_monai_the_same_ssim(name: str) -> None:
    torch = pytest.importorskip("torch")
    from monai.metrics import SSIMMetric
    from torchmetrics.functional.image import peak_signal_noise_ratio

    window = WINDOWS_HU[name]
    width = RANGE_HU if window is None else window[1] - window[0]
    first, second = (scan if window is None else np.clip(scan, *window) for scan in (truth(), noisy()))
    ours = windowed_figures(truth(), noisy())
    # Slices as a batch, (K,1,I,J).
    one, two = (torch.from_numpy(np.moveaxis(scan, 2, 0)[:, None].astype(np.float64)) for scan in (first, second))
    ratio = float(peak_signal_noise_ratio(two, one, data_range=width))
    assert ratio == pytest.approx(ours[f"psnr_db/{name}"], abs=1e-4)
    similar = SSIMMetric(spatial_dims=2, data_range=width, win_size=11, kernel_sigma=1.5)(two, one).mean()
    # MONAI averages what has its whole window inside the slice; ours counts the rim, too.
    inner = metrics.ssim_map(first, second, data_range=width)[5:-5, 5:-5].mean()
    assert float(similar) == pytest.approx(inner, abs=2e-4)
    assert ours[f"ssim/{name}"] == pytest.approx(inner, abs=0.05)
