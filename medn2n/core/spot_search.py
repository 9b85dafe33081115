"""The strongest spot in what a denoiser removed, in standard deviations of its own surroundings.

Slice by slice, (K,I,J): what is made of one slice lies in the processor's cache, and nothing as large as the scan is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import inf, isnan
from typing import Any

import numpy as np
import numpy.typing as npt

from medn2n.core.spot_filters import answer_to_disc, smoothed, widened
from medn2n.core.spread_slices import evenly
from medn2n.core.threads import in_threads

Array = npt.NDArray[Any]
Mask = npt.NDArray[np.bool_]
Bands = Callable[[int], list[npt.NDArray[np.float32]]]

DIAMETERS_MM = (3.0, 5.0, 8.0)
AROUND_MM = 12.5  # standard deviation of the surroundings that a spot is measured against
SAMPLE = 100_000  # voxels that tell a median
SAMPLE_SLICES = 16  # that they lie in


@dataclass(frozen=True, slots=True, kw_only=True)
class Spot:
    """The spot that noise explains least. strength: standard deviations of the surroundings (in the lungs, over
    LUNG_SPREAD), negative where `after` is brighter (something was added). place: voxel (i, j, k). contrast: of a disc
    that would leave such a spot, in the scan's unit, positive where it was removed."""

    strength: float
    place: tuple[int, int, int]
    diameter_mm: float
    contrast: float

    def size(self) -> float:
        """Of `strength`; infinite where there is no number, which no noise explains."""
        return inf if isnan(self.strength) else abs(self.strength)


def spot_sigmas(pixel_mm: float) -> list[float]:
    """Of the Gaussians that answer to DIAMETERS_MM, in pixels."""
    return [max(diameter / 2 / pixel_mm / 1.2, 0.8) for diameter in DIAMETERS_MM]


def strongest_spots(bands: Bands, fields: Sequence[Mask], pixel_mm: float, unseen: float) -> list[Spot]:
    """Of each field, (K,I,J), that holds a voxel: the strongest of all sizes. bands: what was removed from slice k,
    (1,I,J) at each of `spot_sigmas`. unseen: the least spread, as the contrast of a disc."""
    around, sigmas = AROUND_MM / pixel_mm, spot_sigmas(pixel_mm)
    answers = [answer_to_disc(d / 2 / pixel_mm, sigma) for d, sigma in zip(DIAMETERS_MM, sigmas, strict=True)]
    held = [np.flatnonzero(field.any(axis=(1, 2))) for field in fields]
    samples = [one[evenly(len(one), SAMPLE_SLICES)].tolist() for one in held]
    sampled = np.unique(np.concatenate(samples)).tolist()
    known = dict(zip(sampled, in_threads(bands, sampled), strict=True))
    typical = [_typical(known, some, field) for some, field in zip(samples, fields, strict=True)]

    def of_slice(k: int) -> list[Spot]:
        here, best = known[k] if k in known else bands(k), []
        for field, sizes in zip(fields, typical, strict=True):
            flat = field[k : k + 1]
            if not flat.any():
                best.append(Spot(strength=0.0, place=(0, 0, k), diameter_mm=DIAMETERS_MM[0], contrast=0.0))
                continue
            share = np.maximum(smoothed(flat.astype(np.float32), around), 1e-3)
            found = [_strongest(spots, flat, share, around, size, unseen * answer)
                     for spots, size, answer in zip(here, sizes, answers, strict=True)]  # fmt: skip
            n = int(np.argmax([strength for strength, *_ in found]))
            strength, i, j = found[n]
            value = float(here[n][0, i, j])
            best.append(Spot(
                strength=float(np.copysign(strength, value)), place=(i, j, k), diameter_mm=DIAMETERS_MM[n],
                contrast=value / answers[n],
            ))  # fmt: skip
        return best

    each = in_threads(of_slice, np.unique(np.concatenate(held)).tolist())
    return [max(one, key=Spot.size) for one in zip(*each, strict=True)]


def _typical(known: Mapping[int, Sequence[Array]], some: Sequence[int], field: Mask) -> list[float]:
    """Median size of spots in a field, at each of the sizes. known: what was removed from these slices."""
    every = max(1, np.count_nonzero(field[some]) // SAMPLE)
    each = [[np.abs(one[0][field[k]])[::every] for one in known[k]] for k in some]
    return [float(np.median(np.concatenate(one))) for one in zip(*each, strict=True)]


def _strongest(
    spots: Array, flat: Mask, share: Array, around: float, typical: float, least: float
) -> tuple[float, int, int]:
    """In one slice, and where. share: of flat tissue in the surroundings, `around` pixels wide. least: spread."""
    size = np.abs(spots) * flat
    # A few strong spots may not raise their own yardstick; where nothing was removed, there is none to speak of.
    spread = smoothed(np.minimum(size, 4 * typical), around) / share * np.float32(np.sqrt(np.pi / 2))
    size /= widened(np.maximum(spread, max(typical / 2, least, 1e-6)), size.shape)
    _, i, j = np.unravel_index(int(np.argmax(size)), size.shape)
    return float(size[0, i, j]), int(i), int(j)
