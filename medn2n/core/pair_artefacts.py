"""Artefacts that one scan of a pair has and the other has not, seen in what is left of their difference.

A spike in k-space (an electrical discharge) is a wave over the whole picture: one value of the difference's spectrum
that towers over its neighbours. Interference at one frequency (a zipper), or a detector that failed, is a line of
pixels that differs more than the lines beside it. A ghost is the object again, half a field of view away (odd and even
echoes of an EPI that do not match). A ring is a circle about the middle of the picture: a CT detector element out of
step. All of them are signal that no second scan repeats, and a network would learn them.
"""

from __future__ import annotations

import warnings

import numpy as np
from scipy import ndimage

from medn2n.core import noise
from medn2n.core.pair_measures import Array, BoolArray

AROUND = 9  # spectrum values, or lines, on each side together that one is compared with
LEAST_FREQUENCY = 0.06  # cycles a pixel; below it whole regions differ for many reasons
CLIPPED_AT = 4.0  # robust standard deviations: an edge is no wave
LEAST_LINE = 24  # measured pixels of a line; the median of fewer wanders
LEAST_GHOST_VOXELS = 2000
PATCH = 12  # pixels
LEAST_RINGS = 20  # circles that are long enough
RING_AROUND = 7  # radii that one is compared with
MEAN_OF_LOG = 0.5772  # of a unit exponential, negated (Euler's constant)


def spectral_peak(left_over: Array, measured: BoolArray) -> float:
    """Largest power of one wave over its neighbours' in any slice of (I,J,K) `left_over`: noise and real repeats 7-17,
    a wave of one noise σ over 128×128 pixels 300 and more."""
    if not measured.any():
        return 0.0
    inside = np.where(measured, left_over, 0.0)
    limit = CLIPPED_AT * noise.robust_std(left_over[measured])
    window = np.outer(*(np.hanning(size) for size in inside.shape[:2]))[:, :, None]
    power = np.abs(np.fft.fft2(np.clip(inside, -limit, limit) * window, axes=(0, 1))) ** 2
    logs = np.log(np.maximum(power, 1e-12 * max(float(power.max()), 1e-30)))
    usual = ndimage.uniform_filter(logs, (AROUND, AROUND, 1), mode="wrap") + MEAN_OF_LOG
    along_i, along_j = (np.fft.fftfreq(size) for size in inside.shape[:2])
    fine = np.hypot(along_i[:, None], along_j[None, :]) >= LEAST_FREQUENCY
    return float(np.exp((logs - usual)[fine].max()))


def line_ratio(left_over: Array, measured: BoolArray) -> float:
    """Largest median size of (I,J,K) `left_over` on one line of pixels over that of the lines beside it, along I or J:
    noise 1.2-1.7, real repeats up to 2.8, a zipper 5 and more. 1 where no line is long enough."""
    size = np.where(measured, np.abs(left_over), np.nan)
    found = 1.0
    for axis in (0, 1):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # a line without a measured pixel
            lines = np.nanmedian(size, axis=axis)
        lines[np.count_nonzero(measured, axis=axis) < LEAST_LINE] = np.nan
        for k in range(lines.shape[1]):
            known = lines[np.isfinite(lines[:, k]), k]
            if len(known) > AROUND:
                usual = ndimage.median_filter(known, size=AROUND, mode="nearest")
                usual = np.maximum(usual, max(float(np.median(known)), 1e-30))  # masked air is too quiet
                found = max(found, float((known / usual).max()))
    return found


def ghost(left_over: Array, first: Array, measured: BoolArray, sigma: float) -> tuple[float, float, float]:
    """(amplitude, its standard error, root mean square in σ) of the first scan half a field of view away in (I,J,K)
    `left_over`, along I or J, whichever is surer; sigma: of the difference. Repeats of still objects stay below 0.03 σ
    and a phantom's at 0.14 σ, a ghost of 3 % at an SNR of 60 is 0.24 σ."""
    found = (0.0, float("inf"), 0.0)
    clipped = np.clip(left_over, -CLIPPED_AT * sigma, CLIPPED_AT * sigma)
    for axis in (0, 1):
        half = first.shape[axis] // 2
        keep = measured & np.roll(measured, half, axis=axis)
        if np.count_nonzero(keep) < LEAST_GHOST_VOXELS:
            continue
        away = np.roll(first, half, axis=axis)[keep].astype(np.float64)
        away -= away.mean()
        patch, count = noise.patches(keep, PATCH)
        both, own = (np.bincount(patch, values, count) for values in (away * clipped[keep], away**2))
        if own.sum() <= 0:
            continue
        amplitude = float(both.sum() / own.sum())
        error = float(np.linalg.norm(both - amplitude * own) / own.sum())
        if abs(amplitude) * found[1] > abs(found[0]) * error or not np.isfinite(found[1]):
            found = (amplitude, error, abs(amplitude) * float(away.std()) / max(sigma, 1e-30))
    return found


def ring_ratio(left_over: Array, measured: BoolArray, sigma: float) -> float:
    """Largest mean of (I,J,K) `left_over` on one circle about the middle, less those of the circles beside it, over
    what circles usually differ by: noise 4-8, repeats of CT up to 9, a ring of 2 σ and a radius of 40 pixels 27."""
    rows, columns = (np.arange(size) - (size - 1) / 2 for size in left_over.shape[:2])
    radius = np.rint(np.hypot(rows[:, None], columns)).astype(int)
    clipped = np.clip(left_over, -CLIPPED_AT * sigma, CLIPPED_AT * sigma)
    found = 1.0
    for k in range(left_over.shape[2]):
        inside = measured[..., k]
        count = np.bincount(radius[inside])
        total = np.bincount(radius[inside], clipped[inside, k])
        known = count >= LEAST_LINE
        if np.count_nonzero(known) < LEAST_RINGS:
            continue
        mean = total[known] / count[known]
        apart = (mean - ndimage.median_filter(mean, RING_AROUND, mode="nearest")) * np.sqrt(count[known])
        usual = noise.robust_std(apart)
        if usual > 0:
            found = max(found, float(np.abs(apart).max()) / usual)
    return found
