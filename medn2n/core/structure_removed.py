"""What a denoiser took out of flat tissue, or put into it, that noise would not explain: one scan, no truth.

What was removed (before − after) should be noise. A lesion that went missing is a spot in it, a lesion that was made up
is a spot of the other sign, streaks of metal that were smoothed away are many. Spots of 3, 5 and 8 mm are sought with
a difference of two Gaussians (Lindeberg 1998, scale-space blobs), in tissue away from edges and in the lungs of a CT,
and each is measured in standard deviations of its own surroundings. Among ten thousand places, noise reaches four to
six.

How much of the structure itself went? Where tissue holds more fine structure (3 mm) than elsewhere, a method that keeps
it removes no more there than elsewhere, and one that smooths removes its share. So what was removed, block by block, is
regressed on what was there; the slope is the share of the structure that went, and the noise, which is the same
everywhere, stays in the constant. Chance is the same on both sides of that regression, so the next coarser structure
(5 mm) of the block, as the denoised scan shows it, is the instrument (Wald 1940): that of the scan before holds the
noise too, by which a copy without any would seem to have lost structure. Where the two sizes do not go together, there
is too little structure, and nothing is said. The share is in proportion to the strength of a method.

Nor should the copy show what the scan does not hold: the difference holds it with the other sign, and what was removed
correlates with what is shown below zero. The best estimate f of an image is orthogonal to its error (E[(x − f)·f] = 0),
and noise that is left correlates above zero. The limits are in `core.limits`.

Inside, arrays are (K,I,J) with each slice in one piece of memory: filters then take half the time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from medn2n.core.body import tissue_mask
from medn2n.core.ct_numbers import REGIONS_HU
from medn2n.core.spot_filters import COARSE, block_means, eroded, measured, spots_of, widened
from medn2n.core.spot_search import DIAMETERS_MM, SAMPLE, Bands, Spot, spot_sigmas, strongest_spots
from medn2n.core.spread_slices import spread_slices
from medn2n.core.threads import in_threads

Array = npt.NDArray[Any]
Mask = npt.NDArray[np.bool_]

SOFT_TISSUE_HU = (-180.0, 180.0)
LUNG_SPREAD = 2.0  # times that of its surroundings: small vessels are spots too, and every method softens some
AWAY_FROM_EDGES_MM = 4.0
FINE_MM = 1.0  # pixels smaller than that are looked at two by two, where tissue is looked for
BRIGHT = 2.0  # times the median of MR tissue: fat and vessels, which are edges nearly everywhere
FEWEST_VOXELS, FEWEST_BLOCKS = 2000, 50
BLOCK_MM = 8.0  # in which fine structure and what went of it are compared
TOGETHER = 0.5  # correlation of two sizes of structure, from block to block, that noise alone does not have
FAINT = 0.02  # of what was removed: detail of a seventh of the noise
LARGEST = 1e15  # of a copy's values: float32 holds sums of its square


@dataclass(frozen=True, slots=True, kw_only=True)
class Structure:
    """What was removed, in flat tissue. spot: there, or in the lungs of a CT. weakened: share of the fine structure
    (3 mm) that went, at least, which is two standard errors below the estimate; None where there is too little
    structure to tell. invented: the lowest correlation, over the three sizes, of what was removed with what is shown,
    two standard errors nearer to zero; None where there is a lung only."""

    spot: Spot
    weakened: float | None
    invented: float | None


def structure_removed(
    before: Array, after: Array, *, spacing_mm: tuple[float, ...], modality: str, padding: Mask | None = None,
    unseen: float = 0.0,
) -> Structure | None:  # fmt: skip
    """Of before − after, both (I,J,K) in one unit; None where there is too little flat tissue, and lung. unseen: the
    least spread that a spot is measured in, as the contrast of its disc, and that counts as detail; in that unit."""
    pixel = float(max(spacing_mm[:2]))
    first, second = _slices_first(before), np.clip(_slices_first(after), -LARGEST, LARGEST)
    gaps = None if padding is None else _slices_first(padding)
    if modality == "CT":
        flat, lung = _ct_fields(first, second, pixel, gaps)
    else:
        second, flat = _mr_field(first, second, pixel, gaps)
        lung = np.zeros_like(flat)
    fields = [field for field in (flat, lung) if np.count_nonzero(field) >= FEWEST_VOXELS]
    if not fields:
        return None
    box = _around(np.logical_or.reduce(fields), margin=round(DIAMETERS_MM[-1] / pixel))
    sigmas = spot_sigmas(pixel)

    def bands(k: int) -> list[npt.NDArray[np.float32]]:
        old, new = (scan[k : k + 1][box] for scan in (first, second))
        return spots_of(np.where(np.isfinite(old), old - new, 0).astype(np.float32), sigmas)

    found = strongest_spots(bands, [field[box] for field in fields], pixel, unseen)
    if fields[-1] is lung:
        found[-1] = replace(found[-1], strength=found[-1].strength / LUNG_SPREAD)
    strongest = max(found, key=Spot.size)
    i, j, k = strongest.place
    spot = replace(strongest, place=(i + box[1].start, j + box[2].start, k))
    if fields[0] is lung:
        return Structure(spot=spot, weakened=None, invented=None)
    return _with_likeness(spot, bands, (first[box], second[box]), flat[box], sigmas, pixel, unseen)


def _with_likeness(
    spot: Spot, bands: Bands, scans: tuple[Array, Array], flat: Mask, sigmas: Sequence[float], pixel_mm: float,
    unseen: float,
) -> Structure:  # fmt: skip
    """From evenly spread slices; the spot was sought in all. bands: of what was removed, of each slice."""
    some = spread_slices((*flat.shape[1:], len(flat)))
    flat = flat[some]
    taken = [np.concatenate(one) for one in zip(*(bands(k) for k in some), strict=True)]
    before, after = (measured(scan[some]) for scan in scans)
    shown, (fine,) = spots_of(after, sigmas), spots_of(before, sigmas[:1])
    made_up = [
        _correlation(one, other, flat, sigma, unseen) for one, other, sigma in zip(taken, shown, sigmas, strict=True)
    ]
    return Structure(
        spot=spot,
        weakened=_share_removed(taken[0], fine, shown[1], flat, side=max(8, round(BLOCK_MM / pixel_mm))),
        invented=float(np.min([0.0, *(one + 2 * error for one, error in made_up)])),
    )


def _slices_first(scan: Array) -> Array:
    """(I,J,K) → (K,I,J), each slice in one piece."""
    return np.ascontiguousarray(np.moveaxis(scan, 2, 0), dtype=bool if scan.dtype == bool else np.float32)


def _share_removed(removed: Array, fine: Array, coarser: Array, flat: Mask, *, side: int) -> float | None:
    """Slope of removed·fine on fine² over blocks of `side` pixels, with the coarser structure as the instrument, less
    two standard errors; at least 0. None where the fine and the coarser structure do not go together."""
    counts = _block_sums(flat, flat, side)
    full = counts > side**2 / 2
    if np.count_nonzero(full) < FEWEST_BLOCKS:
        return None
    went, there, guide = (
        _block_sums(one, flat, side)[full] / counts[full] for one in (removed * fine, fine**2, coarser**2)
    )
    # Within each slice: where noise grows from one to the next, all three grow together without any structure.
    went, there, guide = (_off_mean(one, np.nonzero(full)[0]) for one in (went, there, np.sqrt(guide)))
    together = float(there @ guide)
    if together < TOGETHER * float(np.linalg.norm(there) * np.linalg.norm(guide)) or together <= 0:
        return None
    share = float(went @ guide) / together
    error = float(np.linalg.norm((went - share * there) * guide)) / together
    return max(0.0, share - 2 * error)


def _off_mean(values: Array, group: npt.NDArray[np.intp]) -> Array:
    """Values less the mean of their group."""
    means = np.bincount(group, weights=values) / np.maximum(np.bincount(group), 1)
    return np.asarray(values - means[group])


def _block_sums(values: Array, flat: Mask, side: int) -> npt.NDArray[np.float64]:
    """(K,rows,columns): sums over the flat pixels of each block."""
    slices, rows, columns = len(values), values.shape[1] // side, values.shape[2] // side
    cut = (values * flat)[:, : rows * side, : columns * side].reshape(slices, rows, side, columns, side)
    return np.asarray(cut.sum(axis=4, dtype=np.float64).sum(axis=2))


def _correlation(removed: Array, shown: Array, flat: Mask, sigma: float, unseen: float) -> tuple[float, float]:
    """Correlation over flat tissue, and its standard error: places count as far as their Gaussians do not overlap."""
    one, other = removed[flat].astype(np.float64), shown[flat].astype(np.float64)
    independent = max(np.count_nonzero(flat) / (4 * np.pi * sigma**2), 1.0)
    return likeness(one, other, unseen), float(1 / np.sqrt(independent))


def likeness(removed: Array, shown: Array, unseen: float) -> float:
    """Correlation of what was removed with what is shown, about zero; 0 where too little of the one is in the other for
    anybody to see, or too little was removed: root mean square `unseen`."""
    product, power = float(np.vdot(removed, shown)), float(np.vdot(removed, removed))
    if abs(product) <= FAINT * power or power <= unseen**2 * removed.size:
        return 0.0
    return product / float(np.sqrt(power) * np.linalg.norm(shown))


def _smooth(scan: Array) -> Array:
    """Means over 5×5 pixels."""
    return np.asarray(ndimage.uniform_filter(measured(scan), (1, 5, 5)))


def _ct_fields(first: Array, second: Array, pixel_mm: float, padding: Mask | None) -> tuple[Mask, Mask]:
    """Even soft tissue, and lung, of the two scans together: what was taken out may have been no tissue before, and
    what came may be none after. Where a nodule of the lung was taken out there is lung after; where one was made up
    there was lung before."""
    side, window = (2, 3) if pixel_mm < FINE_MM else (1, 5)
    rows, columns = (side * (length // side) for length in first.shape[1:])
    flat, lung = np.zeros(first.shape, bool), np.zeros(first.shape, bool)

    def of_slice(k: int) -> None:
        here = (slice(k, k + 1), slice(rows), slice(columns))
        gaps = None if padding is None else padding[here]
        for scan in (first, second):
            smooth = ndimage.uniform_filter(block_means(measured(scan[here]), side), (1, window, window))
            for field, (low, high) in ((flat, SOFT_TISSUE_HU), (lung, REGIONS_HU["lung"])):
                even = widened((smooth > low) & (smooth < high), first.shape, side)
                field[here] |= _away_from_edges(even, pixel_mm, gaps)

    in_threads(of_slice, range(len(first)))
    return flat, lung


def _mr_field(first: Array, second: Array, pixel_mm: float, padding: Mask | None) -> tuple[Array, Mask]:
    """The scan after, as far as it is judged, and the even tissue of both together. What is taken off air is a step at
    the skin, whose Gaussians reach into tissue: there the scan before stands in."""
    last = None if padding is None else np.moveaxis(padding, 0, 2)
    tissue, shown = (np.moveaxis(tissue_mask(np.moveaxis(one, 0, 2), last), 2, 0) for one in (first, second))
    left = _smooth(second)
    came = shown & ~tissue.any(axis=(1, 2), keepdims=True)
    kept = _with_holes(tissue | came)
    flat = _flat_tissue(_smooth(first), tissue, pixel_mm, padding)
    flat |= _flat_tissue(left, shown & kept, pixel_mm, padding)
    return np.where(kept, second, first), flat


def _with_holes(tissue: Mask) -> Mask:
    """(K,I,J): tissue and what it encloses in a slice, to COARSE pixels (a dark lesion is no air)."""
    rows, columns = (length // COARSE for length in tissue.shape[1:])
    if not rows * columns:
        return tissue
    cut = tissue[:, : COARSE * rows, : COARSE * columns].reshape(-1, rows, COARSE, columns, COARSE)
    filled = np.stack([ndimage.binary_fill_holes(one) for one in np.asarray(cut.all(axis=(2, 4)))])
    whole = tissue.copy()
    whole[:, : COARSE * rows, : COARSE * columns] |= widened(filled, (0, COARSE * rows, COARSE * columns))
    return whole


def _flat_tissue(smooth: Array, tissue: Mask, pixel_mm: float, padding: Mask | None) -> Mask:
    """MR tissue that is not bright (vessels, fat) without what is near an edge of it. Not by its slope: a lesion that
    was taken out has one, and of 13 lesions of 40 % in MR 2 were then passed over."""
    tissue = tissue.copy()
    if tissue.any():
        typical = np.median(smooth[tissue][:: max(1, np.count_nonzero(tissue) // SAMPLE)])
        zero = min(0.0, float(smooth.min()))  # of a scan of which somebody took the mean
        tissue &= smooth - zero <= BRIGHT * (typical - zero)
    return _away_from_edges(tissue, pixel_mm, padding)


def _away_from_edges(tissue: Mask, pixel_mm: float, padding: Mask | None) -> Mask:
    inside = tissue if padding is None else tissue & ~padding
    return eroded(inside, round(AWAY_FROM_EDGES_MM / pixel_mm))


def _around(flat: Mask, *, margin: int) -> tuple[slice, slice, slice]:
    """What holds all of it in plane, and `margin` pixels more."""
    box = [slice(None)]
    for axis in (1, 2):
        inside = np.flatnonzero(flat.any(axis=(0, 3 - axis)))
        box.append(slice(max(0, int(inside[0]) - margin), int(inside[-1]) + margin + 1))
    return box[0], box[1], box[2]
