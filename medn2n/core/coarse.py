"""The coarse part of an image: what is left of it on scales above a few pixels."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt


def coarse_part(image: npt.NDArray[Any], mm: float, pixel_mm: tuple[float, float]) -> npt.NDArray[np.float32]:
    """(I,J,K) float32: each slice smoothed in plane by a Gaussian with a sigma of `mm`, or of a pixel where that is
    more: what is finer is the grain of the noise. pixel_mm: of I and J. Beyond the border the outermost pixel again."""
    from scipy.ndimage import gaussian_filter

    sigma = (max(mm / pixel_mm[0], 1.0), max(mm / pixel_mm[1], 1.0), 0.0)
    smooth: npt.NDArray[np.float32] = gaussian_filter(np.asarray(image, np.float32), sigma, mode="nearest")
    return smooth
