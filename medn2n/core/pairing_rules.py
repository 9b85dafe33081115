"""Why two series cannot be repeats of each other, told from headers and geometry alone.

`pairing_rules` is a list of small pure functions (Series, Series) → reason or None, in the order in which a person
would ask. A figure that either header leaves open is no reason: the voxel check decides then. Reasons hold numbers
of the acquisition at most, never header text.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from medn2n.core.catalogue import UNNAMED, Scalar, Series

GRID_TOLERANCE_MM = 1e-3  # positions are written with four decimals or more; a real move is a hundred times larger
NUMBER_TOLERANCE = 1e-3  # relative; TE 29.999 and 30 are one protocol

Rule = Callable[[Series, Series], str | None]


def _both(first: Series, second: Series, key: str) -> tuple[Scalar, Scalar] | None:
    """The two values of an acquisition key; None unless both headers give it."""
    ones, twos = first.acquisition.get(key), second.acquisition.get(key)
    return None if ones is None or twos is None else (ones, twos)


def _differ(first: Series, second: Series, key: str) -> tuple[Scalar, Scalar] | None:
    """The two values where both are known and not equal (numbers: beyond the tolerance)."""
    values = _both(first, second, key)
    if values is None:
        return None
    ones, twos = values
    if isinstance(ones, int | float) and isinstance(twos, int | float):
        return None if abs(ones - twos) <= NUMBER_TOLERANCE * max(abs(ones), abs(twos)) else values
    return None if str(ones).strip().upper() == str(twos).strip().upper() else values


def same_series(first: Series, second: Series) -> str | None:
    """One series is no pair; two time points of it are."""
    if first.id == second.id:
        return "they are the same series"
    uids = _both(first, second, "series_uid")
    if uids is None or uids[0] != uids[1]:
        return None
    keys = ("temporal_position", "acquisition_number", "acquisition_time")
    if any(_differ(first, second, key) for key in keys):
        return None
    return "they are parts of the same series, and nothing says that they were measured one after the other"


def other_patient(first: Series, second: Series) -> str | None:
    """Noise2Noise needs one object: two patients never are. Whom the header does not name may be anybody."""
    known = not _unnamed(first) and not _unnamed(second)
    return "they are of different patients" if known and _differ(first, second, "patient") else None


def _unnamed(series: Series) -> bool:
    return str(series.acquisition.get("patient", UNNAMED)).startswith(UNNAMED)


def other_modality(first: Series, second: Series) -> str | None:
    """CT and MR show different quantities."""
    known = first.modality and second.modality
    return "one is CT and the other MR" if known and first.modality != second.modality else None


def other_grid(first: Series, second: Series) -> str | None:
    """Compares the positions of the eight corner voxels, which catches shift, turn, spacing and extent at once."""
    ones, twos = first.geometry, second.geometry
    if ones.shape[:3] != twos.shape[:3]:
        return "their grids have different numbers of voxels"
    corners = np.array(np.meshgrid(*[(0, n - 1) for n in ones.shape[:3]], [1], indexing="ij")).reshape(4, -1)
    apart = (np.array(ones.affine) - np.array(twos.affine)) @ corners
    distance = float(np.linalg.norm(apart[:3], axis=0).max())
    if distance > GRID_TOLERANCE_MM:
        return f"their grids lie up to {distance:.3g} mm apart"
    return None


def other_frame_of_reference(first: Series, second: Series) -> str | None:
    """Other FrameOfReferenceUID: the same numbers then mean other places (PS3.3 C.7.4.1). De-identification may have
    made the UIDs of unnamed patients anew, each on its own: the voxel check decides about those."""
    if (_unnamed(first) or _unnamed(second)) and _differ(first, second, "study_uid"):
        return None
    if _differ(first, second, "frame_of_reference_uid"):
        return "they have different frames of reference: the patient was positioned anew between them"
    return None


def other_scanner(first: Series, second: Series) -> str | None:
    """Manufacturer, model and field strength: another scanner has another signal and another noise."""
    for key in ("manufacturer", "scanner", "field_t"):
        if _differ(first, second, key):
            return "they come from different scanners"
    return None


def other_kernel(first: Series, second: Series) -> str | None:
    """Another reconstruction kernel shows another sharpness of the same object."""
    return "they have different reconstruction kernels" if _differ(first, second, "kernel") else None


def other_contrast_agent(first: Series, second: Series) -> str | None:
    """With and without agent, or two agents: the tissue itself looks different."""
    ones, twos = (bool(series.acquisition.get("contrast_agent")) for series in (first, second))
    headers = "series_uid" in first.acquisition and "series_uid" in second.acquisition
    if headers and ones != twos:
        return "one was made with contrast agent and the other without"
    return "they have different contrast agents" if _differ(first, second, "contrast_agent") else None


def other_sequence(first: Series, second: Series) -> str | None:
    """Another pulse sequence weighs the tissues differently."""
    for key in ("sequence", "scanning_sequence"):
        if _differ(first, second, key):
            return "they have different pulse sequences"
    return None


def other_image_kind(first: Series, second: Series) -> str | None:
    """Magnitude against phase, filtered against not: all values of Image Type but the first two."""
    values = _both(first, second, "image_type")
    if values is None:
        return None
    ones, twos = (sorted(str(value).upper().split("\\")[2:]) for value in values)
    return None if ones == twos else "they are different kinds of image of a scan (Image Type)"


def derived(first: Series, second: Series) -> str | None:
    """A derived image may hold the original's own noise."""
    flags = _both(first, second, "derived")
    if flags is not None and bool(flags[0]) != bool(flags[1]):
        return "one is an original and the other is derived: it may be computed from the first"
    return None


def same_raw_data(first: Series, second: Series) -> str | None:
    """Two series that started at the same instant are two reconstructions of one measurement."""
    uids = _both(first, second, "series_uid")
    times = _both(first, second, "acquisition_time")
    if uids is None or times is None or uids[0] == uids[1] or times[0] != times[1]:
        return None
    if any(_differ(first, second, key) for key in ("study_uid", "acquisition_number")):
        return None
    return "they are two reconstructions of the same raw data (same acquisition time)"


_NUMBERS = (
    ("echo_time_ms", "echo times", "ms"),
    ("repetition_time_ms", "repetition times", "ms"),
    ("inversion_time_ms", "inversion times", "ms"),
    ("flip_angle_deg", "flip angles", "°"),
    ("b_value", "b-values", "s/mm²"),
    ("thickness_mm", "slice thicknesses", "mm"),
    ("kvp", "tube voltages", "kV"),
)


def _number_rule(key: str, words: str, unit: str) -> Rule:
    def rule(first: Series, second: Series) -> str | None:
        values = _differ(first, second, key)
        return None if values is None else f"they have different {words} ({values[0]:g} and {values[1]:g} {unit})"

    rule.__name__ = f"other_{key}"
    return rule


pairing_rules: tuple[Rule, ...] = (
    same_series,
    other_patient,
    other_modality,
    other_grid,
    other_kernel,
    other_contrast_agent,
    other_sequence,
    *(_number_rule(*entry) for entry in _NUMBERS),
    other_image_kind,
    derived,
    same_raw_data,
    other_scanner,
    other_frame_of_reference,
)


def not_repeats_because(first: Series, second: Series) -> str | None:
    """The first reason why the two are no repeats of one object, or None where headers allow it."""
    for rule in pairing_rules:
        reason = rule(first, second)
        if reason is not None:
            return reason
    return None


def acquired_apart(first: Series, second: Series) -> bool:
    """True where headers prove two separate measurements: other acquisition time, number or time point."""
    keys = ("acquisition_time", "acquisition_number", "temporal_position")
    return any(_differ(first, second, key) is not None for key in keys)
