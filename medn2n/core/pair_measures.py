"""What two scans of one object differ in, in numbers: shift, gain and offset; shared noise; structure left over.

All of it works on two (I,J,K) arrays on one grid and needs no clean image. `medn2n.core.pair_check` turns the
numbers into a verdict.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from medn2n.core import noise
from medn2n.core.body import tissue_mask

Array = npt.NDArray[Any]
BoolArray = npt.NDArray[np.bool_]

SMOOTH_PIXELS = 1.0  # in-plane blur before derivatives: the least that makes them noise-proof at SNR 5
SEARCH_PIXELS = 24  # patients who moved further than this were repositioned
LEAST_FLAT_BLOCKS = 20
GROUPS = 16  # of the jackknife that gives every fitted figure its interval
MOST_GAIN_ERROR, MOST_SHIFT_ERROR = 0.05, 0.5  # larger ones say that the object does not show it
FIT_VOXELS = 300_000  # enough for a gain to 0.1 %; more costs time only


@dataclass(frozen=True, slots=True, kw_only=True)
class JointFit:
    """second(x) ≈ gain·first(x − shift) + offset. shift in voxels along I, J, K (K: 0 where there are fewer than
    four slices); every `*_error` is a standard error. level: second − first where the object is as bright as on
    average, which gain and offset together make; mismatch: RMS of the intensity difference that gain and
    offset explain, over measured voxels, in the scans' unit. left_over: (I,J,K) difference that the fit does not
    explain, not smoothed: noise, and whatever else changed. measured: where all of it holds.
    """

    shift: tuple[float, float, float]
    shift_error: tuple[float, float, float]
    gain: float
    gain_error: float
    offset: float
    offset_error: float
    level: float
    level_error: float
    mismatch: float
    left_over: npt.NDArray[np.float32]
    measured: BoolArray


def smooth(voxels: Array, pixels: float = SMOOTH_PIXELS) -> npt.NDArray[np.float32]:
    """In-plane Gaussian blur, float32."""
    return np.asarray(ndimage.gaussian_filter(voxels, (pixels, pixels, 0), output=np.float32))


def gradient_energy(smoothed: Array) -> npt.NDArray[np.float32]:
    """Squared in-plane gradient."""
    along_i, along_j = np.gradient(smoothed, axis=(0, 1))
    return np.asarray(along_i**2 + along_j**2, dtype=np.float32)


def whole_pixel_shift(first: Array, second: Array) -> tuple[int, int]:
    """In-plane shift of `second` against `first` to the pixel, by cross-correlation of band-passed slices; (0, 0)
    unless another shift explains clearly more. Axes (I,J,K)."""
    slices = np.linspace(0, first.shape[2] - 1, min(8, first.shape[2])).astype(int)
    band = [smooth(v[:, :, slices], 1.0) - smooth(v[:, :, slices], 4.0) for v in (first, second)]
    spectra = [np.fft.rfft2(b, axes=(0, 1)) for b in band]
    cross = np.sum(np.conj(spectra[0]) * spectra[1], axis=2)
    surface = np.fft.irfft2(cross, s=first.shape[:2], axes=(0, 1))
    reach_i, reach_j = (min(SEARCH_PIXELS, n // 4) for n in first.shape[:2])
    window = np.roll(surface, (reach_i, reach_j), (0, 1))[: 2 * reach_i + 1, : 2 * reach_j + 1]
    peak = np.unravel_index(int(np.argmax(window)), window.shape)
    if window[peak] <= 1.02 * surface[0, 0]:
        return (0, 0)
    return (int(peak[0]) - reach_i, int(peak[1]) - reach_j)


def joint_fit(first: Array, second: Array, measured: BoolArray, sigmas: tuple[float, float]) -> JointFit:
    """Shift, gain and offset at once, by robust least squares on (second − first) against the two scans' mean and
    its derivatives (Lucas–Kanade, linear: good to about one pixel around the whole-pixel shift found first).

    The mean is weighted so that its noise is uncorrelated with the difference's, and the noise's own share of the
    normal equations is taken out: otherwise noise would pass for contrast and pull gain and shift towards zero.
    """
    roll = whole_pixel_shift(first, second)
    second = np.roll(second, (-roll[0], -roll[1]), (0, 1))
    measured = measured & np.roll(measured, (-roll[0], -roll[1]), (0, 1))
    weight, share = _weight_and_noise_share(sigmas)
    ones, twos = smooth(first), smooth(second)
    middle, difference = weight * ones + (1 - weight) * twos, twos - ones
    inner = _inner(measured, max(3, abs(roll[0]), abs(roll[1])))
    centre = float(middle[inner].mean()) if inner.any() else 0.0
    columns, index = _design(middle - centre, inner)
    target = difference.ravel()[index]
    plain, _ = _solve(columns, target, np.zeros_like(columns), 0.0)
    design_all = _full_prediction(middle - centre, plain)
    residual = difference - design_all
    noise_columns, _ = _design(residual, inner, index=index)
    noise_columns[:, 1] = 0
    solution, error = _solve_what_shows(columns, target, noise_columns, share)
    slope, level = solution[0], solution[1]
    scale = 1 - slope * (1 - weight)
    mean = _mean_difference(columns, target)
    along_k = (solution[4], error[4]) if len(solution) > 4 else (0.0, 0.0)
    return JointFit(
        shift=(roll[0] + float(solution[2]), roll[1] + float(solution[3]), float(along_k[0])),
        shift_error=(float(error[2]), float(error[3]), float(along_k[1])),
        gain=float((1 + slope * weight) / scale),
        gain_error=float(error[0]),
        offset=float((level - slope * centre) / scale),
        offset_error=float(np.hypot(error[1], error[0] * centre if np.isfinite(error[0]) else 0.0)),
        level=mean[0],
        level_error=mean[1],
        mismatch=float(np.sqrt(np.mean((slope * columns[:, 0] + level) ** 2))) if len(columns) else 0.0,
        left_over=np.asarray(second - first, np.float32) - _full_prediction(middle - centre, solution),
        measured=inner,
    )


def _mean_difference(columns: Array, target: Array) -> tuple[float, float]:
    """Mean of second − first and its error. Around the mean level, neither gain nor shift changes it: fitted alone, it
    is known far better than beside them."""
    mean, error = _solve(columns[:, 1:2], target, np.zeros_like(columns[:, :1]), 0.0)
    return float(mean[0]), float(error[0])


def edge_ratio(fit: JointFit, mean: Array) -> float:
    """Spread of the left-over difference at tissue edges over its spread in flat tissue: about 1 for pure noise,
    about 2 for motion. Edges are the steepest tenth of the tissue, flat its least steep 40 %. 1 without tissue."""
    steep = gradient_energy(smooth(mean, 2.0))
    tissue = tissue_mask(mean) & fit.measured
    if np.count_nonzero(tissue) < 500:
        return 1.0
    flat_limit, edge_limit = np.quantile(steep[tissue], [0.4, 0.9])
    flat = fit.left_over[tissue & (steep <= flat_limit)]
    edge = fit.left_over[tissue & (steep >= edge_limit)]
    return noise.trimmed_std(edge) / max(noise.trimmed_std(flat), 1e-12)


def coarse_ratio(fit: JointFit) -> float:
    """RMS of the left-over difference's 8×8 block means over what its noise alone would leave in them: about 1 for
    pure noise, more where whole regions changed. 1 where too few blocks are measured."""
    blocks = noise.cut_blocks(fit.left_over, fit.measured, side=8)
    if len(blocks.mean) < LEAST_FLAT_BLOCKS:
        return 1.0
    expected = float(np.median(blocks.sigma)) * np.sqrt(noise.correlation_area(blocks)) / blocks.side
    return float(np.sqrt(np.mean(blocks.mean**2)) / max(expected, 1e-12))


def _weight_and_noise_share(sigmas: tuple[float, float]) -> tuple[float, float]:
    """The first scan's weight in the mean, and the mean's noise variance over the difference's."""
    variance = (sigmas[0] ** 2 + 1e-30, sigmas[1] ** 2 + 1e-30)
    weight = float(np.clip(variance[1] / (variance[0] + variance[1]), 0.1, 0.9))
    share = (weight**2 * variance[0] + (1 - weight) ** 2 * variance[1]) / (variance[0] + variance[1])
    return weight, share


def _inner(measured: BoolArray, border: int) -> BoolArray:
    """Measured voxels whose blurred neighbourhood is measured too, away from the rim that a roll wraps around."""
    eroded = ndimage.binary_erosion(measured, np.ones((5, 5, 1), dtype=bool))
    if np.count_nonzero(eroded) < 1000:  # scattered zeros in air: the object itself is what counts
        eroded = measured.copy()
    inner = np.zeros_like(eroded)
    inner[border:-border, border:-border] = eroded[border:-border, border:-border]
    return np.asarray(inner, dtype=bool)


def _design(middle: Array, inner: BoolArray, index: Array | None = None) -> tuple[Array, Array]:
    """Columns [level, 1, −∂I, −∂J(, −∂K)] at (a regular share of) the inner voxels, and their flat index."""
    if index is None:
        found = np.flatnonzero(inner)
        index = found[:: max(1, len(found) // FIT_VOXELS)]
    axes = (0, 1, 2) if middle.shape[2] >= 4 else (0, 1)
    slopes = [-np.gradient(middle, axis=axis).ravel()[index] for axis in axes]
    columns = np.stack([middle.ravel()[index], np.ones(len(index), np.float32), *slopes], axis=1)
    return columns.astype(np.float64), index


def _full_prediction(middle: Array, solution: Array) -> npt.NDArray[np.float32]:
    """What the fitted gain, offset and shift predict for second − first, everywhere."""
    prediction = solution[0] * middle + solution[1]
    for axis, value in enumerate(solution[2:]):
        prediction = prediction - value * np.gradient(middle, axis=axis)
    return np.asarray(prediction, dtype=np.float32)


def _solve_what_shows(columns: Array, target: Array, noise_columns: Array, share: float) -> tuple[Array, Array]:
    """`_solve`, but what the object does not show (a gain without contrast, a shift along a uniform axis) is 0 with an
    infinite error, and does not spoil the rest."""
    solution, error = _solve(columns, target, noise_columns, share)
    shows = error < np.array([MOST_GAIN_ERROR, np.inf, *[MOST_SHIFT_ERROR] * (columns.shape[1] - 2)])
    if shows.all() or not shows[1]:
        return solution, error
    solution, error = np.zeros(len(shows)), np.full(len(shows), np.inf)
    solution[shows], error[shows] = _solve(columns[:, shows], target, noise_columns[:, shows], share)
    return solution, error


def _solve(columns: Array, target: Array, noise_columns: Array, share: float) -> tuple[Array, Array]:
    """Huber least squares with the noise's normal equations (times `share`) taken out, and jackknife errors."""
    unknowns = columns.shape[1]
    if len(target) < 50 * unknowns:
        return np.zeros(unknowns), np.full(unknowns, np.inf)
    solution, weights = np.zeros(unknowns), np.ones(len(target))
    ends = np.arange(GROUPS + 1) * len(target) // GROUPS  # some rows each: wider than blurred noise reaches
    for _ in range(3):
        normal, right = np.empty((GROUPS, unknowns, unknowns)), np.empty((GROUPS, unknowns))
        for g, (start, end) in enumerate(pairwise(ends)):
            mine = slice(start, end)
            weighted, shadow = columns[mine] * weights[mine, None], noise_columns[mine]
            normal[g] = weighted.T @ columns[mine] - share * (shadow * weights[mine, None]).T @ shadow
            right[g] = weighted.T @ target[mine]
        total, aim = normal.sum(axis=0), right.sum(axis=0)
        ridge = np.eye(unknowns) * 1e-9 * np.trace(total) / unknowns
        solution = np.linalg.solve(total + ridge, aim)
        residual = np.abs(target - columns @ solution)
        limit = 3 * 1.4826 * np.median(residual) + 1e-12
        weights = np.minimum(1, limit / np.maximum(residual, 1e-12))
    left_out = np.stack([np.linalg.solve(total - n + ridge, aim - r) for n, r in zip(normal, right, strict=True)])
    error = np.sqrt((GROUPS - 1) / GROUPS * np.sum((left_out - left_out.mean(axis=0)) ** 2, axis=0))
    return solution, error
