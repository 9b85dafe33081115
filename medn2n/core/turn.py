"""By how much one scan of a pair is turned against the other in the image plane, and how sure that is.

A shift and a turn look different in the difference of two scans: a shift leaves the image's derivative everywhere, a
turn leaves more of it the farther from the centre. Both are fitted at once, with gain and offset, and the scan is
turned back and measured again until nothing is left (Gauss–Newton), so that a few degrees are found as well as tenths.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from medn2n.core.pair_measures import Array, BoolArray, smooth

FITTED_SLICES, FITTED_VOXELS = 6, 240_000  # evenly spaced slices, fewer of wide ones, but two: more costs time only
ROUNDS = (
    (4.0, 2, 1),
    (1.0, 2, 3),
)  # blur in pixels, how often, spline order: the wide one reaches far, the other is exact
GROUPS, BLOCK = 16, 16  # of the jackknife that gives the angle its error; side of its squares in pixels
LEAST_VOXELS, MOST_VOXELS = 1000, 100_000
MOST_DEGREES = 10.0  # beyond this the linear fit has lost its way, and other figures refuse the pair anyway


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """second ≈ first, turned by `degrees` from axis I towards axis J about the slice's centre (and shifted, and scaled
    in intensity). Pixels are taken for square. error: standard error; infinite where nothing shows a turn."""

    degrees: float
    error: float


NO_TURN = Turn(degrees=0.0, error=float("inf"))


def in_plane_turn(
    first: Array,
    second: Array,
    measured: BoolArray,
    sigmas: tuple[float, float],
    *,
    start: tuple[float, float] = (0.0, 0.0),
) -> Turn:
    """The turn between two (I,J,K) scans on one grid. measured: voxels that hold a measurement in both; sigmas: noise
    of each, in their unit; start: the shift of `second` in pixels along I and J, where it is known."""
    count = min(FITTED_SLICES, max(2, FITTED_VOXELS // (first.shape[0] * first.shape[1])), first.shape[2])
    chosen = np.linspace(0, first.shape[2] - 1, count).round().astype(int)
    slices = [np.ascontiguousarray(part[:, :, chosen]) for part in (first, second, measured)]
    pose, error = np.array([*start, 0.0]), np.full(3, np.inf)
    for blur, rounds, order in ROUNDS:
        ones, twos = (smooth(np.nan_to_num(part), blur) for part in slices[:2])
        for _ in range(rounds):
            step = _step(ones, _back(twos, pose, order=order), _usable(slices[2], pose, blur), sigmas)
            if step is None:
                return NO_TURN
            pose, error = pose + step[0], step[1]
            if abs(np.degrees(pose[2])) > MOST_DEGREES:
                return NO_TURN
    return Turn(degrees=float(np.degrees(pose[2])), error=float(np.degrees(error[2])))


def _back(voxels: Array, pose: Array, *, order: int) -> npt.NDArray[np.float32]:
    """Undo the pose (shift I, shift J, angle) of each slice: output(x) = input(R(angle)·(x − c) + c + shift)."""
    cosine, sine = np.cos(pose[2]), np.sin(pose[2])
    matrix = np.array([[cosine, -sine], [sine, cosine]])
    centre = (np.array(voxels.shape[:2]) - 1) / 2
    offset = centre + pose[:2] - matrix @ centre
    moved = [
        ndimage.affine_transform(voxels[:, :, k], matrix, offset, order=order, mode="nearest", output=np.float32)
        for k in range(voxels.shape[2])
    ]
    return np.stack(moved, axis=2)


def _usable(measured: BoolArray, pose: Array, blur: float) -> BoolArray:
    """Measured in both scans as they are compared, with everything that the blur reaches, away from the rim."""
    both = measured & (_back(measured.astype(np.float32), pose, order=1) > 0.5)
    reach = round(2 * blur)
    side = 2 * reach + 1
    eroded = ndimage.minimum_filter(both.view(np.uint8), (side, side, 1), mode="constant").astype(bool)
    if np.count_nonzero(eroded) < LEAST_VOXELS:  # scattered zeros in air: the object itself is what counts
        eroded = both
    inner: BoolArray = np.zeros(eroded.shape, dtype=bool)
    rim = min(reach + 2, min(measured.shape[:2]) // 8)
    inner[rim:-rim, rim:-rim] = eroded[rim:-rim, rim:-rim]
    return inner


def _step(ones: Array, twos: Array, where: BoolArray, sigmas: tuple[float, float]) -> tuple[Array, Array] | None:
    """(shift I, shift J, angle) still between the two, and the standard error of each; None without enough voxels.

    The mean is weighted so that its noise is not the difference's, and the noise's share of the normal equations is
    taken out, as `pair_measures.joint_fit` does and for the same reason.
    """
    variance = (sigmas[0] ** 2 + 1e-30, sigmas[1] ** 2 + 1e-30)
    weight = variance[1] / (variance[0] + variance[1])
    share = (weight**2 * variance[0] + (1 - weight) ** 2 * variance[1]) / (variance[0] + variance[1])
    index = np.flatnonzero(where)
    index = index[:: max(1, len(index) // MOST_VOXELS)]
    if len(index) < LEAST_VOXELS:
        return None
    middle, target = weight * ones + (1 - weight) * twos, (twos - ones).ravel()[index].astype(np.float64)
    columns = _columns(middle - middle.ravel()[index].mean(), index)
    plain = np.linalg.lstsq(columns, target, rcond=None)[0]
    rest = np.zeros(ones.size)
    rest[index] = target - columns @ plain
    shadow = _columns(rest.reshape(ones.shape), index)
    shadow[:, 1] = 0
    return _robust(columns, shadow * np.sqrt(share), target, _parts(ones.shape, index))


def _columns(image: Array, index: Array) -> npt.NDArray[np.float64]:
    """[level, 1, −∂I, −∂J, turn] of the image at `index`: what a small change of each does to it."""
    along_i, along_j = np.gradient(image, axis=(0, 1))
    i, j = (np.arange(n) - (n - 1) / 2 for n in image.shape[:2])
    turned = along_i * j[None, :, None] - along_j * i[:, None, None]
    parts = [image, np.ones_like(image), -along_i, -along_j, turned]
    return np.stack([part.ravel()[index] for part in parts], axis=1).astype(np.float64)


def _parts(shape: tuple[int, ...], index: Array) -> npt.NDArray[np.int64]:
    """Jackknife group of each voxel at `index`: squares of 16 pixels through all slices, wider than blurred noise
    reaches, dealt out so that each group lies everywhere."""
    i, j = (np.arange(n) // BLOCK for n in shape[:2])
    group = (i[:, None] * (j.max() + 6) + j[None, :]) % GROUPS
    return np.asarray(np.broadcast_to(group[:, :, None], shape).ravel()[index], dtype=np.int64)


def _robust(columns: Array, shadow: Array, target: Array, part: Array) -> tuple[Array, Array] | None:
    """Huber least squares without the noise's own share; pose and jackknife errors."""
    scale = np.sqrt(np.mean(columns**2, axis=0)) + 1e-30
    columns, shadow = columns / scale, shadow / scale
    weights = np.ones(len(target))
    for _ in range(3):
        heavy, dark = columns * weights[:, None], shadow * weights[:, None]
        total, aim = heavy.T @ columns - dark.T @ shadow, heavy.T @ target
        if np.linalg.eigvalsh(total)[0] <= 1e-6 * len(target):
            return None  # nothing but noise in one of the columns: a disc, or an empty slice
        solution = np.linalg.solve(total, aim)
        residual = np.abs(target - columns @ solution)
        weights = np.minimum(1, (3 * 1.4826 * np.median(residual) + 1e-12) / np.maximum(residual, 1e-12))
    order = np.argsort(part, kind="stable")
    ends = np.searchsorted(part[order], np.arange(GROUPS + 1))
    left_out = []
    for start, end in pairwise(ends):
        mine = order[start:end]
        normal = heavy[mine].T @ columns[mine] - dark[mine].T @ shadow[mine]
        left_out.append(np.linalg.solve(total - normal, aim - heavy[mine].T @ target[mine]))
    error = np.sqrt((GROUPS - 1) / GROUPS * np.sum((left_out - np.mean(left_out, axis=0)) ** 2, axis=0))
    return (solution / scale)[2:], (error / scale)[2:]
