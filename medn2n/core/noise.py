"""How noisy a scan is, measured without a clean one: in flat blocks, slice by slice.

Everything rests on one step: cut each slice into square blocks, take a plane off each block, and look at
what remains. Where the object is flat that remainder is noise. A block holds the noise's own correlation
(real CT noise is never white), which a high-pass filter would throw away with most of its power. Slices
are never mixed, since their spacing may be many times the pixel's.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.ndimage import correlate
from scipy.special import ndtri

from medn2n.core.body import BODY_HU, tissue_mask

BoolArray = npt.NDArray[np.bool_]
Array = npt.NDArray[Any]

QUIET_SHARE_CT = 0.30  # organs are flat over centimetres: a third of the tissue blocks is pure noise
QUIET_SHARE_MAGNITUDE = 0.10  # brain folds and muscle strands are as fine as the pixels
CLIPPED_SHARE = 1e-3  # a lowest or highest value that more voxels share was clipped or masked
NEIGHBOURS = np.array([[1, 1, 1], [1, 0, 1], [1, 1, 1]])[..., None]  # of a block, in plane
FEWEST_NEIGHBOURS = 5  # of a block's eight, that tell whether it is flat
MINIMUM_BLOCKS = 12  # fewer are a handful of lucky ones; the next wider choice of blocks is used
GAUSSIAN_TRIM = 0.05  # share cut from each tail of a difference: vessels, pulsation, gas that moved
CONSTANT = 1e-6  # of a block's mean: what rounding leaves of a block without variation
TRIMMED_STD = 0.7893  # std of a unit Gaussian after that trim (5 % from each tail)


@dataclass(frozen=True, slots=True, kw_only=True)
class Blocks:
    """Square in-plane blocks of one volume. residual: (n, side²) after the plane is taken off; mean: (n,);
    corner: (n, 3) voxel index (i, j, k) of each block's first voxel."""

    residual: npt.NDArray[np.float32]
    mean: npt.NDArray[np.float32]
    corner: npt.NDArray[np.int64]
    side: int

    @property
    def sigma(self) -> npt.NDArray[np.float32]:
        """Noise standard deviation of each block, with the plane's three degrees of freedom given back."""
        energy = np.einsum("nv,nv->n", self.residual, self.residual)
        return np.asarray(np.sqrt(energy / (self.side**2 - 3)), dtype=np.float32)

    def chosen(self, keep: Array) -> Blocks:
        """The blocks that `keep` (boolean or index array) names."""
        return Blocks(residual=self.residual[keep], mean=self.mean[keep], corner=self.corner[keep], side=self.side)


def is_magnitude(voxels: Array, padding: BoolArray | None = None) -> bool:
    """True where no measured value is negative: MR magnitude rather than CT numbers."""
    usable = np.isfinite(voxels) if padding is None else np.isfinite(voxels) & ~padding
    return bool(np.min(voxels, where=usable, initial=np.inf) >= 0)


def block_side(voxels: Array, padding: BoolArray | None = None) -> int:
    """CT: 12 pixels, or 8 on a small grid (a wide block keeps a smooth kernel's noise). Magnitude MR: 5 (its
    noise is nearly white, and its anatomy leaves no wider block flat)."""
    if is_magnitude(voxels, padding):
        return 5
    return 12 if min(voxels.shape[:2]) >= 160 else 8


def cut_blocks(voxels: Array, where: BoolArray | None = None, *, side: int | None = None) -> Blocks:
    """All blocks of (I,J,K) `voxels` on a fixed grid (12 pixels unless `side`) that lie wholly in `where`."""
    side = side or 12
    rows, columns = voxels.shape[0] // side, voxels.shape[1] // side

    def tiled(array: Array) -> Array:
        cut = array[: rows * side, : columns * side].reshape(rows, side, columns, side, array.shape[2])
        return cut.transpose(0, 2, 4, 1, 3).reshape(-1, side * side)

    index = np.indices((rows, columns, voxels.shape[2])).reshape(3, -1).T
    corner = index * np.array([side, side, 1])
    keep = np.ones(len(corner), dtype=bool) if where is None else tiled(where).all(axis=1)
    flat = tiled(voxels)[keep].astype(np.float32, copy=False)
    mean = flat.mean(axis=1) if len(flat) else np.zeros(0, np.float32)
    flat = flat - mean[:, None]
    axis = np.arange(side) - (side - 1) / 2
    plane = np.stack([np.repeat(axis, side), np.tile(axis, side)], axis=1)
    plane = (plane / np.linalg.norm(plane, axis=0)).astype(np.float32)
    return Blocks(residual=flat - (flat @ plane) @ plane.T, mean=mean, corner=corner[keep], side=side)


def patches(keep: BoolArray, side: int) -> tuple[npt.NDArray[np.int64], int]:
    """For each True voxel of (I,J,K) `keep`, the number of the square in-plane patch that it lies in, and how many
    there are: noise of different patches is taken as independent."""
    rows, columns, slices = keep.shape[0] // side + 1, keep.shape[1] // side + 1, keep.shape[2]
    i, j, k = np.ogrid[: keep.shape[0], : keep.shape[1], :slices]
    return (((i // side) * columns + j // side) * slices + k)[keep], rows * columns * slices


def robust_std(values: Array) -> float:
    """Standard deviation of normal `values` about zero by their median size, so that a few far ones do not count."""
    return 1.4826 * float(np.median(np.abs(values)))


def measured_voxels(voxels: Array, padding: BoolArray | None = None) -> BoolArray:
    """True where the scanner's number carries noise: finite, not padding, not at a floor or ceiling that many
    voxels share (air masked to zero, HU clipped at −1000, saturation)."""
    usable = np.isfinite(voxels)
    if padding is not None:
        usable &= ~padding
    if not usable.any():
        return usable
    inside = voxels[usable]
    for end in (inside.min(), inside.max()):
        at_end = voxels == end
        if np.count_nonzero(at_end) > CLIPPED_SHARE * voxels.size:
            usable &= ~at_end
    return usable


def quiet_share(voxels: Array, padding: BoolArray | None = None) -> float:
    """Share of the tissue blocks that is taken for flat."""
    return QUIET_SHARE_MAGNITUDE if is_magnitude(voxels, padding) else QUIET_SHARE_CT


def quiet_blocks(voxels: Array, padding: BoolArray | None = None, *, tissue: BoolArray | None = None) -> Blocks:
    """The quietest share of the tissue blocks of (I,J,K) `voxels`; of all measured blocks, then of any block,
    where tissue gives too few. Blocks without any variation (masked air) never count; where they are most of the tissue
    there is no noise, and none is given (a digital phantom). tissue: as for `body_mask`."""
    tissue = tissue_mask(voxels, padding, dark=True) if tissue is None else tissue
    share, side = quiet_share(voxels, padding), block_side(voxels, padding)
    usable = measured_voxels(voxels, padding)
    everything = np.isfinite(voxels)
    for where in (usable & tissue, usable, everything):
        blocks = cut_blocks(voxels, where, side=side)
        varies = _vary(blocks)
        enough = np.count_nonzero(varies) * share >= MINIMUM_BLOCKS
        if (not enough or varies.mean() < 0.5) and _is_noise_free(voxels, padding, tissue, side):
            return blocks.chosen(np.zeros(0, np.int64))
        blocks = blocks.chosen(varies)
        if enough:
            break
    if not len(blocks.mean):
        return blocks
    return blocks.chosen(blocks.sigma <= np.quantile(blocks.sigma, max(share, 1 / len(blocks.mean))))


def _vary(blocks: Blocks) -> BoolArray:
    return np.asarray(blocks.sigma > CONSTANT * np.abs(blocks.mean))


def _is_noise_free(voxels: Array, padding: BoolArray | None, tissue: BoolArray, side: int) -> bool:
    """True where most blocks of tissue hold one value each. Air that was clipped to one value proves nothing, and a
    padding far below it makes tissue of it: in numbers that go below zero, tissue lies above BODY_HU."""
    measured = np.isfinite(voxels) if padding is None else np.isfinite(voxels) & ~padding
    blocks = cut_blocks(voxels, measured & tissue, side=side)
    if not is_magnitude(voxels, padding):
        blocks = blocks.chosen(blocks.mean > BODY_HU)
    return len(blocks.mean) > 0 and float(_vary(blocks).mean()) < 0.5


def flat_regions(voxels: Array, padding: BoolArray | None = None, *, tissue: BoolArray | None = None) -> BoolArray:
    """(I,J,K) bool: the flat tissue of a noisy scan. Choose it once, on the noisy scan, and hand it to
    `noise_in` for the scan before and after denoising. tissue: as for `body_mask`."""
    mask = np.zeros(voxels.shape, dtype=bool)
    blocks = quiet_blocks(voxels, padding, tissue=tissue)
    for i, j, k in blocks.corner:
        mask[i : i + blocks.side, j : j + blocks.side, k] = True
    return mask


def flat_by_neighbours(blocks: Blocks, share: float, shape: tuple[int, ...]) -> npt.NDArray[np.intp]:
    """Indices of the `share` of blocks, of a scan of `shape`, whose eight neighbours vary least. By its own spread a
    block is flat where its noise and its texture cancel: noise that is taken off there is like what is shown, with the
    other sign, with a correlation of 0.08 to 0.17 in noisy MR."""
    side = blocks.side
    grid = np.zeros((shape[0] // side + 1, shape[1] // side + 1, shape[2]))
    here = (blocks.corner[:, 0] // side, blocks.corner[:, 1] // side, blocks.corner[:, 2])
    sums = []
    for values in (blocks.sigma, 1.0):
        grid[here] = values
        sums.append(correlate(grid, NEIGHBOURS, mode="constant")[here])
    known = np.flatnonzero((sums[1] > FEWEST_NEIGHBOURS - 0.5) & _vary(blocks))
    if not len(known):
        return known
    around = np.nan_to_num(sums[0][known] / sums[1][known], nan=np.inf)
    return np.asarray(known[around <= np.quantile(around, share)])


def noise_in(voxels: Array, flat: BoolArray, side: int) -> float:
    """Noise standard deviation of (I,J,K) `voxels` in the blocks that lie in `flat` (from `flat_regions`):
    median over blocks, in the voxels' unit; 0 where there is no such block. side: of those blocks, the `block_side` of
    the noisy scan."""
    sigma = cut_blocks(voxels, flat, side=side).sigma
    return float(np.median(sigma)) if len(sigma) else 0.0


def noise_sigma(voxels: Array, padding: BoolArray | None = None, *, blocks: Blocks | None = None) -> float:
    """Noise standard deviation of one (I,J,K) scan in its flat tissue, in the voxels' unit; 0 only for a scan
    most of whose tissue blocks have no variation at all (a digital phantom, a constant), or too small to cut. blocks:
    its `quiet_blocks`, where the caller has them.

    The quietest blocks are also the luckiest ones; the median of the quietest share q of blocks lies
    z(q/2)·σ/√(2n) below the true level, n being the independent voxels of a block, and that is given back.
    Measured: CT within 10 %; a coarse EPI of the brain, where no block is flat, up to 4 times too high (use
    `pair_sigma` where there is a repeat); magnitude MR smoothed by interpolation, half of it lost.
    """
    voxels = np.asarray(voxels)
    blocks = quiet_blocks(voxels, padding) if blocks is None else blocks
    if not len(blocks.mean):
        return 0.0
    independent = blocks.side**2 / correlation_area(blocks)
    luck = 1 + ndtri(quiet_share(voxels, padding) / 2) / np.sqrt(2 * max(independent, 6.0))
    return float(np.median(blocks.sigma) / luck)


def lag1(blocks: Blocks) -> tuple[float, float]:
    """Noise autocorrelation at one pixel along I and along J, pooled over blocks; (0, 0) without blocks.
    The plane that was taken off makes it about 3/side² too low."""
    square = blocks.residual.reshape(-1, blocks.side, blocks.side)
    energy = float(np.mean(square**2)) if len(square) else 0.0
    if energy == 0.0:
        return (0.0, 0.0)
    along_i = float(np.mean(square[:, 1:] * square[:, :-1])) / energy
    along_j = float(np.mean(square[:, :, 1:] * square[:, :, :-1])) / energy
    return (along_i, along_j)


def correlation_area(blocks: Blocks) -> float:
    """How many voxels share one independent noise value: Σ ρ² over in-plane lags, for an exponential decay
    with the measured lag-1 correlations (the effective sample size of a variance)."""
    area = 1.0
    for rho in lag1(blocks):
        square = min(max(rho, 0.0), 0.95) ** 2
        area *= (1 + square) / (1 - square)
    return area


def pair_sigma(first: Array, second: Array, where: BoolArray | None = None) -> float:
    """Noise standard deviation from two repeats, trimmed std(second − first)/√2 over `where`: the pair's mean
    noise, blind to anatomy, in the voxels' unit. Needs equal gain, equal offset and no motion."""
    difference = np.asarray(second, dtype=np.float32) - np.asarray(first, dtype=np.float32)
    values = difference[np.isfinite(difference) if where is None else where & np.isfinite(difference)]
    return trimmed_std(values) / float(np.sqrt(2)) if values.size else 0.0


def trimmed_std(values: Array) -> float:
    """Standard deviation of a Gaussian core: 5 % are cut from each tail and their share is given back."""
    low, high = np.quantile(values, [GAUSSIAN_TRIM, 1 - GAUSSIAN_TRIM])
    core = values[(values >= low) & (values <= high)]
    return float(core.std(dtype=np.float64)) / TRIMMED_STD
