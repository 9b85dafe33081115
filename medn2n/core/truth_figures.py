"""A denoised CT against its truth as a reader would see it: in the clinical windows, and tissue by tissue.

Keys are figure/window and figure/region/part, e.g. ``ssim/chest`` and ``rmse/bone/edge``:

    windows   chest (level −600, width 1500 HU), abdomen (50, 400), head (40, 80): both scans are clipped to the window,
              and its width is the data range; unwindowed: nothing is clipped, and the data range is 4095 HU, that of
              the 12 bits in which CT is stored (−1024…3071)
    regions   `ct_numbers.REGIONS_HU` of the truth (its 3×3 median, so that single voxels are no region)
    parts     inside: all of the 5×5 pixels around are of the region; edge: the rest of it
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

from medn2n.core import metrics
from medn2n.core.ct_numbers import FEWEST_VOXELS, REGIONS_HU, away_from_edges, ct_regions
from medn2n.core.display import READING_WINDOWS_HU
from medn2n.core.metrics import Mask, Window

Array = npt.NDArray[Any]

UNWINDOWED = "unwindowed"
RANGE_HU = 4095.0
WINDOWS_HU: Mapping[str, Window | None] = MappingProxyType(
    {**{name: READING_WINDOWS_HU[name] for name in ("chest", "abdomen", "head")}, UNWINDOWED: None}
)
PARTS = ("inside", "edge")


def windowed_figures(truth: Array, denoised: Array, mask: Mask | None = None) -> dict[str, float]:
    """psnr_db, ssim, rmse (HU) and bias (HU, denoised − truth) in each window, of two CT in HU, (I,J,K).

    SSIM is NaN for slices narrower than 11 pixels."""
    found: dict[str, float] = {}
    for name, window in WINDOWS_HU.items():
        first, second = (truth, denoised) if window is None else (np.clip(truth, *window), np.clip(denoised, *window))
        width = RANGE_HU if window is None else window[1] - window[0]
        found |= {
            f"psnr_db/{name}": metrics.psnr(first, second, data_range=width, mask=mask),
            f"ssim/{name}": metrics.ssim(first, second, data_range=width, mask=mask),
            f"rmse/{name}": metrics.rmse(first, second, mask),
            f"bias/{name}": metrics.bias(first, second, mask),
        }
    return found


def region_figures(truth: Array, denoised: Array, mask: Mask | None = None) -> dict[str, float]:
    """psnr_db (data range 4095 HU), ssim (likewise), rmse and bias (HU) of each region's two parts, nothing clipped;
    parts of fewer than 200 voxels are left out."""
    from scipy import ndimage

    labels = ct_regions(ndimage.median_filter(truth, size=(3, 3, 1)))
    within, counted = away_from_edges(labels), np.ones(truth.shape, bool) if mask is None else mask
    wide = min(truth.shape[:2]) >= 11
    similarity = metrics.ssim_map(truth, denoised, data_range=RANGE_HU) if wide else None
    found: dict[str, float] = {}
    for number, region in enumerate(REGIONS_HU, start=1):
        for part in PARTS:
            keep = (labels == number) & counted & (within if part == "inside" else ~within)
            if np.count_nonzero(keep) < FEWEST_VOXELS:
                continue
            found |= {
                f"psnr_db/{region}/{part}": metrics.psnr(truth, denoised, data_range=RANGE_HU, mask=keep),
                f"ssim/{region}/{part}": float("nan") if similarity is None else float(similarity[keep].mean()),
                f"rmse/{region}/{part}": metrics.rmse(truth, denoised, keep),
                f"bias/{region}/{part}": metrics.bias(truth, denoised, keep),
            }
    return found
