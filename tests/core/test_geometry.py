"""Slices in space: order, spacing verdicts, affine; checked against plain arithmetic over drawn orientations."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from medn2n.core.geometry import (
    axial_order,
    check_spacing,
    dicom_affine,
    order_slices,
    require_complete,
    slice_normal,
    usable_affine,
)
from medn2n.errors import InputError

AXIAL = (1, 0, 0, 0, 1, 0)


def _stack(gaps: list[float], shear: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    distances = np.concatenate([[0.0], np.cumsum(gaps)])
    corners = np.stack([np.zeros_like(distances), shear * np.arange(len(distances)), distances], axis=1)
    return corners, distances


def test_even_stack() -> None:
    spacing = check_spacing(*_stack([2.5] * 9))
    assert spacing.even
    assert spacing.step_mm == 2.5
    require_complete(spacing)


def test_rounded_positions_are_still_even() -> None:
    corners, distances = _stack([2.5, 2.51, 2.49, 2.5, 2.52, 2.48])
    assert check_spacing(corners, distances).even


@pytest.mark.parametrize(("gap", "words"), [(5.0, "One slice looks"), (7.5, "Two slices look"), (20, "7 slices look")])
def test_a_lone_wide_gap_is_a_missing_slice(gap: float, words: str) -> None:
    with pytest.raises(InputError) as refused:
        require_complete(check_spacing(*_stack([2.5] * 41 + [gap] + [2.5] * 3)))
    assert refused.value.code == "MISSING_SLICES"
    assert f"gap of {gap:.2f} mm after slice 42, expected 2.50 ± 0.03 mm. {words} missing" in str(refused.value)


@pytest.mark.parametrize(
    "gaps", [[1.14, 4.22, 7.38], [2.5] * 8 + [5.0] * 6, [2.5, 2.5, 3.9, 2.5], [5.0] * 6 + [2.5] * 5, [2, 2, 2, 3, 3]]
)
def test_changing_steps_are_uneven_not_missing(gaps: list[float]) -> None:
    spacing = check_spacing(*_stack(gaps))
    assert not spacing.even
    require_complete(spacing)


def test_same_place_twice_is_refused() -> None:
    with pytest.raises(InputError) as refused:
        require_complete(check_spacing(*_stack([2.5, 0.0, 2.5])))
    assert refused.value.code == "DUPLICATE_SLICES"
    assert "slices 2 and 3" in str(refused.value)


def test_tilted_stack_is_even_and_curved_one_is_not() -> None:
    corners, distances = _stack([2.5] * 6, shear=0.8)
    assert check_spacing(corners, distances).even
    corners[3, 1] += 1
    assert not check_spacing(corners, distances).even


def test_pixel_spacing_is_rows_then_columns() -> None:
    affine = dicom_affine((0, 0, 0), (0, 0, 3), 2, AXIAL, (0.7, 0.9))
    np.testing.assert_allclose(np.diag(affine), [-0.9, -0.7, 3, 1])


@pytest.mark.parametrize("bad", [(1, 0, 0, 1, 0, 0), (2, 0, 0, 0, 1, 0), (1, 0, 0), (np.nan, 0, 0, 0, 1, 0)])
def test_bad_orientation_is_refused(bad: tuple[float, ...]) -> None:
    with pytest.raises(InputError) as refused:
        slice_normal(bad)
    assert refused.value.code == "NO_GEOMETRY"


@pytest.mark.parametrize("affine", [np.zeros((4, 4)), np.full((4, 4), np.nan), np.diag([1, 1, 0, 1])])
def test_singular_affines(affine: np.ndarray) -> None:
    assert not usable_affine(affine)
    assert usable_affine(np.diag([1e-3, 1, 5, 1]))


@settings(max_examples=60, deadline=None)
@given(
    turn=st.tuples(*[st.floats(-180, 180)] * 3),
    spacing=st.tuples(*[st.floats(0.2, 3)] * 2),
    step=st.floats(0.5, 8),
    shear=st.floats(-1, 1),
    slices=st.integers(2, 12),
    origin=st.tuples(*[st.floats(-500, 500)] * 3),
    seed=st.integers(0, 99),
)
def test_affine_places_every_pixel(turn, spacing, step, shear, slices, origin, seed) -> None:  # type: ignore[no-untyped-def]
    axes = Rotation.from_euler("xyz", turn, degrees=True).as_matrix()
    row, column, normal = axes[:, 0], axes[:, 1], axes[:, 2]
    orientation = np.concatenate([row, column])
    corners = np.array([np.array(origin) + k * (step * normal + shear * column) for k in range(slices)])
    shuffled = np.random.default_rng(seed).permutation(slices)
    order, distances = order_slices(corners[shuffled], slice_normal(orientation))
    ordered = corners[shuffled][order]
    np.testing.assert_allclose(ordered, corners, atol=1e-9)
    assert check_spacing(ordered, distances).even
    affine = dicom_affine(ordered[0], ordered[-1], slices, orientation, spacing)
    i, j, k = 3, 5, slices - 1
    lps = corners[k] + i * spacing[1] * row + j * spacing[0] * column
    np.testing.assert_allclose((affine @ [i, j, k, 1])[:3], lps * [-1, -1, 1], atol=1e-6)


@pytest.mark.parametrize("order", [(0, 1, 2), (0, 2, 1), (1, 2, 0), (1, 0, 2), (2, 0, 1), (2, 1, 0)])
@pytest.mark.parametrize("tilt", [0.0, -0.5, 0.5])
def test_the_axis_along_the_body_comes_last(order: tuple[int, ...], tilt: float) -> None:
    affine = np.diag([-0.8, -0.8, 3.0, 1.0])
    affine[:3, 1] = -0.8 * np.array([0, np.cos(tilt), np.sin(tilt)])  # a gantry: the slices tilt, the table does not
    found = axial_order(affine[:, [*order, 3]])
    assert [order[axis] for axis in found][2] == 2
    assert list(found[:2]) == sorted(found[:2])
