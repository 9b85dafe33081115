"""Headers made to hurt: each is refused in one sentence with a code, in little time and memory, and alone."""

from __future__ import annotations

import struct
import tracemalloc
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom import dcmread
from pydicom.uid import DeflatedExplicitVRLittleEndian

from medn2n.errors import InputError
from medn2n.formats.dicom_elements import Element, encode, encode_file, plain, tag, text
from medn2n.formats.dicom_header import read_header
from medn2n.formats.dicom_tree import write_tree
from medn2n.formats.found import find
from medn2n.stages.folder_to_catalogue import catalogue
from tests import build

MB = 1_000_000


@contextmanager
def at_most(megabytes: float) -> Iterator[None]:
    """The block may hold this much memory at once."""
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < megabytes * MB
    finally:
        tracemalloc.stop()


def _refused(folder: Path) -> set[tuple[str, int]]:
    found = catalogue(folder)
    assert not found.series
    for item in found.passed_over:
        assert item.status == "refused"
        assert item.reason.count("\n") == 0
        assert build.SECRET not in item.reason
    return {(item.code, len(item.files)) for item in found.passed_over}


def _with_bytes(path: Path, before_group: int, raw: bytes) -> None:
    """Put encoded elements into a file, in front of the first element of a group."""
    ds = dcmread(path)
    body = plain(ds)
    parts = [{k: v for k, v in body.items() if (k >> 16 < before_group) == first} for first in (True, False)]
    path.write_bytes(encode_file(plain(ds.file_meta), parts[0]) + raw + encode(parts[1]))


def _undefined_sequences(depth: int, number: int = 0x00091010) -> bytes:
    head = struct.pack("<HH2sHL", number >> 16, number & 0xFFFF, b"SQ", 0, 0xFFFFFFFF)
    item = struct.pack("<HHL", 0xFFFE, 0xE000, 0xFFFFFFFF)
    ends = struct.pack("<HHLHHL", 0xFFFE, 0xE00D, 0, 0xFFFE, 0xE0DD, 0)
    return (head + item) * depth + ends * depth


@pytest.mark.parametrize("number", [0x00290010, tag("SharedFunctionalGroupsSequence")], ids=["skipped", "wanted"])
def test_nested_sequences(tmp_path: Path, number: int) -> None:
    for depth, folder in ((64, "deep"), (65, "deeper"), (20_000, "deepest")):
        for path in build.dicom_series(tmp_path / folder, slices=2):
            _with_bytes(path, 0x7FE0, _undefined_sequences(depth, number))
    assert len(catalogue(tmp_path / "deep")) == 1
    for folder in ("deeper", "deepest"):
        assert _refused(tmp_path / folder) == {("TOO_DEEP", 2)}


def test_nested_sequences_of_known_length(tmp_path: Path) -> None:
    """Seeked over while headers are read; refused when a copy would need them."""
    item: Element = ("SQ", [{}])
    for _ in range(70):
        item = ("SQ", [{0x00091010: item}])
    (path,) = build.dicom_series(tmp_path, slices=1)
    ds = dcmread(path)
    path.write_bytes(encode_file(plain(ds.file_meta), {**plain(ds), 0x00091010: item}))
    assert read_header(path).fault is None
    with pytest.raises(InputError) as refused:
        plain(dcmread(path))
    assert refused.value.code == "TOO_DEEP"


def _deflated(path: Path, data: bytes, more: int = 0) -> None:
    """A deflated file of these elements, and `more` MB of zeros after them."""
    ds = dcmread(path)
    meta = {**plain(ds.file_meta), 0x00020010: text("UI", DeflatedExplicitVRLittleEndian)}
    stream = zlib.compressobj(9, wbits=-15)
    parts = [stream.compress(data), *(stream.compress(bytes(MB)) for _ in range(more)), stream.flush()]
    path.write_bytes(encode_file(meta, {}) + b"".join(parts))


def test_deflate_bomb(tmp_path: Path) -> None:
    (path,) = build.dicom_series(tmp_path, slices=1)
    data = path.read_bytes()
    _deflated(path, encode(plain(dcmread(path))), more=300)
    assert path.stat().st_size < MB
    with at_most(64):
        assert _refused(tmp_path) == {("TOO_LARGE", 1)}
    path.write_bytes(data)
    _deflated(path, encode(plain(dcmread(path))))
    assert len(catalogue(tmp_path)) == 1
    path.write_bytes(path.read_bytes()[:-20])
    assert _refused(tmp_path) == {("TRUNCATED", 1)}
    path.write_bytes(path.read_bytes()[:-200] + bytes(range(255, 55, -1)))
    assert {code for code, _ in _refused(tmp_path)} <= {"NOT_DICOM", "TRUNCATED"}


@pytest.mark.parametrize(("number", "vr"), [(0x00291010, b"OB"), (0x0018A001, b"OB")], ids=["skipped", "wanted"])
def test_a_huge_value(tmp_path: Path, number: int, vr: bytes) -> None:
    (path,) = build.dicom_series(tmp_path, slices=1)
    body = plain(dcmread(path))
    before = encode({k: v for k, v in body.items() if k < 0x00280000})
    head = struct.pack("<HH2sHL", number >> 16, number & 0xFFFF, vr, 0, 70 * MB)
    meta = plain(dcmread(path).file_meta)
    with path.open("wb") as file:
        file.write(encode_file(meta, {}) + before + head)
        file.seek(70 * MB, 1)
        file.write(encode({k: v for k, v in body.items() if k >= 0x00280000}))
    with at_most(2):
        assert _refused(tmp_path) == {("TOO_LARGE", 1)}


def test_too_many_items(tmp_path: Path) -> None:
    (path,) = build.dicom_series(tmp_path, slices=1)
    items = struct.pack("<HHL", 0xFFFE, 0xE000, 0) * 1_000_001
    head = struct.pack("<HH2sHL", 0x5200, 0x9229, b"SQ", 0, len(items))
    _with_bytes(path, 0x7FE0, head + items)
    assert _refused(tmp_path) == {("TOO_LARGE", 1)}


def test_a_length_past_the_end_refuses_its_series(tmp_path: Path) -> None:
    """A file with a damaged header leaves a hole in its series, even where it is the last one."""
    paths = build.dicom_series(tmp_path)
    _with_bytes(paths[-1], 0x7FE0, struct.pack("<HH2sHL", 0x0029, 0x0010, b"OB", 0, 5_000_000))
    assert _refused(tmp_path) == {("TRUNCATED", 6)}


@pytest.mark.parametrize("keyword", ["Rows", "ImagePositionPatient", "PixelSpacing"])
def test_an_element_twice(tmp_path: Path, keyword: str) -> None:
    (path,) = build.dicom_series(tmp_path, slices=1)
    vr, value = plain(dcmread(path))[tag(keyword)]
    _with_bytes(path, 0x7FE0, encode({tag(keyword): (vr, bytes(value)[:-1] + b"1")}))
    assert _refused(tmp_path) == {("NOT_DICOM", 1)}


def test_a_value_longer_than_its_item(tmp_path: Path) -> None:
    (path,) = build.dicom_series(tmp_path, slices=1)
    inner = struct.pack("<HHLHH2sH", 0xFFFE, 0xE000, 8, 0x0008, 0x0100, b"SH", 100)
    _with_bytes(path, 0x7FE0, struct.pack("<HH2sHL", 0x5200, 0x9229, b"SQ", 0, len(inner)) + inner)
    assert _refused(tmp_path) == {("NOT_DICOM", 1)}


def test_what_is_no_item(tmp_path: Path) -> None:
    (path,) = build.dicom_series(tmp_path, slices=1)
    _with_bytes(path, 0x7FE0, struct.pack("<HH2sHL", 0x0029, 0x0010, b"SQ", 0, 0xFFFFFFFF) + b"\1" * 64)
    assert _refused(tmp_path) == {("NOT_DICOM", 1)}


def test_a_file_that_has_gone(tmp_path: Path) -> None:
    paths = build.dicom_series(tmp_path, slices=2)
    found = find(tmp_path, only=[paths[0], tmp_path / "gone.dcm", tmp_path / "gone"])
    assert [(item.status, item.code) for item in found.not_used] == [("refused", "UNREADABLE")] * 2
    assert len(found.dicom) == 1


def test_files_cut_anywhere(tmp_path: Path) -> None:
    (path,) = build.dicom_series(tmp_path, slices=1)
    data = path.read_bytes()
    for length in range(0, len(data), 5):
        path.write_bytes(data[:length])
        assert _refused(tmp_path) <= {("TRUNCATED", 1), ("NOT_DICOM", 1)}


@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(changes=st.lists(st.tuples(st.integers(132, 1500), st.integers(0, 255)), min_size=1, max_size=6))
def test_changed_bytes(tmp_path: Path, changes: list[tuple[int, int]]) -> None:
    path = tmp_path / "a.dcm"
    if not path.exists():
        build.enhanced_mr(tmp_path / "good.dcm")
    data = bytearray((tmp_path / "good.dcm").read_bytes())
    for place, value in changes:
        data[place] = value
    path.write_bytes(data)
    find(tmp_path, only=[path])  # whatever it says, it says it of the file


def test_memory_does_not_grow_with_pixels(tmp_path: Path) -> None:
    peaks = []
    for matrix in (16, 16, 1024):
        root = tmp_path / f"{len(peaks)}"
        write_tree(root, 40, matrix=matrix)
        tracemalloc.start()
        assert len(catalogue(root)) == 1
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[2] < peaks[1] + 4 * 40_000  # four files' windows
