"""Scan references: the string form and back."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medn2n.errors import UsageError
from medn2n.formats.reference import ScanReference

paths = st.text(st.characters(codec="utf-8", exclude_characters="#\x00"), min_size=1)
uids = st.none() | st.from_regex(r"[0-9]{1,9}(\.[0-9]{1,9}){0,4}", fullmatch=True)
counts = st.none() | st.integers(0, 999)


@given(path=paths, series=uids, part=counts, frame=counts)
def test_there_and_back(path: str, series: str | None, part: int | None, frame: int | None) -> None:
    reference = ScanReference(path=path, series=series, part=part, frame=frame)
    assert ScanReference.parse(str(reference)) == reference


@pytest.mark.parametrize("text", ["a#b.nii", "a#b/c.nii.gz", "#", "a#", "folder#series"])
def test_a_number_sign_of_a_path_is_left_alone(text: str) -> None:
    parsed = ScanReference.parse(text)
    assert parsed.path == text or (parsed.series, parsed.path) == ("", "folder")


def test_parts_and_frames_are_numbers() -> None:
    assert ScanReference.parse("a.nii#frame=3") == ScanReference(path="a.nii", frame=3)
    assert ScanReference.parse("x#y#series=1.2&part=2") == ScanReference(path="x#y", series="1.2", part=2)
    with pytest.raises(UsageError, match="whole numbers"):
        ScanReference.parse("a.nii#frame=three")
