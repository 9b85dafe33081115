"""The noise of one scan as a kernel: how strong it is, and how neighbouring pixels share it. And what it is fit for.

Measured in the flattest blocks of the tissue (`medn2n.core.noise`), so it needs no second scan; `noise_sigma` tells
where that is too high or too low.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from medn2n.core import noise
from medn2n.core.body import tissue_mask
from medn2n.core.shared_noise import shared_noise

FloatArray = npt.NDArray[np.float32]
WHITE_LAG1 = 0.15  # correlation of pixels up to two apart to which a method for white noise is let through
SHARED_SLICES = 0.1  # correlation of neighbouring slices' noise, with twice its error
SAME_MM = 0.01  # headers round
FAR_SLICES_MM = 4.0  # from there on, methods that take the next slice for a repeat lose (Niu 2022; NGPS 2026)
LEVEL_BLOCK = 8  # pixels
LEVEL_AROUND = (5, 5, 3)  # blocks, blocks and slices, of which the quieter ones tell the level in the middle
LEVEL_QUANTILE = 30.0  # per cent
_MASK = np.outer((1, -2, 1), (1, -2, 1)).astype(np.float32)[:, :, None]
ADDITIVE_SNR = 3.0  # below, noise of a magnitude is not additive: its mean moves (Gudbjartsson 1995)


def noise_kernel(voxels: FloatArray) -> FloatArray:
    """(S,S), S odd: white noise under it has the level and the in-plane texture of the noise of (I,J,K) voxels. All
    zero where a scan has no noise. Its amplitude spectrum is the root of the noise's power spectrum, its phase zero."""
    blocks = noise.quiet_blocks(voxels)
    reach = max(1, blocks.side // 3)
    size = 4 * reach + 1
    if not len(blocks.mean):
        return np.zeros((size, size), np.float32)
    lags, covariance = autocovariance(blocks, reach)
    whole = np.zeros((size, size))
    for (i, j), value in zip(lags, covariance, strict=True):
        whole[i, j] = whole[-i, -j] = value
    power = np.maximum(np.fft.fft2(whole).real, 0.0)
    kernel = np.fft.fftshift(np.fft.ifft2(np.sqrt(power)).real)
    energy = float(np.sqrt(np.sum(kernel**2)))
    return np.asarray(kernel * (noise.noise_sigma(voxels, blocks=blocks) / max(energy, 1e-30)), np.float32)


def noise_level(voxels: FloatArray) -> FloatArray:
    """(I,J,K), smooth: how strong the noise is over how strong it is where `noise_kernel` measures it; 1 everywhere
    where that is nowhere.

    Told by what a mask that plane and edge do not pass (Immerkær 1996) leaves, in the quieter of the blocks around. The
    noise is taken to have one texture all over the scan. Where nothing was measured, the nearest level holds.
    """
    quiet = noise.quiet_blocks(voxels)
    usable = ndimage.binary_erosion(noise.measured_voxels(voxels), np.ones((3, 3, 1)), border_value=1)
    passed = np.abs(ndimage.convolve(voxels, _MASK, mode="nearest"))
    blocks = noise.cut_blocks(passed, usable, side=LEVEL_BLOCK)
    coarse = np.zeros((voxels.shape[0] // LEVEL_BLOCK, voxels.shape[1] // LEVEL_BLOCK, voxels.shape[2]), np.float32)
    i, j, k = blocks.corner.T
    coarse[i // LEVEL_BLOCK, j // LEVEL_BLOCK, k] = blocks.mean
    if not len(quiet.mean) or not coarse.any():
        return np.ones(voxels.shape, np.float32)
    nearest = ndimage.distance_transform_edt(coarse == 0, return_distances=False, return_indices=True)
    around = ndimage.percentile_filter(coarse[tuple(nearest)], LEVEL_QUANTILE, size=LEVEL_AROUND, mode="nearest")
    smooth = ndimage.gaussian_filter(around, (1, 1, 0), mode="nearest")
    rows, columns = (_between_blocks(size) for size in voxels.shape[:2])
    level = np.einsum("ia,abk,jb->ijk", rows, smooth, columns, optimize=True)
    i, j, k = quiet.corner.T
    return np.asarray(level / np.median(level[i + quiet.side // 2, j + quiet.side // 2, k]), np.float32)


def _between_blocks(size: int) -> FloatArray:
    """(size, blocks): weights that interpolate linearly from the middles of blocks to pixels."""
    count = size // LEVEL_BLOCK
    places = (np.arange(size) - (LEVEL_BLOCK - 1) / 2) / LEVEL_BLOCK
    return np.stack([np.interp(places, np.arange(count), one) for one in np.eye(count)], axis=1).astype(np.float32)


def autocovariance(blocks: noise.Blocks, reach: int) -> tuple[list[tuple[int, int]], npt.NDArray[np.float64]]:
    """In-plane lags (i, j) up to `reach` pixels, one of each pair (i, j), (−i, −j), and the noise's covariance at them.

    A block's plane was taken off, and with it a part of the noise that grows with its smoothness. What the covariances
    at all lags leave of themselves after that is linear in them and known, so they are solved for; beyond `reach` they
    are taken to be none.
    """
    lags = [(i, j) for i in range(reach + 1) for j in range(-reach, reach + 1) if i > 0 or j >= 0]
    project, pairs = _off_plane(blocks.side), [_pairs(lag, blocks.side) for lag in lags]
    second = blocks.residual.T @ blocks.residual / len(blocks.residual)
    measured = np.array([float(np.sum(second * pair) / np.sum(pair)) for pair in pairs])
    left = np.empty((len(lags), len(lags)))
    for column, pair in enumerate(pairs):
        covered = project @ (pair + pair.T if lags[column] != (0, 0) else pair) @ project
        left[:, column] = [float(np.sum(covered * other) / np.sum(other)) for other in pairs]
    return lags, np.linalg.lstsq(left, measured, rcond=None)[0]


def _off_plane(side: int) -> npt.NDArray[np.float64]:
    """(side²,side²): the projection that takes a plane off a block."""
    axis = np.arange(side) - (side - 1) / 2
    plane = np.stack([np.ones(side**2), np.repeat(axis, side), np.tile(axis, side)], axis=1)
    plane /= np.linalg.norm(plane, axis=0)
    return np.asarray(np.eye(side**2) - plane @ plane.T)


def _pairs(lag: tuple[int, int], side: int) -> npt.NDArray[np.float64]:
    """(side²,side²): 1 where the second pixel lies `lag` from the first."""
    i, j = np.divmod(np.arange(side**2), side)
    return np.asarray((i[None] - i[:, None] == lag[0]) & (j[None] - j[:, None] == lag[1]), np.float64)


def unfit_because(
    voxels: FloatArray,
    pairs: str,
    *,
    spacing_mm: float,
    thickness_mm: float | None = None,
    sees_slices: bool = False,
) -> str | None:
    """Why the noise of (I,J,K) voxels is not what a strategy without repeats asks for, in one sentence with its
    figures; None where nothing speaks against it. spacing_mm: between slices. thickness_mm: of one, None where no
    header says. sees_slices: whether the network sees other slices than the one that it answers for."""
    found = _not_white(voxels, pairs) if pairs in ("subsample", "blind_spot") else None
    if pairs == "neighbours":
        found = _too_far(voxels, spacing_mm) or _slices_shared(voxels, pairs, spacing_mm, thickness_mm)
    if pairs == "added_noise" and noise.is_magnitude(voxels):
        found = _not_additive(voxels)
    if found is None and sees_slices and pairs in ("blind_spot", "added_noise") and voxels.shape[2] > 1:
        return _slices_shared(voxels, pairs, spacing_mm, thickness_mm)
    return found


def _not_white(voxels: FloatArray, pairs: str) -> str | None:
    """By the strongest correlation of pixels up to two apart, along rows, columns and between them."""
    blocks = noise.quiet_blocks(voxels)
    if not len(blocks.mean):
        return None
    lags, covariance = autocovariance(blocks, 2)
    far = [(float(value / covariance[0]), lag) for lag, value in zip(lags[1:], covariance[1:], strict=True)]
    correlation, lag = max(far, key=lambda one: abs(one[0]))
    if covariance[0] <= 0 or abs(correlation) <= WHITE_LAG1:
        return None
    return (
        f"the noise of pixels ({lag[0]}, {lag[1]}) apart correlates {correlation:.2f}, {pairs} needs at most "
        f"{WHITE_LAG1}: it would keep the noise. Use real or simulated repeats, or added_noise"
    )


def _too_far(voxels: FloatArray, spacing_mm: float) -> str | None:
    if voxels.shape[2] < 2:
        return "it has one slice, neighbours needs at least two"
    if spacing_mm > FAR_SLICES_MM:
        return (
            f"its slices are {spacing_mm:.1f} mm apart, neighbours needs at most {FAR_SLICES_MM:g} mm: the next slice "
            "shows other anatomy"
        )
    return None


def _slices_shared(voxels: FloatArray, pairs: str, spacing_mm: float, thickness_mm: float | None) -> str | None:
    """Unless the noise of neighbouring slices is shown to be independent: no figure is no proof."""
    if thickness_mm is not None and spacing_mm < thickness_mm - SAME_MM:
        return (
            f"its slices are {thickness_mm:.2f} mm thick and {spacing_mm:.2f} mm apart, so that they overlap; {pairs} "
            "needs slices at least as far apart as they are thick"
        )
    ones, twos = voxels[..., :-1], voxels[..., 1:]
    shared = shared_noise(ones, twos, noise.measured_voxels(ones) & noise.measured_voxels(twos))
    found = f"the noise of neighbouring slices correlates {shared.correlation:.2f} ± {shared.error:.2f}, {pairs}"
    if shared.correlation - 2 * shared.error > SHARED_SLICES:
        return f"{found} needs at most {SHARED_SLICES} here: they overlap, or were interpolated"
    if not np.isfinite(shared.error):
        return f"it has too little flat area to measure whether neighbouring slices share noise, which {pairs} must not"
    if shared.correlation + 2 * shared.error > SHARED_SLICES:
        return f"{found} needs surely at most {SHARED_SLICES} here: give more slices of the scan, or another scan"
    return None


def _not_additive(voxels: FloatArray) -> str | None:
    tissue = tissue_mask(voxels)
    sigma = noise.noise_sigma(voxels)
    level = float(np.median(voxels[tissue])) if tissue.any() else 0.0
    if sigma > 0 and level < ADDITIVE_SNR * sigma:
        return (
            f"its tissue is {level / sigma:.1f} times as bright as its noise, added_noise needs {ADDITIVE_SNR:g}: "
            "below that, the noise of a magnitude image is not additive"
        )
    return None
