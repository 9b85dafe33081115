"""Background that somebody set to zero (defacing, skull stripping, a scanner's suppression of air): found, and shown to
a network as the air that a scanner would have measured there.

A network learned how noisy a scan is from its air as much as from its tissue: beside air of exactly zero it takes the
noise in the tissue for structure and keeps it (measured on a skull-stripped FLAIR: 0.95 of the noise left, 0.41 with
measured air).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from medn2n.core.noise import noise_sigma
from medn2n.core.volume import FloatArray

# In coarser pixels no part of a brain is flat (cortex is 2-3 mm thick): its folds would be taken for noise, and with
# air as noisy as that the network wipes them off (real repeats of 2 and 3 mm: error × 2.3 and × 3.9).
COARSEST_PIXEL_MM = 1.5

BoolArray = npt.NDArray[np.bool_]


def masked_background(voxels: FloatArray) -> BoolArray:
    """(I,J,K) bool: voxels that are exactly zero together with their in-plane neighbours, which no measurement is."""
    zero: BoolArray = voxels == 0
    if not zero.any():
        return zero
    inside = zero.copy()
    for axis in (0, 1):
        for step in (-1, 1):
            moved = np.roll(zero, step, axis=axis)
            edge = [slice(None)] * zero.ndim
            edge[axis] = slice(0, 1) if step == 1 else slice(-1, None)
            moved[tuple(edge)] = True
            inside &= moved
    return inside


def measured_air(
    voxels: FloatArray, background: BoolArray, *, pixel_mm: float, generator: np.random.Generator
) -> FloatArray:
    """(I,J,K) magnitude image with Rayleigh noise of the tissue's own noise level in its `background`, which is what
    air measures in a magnitude image (Gudbjartsson 1995). The image itself where its pixels are too
    coarse to tell noise from anatomy."""
    if pixel_mm > COARSEST_PIXEL_MM or not background.any() or background.all():
        return voxels
    sigma = noise_sigma(voxels, background)
    air = generator.rayleigh(sigma, voxels.shape)
    return np.where(background, air, voxels).astype(np.float32)
