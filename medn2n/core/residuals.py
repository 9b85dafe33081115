"""What a denoiser removed: was it noise only? Judged by two repeats a, b of one object and one method f.

Where f removes nothing but noise, a − f(a) and b − f(b) have nothing in common, and in no band of frequencies more
power than noise has. What they share is anatomy that f took away (or, of magnitude MR, a level that it shifts); so is
what exceeds the noise's spectrum. Correlating a − f(a) with f(a) or with edges tells less: that is not zero for a good
method either.

Arrays are (I,J,K) in the scan's unit, all of one shape. `where`: bool, True where a voxel counts (the body).
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from medn2n.core import noise
from medn2n.core.repeat_error import block_sums, noise_blocks

Array = npt.NDArray[Any]
Float = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]
Interval = tuple[float, float]

SIDE = 16  # pixels of the blocks of a spectrum
BANDS = 8
REGION_MM = 16.0
LEAST_FILLED = 0.5  # of a region's voxels, that lie in the body
LEAST_REGIONS = 3
LEAST_PIECES = 3.0  # independent values of noise in a region, below which a correlation says nothing
ALARMS = 0.05  # false alarms that are allowed, over all bands or regions together


@dataclass(frozen=True, slots=True, kw_only=True)
class Band:
    """One band of in-plane frequencies. low, high: cycles a millimetre. removed: mean power of what was removed, noise:
    that of (a − b)/√2, both in unit² a coefficient. ratio: of the two, with its 95 % interval (Fieller 1954). beyond:
    True where the ratio exceeds 1 by more than noise allows in ALARMS of all scans, over all bands."""

    low: float
    high: float
    removed: float
    noise: float
    ratio: float
    interval: Interval
    beyond: bool


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ResidualAnatomy:
    """What the two residuals share. correlation, error: over the body, with its standard error (half its 95 % interval
    over 1.96). anatomy: root of their covariance, in the scan's unit, negative where that is; anatomy_interval: 95 %.
    significant: True where the correlation lies above what noise gives (one-sided 2.5 %).

    regions: (N,3) first voxel of each region of `region` voxels; correlations, anatomies: (N,) of each; threshold:
    (N,) correlation that noise exceeds in any of them in ALARMS of all scans. worst: number of the one whose
    correlation is the largest share of its threshold, −1 without regions; found: True where any lies above.
    """

    correlation: float
    error: float
    anatomy: float
    anatomy_interval: Interval
    significant: bool
    region: tuple[int, int, int]
    regions: npt.NDArray[np.int64]
    correlations: Float
    anatomies: Float
    threshold: Float
    worst: int

    @property
    def found(self) -> bool:
        """True where the residuals share more in some region than noise would."""
        return bool((self.correlations > self.threshold).any())


def region_map(found: ResidualAnatomy, shape: tuple[int, ...]) -> Float:
    """(I,J,K): in each region its correlation over its threshold, so that more than 1 is beyond what noise gives; 0
    where the two residuals share nothing, or nothing was measured."""
    made = np.zeros(shape)
    for (i, j, k), value, limit in zip(found.regions, found.correlations, found.threshold, strict=True):
        di, dj, dk = found.region
        made[i : i + di, j : j + dj, k : k + dk] = max(float(value / limit), 0.0)
    return made


def removed_spectrum(
    first: Array,
    second: Array,
    denoised_first: Array,
    denoised_second: Array,
    *,
    where: BoolArray,
    spacing_mm: tuple[float, float],
) -> tuple[Band, ...]:
    """Radial power spectrum of a − f(a) and b − f(b) beside that of the noise, in blocks that lie wholly in `where`; ()
    where fewer than two do. A plane is taken off each block (AAPM TG-233, noise power spectrum); a Hann window keeps
    the strong low frequencies of anatomy out of the high ones.

    The noise is (a − b)/√2, which holds no anatomy anywhere, so blocks may lie on edges. Both residuals together and
    the noise can be exchanged where noise only was removed, so that the test needs no distribution.
    """
    removed = [
        _powers(a.astype(np.float64) - f, where) for a, f in ((first, denoised_first), (second, denoised_second))
    ]
    difference = _powers((first.astype(np.float64) - second) / np.sqrt(2), where)
    if len(difference) < 2:
        return ()
    i, j = np.meshgrid(np.fft.fftfreq(SIDE, spacing_mm[0]), np.fft.rfftfreq(SIDE, spacing_mm[1]), indexing="ij")
    frequency = np.hypot(i, j).ravel()
    top = 0.5 / max(spacing_mm)
    edges = np.linspace(0, top, BANDS + 1)
    bands = []
    for low, high in pairwise(edges):
        chosen = (frequency > low) & (frequency <= high)
        if chosen.any():
            one = (removed[0] + removed[1])[:, chosen].mean(axis=1) / 2
            bands.append(_band((float(low), float(high)), one, difference[:, chosen].mean(axis=1)))
    return tuple(bands)


def _powers(voxels: Float, where: BoolArray) -> Float:
    """(blocks, frequencies): squared modulus of each block's coefficients, windowed; 1 for white unit noise."""
    residual = noise.cut_blocks(voxels, where, side=SIDE).residual.reshape(-1, SIDE, SIDE).astype(np.float64)
    hann = np.sin(np.pi * (np.arange(SIDE) + 0.5) / SIDE) ** 2
    window = np.outer(hann, hann)
    spectrum = np.fft.rfft2(residual * window, axes=(1, 2))
    return np.asarray((np.abs(spectrum) ** 2 / (window**2).sum()).reshape(len(residual), SIDE * (SIDE // 2 + 1)))


def _band(limits: Interval, removed: Float, of_noise: Float) -> Band:
    """removed, of_noise: (blocks,) power in this band."""
    from scipy.special import stdtrit

    blocks = len(removed)
    ratio = float(removed.sum() / max(of_noise.sum(), np.finfo(float).tiny))
    excess = removed - of_noise
    limit = float(stdtrit(blocks - 1, 1 - ALARMS / BANDS))
    return Band(
        low=limits[0],
        high=limits[1],
        removed=float(removed.mean()),
        noise=float(of_noise.mean()),
        ratio=ratio,
        interval=_fieller(removed, of_noise, float(stdtrit(blocks - 1, 0.975))),
        beyond=bool(excess.sum() > limit * np.sqrt((excess**2).sum())),
    )


def _fieller(over: Float, under: Float, times: float) -> Interval:
    """The ratios ρ for which Σ(over − ρ·under) lies within `times` of its own standard error about zero."""
    a = under.sum() ** 2 - times**2 * (under**2).sum()
    b = over.sum() * under.sum() - times**2 * (over * under).sum()
    c = over.sum() ** 2 - times**2 * (over**2).sum()
    root = b**2 - a * c
    if a <= 0 or root < 0:
        return 0.0, float("inf")
    return max(float((b - np.sqrt(root)) / a), 0.0), float((b + np.sqrt(root)) / a)


def residual_anatomy(
    first: Array,
    second: Array,
    denoised_first: Array,
    denoised_second: Array,
    *,
    where: BoolArray,
    spacing_mm: tuple[float, float, float],
) -> ResidualAnatomy:
    """What a − f(a) and b − f(b) have in common, over `where` and region by region (cubes of about REGION_MM).

    The two residuals' noise is independent, so their products have mean zero but for what both lost; half the
    difference of their squares has mean zero whatever both lost, and spreads as the products do: it gives the errors,
    and how many voxels share one value of noise. A region's threshold is Student's t for so many independent pairs, at
    ALARMS over the number of regions (Bonferroni). Nothing is found where nothing was removed.
    """
    if not where.any():
        raise ValueError("residual_anatomy: the body holds no voxel")
    one = np.where(where, first.astype(np.float64) - denoised_first, 0.0)
    two = np.where(where, second.astype(np.float64) - denoised_second, 0.0)
    count = where.astype(np.float64)
    power = float((one**2 + two**2).sum()) / 2 / float(count.sum())
    covariance = float((one * two).sum()) / float(count.sum())
    grid = noise_blocks(one - two, count)
    half = grid.half_width(grid.centred((one**2 - two**2) / 2) ** 2)
    edges = _region(where.shape, spacing_mm)
    corners, correlations, anatomies, threshold = _regions(one, two, count, edges)
    return ResidualAnatomy(
        correlation=covariance / power if power > 0 else 0.0,
        error=half / 1.96 / power if power > 0 else 0.0,
        anatomy=_signed_root(covariance),
        anatomy_interval=(_signed_root(covariance - half), _signed_root(covariance + half)),
        significant=covariance > half,
        region=edges,
        regions=corners,
        correlations=correlations,
        anatomies=anatomies,
        threshold=threshold,
        worst=int(np.argmax(correlations / threshold)) if len(corners) else -1,
    )


def _signed_root(value: float) -> float:
    return float(np.sign(value) * np.sqrt(abs(value)))


def _region(shape: tuple[int, ...], spacing_mm: tuple[float, float, float]) -> tuple[int, int, int]:
    """Edges in voxels of a cube of REGION_MM, no larger than the scan, no smaller than a voxel."""
    i, j, k = (min(size, max(1, round(REGION_MM / step))) for size, step in zip(shape, spacing_mm, strict=True))
    return i, j, k


def _regions(
    one: Float, two: Float, count: Float, edges: tuple[int, int, int]
) -> tuple[npt.NDArray[np.int64], Float, Float, Float]:
    """First voxel, correlation, root of the covariance and threshold of each region that lies in the body. Regions
    overlap by half along I and J, so that no lesion is cut by all of them."""
    from scipy.special import stdtrit

    fields = (count, one * two, (one**2 - two**2) / 2, (one**2 + two**2) / 2)
    found, corners = [], []
    for i in {0, edges[0] // 2}:
        for j in {0, edges[1] // 2}:
            sums = [block_sums(values[i:, j:], edges) for values in fields]
            keep = (sums[0] >= LEAST_FILLED * np.prod(edges)) & (sums[3] > 0)
            found.append([part[keep] for part in sums])
            corners.append(np.argwhere(keep) * np.array(edges) + np.array([i, j, 0]))
    size, shared, twin, power = (np.concatenate(part) for part in zip(*found, strict=True))
    apart = len(size) / len(found)
    if apart < LEAST_REGIONS:
        none = np.zeros(0)
        return np.zeros((0, 3), np.int64), none, none, none
    area = float(np.mean(size * (twin / power) ** 2))  # voxels that share one independent value of noise
    pairs = np.maximum(size / max(area, 1e-9), LEAST_PIECES)
    limit = stdtrit(1 / (1 / (pairs - 1) + 1 / apart), 1 - ALARMS / len(size))
    threshold = limit / np.sqrt(limit**2 + pairs - 1)
    roots = np.sign(shared) * np.sqrt(np.abs(shared) / size)
    return np.concatenate(corners), shared / power, roots, np.asarray(threshold)


def uncertainty_map(denoised_first: Array, denoised_second: Array, *, smoothing_voxels: float = 2.0) -> Float:
    """(I,J,K) standard deviation of f(a) at each place, in the scan's unit: root of (f(a) − f(b))²/2, smoothed in-plane
    by a Gaussian of that standard deviation.

    It holds what differs from repeat to repeat: the noise that is left, and structure that noise made up. It does not
    hold bias: what f takes from both repeats alike (a blurred edge, a lesion removed, Rician bias) shows nowhere in it;
    `residual_anatomy` tells that. Each value rests on about 4π·smoothing² voxels, fewer where what is left is smooth.
    """
    from scipy import ndimage

    square = (np.asarray(denoised_first, np.float64) - denoised_second) ** 2 / 2
    smooth = ndimage.gaussian_filter(square, (smoothing_voxels, smoothing_voxels, *[0.0] * (square.ndim - 2)))
    return np.asarray(np.sqrt(np.maximum(smooth, 0.0)))
