"""There and back between stored numbers and physical values."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from medn2n.core.scaling import outside_field, padding_range, stored_range, to_physical, to_stored
from medn2n.errors import InputError

DTYPES = ["u1", "i1", "i2", "u2", "i4", "u4", "i8", "u8", "f4", "f8"]
SLOPES = st.sampled_from([1.0, 0.1, 2.5, -0.5, 1e-3])
OFFSETS = st.sampled_from([0.0, -1024.0, 3.3])


@settings(max_examples=100, deadline=None)
@given(data=st.data(), dtype=st.sampled_from(DTYPES), slope=SLOPES, intercept=OFFSETS)
def test_unchanged_values_come_back_bit_identical(
    data: st.DataObject, dtype: str, slope: float, intercept: float
) -> None:
    stored = data.draw(arrays.arrays(dtype, (3, 4)))
    with np.errstate(over="ignore", invalid="ignore"):
        exact = stored.astype("f8") * slope + intercept
        if (np.isinf(exact.astype("f4")) & np.isfinite(stored)).any():
            with pytest.raises(InputError, match="32-bit"):
                to_physical(stored, slope, intercept)
            return
        values = to_physical(stored, slope, intercept)
        back = to_stored(values, stored, slope, intercept)
    np.testing.assert_array_equal(back.stored.view("u1"), stored.view("u1"))
    assert back.clipped == 0


@settings(max_examples=100, deadline=None)
@given(data=st.data(), slope=SLOPES, intercept=OFFSETS, signed=st.booleans())
def test_changed_values_are_within_half_a_step(
    data: st.DataObject, slope: float, intercept: float, signed: bool
) -> None:
    stored = data.draw(arrays.arrays("i2" if signed else "u2", (3, 4), elements=st.integers(100, 2000)))
    change = data.draw(arrays.arrays("f4", (3, 4), elements=st.floats(-50, 50, width=32)))
    wanted = to_physical(stored, slope, intercept) + change * np.float32(abs(slope))
    back = to_stored(wanted, stored, slope, intercept)
    found = back.stored.astype(float) * slope + intercept
    assert np.abs(found - wanted).max() <= abs(slope) / 2 + 1e-3
    assert back.clipped == 0


def test_clipping_to_bits_stored_is_counted() -> None:
    stored = np.array([[0, 4000, 100, 7]], dtype=np.uint16)
    back = to_stored(np.array([[-3, 5000, 200, 7]]), stored, bits_stored=12)
    assert back.stored.tolist() == [[0, 4095, 200, 7]]
    assert back.clipped == 2


@pytest.mark.parametrize(
    ("dtype", "bits", "limits"),
    [("i2", 12, (-2048, 2047)), ("u2", 12, (0, 4095)), ("i2", None, (-32768, 32767)), ("u1", 8, (0, 255))],
)
def test_stored_range(dtype: str, bits: int | None, limits: tuple[int, int]) -> None:
    assert stored_range(dtype, bits) == limits


def test_padding_is_restored_and_never_taken() -> None:
    stored = np.array([-2000, -2000, -900, 40, 50], dtype=np.int16)
    values = np.array([0, -2000.4, -2000, -1999.6, -2000.3], dtype=np.float32)
    back = to_stored(values, stored, padding=(-2000, -2000))
    assert back.stored.tolist() == [-2000, -2000, -1999, -1999, -2001]
    assert back.clipped == 0


def test_padding_at_the_end_of_the_range() -> None:
    low = to_stored(np.array([-5.0, 0.2]), np.array([7, 7], np.uint16), bits_stored=12, padding=(0, 0))
    assert low.stored.tolist() == [1, 1]
    high = to_stored(np.array([65535.0]), np.array([7], np.uint16), padding=(65535, 65535))
    assert high.stored.tolist() == [65534]


def test_64_bit_ends_do_not_wrap() -> None:
    stored = np.array([1, 1], dtype=np.int64)
    assert to_stored(np.array([1e20, -1e20]), stored).stored.tolist() == [2**63 - 1, -(2**63)]


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_values_that_are_no_numbers_are_refused(bad: float) -> None:
    with pytest.raises(InputError) as refused:
        to_stored(np.array([bad]), np.array([7], np.int16))
    assert refused.value.code == "NOT_FINITE"


def test_kept_voxels() -> None:
    stored = np.array([5, 6], dtype=np.int16)
    back = to_stored(np.array([np.nan, 9.0]), stored, keep=np.array([True, False]))
    assert back.stored.tolist() == [5, 9]


def test_padding_range() -> None:
    assert padding_range(None, 4) is None
    assert padding_range(-2000, None) == (-2000, -2000)
    assert padding_range(10, -5) == (-5, 10)


def test_outside_field() -> None:
    voxels = np.full((10, 10, 10), 40, dtype=np.float32)
    assert outside_field(voxels, "CT") is None
    voxels[0] = -3024
    mask = outside_field(voxels, "CT")
    assert mask is not None
    assert mask.sum() == 100
    assert outside_field(voxels, "MR") is None
    voxels[5, 5, 5] = np.nan
    for modality, count in (("CT", 101), ("MR", 1), ("", 1)):
        mask = outside_field(voxels, modality)
        assert mask is not None
        assert mask.sum() == count
    voxels[0, 1:] = 40
    voxels[0, 0, 1:] = 40
    assert outside_field(voxels, "CT") is not None
    voxels[:] = 40
    voxels[0, 0, 0] = -1600.5
    assert outside_field(np.tile(voxels, (2, 1, 1)), "CT") is not None
    assert outside_field(np.concatenate([voxels, np.full((10, 10, 10), 40, np.float32)]), "CT") is None
