"""How much of their noise two scans share, measured where anatomy does not pass for it.

Away from edges, a high-pass filter leaves noise. Edges are looked for in the smoothed *sum* of the two scans, by its
slope and, where shading is steeper than noise, by its curvature. How much of either noise alone makes is known from the
*difference*, in which anatomy cancels: the limit is a quantile of that, and voxels over it in the sum or in the
difference are left out. Sum and difference of independent noise can be exchanged, so that whatever this choice does to
the one it does to the other: the correlation stays unbiased. (Noise that is shared makes the sum steeper than the
difference by √((1 + ρ)/(1 − ρ)); the limit on the sum is then looser by as much.)

What anatomy is left shows in two ways: it falls as the limit is lowered, and it is larger in a lower band of
frequencies, whereas noise that two scans share is as large a part of their noise in every band.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from medn2n.core import noise
from medn2n.core.body import tissue_mask

Array = npt.NDArray[Any]
BoolArray = npt.NDArray[np.bool_]

LEAST_INNER = 0.25  # of the tissue; where less lies off its rim, it is all rim
EDGE_SMOOTHING = 1.5  # pixels
LIMITS = (0.95, 0.7, 0.4)  # quantiles of the difference's slope or curvature, from wide to strict
LEAST_VOXELS, MOST_VOXELS = 500, 2_000_000  # more know it no better than it is told from anatomy
PATCH = 12  # pixels
MOST = 0.9999  # correlation of two copies, so that what is not shared stays above zero
TAIL = 4.0  # deviations, beyond which a voxel counts as one at that distance
LOOSER = (1.0, 2.0, 5.0)  # limit on the sum over that on the difference at first; right for ρ = 0, 0.6, 0.92
MOST_LOOSE = 0.95
ERRORS = 2.0  # of two choices, which share voxels, so that this is wide
RISEN, FALLEN = 1.6, 0.6  # of the shared over the own variance: anatomy doubles in the lower band and halves where
# limits are stricter, noise stays
CAUTION = 5.0  # errors; of a region or limit that may lie, the least upper bound is believed
# Two Rayleigh magnitudes of complex noise correlated by ρ correlate by about 0.93 ρ² (0.913 ρ² + …, Rice's series).
RAYLEIGH = 0.93
RAYLEIGH_RATIO = 2.3  # mean over deviation of magnitude air: 1.91 from one coil, more from several or with an offset
_LAPLACIAN = np.array([[0, -1, 0], [-1, 4, -1], [0, -1, 0]], np.float32)[:, :, None]


@dataclass(frozen=True, slots=True, kw_only=True)
class SharedNoise:
    """Correlation of two scans' noise in the region where it shows best. region: "air", "tissue" or "" (nowhere).
    error: standard error. effective_voxels: independent noise values that would tell as much. like_noise: True where
    the common part is as large in a lower band and at stricter limits, as noise would be; anatomy is not.
    plain: share of the region that shows no edge."""

    correlation: float
    error: float
    region: str
    effective_voxels: float
    like_noise: bool
    plain: float


NOWHERE = SharedNoise(correlation=0.0, error=float("inf"), region="", effective_voxels=0.0, like_noise=False, plain=0.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Seen:
    """What the voxels under one limit show. edge: how edges were found; voxels: how many are left; upper, lower:
    correlation and its error in the upper band of frequencies and in the lower one; noise: of the noise behind the
    former; plain: share of the voxels that show no edge."""

    region: str
    edge: str
    voxels: int
    upper: tuple[float, float]
    lower: tuple[float, float]
    noise: tuple[float, float]
    plain: float


def shared_noise(first: Array, second: Array, measured: BoolArray) -> SharedNoise:
    """The least of what is seen in air and tissue at wide and strict limits, errors counted against it; NOWHERE where
    too few voxels are without an edge.

    first, second: (I,J,K) on one grid. In magnitude air, where magnitudes hide most of what complex noise shares, the
    correlation of the complex noise is given.
    """
    some = _slices(first.shape)
    filled = [np.where(np.isfinite(scan[..., some]), scan[..., some], 0) for scan in (first, second)]
    found = list(_all_seen(filled[0], filled[1], measured[..., some]))
    if not found:
        return NOWHERE
    best = min(found, key=lambda seen: seen.noise[0] + CAUTION * seen.noise[1])
    correlation, error = best.noise
    stricter = [
        seen for seen in found if (seen.region, seen.edge) == (best.region, best.edge) and seen.voxels < best.voxels
    ]
    return SharedNoise(
        correlation=correlation,
        error=error,
        region=best.region,
        effective_voxels=max(error, 1e-6) ** -2,
        like_noise=not _exceeds(best.lower, RISEN, best.upper)
        and not any(_exceeds(best.upper, 1 / FALLEN, other.upper) for other in stricter),
        plain=best.plain,
    )


def _slices(shape: tuple[int, ...]) -> npt.NDArray[np.int64]:
    """Slices from end to end, all or as many as hold MOST_VOXELS."""
    count = min(shape[2], max(1, MOST_VOXELS // (shape[0] * shape[1])))
    return np.linspace(0, shape[2] - 1, count).round().astype(np.int64)


def _all_seen(first: Array, second: Array, measured: BoolArray) -> Iterator[_Seen]:
    """Region by region, edges by slope and by curvature, from the widest limit to the strictest that leaves enough
    voxels."""
    upper = _laplacian(first), _laplacian(second)
    lower = _laplacian(_smooth(first)), _laplacian(_smooth(second))
    edges = {name: (edge(first + second), edge(first - second)) for name, edge in EDGES.items()}
    regions = _regions((first + second) / 2, measured)
    rayleigh = noise.is_magnitude(first) and _is_rayleigh(first, regions["air"])
    for region, where in regions.items():
        inside = ndimage.binary_erosion(where, np.ones((3, 3, 1)))  # the Laplacian's reach
        if np.count_nonzero(inside) < LEAST_VOXELS:
            continue
        for edge, (of_sum, of_difference) in edges.items():
            for limit in np.quantile(of_difference[inside], LIMITS):
                quiet = inside & (of_difference <= limit)
                keep = _without_edges(of_sum, limit, quiet, upper)
                above, below = _correlation(*upper, keep), _correlation(*lower, keep)
                if above is not None and below is not None:
                    yield _Seen(
                        region=region, edge=edge, voxels=int(keep.sum()), upper=above, lower=below,
                        noise=_of_complex_noise(*above) if rayleigh and region == "air" else above,
                        plain=float(keep.sum() / quiet.sum()),
                    )  # fmt: skip


def _without_edges(of_sum: Array, limit: float, quiet: BoolArray, upper: tuple[Array, Array]) -> BoolArray:
    """Where of_sum is within √((1 + ρ)/(1 − ρ)) times the limit, ρ being what is seen at the first of LOOSER that
    leaves enough voxels."""
    for looser in LOOSER:
        keep = quiet & (of_sum <= looser * limit)
        look = _correlation(*upper, keep)
        if look is not None:
            rho = min(max(look[0], 0.0), MOST_LOOSE)
            right = quiet & (of_sum <= float(np.sqrt((1 + rho) / (1 - rho))) * limit)
            return right if np.count_nonzero(right) >= LEAST_VOXELS else keep
    return np.zeros_like(quiet)


def _regions(mean: Array, measured: BoolArray) -> dict[str, BoolArray]:
    """Air and tissue, each without the rim between them, where an edge passes for what the two scans share."""
    tissue = tissue_mask(mean)
    rim = np.ones((5, 5, 1), dtype=bool)
    air = measured & ~ndimage.binary_dilation(tissue, rim, iterations=2)
    inner = ndimage.binary_erosion(tissue, rim, border_value=1)
    scattered = np.count_nonzero(inner) < LEAST_INNER * np.count_nonzero(tissue)
    return {"air": air, "tissue": measured & (tissue if scattered else inner)}


def _is_rayleigh(voxels: Array, air: BoolArray) -> bool:
    values = voxels[air]
    return bool(values.size and float(values.mean()) < RAYLEIGH_RATIO * float(values.std()))


def _derivative(voxels: Array, along_i: int, along_j: int) -> Array:
    sigma = (EDGE_SMOOTHING, EDGE_SMOOTHING, 0)
    return np.asarray(ndimage.gaussian_filter(voxels, sigma, order=(along_i, along_j, 0)))


def _slope(voxels: Array) -> Array:
    """The steepest in-plane slope of the smoothed scan beside each voxel: at the middle of a thin line it is zero."""
    steep = np.hypot(_derivative(voxels, 1, 0), _derivative(voxels, 0, 1))
    return np.asarray(ndimage.maximum_filter(steep, (3, 3, 1)))


def _curvature(voxels: Array) -> Array:
    """The largest in-plane curvature beside each voxel (norm of the second derivatives): on the edge itself it is
    zero."""
    i, j, both = _derivative(voxels, 2, 0), _derivative(voxels, 0, 2), _derivative(voxels, 1, 1)
    return np.asarray(ndimage.maximum_filter(np.sqrt(i**2 + j**2 + 2 * both**2), (3, 3, 1)))


EDGES = {"slope": _slope, "curvature": _curvature}


def _smooth(voxels: Array) -> Array:
    return np.asarray(ndimage.gaussian_filter(voxels, (1, 1, 0)))


def _laplacian(voxels: Array) -> Array:
    return np.asarray(ndimage.convolve(voxels.astype(np.float32), _LAPLACIAN, mode="nearest"))


def _correlation(one: Array, two: Array, keep: BoolArray) -> tuple[float, float] | None:
    """Correlation of two filtered scans over some voxels, far ones drawn in, and its standard error from patch to
    patch; None where they are too few or either does not vary."""
    if np.count_nonzero(keep) < LEAST_VOXELS:
        return None
    parts = [values[keep].astype(np.float64) for values in (one, two)]
    spreads = [noise.robust_std(part) for part in parts]
    if min(spreads) <= 0:
        return None
    one, two = (np.clip(part / spread, -TAIL, TAIL) for part, spread in zip(parts, spreads, strict=True))
    patch, count = noise.patches(keep, PATCH)
    common, energy = (np.bincount(patch, values, count) for values in (one * two, (one**2 + two**2) / 2))
    correlation = min(float(common.sum() / np.sqrt((one**2).sum() * (two**2).sum())), MOST)
    return correlation, float(np.linalg.norm(common - correlation * energy) / energy.sum())


def _exceeds(one: tuple[float, float], times: float, other: tuple[float, float]) -> bool:
    """True where one (correlation, error) surely stands for more than so many times the other's shared variance, each
    over the variance that is not shared."""
    ratios, errors = zip(*((rho / (1 - rho), error / (1 - rho) ** 2) for rho, error in (one, other)), strict=True)
    return bool(ratios[0] - times * max(ratios[1], 0.0) > ERRORS * np.hypot(errors[0], times * errors[1]))


def _of_complex_noise(correlation: float, error: float) -> tuple[float, float]:
    """Correlation of the complex noise behind two Rayleigh magnitudes that correlate so, and its error."""

    def root(value: float) -> float:
        return float(np.sqrt(max(value, 0.0) / RAYLEIGH))

    middle = root(correlation)
    above, below = root(max(correlation, 0.0) + 2 * error), root(correlation - 2 * error)
    return middle, max((above - middle) / 2, (above - below) / 4)
