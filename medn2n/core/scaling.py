"""Stored numbers and physical values: there (m·x + b) and back, exactly, whatever the dtype.

A voxel whose physical value nobody changed gets its very stored number back, so that an identity model gives
bit-identical files even where float32 cannot hold the number (int32, uint64, float64).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from medn2n.core.volume import FloatArray
from medn2n.errors import InputError

Stored = npt.NDArray[Any]
Mask = npt.NDArray[np.bool_]

# No tissue, and no noise of a usable scan in air, reaches this: scanners fill the corners with -2000 or -3024.
OUTSIDE_FIELD_HU = -1500.0
OUTSIDE_FRACTION = 1e-3


@dataclass(frozen=True, slots=True, kw_only=True)
class WrittenBack:
    """stored: the numbers to write. clipped: how many voxels did not fit into the stored range."""

    stored: Stored
    clipped: int


def to_physical(stored: Stored, slope: float = 1.0, intercept: float = 0.0) -> FloatArray:
    """float32 slope·stored + intercept, computed in float64 and rounded once. InputError BAD_SCALING where a number
    would become infinite."""
    try:
        with np.errstate(over="raise", invalid="ignore"):
            if slope == 1.0 and intercept == 0.0:
                return stored.astype(np.float32)
            return (stored.astype(np.float64) * slope + intercept).astype(np.float32)
    except FloatingPointError:
        raise InputError(
            "BAD_SCALING", "Its values or their scaling exceed what 32-bit numbers hold (3.4e38). Export it again."
        ) from None


def stored_range(dtype: npt.DTypeLike, bits_stored: int | None = None) -> tuple[int, int]:
    """Smallest and largest integer that a pixel may hold: of the dtype, or of DICOM's BitsStored within it."""
    info = np.iinfo(np.dtype(dtype))
    if bits_stored is None:
        return int(info.min), int(info.max)
    if info.min < 0:
        return -(1 << (bits_stored - 1)), (1 << (bits_stored - 1)) - 1
    return 0, (1 << bits_stored) - 1


def to_stored(
    values: npt.NDArray[Any],
    original: Stored,
    slope: float = 1.0,
    intercept: float = 0.0,
    *,
    bits_stored: int | None = None,
    padding: tuple[int, int] | None = None,
    keep: Mask | None = None,
) -> WrittenBack:
    """Physical `values` as numbers of `original`'s dtype: round((v − b) / m), clipped to the stored range.

    original: stored numbers that the values came from. padding: DICOM's padding range, inclusive; such originals
    come back bit-identical, and no other voxel takes a value in it (PS3.3 C.7.5.1.1.2). keep: more voxels that come
    back as they were. Error of a changed voxel: at most slope/2 unless clipped or moved off the padding value.
    InputError NOT_FINITE for NaN or infinity.
    """
    before = to_physical(original, slope, intercept)
    after = values.astype(np.float32, copy=False)
    unchanged = (before == after) | (np.isnan(before) & np.isnan(after))
    if padding is not None:
        unchanged |= (original >= padding[0]) & (original <= padding[1])
    if keep is not None:
        unchanged |= keep
    if not np.isfinite(after[~unchanged]).all():
        raise InputError("NOT_FINITE", "The denoised scan holds NaN or infinity; nothing was written.")
    exact = (np.where(unchanged, np.float32(0), after).astype(np.float64) - intercept) / slope
    if original.dtype.kind == "f":
        return _as_floats(exact, original, unchanged)
    low, high = stored_range(original.dtype, bits_stored)
    rounded = np.rint(exact)
    outside = ~unchanged & ((rounded < low) | (rounded > high))
    whole = _to_integers(rounded, low, high, original.dtype)
    if padding is not None:
        _leave_padding(whole, exact, ~unchanged, padding, (low, high))
    return WrittenBack(stored=np.where(unchanged, original, whole), clipped=int(outside.sum()))


def _as_floats(exact: npt.NDArray[np.float64], original: Stored, unchanged: Mask) -> WrittenBack:
    with np.errstate(over="ignore"):
        changed = exact.astype(original.dtype)
    if not np.isfinite(changed[~unchanged]).all():
        raise InputError("NOT_FINITE", "The denoised scan exceeds what its file's numbers hold. Use --dtype float32.")
    return WrittenBack(stored=np.where(unchanged, original, changed), clipped=0)


def _to_integers(rounded: npt.NDArray[np.float64], low: int, high: int, dtype: np.dtype[Any]) -> Stored:
    """Clip in float64 and convert; the ends of 64-bit types are set by mask, since float64 rounds them up."""
    with np.errstate(invalid="ignore"):
        whole = np.clip(rounded, low, high).astype(dtype)
    whole[rounded <= low] = low
    whole[rounded >= high] = high
    return whole


def _leave_padding(
    whole: Stored,
    exact: npt.NDArray[np.float64],
    native: Mask,
    padding: tuple[int, int],
    limits: tuple[int, int],
) -> None:
    """Move native voxels that landed in the padding range to its nearest free neighbour, in place."""
    hit = native & (whole >= padding[0]) & (whole <= padding[1])
    if not hit.any():
        return
    below, above = padding[0] - 1, padding[1] + 1
    if below < limits[0] and above > limits[1]:
        return
    nearest = np.where(exact[hit] * 2 < below + above, below, above)
    whole[hit] = above if below < limits[0] else below if above > limits[1] else nearest


def padding_range(value: int | None, limit: int | None) -> tuple[int, int] | None:
    """PixelPaddingValue and PixelPaddingRangeLimit as (low, high), inclusive; None without a padding value."""
    if value is None:
        return None
    other = value if limit is None else limit
    return min(value, other), max(value, other)


def outside_field(voxels: FloatArray, modality: str) -> Mask | None:
    """Voxels that hold no measurement, where no header names the padding value; None if there are none.

    They are those without a number, and in a CT a lowest value below −1500 HU that fills a thousandth of the volume or
    more: a constant.
    """
    finite = np.isfinite(voxels)
    known = None if finite.all() else ~finite
    if modality != "CT" or not finite.any():
        return known
    lowest = float(voxels.min() if known is None else voxels[finite].min())
    if lowest > OUTSIDE_FIELD_HU:
        return known
    mask = voxels == np.float32(lowest)
    if mask.mean() < OUTSIDE_FRACTION:
        return known
    return np.asarray(mask if known is None else mask | known)
