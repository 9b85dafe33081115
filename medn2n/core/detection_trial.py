"""Can a small faint disc still be found after denoising? Asked of any scan that offers enough even area (a phantom).

A disc of 3 mm, so faint that it is found with an AUC of 0.8 before denoising, is put at half of many places of the
noisy scans; the channelized Hotelling observer (`core.observer`) looks for it before and after. At 0.8 a change shows
best: at 0.5 there is nothing to lose, at 1 nothing is lost until much is. Each repeat is denoised by itself, and the
disc goes through all slices of a slab, so that a method that sees neighbouring slices sees neither two repeats at once
nor a disc in one slice alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import ndtri

from medn2n.core.body import body_mask
from medn2n.core.lesions import Lesion, draw_lesions
from medn2n.core.noise import cut_blocks, noise_sigma
from medn2n.core.observer import (
    Detection,
    DetectionChange,
    ObserverImages,
    SignalScans,
    detect,
    detection_change,
    laguerre_gauss,
    signal_scans,
)
from medn2n.core.volume import Volume

Method = Callable[[Volume], Volume]
Array = npt.NDArray[np.float64]
DIAMETER_MM = 3.0  # the smallest disc of the low-contrast phantoms in use, and the first to fade
BLUR_MM = 0.7  # a soft CT kernel's, as in `core.lesions`
AUC_BEFORE = 0.8
# Of a place, over the disc's diameter. An observer who sees less than the noise is correlated over is worse than a
# reader is, and a network that sees more then seems to help: with 3 the gain on a phantom was 0.03, with 5 nothing.
SIDE_OF_DIAMETER = 5
CHANNEL_OF_DIAMETER = 1.5  # width of the channels over the disc's diameter
FEW_REPEATS = 4
LEAST_SIDE = 6  # pixels of a place, below which the channels are no longer independent
LEAST_PLACES = 20
SQUARE = 1.1  # a pixel's longer edge over its shorter: the squares and channels are round in pixels
LEAST_IMAGES = 200  # of each class
MOST_SCANS = 64  # slices of all repeats together, from their middles
MOST_IMAGES = 4000  # of both classes: more narrow the interval below what the limit needs
EVEN = 1.3  # spread of all values of a place over the noise's, at most: the rest would be structure


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class DetectionTrial:
    """repeats: the scans with the discs. shape: as `SignalScans` holds them, slice after slice, scan after scan.
    contrast: of the disc, in the scan's unit. diameter_mm: of the disc."""

    repeats: tuple[Volume, ...]
    placed: SignalScans
    channels: Array
    contrast: float
    diameter_mm: float


def detection_trial(
    repeats: Sequence[Volume], *, where: npt.NDArray[np.bool_] | None = None, diameter_mm: float = DIAMETER_MM,
    contrast: float | None = None,
) -> DetectionTrial | None:  # fmt: skip
    """Put the disc into repeats (I,J,K) of one object; None where there is too little even area: fewer than 20 places
    of five diameters that are even in every slice of every repeat, fewer than two images of each, fewer than 200
    images with and without the disc, or pixels that are not square.

    where: (I,J), True where a place may lie; found if not given. contrast: in the scan's unit; the one that is found
    with an AUC of 0.8 if not given.
    """
    repeats = [one.middle_slices(max(1, MOST_SCANS // len(repeats))) for one in repeats]
    pixel = max(repeats[0].spacing_mm[:2])
    side = int(np.ceil(SIDE_OF_DIAMETER * diameter_mm / pixel))
    scans = _as_scans([one.voxels for one in repeats])
    if len(scans) < 2 or pixel > SQUARE * min(repeats[0].spacing_mm[:2]):
        return None
    if side < LEAST_SIDE or min(scans.shape[1:]) < side:
        return None
    even = _even_places(repeats, scans, side) if where is None else where
    places = len(cut_blocks(scans[0][..., None], even[..., None], side=side).mean)
    if places < LEAST_PLACES or len(scans) * places // 2 < LEAST_IMAGES:
        return None
    even = _thinned(even, side, MOST_IMAGES // len(scans))
    slab = _slabs(len(repeats), len(scans) // len(repeats))
    disc = _disc(side, repeats[0].spacing_mm, diameter_mm)
    channels = laguerre_gauss(side, CHANNEL_OF_DIAMETER * diameter_mm / pixel)
    if contrast is None:
        contrast = _contrast(signal_scans(scans, 0 * disc, even, slab=slab).images(), disc, channels)
    placed = signal_scans(scans, contrast * disc, even, slab=slab)
    return DetectionTrial(
        repeats=tuple(_as_repeats(placed.voxels, repeats)),
        placed=placed,
        channels=channels,
        contrast=contrast,
        diameter_mm=diameter_mm,
    )


def detections(trial: DetectionTrial, method: Method) -> tuple[Detection, Detection]:
    """The observer on the same places before and after the method, which is run on every repeat."""
    denoised = _as_scans([method(one).voxels for one in trial.repeats])
    return (
        detect(trial.placed.images(), trial.channels),
        detect(trial.placed.images(denoised), trial.channels),
    )


def detection_after(trial: DetectionTrial, method: Method) -> DetectionChange:
    """The change of the AUC that the method brings."""
    return detection_change(*detections(trial, method))


def _slabs(repeats: int, slices: int) -> list[int]:
    """For each slice of each repeat, its slab: the repeat, or half of it where there are too few repeats for a place to
    be with and without the disc in each half of them."""
    parts = 1 if repeats >= FEW_REPEATS else min(2, slices)
    return [parts * repeat + k * parts // slices for repeat in range(repeats) for k in range(slices)]


def _as_scans(voxels: Sequence[npt.NDArray[Any]]) -> npt.NDArray[np.float32]:
    """(R·K,I,J): every slice of every repeat."""
    return np.asarray(np.concatenate([np.moveaxis(one, 2, 0) for one in voxels]), np.float32)


def _as_repeats(scans: npt.NDArray[np.float32], like: Sequence[Volume]) -> list[Volume]:
    stacks = np.split(scans, len(like))
    return [one.with_voxels(np.moveaxis(stack, 0, 2)) for one, stack in zip(like, stacks, strict=True)]


def _even_places(repeats: Sequence[Volume], scans: npt.NDArray[np.float32], side: int) -> npt.NDArray[np.bool_]:
    """(I,J), True over the squares of `side` pixels on the grid that lie in the body in every slice, and whose values,
    of all slices and repeats together, are spread hardly more than the noise is: noise that is measured between repeats
    where there are two, else in the scan's flat tissue."""
    rows, columns = scans.shape[1] // side, scans.shape[2] // side
    cut = scans[:, : rows * side, : columns * side].reshape(len(scans), rows, side, columns, side).astype(np.float64)
    spread = cut.std(axis=(0, 2, 4))
    if len(repeats) > 1:
        of_repeats = cut.reshape(len(repeats), -1, rows, side, columns, side)
        sigma = np.sqrt(of_repeats.var(axis=0, ddof=1).mean(axis=(0, 2, 4)))
    else:
        sigma = np.full_like(spread, noise_sigma(repeats[0].voxels, repeats[0].padding))
    even = (sigma > 0) & (spread <= EVEN * sigma)
    found = np.zeros(scans.shape[1:], bool)
    found[: rows * side, : columns * side] = np.kron(even, np.ones((side, side), bool))
    mean = np.mean([one.voxels for one in repeats], axis=0)
    found &= body_mask(mean, repeats[0].modality).all(axis=2)
    for one in repeats:
        found &= True if one.padding is None else ~one.padding.any(axis=2)
    return found


def _thinned(even: npt.NDArray[np.bool_], side: int, most: int) -> npt.NDArray[np.bool_]:
    """The same with at most `most` places (no fewer than `LEAST_PLACES`), spread evenly."""
    corners = cut_blocks(even[..., None].astype(np.float32), even[..., None], side=side).corner
    most = max(most, LEAST_PLACES)
    if len(corners) <= most:
        return even
    found = np.zeros_like(even)
    for i, j, _ in corners[np.linspace(0, len(corners) - 1, most).astype(int)]:
        found[i : i + side, j : j + side] = True
    return found


def _disc(side: int, spacing_mm: tuple[float, float, float], diameter_mm: float) -> npt.NDArray[np.float32]:
    middle = (side - 1) / 2
    disc = Lesion(centre=(middle, middle, 0.0), diameter_mm=diameter_mm, contrast=1.0, blur_mm=BLUR_MM, shape="disc")
    return draw_lesions((side, side, 1), spacing_mm, [disc])[..., 0]


def _contrast(images: ObserverImages, disc: npt.NDArray[np.float32], channels: Array) -> float:
    """The contrast at which the observer's AUC is 0.8: its d′ grows in proportion (Barrett & Myers §13.2.12)."""
    flat = channels.reshape(len(channels), -1)
    noise = np.concatenate([images.absent, images.present])
    covariance = np.cov(noise.reshape(len(noise), -1) @ flat.T, rowvar=False)
    response = flat @ disc.ravel().astype(np.float64)
    return float(np.sqrt(2) * ndtri(AUC_BEFORE) / np.sqrt(response @ np.linalg.solve(covariance, response)))
