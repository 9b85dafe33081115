"""Rules that tell from headers why two series are no repeats; frames of one signal; splits by subject."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medn2n.core.catalogue import Geometry, Series
from medn2n.core.frames import alternates, by_level, frame_levels, group_frames, typical_frame, unsteady_frames
from medn2n.core.pairing_rules import acquired_apart, not_repeats_because, pairing_rules
from medn2n.core.repeat_groups import evenly, one_subject
from medn2n.core.splits import split_subjects

SCAN = {
    "patient": "p-1", "study_uid": "1.1", "series_uid": "1.1.1", "frame_of_reference_uid": "9", "scanner": "A",
    "acquisition_time": "101500", "acquisition_number": 1, "kernel": "B30f", "sequence": "se2d", "echo_time_ms": 30.0,
    "repetition_time_ms": 1000.0, "flip_angle_deg": 90.0, "thickness_mm": 5.0, "image_type": "ORIGINAL\\PRIMARY\\M",
    "derived": False,
}  # fmt: skip


def series(name: str = "a", *, modality: str = "MR", offset_mm: float = 0.0, **acquisition: Any) -> Series:
    affine = ((1.0, 0.0, 0.0, offset_mm), (0.0, 1.0, 0.0, 0.0), (0.0, 0.0, 5.0, 0.0), (0.0, 0.0, 0.0, 1.0))
    known = {key: value for key, value in (SCAN | acquisition).items() if value is not None}
    return Series(
        id=f"s-{name}",
        path=name,
        files=(name,),
        format="dicom",
        modality=modality,
        geometry=Geometry(shape=(64, 64, 4), spacing_mm=(1.0, 1.0, 5.0), affine=affine),
        acquisition=known,
    )


def repeat(**changes: Any) -> Series:
    return series("b", **({"series_uid": "1.1.2", "acquisition_time": "101900", "acquisition_number": 2} | changes))


def test_a_repeated_series_passes_every_rule() -> None:
    assert not_repeats_because(series(), repeat()) is None
    assert acquired_apart(series(), repeat())
    assert not_repeats_because(series(), repeat(echo_time_ms=30.0001)) is None


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"patient": "p-2"}, "patients"),
        ({"modality": "CT"}, "CT"),
        ({"offset_mm": 0.01}, "mm apart"),
        ({"kernel": "B70f"}, "kernels"),
        ({"contrast_agent": "Gd"}, "contrast agent"),
        ({"sequence": "tse2d"}, "sequences"),
        ({"echo_time_ms": 80.0}, "echo times (30 and 80 ms)"),
        ({"repetition_time_ms": 2000.0}, "repetition times"),
        ({"flip_angle_deg": 30.0}, "flip angles"),
        ({"thickness_mm": 2.5}, "thicknesses"),
        ({"image_type": "ORIGINAL\\PRIMARY\\P"}, "kinds of image"),
        ({"derived": True}, "derived"),
        ({"acquisition_time": "101500", "acquisition_number": 1}, "same raw data"),
        ({"scanner": "B"}, "scanners"),
        ({"frame_of_reference_uid": "8"}, "frames of reference"),
    ],
)
def test_each_difference_has_its_reason(changes: dict[str, Any], word: str) -> None:
    first, second = series(), repeat(**changes)
    reason = not_repeats_because(first, second)
    assert reason is not None
    assert word in reason
    assert not_repeats_because(second, first) is not None


def test_b_values_and_voltages_are_compared() -> None:
    assert "b-values" in str(not_repeats_because(series(b_value=0), repeat(b_value=1000)))
    assert "voltages" in str(not_repeats_because(series(kvp=80), repeat(kvp=120)))
    agents = series(contrast_agent="x"), repeat(contrast_agent="y")
    assert "contrast" in str(not_repeats_because(*agents))


def test_what_headers_leave_open_is_no_reason() -> None:
    bare = replace(repeat(), acquisition={}, modality="")
    assert not_repeats_because(series(), bare) is None
    assert not acquired_apart(series(), bare)


def test_parts_of_one_series_are_repeats_only_in_time() -> None:
    first, second = series(), repeat(series_uid="1.1.1", acquisition_time="101500", acquisition_number=1)
    assert "parts of the same series" in str(not_repeats_because(first, second))
    later = [replace(s, acquisition={**s.acquisition, "temporal_position": n}) for n, s in enumerate((first, second))]
    assert not_repeats_because(*later) is None
    assert "the same series" in str(not_repeats_because(first, first))


def test_other_shape_is_another_grid() -> None:
    first = series()
    assert "numbers of voxels" in str(
        not_repeats_because(first, replace(repeat(), geometry=replace(first.geometry, shape=(64, 64, 5))))
    )


def test_reasons_hold_no_header_text() -> None:
    first = series()
    for key in ("patient", "kernel", "sequence", "scanner", "image_type", "contrast_agent"):
        second = repeat(**{key: "DOE^JANE"})
        assert not any("DOE" in str(rule(first, second)) for rule in pairing_rules)


def test_leading_bright_frames_are_dropped_and_no_others() -> None:
    assert unsteady_frames([150, 112, 101, 100, 100.5, 99.8, 100, 100.2, 99.9, 100]) == 2
    assert unsteady_frames([100, 100.3, 99.8, 100.1, 100, 120, 100, 100]) == 0
    assert unsteady_frames([150, 100, 100]) == 0
    assert group_frames([150, 100, 101, 100, 99, 100]).groups == ((1, 2, 3, 4, 5),)
    assert group_frames([150, 100, 101, 100, 99, 100]).unsteady == (0,)


def test_levels_far_apart_are_other_signals() -> None:
    assert by_level(range(6), [100, 40, 101, 41, 99, 40.5]) == [(0, 2, 4), (1, 3, 5)]


def test_a_gradient_table_decides_alone() -> None:
    directions = [(0, 0, 0), (1, 0, 0), (0, 1, 0), (-1, 0, 0), (0, 0, 0)]
    found = group_frames([100, 50, 50, 50, 100], [0, 1000, 995, 1005, 5], directions)
    assert found.groups == ((0, 4), (1, 3), (2,))
    assert group_frames([1, 1, 1], [0, 1000, 1000], None).groups == ((0,), (1,), (2,))


def test_levels_and_the_typical_frame() -> None:
    rng = np.random.default_rng(0)
    voxels = np.zeros((32, 32, 2, 4))
    voxels[8:24, 8:24] = 100
    voxels += rng.normal(size=voxels.shape)
    voxels[..., 0] *= 1.5
    assert frame_levels(voxels) == pytest.approx([150, 100, 100, 100], abs=1)
    assert typical_frame(voxels) != 0


@given(st.sets(st.text("abcdef0123456789", min_size=4, max_size=10), max_size=30), st.floats(0, 0.5), st.floats(0, 0.4))
def test_splits_depend_on_the_subject_alone(subjects: set[str], validation: float, test: float) -> None:
    splits = split_subjects(sorted(subjects), validation=validation, test=test)
    assert splits == split_subjects(sorted(subjects, reverse=True), validation=validation, test=test)
    assert set(splits) == subjects
    if len(subjects) >= 2:
        assert {"training", "validation"} <= set(splits.values())
    elif subjects:
        assert set(splits.values()) == {"training"}


def test_linked_scans_share_a_subject() -> None:
    found = one_subject({"a": "p3", "b": "p1", "c": "p2", "d": "p4"}, [("a", "b"), ("c", "a")])
    assert found == {"a": "p1", "b": "p1", "c": "p1", "d": "p4"}
    assert evenly(range(100), 3) == [0, 50, 99] or evenly(range(100), 3) == [0, 49, 99]


def test_unnamed_patients_may_be_anybody() -> None:
    """De-identified files of one phantom, each with a study and a frame of reference of its own."""
    ones = {"patient": "u-1", "study_uid": "1.1", "frame_of_reference_uid": "9"}
    twos = {"patient": "u-2", "study_uid": "1.2", "frame_of_reference_uid": "8"}
    first, second = series(**ones), series("b", series_uid="1.1.2", acquisition_time="2", **twos)
    assert not_repeats_because(first, second) is None
    known = series("b", series_uid="1.1.2", acquisition_time="2", **(twos | {"patient": "p-2", "study_uid": "1.1"}))
    assert "positioned anew" in str(not_repeats_because(first, known))


def test_every_other_frame_brighter_is_labelling_and_wander_is_not() -> None:
    rng = np.random.default_rng(0)
    levels = 1000 + rng.normal(size=20)
    assert not alternates(list(levels + np.linspace(0, 30, 20)))
    assert alternates(list(levels + 10 * (np.arange(20) % 2)))
    assert not alternates([1000.0, 1010.0] * 3)
    assert group_frames(list(levels + 10 * (np.arange(20) % 2))).groups == (
        tuple(range(0, 20, 2)),
        tuple(range(1, 20, 2)),
    )
