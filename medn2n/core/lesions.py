"""Lesions put into a real scan, and what a denoiser leaves of them.

The same method denoises the scan with and without the lesions; the difference is its answer to the lesions alone,
nearly free of noise, and is compared with what was put in. A method that takes a faint lesion for noise is found in
this way even where every average over the scan is good.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from medn2n.core.body import tissue_mask
from medn2n.core.noise import measured_voxels, noise_sigma

Array = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]
Spacing = tuple[float, float, float]

FINE = 5  # a lesion is drawn that many times finer than the pixels, and averaged down: partial volume
FINE_MM = 0.25  # along K, where slices may be thick
GAP_MM = 10.0  # between two lesions' edges, so that a network does not see both at once
RIM_MM = 3.0  # of flat tissue around a lesion
FLATNESS = 1.3  # standard deviation around a place over that of the noise, at most: noise itself varies over a scan
# A method that halves the noise is worth four times the dose; one that also leaves less than half of a lesion's
# contrast has made the lesion harder to see than it was, for all its quiet.
LEAST_CONTRAST = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Lesion:
    """One lesion. centre: (i, j, k) voxels, fractions too. contrast: added inside, in the scan's unit. blur_mm:
    standard deviation of the scanner's in-plane blur. shape: a sphere, or a disc in each slice whose middle lies within
    the radius (in the nearest at least), without partial volume along K."""

    centre: tuple[float, float, float]
    diameter_mm: float
    contrast: float
    blur_mm: float
    shape: Literal["sphere", "disc"] = "sphere"


@dataclass(frozen=True, slots=True, kw_only=True)
class RecoveredLesion:
    """What is left of a lesion.

    contrast: recovered over inserted, of the middle quarter of its area in the slice through its centre; 1 is all.
    diameter_mm, inserted_diameter_mm: of a circle as large as the part above half of its own contrast in that slice,
    after the method and as inserted (a sphere in a thick slice looks smaller than it is).
    """

    contrast: float
    diameter_mm: float
    inserted_diameter_mm: float

    @property
    def vanished(self) -> bool:
        """True where less than half of the contrast is left: the same visibility would then take four times the dose,
        which is what halving the noise is worth."""
        return self.contrast < LEAST_CONTRAST


def draw_lesions(
    shape: tuple[int, int, int], spacing_mm: Spacing, lesions: Sequence[Lesion]
) -> npt.NDArray[np.float32]:
    """(I,J,K) float32: what the lesions add to a scan, in its unit. Partial volume in all directions: a slice is as
    thick as the spacing along K. Raises ValueError for one that lies outside."""
    added = np.zeros(shape, np.float32)
    for lesion in lesions:
        box, drawn = _drawn(lesion, shape, spacing_mm, lesion.diameter_mm / 2 + 4 * lesion.blur_mm)
        added[box] += drawn
    return added


def lesion_slice(lesion: Lesion, shape: tuple[int, int, int], spacing_mm: Spacing) -> npt.NDArray[np.float32]:
    """The lesion alone in the slice through its centre: (n,m) values that it adds there, cut close around it."""
    (_, _, slices), drawn = _drawn(lesion, shape, spacing_mm, lesion.diameter_mm / 2 + 4 * lesion.blur_mm)
    return drawn[:, :, _middle(lesion, shape) - slices.start]


def _middle(lesion: Lesion, shape: tuple[int, ...]) -> int:
    return int(np.clip(np.rint(lesion.centre[2]), 0, shape[2] - 1))


def _drawn(
    lesion: Lesion, shape: tuple[int, ...], spacing_mm: Spacing, reach_mm: float
) -> tuple[tuple[slice, slice, slice], npt.NDArray[np.float32]]:
    """The box of voxels that reaches `reach_mm` from the lesion's centre in-plane and holds it along K, and the
    lesion's values there."""
    axes = list(zip(lesion.centre, (reach_mm, reach_mm, lesion.diameter_mm / 2), spacing_mm, shape, strict=True))
    low = [max(0, int(np.floor(centre - reach / edge - 0.5))) for centre, reach, edge, _ in axes]
    high = [min(size, int(np.ceil(centre + reach / edge + 0.5)) + 1) for centre, reach, edge, size in axes]
    if any(first >= last for first, last in zip(low, high, strict=True)):
        raise ValueError(f"lesion: its centre {lesion.centre} lies outside the scan of shape {shape}")
    inside = _inside(lesion, spacing_mm, low, high)
    widths = [lesion.blur_mm / edge * FINE for edge in spacing_mm[:2]]
    soft = ndimage.gaussian_filter(inside, (*widths, 0), mode="nearest")
    coarse = soft.reshape(high[0] - low[0], FINE, high[1] - low[1], FINE, -1).mean(axis=(1, 3))
    box = (slice(low[0], high[0]), slice(low[1], high[1]), slice(low[2], high[2]))
    return box, np.asarray(lesion.contrast * coarse, np.float32)


def _inside(lesion: Lesion, spacing_mm: Spacing, low: list[int], high: list[int]) -> npt.NDArray[np.float32]:
    """The share of the lesion in each slice, FINE times finer than the pixels in-plane."""
    radius, slices = lesion.diameter_mm / 2, high[2] - low[2]
    times = (FINE, FINE, max(FINE, int(np.ceil(spacing_mm[2] / FINE_MM))))
    i, j, k = (
        (((np.arange((last - first) * n) + 0.5) / n + first - 0.5) - centre) * edge
        for first, last, n, centre, edge in zip(low, high, times, lesion.centre, spacing_mm, strict=True)
    )
    away = i[:, None] ** 2 + j**2
    if lesion.shape == "sphere":
        sphere = away[..., None] + k**2 < radius**2
        return np.asarray(sphere.reshape(*away.shape, slices, -1).mean(axis=3), np.float32)
    middles = (np.arange(low[2], high[2]) - lesion.centre[2]) * spacing_mm[2]
    within = np.abs(middles) <= max(radius, float(np.abs(middles).min()))
    return np.asarray((away < radius**2)[..., None] & within, np.float32)


def place_lesions(
    voxels: npt.NDArray[Any],
    spacing_mm: Spacing,
    *,
    generator: np.random.Generator,
    count: int = 12,
    diameters_mm: tuple[float, float] = (3.0, 10.0),
    contrasts: tuple[float, float] = (10.0, 60.0),
    blur_mm: float = 0.7,
    shape: Literal["sphere", "disc"] = "sphere",
    padding: BoolArray | None = None,
) -> list[Lesion]:
    """Up to `count` lesions at random in the flat tissue of (I,J,K) voxels; fewer where there is no more room.

    Diameter (mm) and contrast (unit of the scan, either sign at random) are drawn evenly from their ranges. A place is
    flat where, over the largest lesion and 3 mm around, the standard deviation is at most 1.3 times that of the scan's
    noise (`noise_sigma`). Lesions lie 10 mm and more apart, edge to edge. blur_mm: 0.7 is a soft CT kernel.
    """
    flat = _flat_places(np.asarray(voxels, np.float32), spacing_mm, diameters_mm[1] / 2 + RIM_MM, padding)
    candidates = np.argwhere(flat)
    made: list[Lesion] = []
    while len(made) < count and len(candidates):
        centre = candidates[generator.integers(len(candidates))] + generator.uniform(-0.5, 0.5, size=3) * (1, 1, 0)
        made.append(
            Lesion(
                centre=(float(centre[0]), float(centre[1]), float(centre[2])),
                diameter_mm=float(generator.uniform(*diameters_mm)),
                contrast=float(generator.uniform(*contrasts) * generator.choice([-1, 1])),
                blur_mm=blur_mm,
                shape=shape,
            )
        )
        away = np.linalg.norm((candidates - centre) * spacing_mm, axis=1) - made[-1].diameter_mm / 2
        candidates = candidates[away >= GAP_MM + diameters_mm[1] / 2 + max(spacing_mm[:2])]  # and its part of a pixel
    return made


def _flat_places(
    voxels: npt.NDArray[np.float32], spacing_mm: Spacing, reach_mm: float, padding: BoolArray | None
) -> BoolArray:
    """(I,J,K): True where all that lies within the reach along each axis is tissue, and flat."""
    size = [2 * int(np.ceil(reach_mm / edge)) + 1 for edge in spacing_mm]
    usable = tissue_mask(voxels, padding) & measured_voxels(voxels, padding)
    inside = ndimage.minimum_filter(usable, (size[0], size[1], 1), mode="constant", cval=False)
    inside = ndimage.minimum_filter(inside, (1, 1, size[2]), mode="nearest")
    if not inside.any():
        return np.asarray(inside)
    centred = np.where(usable, voxels - np.float32(voxels[inside].mean()), 0).astype(np.float64)
    mean = ndimage.uniform_filter(centred, size)
    spread = np.sqrt(np.maximum(ndimage.uniform_filter(centred**2, size) - mean**2, 0))
    return np.asarray(inside & (spread <= FLATNESS * noise_sigma(voxels, padding)))


def recovered(lesion: Lesion, response: npt.NDArray[Any], spacing_mm: Spacing) -> RecoveredLesion:
    """What a method leaves of a lesion. response: (I,J,K), the scan with lesions denoised less the scan without
    denoised. Other lesions in it may lie anywhere but at this one."""
    (rows, columns, slices), drawn = _drawn(
        lesion, response.shape, spacing_mm, 1.5 * lesion.diameter_mm + 4 * lesion.blur_mm
    )
    k = _middle(lesion, response.shape)
    inserted = drawn[:, :, k - slices.start].astype(np.float64)
    left = np.asarray(response[rows, columns, k], np.float64)
    middle = (lesion.centre[0] - rows.start, lesion.centre[1] - columns.start)
    away = np.hypot(*((n - c) * s for n, c, s in zip(np.indices(left.shape), middle, spacing_mm[:2], strict=True)))
    core = away <= max(lesion.diameter_mm / 4, float(away.min()))
    contrast = float(left[core].sum() / inserted[core].sum())
    return RecoveredLesion(
        contrast=contrast,
        diameter_mm=_diameter(left, core, middle, spacing_mm),
        inserted_diameter_mm=_diameter(inserted, core, middle, spacing_mm),
    )


def _diameter(image: Array, core: BoolArray, middle: tuple[float, float], spacing_mm: Spacing) -> float:
    """Of a circle as large as the part of (I,J) `image` that holds the middle and is above half the core's mean, mm;
    between pixels by cubic interpolation. 0 where the core's mean is 0."""
    level = float(image[core].mean())
    if level == 0.0:
        return 0.0
    finer = ndimage.zoom(image / level, FINE, order=3, grid_mode=True, mode="nearest")
    labels, _ = ndimage.label(finer > 0.5)
    at = [min(max(int((c + 0.5) * FINE), 0), n - 1) for c, n in zip(middle, finer.shape, strict=True)]
    if not labels[at[0], at[1]]:
        return 0.0
    area = np.count_nonzero(labels == labels[at[0], at[1]]) * spacing_mm[0] * spacing_mm[1] / FINE**2
    return float(2 * np.sqrt(area / np.pi))
