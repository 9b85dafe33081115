"""Our own header reader says of every file what pydicom says of it, element by element and byte by byte."""

from __future__ import annotations

import logging
import warnings
from pathlib import Path
from typing import Any

import pydicom
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from medn2n.errors import InputError
from medn2n.formats import dicom_header
from medn2n.formats.dicom_elements import Elements, no_header_text, plain
from medn2n.formats.dicom_header import Header
from medn2n.formats.dicom_part10 import Part10, read_part10

CHARACTER_SET = 0x00080005  # pydicom converts it while reading, which may change its padding
PIXELS = (0x7FE00008, 0x7FE00009, 0x7FE00010)


def _read(path: Path, wanted: frozenset[int]) -> Part10:
    with path.open("rb", buffering=0) as file:
        found = read_part10(file, wanted)
    assert found is not None
    return found


def _of_pydicom(path: Path) -> tuple[Elements, Elements, str, int]:
    """(file meta information, data set, transfer syntax, where reading ended)."""
    with no_header_text(), path.open("rb") as file:
        dataset = pydicom.dcmread(file, stop_before_pixels=True)
        element = dataset.get_item(0x00280103) if 0x00280103 in dataset else None
        signed = element is not None and element.value not in (b"", b"\0\0", 0, None)
        syntax = str(getattr(dataset.file_meta, "TransferSyntaxUID", ""))
        return plain(dataset.file_meta), plain(dataset, signed=signed), syntax, file.tell()


def _without_character_sets(elements: Elements) -> Elements:
    return {
        key: (vr, [_without_character_sets(item) for item in value] if isinstance(value, list) else value)
        for key, (vr, value) in elements.items()
        if key != CHARACTER_SET
    }


FILES = [
    path
    for path in sorted((Path(pydicom.__file__).parent / "data").rglob("*"))
    if path.is_file() and path.read_bytes()[128:132] == b"DICM"
]

# Where a length points past the file's end, pydicom takes what is left; we refuse.
ENDS_EARLY = ("rtplan_truncated.dcm", "DICOMDIR-nooffset")


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_every_element_of_pydicoms_own_files(path: Path) -> None:
    meta, elements, syntax, end = _of_pydicom(path)
    found = _read(path, frozenset(elements))
    if path.name in ENDS_EARLY:
        assert found.flaw is not None
        assert found.flaw.code == "TRUNCATED"
        assert found.elements.items() <= elements.items()
        return
    assert found.flaw is None
    assert found.meta == meta
    assert _without_character_sets(found.elements) == _without_character_sets(elements)
    assert found.syntax == syntax
    if syntax != DeflatedExplicitVRLittleEndian:
        assert found.pixels_at == end


def _outcome(path: Path, wanted: frozenset[int]) -> Header | str:
    with path.open("rb", buffering=0) as file:
        found = read_part10(file, wanted)
        assert found is not None
        try:
            return dicom_header._from_part10(path, file, found)
        except InputError as error:
            return error.code


@pytest.mark.parametrize("path", [path for path in FILES if path.name not in ENDS_EARLY], ids=lambda path: path.name)
def test_what_is_read_of_a_header_is_all_that_decides(path: Path) -> None:
    """The same Header comes out where every element is read."""
    assert _outcome(path, dicom_header._WANTED) == _outcome(path, frozenset(_of_pydicom(path)[1]))


def test_pydicom_brings_enough_of_them() -> None:
    assert len(FILES) > 70


def test_only_what_is_wanted() -> None:
    path = next(path for path in FILES if path.name == "CT_small.dcm")
    assert list(_read(path, frozenset({0x00100020, 0x00280010})).elements) == [0x00100020, 0x00280010]


# Data sets that nobody has written yet

text = st.text("ABCdef019 .", max_size=12)
LEAVES: dict[int, tuple[str, st.SearchStrategy[Any]]] = {
    0x00080008: ("CS", st.lists(st.text("ABC", min_size=1, max_size=8), max_size=3)),
    0x00080018: ("UI", st.just("1.2.826.5")),
    0x00081030: ("LO", text),
    0x00100010: ("PN", text),
    0x00180050: ("DS", st.decimals(-999, 999, places=2).map(str)),
    0x00189345: ("FD", st.floats(allow_nan=False)),
    0x00204000: ("LT", st.text("xyz ", max_size=300)),
    0x00280009: ("AT", st.just(0x00181063)),
    0x00280010: ("US", st.integers(0, 65535)),
    0x00280106: ("US", st.integers(0, 32767)),
    0x00281201: ("OW", st.binary(max_size=40).map(lambda data: data + b"\0" * (len(data) % 2))),
    0x00282000: ("OB", st.binary(max_size=40).map(lambda data: data + b"\0" * (len(data) % 2))),
    0x0040A30A: ("DS", st.lists(st.just("1.5"), max_size=3)),
    0x00420010: ("ST", text),
    0x00091001: ("LO", text),
    0x00291010: ("UN", st.binary(max_size=20).map(lambda data: data + b"\0" * (len(data) % 2))),
}
SEQUENCES = (0x00081140, 0x0018A001, 0x00400275, 0x52009229)


@st.composite
def data_sets(draw: st.DrawFn, depth: int = 4) -> Dataset:
    ds = Dataset()
    for number in draw(st.sets(st.sampled_from(sorted(LEAVES)), max_size=8)):
        vr, values = LEAVES[number]
        ds.add_new(number, vr, draw(values))
    for number in draw(st.sets(st.sampled_from(SEQUENCES), max_size=2)) if depth else ():
        items = draw(st.lists(data_sets(depth=depth - 1), max_size=3))
        for item in items:
            item.is_undefined_length_sequence_item = draw(st.booleans())
        ds.add_new(number, "SQ", Sequence(items))
        ds[number].is_undefined_length = draw(st.booleans())
    return ds


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    ds=data_sets(),
    syntax=st.sampled_from(
        [ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian]
    ),
    pixels=st.booleans(),
    data=st.data(),
)
def test_data_sets_that_pydicom_writes(
    tmp_path: Path, ds: Dataset, syntax: pydicom.uid.UID, pixels: bool, data: st.DataObject
) -> None:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID, meta.TransferSyntaxUID = "1.2", "1.2.3", syntax
    if pixels:
        ds.add_new(0x7FE00010, "OW", b"\1\2\3\4")
    whole = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128, is_implicit_VR=syntax.is_implicit_VR,
                        is_little_endian=syntax.is_little_endian)  # fmt: skip
    whole.update(ds)
    path = tmp_path / "a.dcm"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        logging.disable(logging.CRITICAL)
        whole.save_as(path, enforce_file_format=True)
        logging.disable(logging.NOTSET)
    written_meta, elements, _, end = _of_pydicom(path)
    found = _read(path, frozenset(elements))
    assert found.flaw is None
    assert (found.meta, found.elements) == (written_meta, elements)
    if syntax != DeflatedExplicitVRLittleEndian:
        assert found.pixels_at == end
    some = data.draw(st.sets(st.sampled_from(sorted(elements)))) if elements else set()
    assert _read(path, frozenset(some)).elements == {key: elements[key] for key in elements if key in some}


def test_a_file_without_the_mark(tmp_path: Path) -> None:
    for size in (0, 100, 131, 200):
        (tmp_path / "x").write_bytes(b"\0" * size)
        with (tmp_path / "x").open("rb", buffering=0) as file:
            assert read_part10(file, frozenset()) is None
