"""How sharp a scan is: at a phantom's round insert, and at the anatomy's own edges.

A denoiser's sharpness depends on contrast and noise, so it has no single transfer function; the task transfer function
(TTF; Richard et al., Med. Phys. 39 (2012) 4115; AAPM TG-233 §5) is measured at the edge of an insert of the contrast
that matters, in the noise that matters, and averaged over repeats until the noise does not count any more. In a patient
there is no insert; `blur_pixels` compares a scan before and after at its strong edges instead.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from medn2n.core.noise import patches

Array = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]
Interval = tuple[float, float]

SAMPLES_PER_PIXEL = 5  # of the edge spread along the radius
REACH_PIXELS = (
    10.0  # of the edge spread to either side of the edge: four widths of a soft CT kernel within the flat top
)
SECTORS = 12  # of the edge, whose noise is taken as independent
STRONG_EDGES = 0.05  # share of the voxels with the steepest slopes
GUIDE_PIXELS = 1.5  # width of the Gaussian under which edges are found and compared
PATCH_PIXELS = 16  # wider than noise and edges are correlated
STEPS = 12


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


@dataclass(frozen=True, slots=True, kw_only=True)
class EdgeBlur:
    """The Gaussian blur that explains what a method took from the edges.

    square: its variance s², pixel²; negative where edges became steeper. error: standard error of `square`, from
    patches of the image. voxels: how many edge voxels it rests on. contrast: how much the value changes from one pixel
    to the next at these edges (median), in the scan's unit.
    """

    square: float
    error: float
    voxels: int
    contrast: float

    @property
    def pixels(self) -> float:
        """Width s in pixels with the sign of s²: negative where the method sharpens."""
        return float(np.copysign(np.sqrt(abs(self.square)), self.square))


def blur_pixels(
    before: npt.NDArray[Any],
    after: npt.NDArray[Any],
    *,
    guide: npt.NDArray[Any] | None = None,
    where: BoolArray | None = None,
    share: float = STRONG_EDGES,
) -> EdgeBlur:
    """Extra in-plane blur of `after` over `before`, both (I,J,K), at the strongest edges: no insert is needed.

    What a Gaussian of variance s² removes from an image is −s²/2·∇² − (s²)²/8·∇⁴ of it, so before − after is regressed
    on these derivatives of `before`, all under one Gaussian of 1.5 pixels. The noise in `before` is on both sides of
    that regression; the Laplacian of `guide` is the instrumental variable that does not see it. Edges are the `share`
    of the voxels (in `where`) at which the guide is steepest: leave padding out of `where`, and bone and air to measure
    soft tissue.

    guide: an independent repeat of the scan is best, since it shares no noise with `before`. Without one it is `after`,
    whose noise is a remainder of the noise of `before`, and s² comes out too large where edges are weak: by 0.06 and
    0.3 pixel² at soft-tissue edges in 15 and 40 HU of noise of which a fifth is kept, by 0.02 at all edges of that
    scan. Without noise s² is right within 1 % up to 0.5 pixel² and 5 % at 1 pixel². NaN where there is no edge.
    """
    old = np.asarray(before, np.float64)
    lead = np.asarray(after if guide is None else guide, np.float64)
    removed = ndimage.gaussian_filter(old - after, (GUIDE_PIXELS, GUIDE_PIXELS, 0))
    keep, slope = _strong_edges(lead, where, share)
    if not keep.any():
        return EdgeBlur(square=float("nan"), error=float("nan"), voxels=0, contrast=0.0)
    instrument = -0.5 * _laplacian(lead, GUIDE_PIXELS)[keep]
    first = -0.5 * _laplacian(old, GUIDE_PIXELS)[keep]
    second = _bilaplacian(old, GUIDE_PIXELS)[keep] / 8
    taken, square = removed[keep], 0.0
    went, once, twice = (float(np.sum(one * instrument)) for one in (taken, first, second))
    for _ in range(STEPS):  # taken = s²·first − (s²)²·second
        square = went / (once - square * twice)
    left = (taken - square * first + square**2 * second) * instrument
    number, count = patches(keep, PATCH_PIXELS)
    sums = np.bincount(number, weights=left, minlength=count)[np.bincount(number, minlength=count) > 0]
    spread = float(np.sqrt((sums**2).sum() * len(sums) / max(len(sums) - 1, 1)))
    error = spread / abs(once - 2 * square * twice)
    return EdgeBlur(square=square, error=error, voxels=len(taken), contrast=float(np.median(slope[keep])))


def _strong_edges(voxels: Array, where: BoolArray | None, share: float) -> tuple[BoolArray, Array]:
    """(I,J,K): the steepest `share` of the voxels in `where`, and how steep each voxel is, per pixel."""
    slope = np.hypot(*(_derivative(voxels, GUIDE_PIXELS, order) for order in ((1, 0), (0, 1))))
    inside = np.isfinite(slope) if where is None else where & np.isfinite(slope)
    if not inside.any():
        return inside, slope
    return np.asarray(inside & (slope >= np.quantile(slope[inside], 1 - share)) & (slope > 0)), slope


def _derivative(voxels: Array, width: float, order: tuple[int, int]) -> Array:
    """Of (I,J,K) voxels along I and J, `order` times each, under an in-plane Gaussian of `width` pixels."""
    return np.asarray(ndimage.gaussian_filter(voxels, (width, width, 0), order=(*order, 0)), np.float64)


def _laplacian(voxels: Array, width: float) -> Array:
    return _derivative(voxels, width, (2, 0)) + _derivative(voxels, width, (0, 2))


def _bilaplacian(voxels: Array, width: float) -> Array:
    along = _derivative(voxels, width, (4, 0)) + _derivative(voxels, width, (0, 4))
    return along + 2 * _derivative(voxels, width, (2, 2))
