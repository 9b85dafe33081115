"""Rigid registration of one noisy repeat to another: sub-voxel, coarse to fine, with its standard error.

The displacement is found by Gauss–Newton on the robust squared difference after a joint gain and offset, in three
steps from blurred to fine, over the tissue and its edges. The normal equations pair the gradients of one scan with
those of the other, whose noise is independent: noise then neither passes for contrast nor pulls the motion towards
zero. Everything is a fixed order of float64 sums, so that the same scans give the same numbers on every machine
(SimpleITK's multi-threaded metrics do not; a test holds that both find the same motion).
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage
from scipy.spatial.transform import Rotation

from medn2n.core.body import tissue_mask
from medn2n.core.pair_measures import whole_pixel_shift

Array = npt.NDArray[Any]
BoolArray = npt.NDArray[np.bool_]
Matrix = npt.NDArray[np.float64]
Three = tuple[float, float, float]

LEVELS = (4.0, 2.0, 1.0)  # in-plane blur in pixels; the last makes derivatives noise-proof at SNR 5
STEPS = 12  # a level; three to five are usual
SETTLED_MM = 0.002  # RMS displacement of a step that changes nothing any more
LONGEST_STEP_PIXELS = 3.0  # a step cannot be trusted beyond the reach of the finest edges
MOST_POINTS = 60_000  # enough for 0.01 voxels; more costs time only
LEAST_POINTS = 1000
SLICES_FOR_3D = 6  # with fewer, motion through the slices cannot be told from anything else
FLATTEST_VOXEL = 3.0  # slice step over pixel; wider steps are no samples of one volume, and their fit is biased
GROUPS = 16  # of the jackknife, slabs along I


@dataclass(frozen=True, slots=True, kw_only=True)
class Rigid:
    """What lies at x in the reference lies at R(x − c) + c + t in the other scan, in RAS mm; c: middle of the grid.

    rotation_deg: rotation vector (its length is the angle, its direction the axis). translation_mm: t.
    """

    rotation_deg: Three = (0.0, 0.0, 0.0)
    translation_mm: Three = (0.0, 0.0, 0.0)

    def world(self, centre_mm: Array) -> Matrix:
        """4×4, RAS mm in the reference → RAS mm in the other scan."""
        matrix = np.eye(4)
        if self != Rigid():
            matrix[:3, :3] = Rotation.from_rotvec(self.rotation_deg, degrees=True).as_matrix()
            matrix[:3, 3] = centre_mm - matrix[:3, :3] @ centre_mm + np.asarray(self.translation_mm)
        return matrix

    def index_map(self, affine: Array, shape: tuple[int, ...]) -> Matrix:
        """4×4, voxel index in the reference → voxel index in the other scan; exactly the identity where nothing
        moved. affine, shape: of the grid that both lie on."""
        if self == Rigid():
            return np.eye(4)
        return np.asarray(np.linalg.inv(affine) @ self.world(middle_mm(affine, shape)) @ affine)


STILL = Rigid()


@dataclass(frozen=True, slots=True, kw_only=True)
class Registration:
    """motion: of the second scan against the first. displacement_mm: RMS over the tissue; error_mm: its standard
    error (jackknife over slabs; real scans' own run small). pixel_mm: the smallest voxel edge. settled: the last
    steps changed nothing."""

    motion: Rigid
    displacement_mm: float
    error_mm: float
    pixel_mm: float
    settled: bool


def middle_mm(affine: Array, shape: tuple[int, ...]) -> Matrix:
    """RAS mm of the middle of a grid (I,J,K…)."""
    middle = (np.array(shape[:3], dtype=np.float64) - 1) / 2
    return np.asarray(affine[:3, :3] @ middle + affine[:3, 3], dtype=np.float64)


def register(
    first: Array, second: Array, affine: Array, *, centre_mm: Array | None = None, measured: BoolArray | None = None
) -> Registration | None:
    """Motion of the second (I,J,K) scan against the first on one grid. affine: voxel → RAS mm of these voxels.

    centre_mm: what the rotation is about; the grid's middle. measured: False where the first holds no measurement.
    Six unknowns, or three (in the plane) where slices are fewer than six or far apart. None where too few voxels
    overlap.
    """
    centre = middle_mm(affine, first.shape) if centre_mm is None else np.asarray(centre_mm, dtype=np.float64)
    ones, twos = (np.nan_to_num(scan).astype(np.float32) for scan in (first, second))
    tissue = ndimage.binary_dilation(tissue_mask(ones), np.ones((3, 3, 1), dtype=bool), iterations=4)
    where = tissue if measured is None else tissue & measured
    if np.count_nonzero(where) < LEAST_POINTS:
        return None
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    roll = np.array([*whole_pixel_shift(ones, twos), 0.0])
    world = np.eye(4)
    world[:3, 3] = affine[:3, :3] @ roll
    covariance, settled, points = np.zeros((6, 6)), False, np.zeros((0, 3))
    for pixels in LEVELS:
        level = _level(ones, twos, affine, centre, where, pixels * np.minimum(1, spacing[0] / spacing))
        found = _refined(level, world, LONGEST_STEP_PIXELS * float(spacing[:2].min()))
        if found is None:
            return None
        world, covariance, settled = found
        points = level.points
    return _result(world, covariance, points, float(spacing.min()), settled)


def resampled(voxels: Array, index_map: Array) -> tuple[npt.NDArray[np.float32], BoolArray]:
    """(I,J,K) voxels carried onto the reference's grid by cubic B-splines, and where they lay inside the scan."""
    filled = np.nan_to_num(voxels).astype(np.float32)
    carried = ndimage.affine_transform(filled, index_map, order=3, mode="nearest", output=np.float32)
    grid = np.indices(voxels.shape).reshape(3, -1)
    places = index_map[:3, :3] @ grid + index_map[:3, 3:]
    ends = np.array(voxels.shape)[:, None] - 1
    inside = np.all((places >= -1e-6) & (places <= ends + 1e-6), axis=0).reshape(voxels.shape)
    return carried, inside


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Level:
    """One blur of both scans. points: (n,3) mm about the centre, in the first; values: (n,) of the first there;
    slopes: (n,3) its gradient per mm; coefficients: B-spline of the second; freedom: (6,unknowns)."""

    points: Matrix
    values: Matrix
    slopes: Matrix
    coefficients: Array
    gradients: list[Array]
    affine: Matrix
    centre: Matrix
    freedom: Matrix


def _level(first: Array, second: Array, affine: Array, centre: Array, where: BoolArray, blur: Array) -> _Level:
    sigma = blur * [1, 1, float(sampled_through(affine, first.shape))]
    ones, twos = (ndimage.gaussian_filter(scan, sigma) for scan in (first, second))
    index = np.flatnonzero(where)
    index = index[:: max(1, len(index) // MOST_POINTS)]
    places = np.stack(np.unravel_index(index, first.shape)).astype(np.float64)
    axes = [axis for axis in range(3) if first.shape[axis] > 1]

    def gradients(scan: Array) -> list[Array]:
        return [np.gradient(scan, axis=a) if a in axes else np.zeros_like(scan) for a in range(3)]

    to_mm = np.linalg.inv(affine[:3, :3])
    slopes = np.stack([part.ravel()[index] for part in gradients(ones)], axis=1) @ to_mm
    return _Level(
        points=(affine[:3, :3] @ places).T + affine[:3, 3] - centre,
        values=ones.ravel()[index].astype(np.float64),
        slopes=slopes.astype(np.float64),
        coefficients=ndimage.spline_filter(twos, order=3, output=np.float32),
        gradients=gradients(twos),
        affine=np.asarray(affine, dtype=np.float64),
        centre=centre,
        freedom=np.eye(6) if sampled_through(affine, first.shape) else _in_plane(affine),
    )


def sampled_through(affine: Array, shape: tuple[int, ...]) -> bool:
    """True where the slices are many and near enough to show motion through them."""
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    return shape[2] >= SLICES_FOR_3D and bool(spacing[2] <= FLATTEST_VOXEL * spacing[:2].min())


def _in_plane(affine: Array) -> Matrix:
    """What may move within the plane, as columns (rotation vector, translation)."""
    normal = np.cross(affine[:3, 0], affine[:3, 1])
    columns = np.zeros((6, 3))
    columns[:3, 0] = normal / np.linalg.norm(normal)
    columns[3:, 1], columns[3:, 2] = (affine[:3, a] / np.linalg.norm(affine[:3, a]) for a in (0, 1))
    return columns


def _refined(level: _Level, world: Matrix, longest: float) -> tuple[Matrix, Matrix, bool] | None:
    """The motion after Gauss–Newton steps from `world` (4×4, mm about the centre), its covariance (6,6), and
    whether it settled. None where too little overlaps or the scans show nothing to hold on to."""
    covariance, settled = np.zeros((6, 6)), False
    for _ in range(STEPS):
        step = _step(level, world)
        if step is None:
            return None
        solution, covariance = step
        length = _rms(level.points, solution)
        solution = solution * min(1.0, longest / max(length, 1e-12))
        change = np.eye(4)
        change[:3, :3], change[:3, 3] = Rotation.from_rotvec(solution[:3]).as_matrix(), solution[3:]
        world = world @ change
        settled = length < SETTLED_MM
        if settled:
            break
    return world, covariance, settled


def _step(level: _Level, world: Matrix) -> tuple[Matrix, Matrix] | None:
    """The rotation vector and translation (6,) that bring the second scan onto the first, and their covariance."""
    there = level.points @ world[:3, :3].T + world[:3, 3] + level.centre
    to_index = np.linalg.inv(level.affine)
    places = to_index[:3, :3] @ there.T + to_index[:3, 3:]
    ends = np.array(level.coefficients.shape)[:, None] - 1
    inside = np.all((places >= -0.01) & (places <= ends + 0.01), axis=0)
    if np.count_nonzero(inside) < LEAST_POINTS:
        return None
    places, points = places[:, inside], level.points[inside]
    values = ndimage.map_coordinates(level.coefficients, places, order=3, mode="nearest", prefilter=False)
    parts = [ndimage.map_coordinates(part, places, order=1, mode="nearest") for part in level.gradients]
    slopes = np.stack(parts, axis=1) @ to_index[:3, :3] @ world[:3, :3]
    own = level.values[inside] - level.values[inside].mean()
    columns, instruments = (
        np.column_stack([own, np.ones(len(own)), -np.hstack([np.cross(points, s), s]) @ level.freedom])
        for s in (slopes, level.slopes[inside])
    )
    solved = _solve(columns, instruments, values.astype(np.float64))
    if solved is None:
        return None
    solution, covariance = solved
    return level.freedom @ solution[2:], level.freedom @ covariance[2:, 2:] @ level.freedom.T


def _solve(columns: Array, instruments: Array, target: Array) -> tuple[Matrix, Matrix] | None:
    """Huber-weighted instrumental least squares, and the jackknife covariance over slabs of the points."""
    weights = np.ones(len(target))
    bounds = np.linspace(0, len(target), GROUPS + 1).astype(int)
    try:
        for _ in range(2):
            weighted = instruments * weights[:, None]
            normal = np.stack([weighted[a:b].T @ columns[a:b] for a, b in itertools.pairwise(bounds)])
            right = np.stack([weighted[a:b].T @ target[a:b] for a, b in itertools.pairwise(bounds)])
            total, aim = normal.sum(axis=0), right.sum(axis=0)
            solution = np.linalg.solve(total, aim)
            residual = np.abs(target - columns @ solution)
            limit = 3 * 1.4826 * np.median(residual) + 1e-12
            weights = np.minimum(1, limit / np.maximum(residual, 1e-12))
        left_out = np.stack([np.linalg.solve(total - n, aim - r) for n, r in zip(normal, right, strict=True)])
    except np.linalg.LinAlgError:
        return None
    apart = left_out - left_out.mean(axis=0)
    return solution, (GROUPS - 1) / GROUPS * apart.T @ apart


def _rms(points: Array, motion: Array) -> float:
    """RMS displacement in mm of the points under a small rotation vector and translation (6,)."""
    return float(np.sqrt(np.mean(np.sum((np.cross(motion[:3], points) + motion[3:]) ** 2, axis=1))))


def _result(world: Matrix, covariance: Matrix, points: Array, pixel_mm: float, settled: bool) -> Registration:
    displaced = points @ world[:3, :3].T + world[:3, 3] - points
    axes = np.eye(3)
    variance = 0.0
    for axis in range(3):  # of each component of (rotation × point + translation), averaged over the points
        row = np.hstack([np.cross(points, axes[axis]), np.broadcast_to(axes[axis], points.shape)])
        variance += float(np.mean(np.einsum("np,pq,nq->n", row, covariance, row)))
    rotation = Rotation.from_matrix(world[:3, :3]).as_rotvec(degrees=True)
    return Registration(
        motion=Rigid(
            rotation_deg=_rounded(rotation),
            translation_mm=_rounded(world[:3, 3]),
        ),
        displacement_mm=float(np.sqrt(np.mean(np.sum(displaced**2, axis=1)))),
        error_mm=float(np.sqrt(max(variance, 0.0))),
        pixel_mm=pixel_mm,
        settled=settled,
    )


def _rounded(values: Array) -> Three:
    """Four decimals: a tenth of a micrometre and of a thousandth of a degree say nothing any more."""
    one, two, three = (round(float(value), 4) + 0.0 for value in values)
    return (one, two, three)
