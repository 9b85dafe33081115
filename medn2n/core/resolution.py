"""How sharp a scan is at a phantom's round insert.

A denoiser's sharpness depends on contrast and noise, so it has no single transfer function; the task transfer function
(TTF; Richard et al., Med. Phys. 39 (2012) 4115; AAPM TG-233 §5) is measured at the edge of an insert of the contrast
that matters, in the noise that matters, and averaged over repeats until the noise does not count any more. In a patient
there is no insert; `core.edges` compares a scan before and after at its strong edges instead.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]
Interval = tuple[float, float]

SAMPLES_PER_PIXEL = 5  # of the edge spread along the radius
REACH_PIXELS = (
    10.0  # of the edge spread to either side of the edge: four widths of a soft CT kernel within the flat top
)
SECTORS = 12  # of the edge, whose noise is taken as independent


@dataclass(frozen=True, slots=True, kw_only=True)
class Insert:
    """A round insert: centre (i, j) in pixels, fractions too, and its radius."""

    centre: tuple[float, float]
    radius_mm: float


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskTransfer:
    """The TTF of one insert.

    frequency: (F,) 1/mm, from 0 to 1/pixel. transfer: (F,), 1 at 0; noise alone leaves a floor, never 0.
    ttf50, ttf10: 1/mm at which it first falls to 0.5 and 0.1, infinite where it does not; the intervals (95 %) resample
    sectors of the edge in each slice. contrast: inside less outside, in the scan's unit (2 % low where the radius is
    five widths of the blur).
    """

    frequency: Array
    transfer: Array
    ttf50: float
    ttf50_interval: Interval
    ttf10: float
    ttf10_interval: Interval
    contrast: float


def find_insert(
    image: npt.NDArray[Any], spacing_mm: tuple[float, float], *, near: tuple[float, float], radius_mm: float
) -> Insert:
    """The round insert of about `radius_mm` about (i, j) = `near` in an (I,J) image: the blurred disc that fits best
    (least squares in centre, radius, contrast, background and width of blur). Average repeats first: it needs a
    contrast that stands out of the noise. Raises ValueError where the fit wanders off."""
    from scipy.optimize import least_squares
    from scipy.special import erfc

    away = _distance_mm(image.shape[:2], spacing_mm, near)
    rows, columns = np.nonzero(away < 2 * radius_mm)
    values = np.asarray(image, np.float64)[rows, columns]
    inside = away[rows, columns] < radius_mm
    pixel = float(np.sqrt(np.prod(spacing_mm)))

    def missed(guess: Array) -> Array:
        i, j, radius, width, contrast, background = guess
        beyond = np.hypot((rows - i) * spacing_mm[0], (columns - j) * spacing_mm[1]) - radius
        return np.asarray(background + contrast / 2 * erfc(beyond / (np.sqrt(2) * abs(width) + 1e-9)) - values)

    background = float(values[~inside].mean())
    start = np.array([*near, radius_mm, pixel, values[inside].mean() - background, background])
    fit = least_squares(missed, start, x_scale=np.maximum(np.abs(start), 1.0))
    i, j, radius, width = (float(value) for value in fit.x[:4])
    radius += width**2 / (2 * radius)  # a blurred circle's half height lies that much inside its edge
    moved = float(np.hypot((i - near[0]) * spacing_mm[0], (j - near[1]) * spacing_mm[1]))
    if moved > radius_mm or not 0.5 < radius / radius_mm < 1.5:
        raise ValueError(
            f"insert: expected a disc of radius {radius_mm:.1f} mm at {near}, the best fit has {radius:.1f} mm and "
            f"lies {moved:.1f} mm away. Average more repeats, or give its place"
        )
    return Insert(centre=(i, j), radius_mm=radius)


def task_transfer(
    voxels: npt.NDArray[Any],
    spacing_mm: tuple[float, float],
    insert: Insert,
    *,
    generator: np.random.Generator,
    reach_mm: float | None = None,
    resamples: int = 200,
) -> TaskTransfer:
    """TTF of an insert that goes through all K slices (or repeats) of (I,J,K) voxels.

    Every pixel within `reach_mm` of the edge (10 pixels, or 0.9 of the radius) is a sample of the edge spread, averaged
    in bins a fifth of a pixel wide and differentiated; the size of the Fourier transform of that line spread is the
    TTF. Nothing is smoothed or made monotone: the line spread is tapered beyond half the reach only (the usual Hann
    window blurs by itself), the bins' own transfer is divided out, and √(r/R) makes a circle's line spread that of a
    straight edge (the TTF within 0.005 where the radius is five widths of the blur or more; 0.02 at four). TG-233 asks
    for a contrast of 15 times the noise over √K; below 3 times both figure and interval mean little. Raises ValueError
    where the edge lies outside the image.
    """
    pixel = float(np.sqrt(np.prod(spacing_mm)))
    reach = reach_mm or min(0.9 * insert.radius_mm, REACH_PIXELS * pixel)
    width = pixel / SAMPLES_PER_PIXEL
    sums = _edge_sums(np.asarray(voxels, np.float64), spacing_mm, insert, reach, width)
    frequency = np.linspace(0, 1 / pixel, 201)
    transform = _line_transform(frequency, insert.radius_mm, width, sums.shape[2])
    whole = _transformed(sums.sum(axis=1), transform, width)
    units = sums.shape[1]
    draws = generator.multinomial(units, np.full(units, 1 / units), size=resamples)
    redrawn = [_transformed(np.einsum("u,sub->sb", times, sums), transform, width) for times in draws]
    sizes = [np.abs(one) / max(abs(one[0]), 1e-300) for one in (whole, *redrawn)]
    half, tenth = ([_first_below(frequency, one, level) for one in sizes] for level in (0.5, 0.1))
    return TaskTransfer(
        frequency=frequency,
        transfer=sizes[0],
        ttf50=half[0],
        ttf50_interval=_central(half[1:]),
        ttf10=tenth[0],
        ttf10_interval=_central(tenth[1:]),
        contrast=-float(whole[0].real),
    )


def _distance_mm(shape: tuple[int, ...], spacing_mm: tuple[float, float], centre: tuple[float, float]) -> Array:
    i, j = np.indices(shape[:2])
    return np.asarray(np.hypot((i - centre[0]) * spacing_mm[0], (j - centre[1]) * spacing_mm[1]))


def _edge_sums(voxels: Array, spacing_mm: tuple[float, float], insert: Insert, reach: float, width: float) -> Array:
    """(3, units, bins): sums of values, sums of distances from the edge, and counts. A unit is a sector in a slice."""
    beyond = _distance_mm(voxels.shape, spacing_mm, insert.centre) - insert.radius_mm
    half = int(np.ceil(reach / width))
    rows, columns = np.nonzero(np.abs(beyond) < half * width)
    if len(rows) < SECTORS:
        raise ValueError(f"TTF: no edge of radius {insert.radius_mm:.1f} mm lies in the image around {insert.centre}")
    distance = beyond[rows, columns]
    angle = np.arctan2((columns - insert.centre[1]) * spacing_mm[1], (rows - insert.centre[0]) * spacing_mm[0])
    sector = np.minimum((angle / (2 * np.pi) % 1.0 * SECTORS).astype(int), SECTORS - 1)
    index = sector * 2 * half + np.clip(np.floor(distance / width).astype(int) + half, 0, 2 * half - 1)

    def summed(weights: Array) -> Array:
        sums = np.asarray(np.bincount(index, weights=weights, minlength=SECTORS * 2 * half), np.float64)
        return sums.reshape(SECTORS, 2 * half)

    slices = voxels.shape[2]
    values = np.concatenate([summed(voxels[rows, columns, k]) for k in range(slices)])
    return np.stack([values, *(np.tile(summed(one), (slices, 1)) for one in (distance, np.ones_like(distance)))])


def _transformed(sums: Array, transform: npt.NDArray[np.complex128], width: float) -> npt.NDArray[np.complex128]:
    """Fourier transform of the line spread of (3, bins) sums: values, distances, counts."""
    known = sums[2] > 0
    spread, place = sums[:2, known] / sums[2, known]
    centres = (np.arange(len(known)) + 0.5 - len(known) // 2) * width
    return np.asarray(transform @ np.diff(np.interp(centres, place, spread)))


def _line_transform(frequency: Array, radius: float, width: float, bins: int) -> npt.NDArray[np.complex128]:
    """(F, bins − 1): takes the differences of the edge spread to the Fourier transform of the line spread."""
    place = (np.arange(1, bins) - bins // 2) * width
    relative = np.abs(place) / (bins // 2 * width)
    window = np.where(relative < 0.5, 1.0, np.cos(np.pi * (relative - 0.5)) ** 2)
    weight = window * np.sqrt(np.maximum(radius + place, 0) / radius)
    bin_transfer = np.sinc(frequency * width) ** 2  # of the mean over a bin, and of the difference of two
    wave = np.exp(-2j * np.pi * frequency[:, None] * place)
    return np.asarray(wave * weight / bin_transfer[:, None])


def _first_below(frequency: Array, transfer: Array, level: float) -> float:
    below = np.flatnonzero(transfer < level)
    if not len(below):
        return float("inf")
    n = below[0]
    over = (transfer[n - 1] - level) / (transfer[n - 1] - transfer[n])
    return float(frequency[n - 1] + over * (frequency[n] - frequency[n - 1]))


def _central(draws: list[float]) -> Interval:
    low, high = np.quantile(draws, [0.025, 0.975], method="nearest")  # some may be infinite
    return float(low), float(high)
