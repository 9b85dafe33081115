"""The scanner's field of view: the circle inscribed in a square, beyond which not all views see, and a slice in it."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import ndimage

FloatArray = npt.NDArray[np.float32]
AIR_HU = -1000.0
NOT_AIR_HU = -900.0  # of a mean over CORNER_PIXELS²: lung is denser, the noise of air does not reach it
CORNER_PIXELS = 5
CORNER_SHARE = 0.005  # of a slice: less than that beyond the field of view is the end of the table


def pad_to_square(slice_hu: FloatArray) -> tuple[FloatArray, tuple[slice, slice]]:
    """The slice centred in a square of air, and where it lies. The square is as wide as the slice's longer side. What
    lies outside the circle inscribed in it is not seen by all views, and is taken as air: where it is more than that (a
    scan that was cut out of a larger one), the square is as wide as the slice's diagonal."""
    clipped = np.maximum(slice_hu, np.float32(AIR_HU))
    square, window = _centred(clipped, max(slice_hu.shape))
    corners = np.where(outside_circle(len(square)), square, AIR_HU)
    dense = ndimage.uniform_filter(corners, CORNER_PIXELS) > NOT_AIR_HU
    if np.count_nonzero(dense) > CORNER_SHARE * slice_hu.size:
        return _centred(clipped, 2 * int(np.ceil(np.hypot(*slice_hu.shape) / 2) + 1))
    return square, window


def _centred(image: FloatArray, side: int) -> tuple[FloatArray, tuple[slice, slice]]:
    rows, columns = image.shape
    side += side % 2
    top, left = (side - rows) // 2, (side - columns) // 2
    square = np.full((side, side), AIR_HU, np.float32)
    window = (slice(top, top + rows), slice(left, left + columns))
    square[window] = image
    return square, window


def outside_circle(side: int) -> npt.NDArray[np.bool_]:
    """(side, side): True outside the inscribed circle."""
    rows, columns = np.ogrid[:side, :side]
    centre = side // 2
    return np.asarray((rows - centre) ** 2 + (columns - centre) ** 2 > centre**2)
