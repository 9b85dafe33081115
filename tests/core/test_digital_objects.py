"""Digital objects: known values, no noise, another object in every slice, the same for the same seed."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from medn2n.core.digital_objects import digital_ct, digital_mr, smooth_field


@pytest.mark.parametrize(("make", "air"), [(digital_ct, -1000.0), (digital_mr, 0.0)])
def test_bodies_stand_in_air_and_follow_their_seed(make: Callable[..., np.ndarray], air: float) -> None:
    one, same = (make(np.random.default_rng(4), side=96, slices=3) for _ in range(2))
    assert one.shape == (96, 96, 3)
    assert one.dtype == np.float32
    assert np.array_equal(one, same)
    assert not np.array_equal(one[..., 0], one[..., 1])
    assert (one[[0, -1]] == air).all()
    inside = (one > air).mean(axis=(0, 1))
    assert ((inside > 0.1) & (inside < 0.9)).all()


def test_ct_values_are_those_of_tissue() -> None:
    scan = digital_ct(np.random.default_rng(0), side=96, slices=6)
    assert scan.min() == -1000
    assert scan.max() <= 1250
    assert ((scan > -150) & (scan < 250)).mean() > 0.15


def test_objects_have_flat_parts_without_any_noise() -> None:
    scan = digital_ct(np.random.default_rng(1), side=128, slices=4)
    body = scan[1:-1, 1:-1] > -900
    equal = (scan[1:-1, 1:-1] == scan[2:, 1:-1]) & (scan[1:-1, 1:-1] == scan[1:-1, 2:])
    assert equal[body].mean() > 0.4


def test_a_smooth_field_has_unit_variance_and_its_length() -> None:
    field = smooth_field(np.random.default_rng(2), 256, 12.0)
    assert field.shape == (256, 256)
    assert float(field.std()) == pytest.approx(1, abs=0.25)
    assert np.corrcoef(field[:-2].ravel(), field[2:].ravel())[0, 1] > 0.9
    assert abs(np.corrcoef(field[:-60].ravel(), field[60:].ravel())[0, 1]) < 0.3
