"""Where the body is, and its tissue, in a scan of any unit."""

from __future__ import annotations

from math import gcd
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage
from skimage.filters import threshold_multiotsu

BoolArray = npt.NDArray[np.bool_]
Array = npt.NDArray[Any]

SAMPLE = 200_000  # voxels
LEAST_AIR = 0.15  # share of a slice around a body or head
DARK_TISSUE_RATIO = 1.5  # of root intensities; Rayleigh noise alone, smoothed and split in two, stays below 1.4
BODY_HU = -500.0  # half way between air and water: the usual skin threshold
AIR_TO_TISSUE_HU = 500.0  # at least, in whatever number has the steps of HU


def otsu_threshold(values: Array) -> float:
    """The level that splits `values` into two classes of least inner variance (Otsu 1979), 256 bins."""
    low, high = np.percentile(values, [0.5, 99.5])
    if not high > low:
        return float(low)
    counts, edges = np.histogram(np.clip(values, low, high), bins=256)
    centres = (edges[:-1] + edges[1:]) / 2
    below = np.cumsum(counts)
    sums = np.cumsum(counts * centres)
    above = below[-1] - below
    with np.errstate(invalid="ignore", divide="ignore"):
        between = below * above * (sums / below - (sums[-1] - sums) / above) ** 2
    return float(centres[int(np.nanargmax(between))])


def tissue_mask(voxels: Array, padding: BoolArray | None = None, *, dark: bool = False) -> BoolArray:
    """The brighter of two classes (Otsu, in-plane smoothed): tissue against air and lung, in any unit.

    Magnitude images are compressed by a square root first, or one bright fat layer would hide the organs. dark: their
    dark tissue too, which a bright lesion on a fat-suppressed image hides even so: the upper two of three classes,
    unless the lower two are both air.
    """
    filled = np.where(np.isfinite(voxels), voxels, 0).astype(np.float32)
    if padding is not None and padding.any() and not padding.all():
        filled[padding] = filled[~padding].min()
    smooth = ndimage.uniform_filter(filled, size=(3, 3, 1))
    magnitude = filled.min() >= 0
    compressed = np.sqrt(np.maximum(smooth, 0)) if magnitude else smooth
    sample = _some(compressed)
    darkest = _dark_tissue_threshold(sample) if dark and magnitude else None
    return np.asarray(compressed > (otsu_threshold(sample) if darkest is None else darkest))


def _some(voxels: Array) -> Array:
    """Evenly spread ones, enough for a threshold. The step shares no factor with any axis: one that is a multiple of
    the number of slices would take the first slice alone, which may be all air."""
    step = max(1, voxels.size // SAMPLE)
    while gcd(step, voxels.size) > 1:
        step += 1
    return voxels.ravel()[::step]


def _dark_tissue_threshold(compressed: Array) -> float | None:
    """The lower of the two levels between three classes of what is not zero; None where there are no three, or the
    darker two are both air (their means within DARK_TISSUE_RATIO)."""
    measured = compressed[compressed > 0]
    if not len(measured):
        return None
    low, high = np.percentile(measured, [0.5, 99.5])
    inside = measured[(measured >= low) & (measured <= high)]
    try:
        lower, upper = threshold_multiotsu(inside, classes=3)
    except ValueError:  # fewer than three values
        return None
    air, dark = inside[inside <= lower], inside[(inside > lower) & (inside <= upper)]
    if len(air) < LEAST_AIR * len(inside) or not len(dark):
        return None  # a rim that a filter darkened
    return float(lower) if dark.mean() >= DARK_TISSUE_RATIO * air.mean() else None


def body_mask(
    voxels: Array, modality: str, padding: BoolArray | None = None, *, tissue: BoolArray | None = None
) -> BoolArray:
    """Body or head, cavities filled slice by slice, (I,J,K) bool. CT in HU: skin threshold of −500 HU; anything else,
    and CT numbers that do not look like HU: two classes by Otsu; all of a CT that lies inside a body. Parts below 1 %
    of the largest are left out. Of a photograph, all of it. tissue: the scan's `tissue_mask`, dark tissue with it,
    where the caller has that."""
    if modality == "PHOTO":
        return np.ones(voxels.shape, dtype=bool)
    skin = np.asarray(voxels > BODY_HU) if modality == "CT" else None
    if skin is not None and 0.005 < skin.mean() < 0.995:
        mask = skin if padding is None else skin & ~padding
    else:
        mask = tissue_mask(voxels, padding, dark=True) if tissue is None else tissue
        if skin is not None and skin.any() and _is_one_class(voxels, mask):
            return skin if padding is None else skin & ~padding
    labels, count = ndimage.label(mask)
    if count == 0:
        return np.ones(voxels.shape, dtype=bool)
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    mask = (sizes >= 0.01 * sizes.max())[labels]
    for k in range(mask.shape[2]):
        mask[:, :, k] = ndimage.binary_fill_holes(mask[:, :, k])
    return np.asarray(mask)


def _is_one_class(voxels: Array, mask: BoolArray) -> bool:
    """True of a CT cut out of a body: what Otsu split in two is no air and tissue."""
    if not mask.any() or mask.all():
        return True
    values, upper = _some(voxels), _some(mask)
    if upper.all() or not upper.any():
        return True
    return float(values[upper].mean() - values[~upper].mean()) < AIR_TO_TISSUE_HU
