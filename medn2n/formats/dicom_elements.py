"""DICOM data elements as bytes: read with pydicom, kept as they are, written as Explicit VR Little Endian.

Converting values to Python objects and back changes them (decimal strings, padding, character sets) and warns with
header text in the message. What medn2n copies, it therefore never converts. PS3.5 chapters 6 and 7.
"""

from __future__ import annotations

import logging
import math
import struct
import warnings
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from functools import cache, lru_cache
from typing import Any, TypeAlias

from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset

from medn2n.errors import InputError

Element: TypeAlias = "tuple[str, bytes | list[Elements]]"
Elements: TypeAlias = dict[int, Element]

DEPTH = 64  # sequences in sequences; no real object comes near
_UNDEFINED = 0xFFFFFFFF
_END_OF_SEQUENCE = struct.pack("<HHL", 0xFFFE, 0xE0DD, 0)
LONG_VRS = {"OB", "OD", "OF", "OL", "OV", "OW", "SQ", "SV", "UC", "UN", "UR", "UT", "UV"}
_SHORT_VRS = {"AE", "AS", "AT", "CS", "DA", "DS", "DT", "FD", "FL", "IS", "LO", "LT", "PN", "SH", "SL", "SS", "ST",
              "TM", "UI", "UL", "US"}  # fmt: skip
_SWAP = {"US": "H", "SS": "h", "OW": "H", "AT": "H", "UL": "L", "SL": "l", "OL": "L", "FL": "f", "OF": "f",
         "FD": "d", "OD": "d", "OV": "Q", "SV": "q", "UV": "Q"}  # fmt: skip
_NUMBERS = {"US": "H", "SS": "h", "UL": "L", "SL": "l", "FL": "f", "FD": "d"}

_TEXT = {"RescaleSlope", "RescaleIntercept", "ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing"}
_BINARY = {"Rows", "Columns", "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation"}


class Encapsulated(bytes):
    """The items of encapsulated pixel data, offset table first (PS3.5 A.4); written with undefined length."""


@contextmanager
def no_header_text() -> Iterator[None]:
    """Silence pydicom's warnings, which it also logs: they quote values, and values are patient data."""
    pydicom = logging.getLogger("pydicom")
    level = pydicom.level
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pydicom.setLevel(logging.CRITICAL + 1)
        try:
            yield
        finally:
            pydicom.setLevel(level)


@cache
def tag(keyword: str) -> int:
    """Tag number of a DICOM keyword."""
    number = tag_for_keyword(keyword)
    if number is None:
        raise KeyError(keyword)
    return int(number)


def require_depth(depth: int) -> None:
    """InputError TOO_DEEP for sequences nested deeper than DEPTH."""
    if depth > DEPTH:
        raise InputError("TOO_DEEP", f"its sequences are nested more than {DEPTH} deep. Export it again.")


def plain(dataset: Dataset, *, signed: bool = False, only: Collection[int] = (), depth: int = 0) -> Elements:
    """Every element of a pydicom Dataset as (VR, little-endian bytes), sequences as lists of the same.

    signed: PixelRepresentation, which settles the VR "US or SS" in implicit files (PS3.6). only: tags; () for all.
    depth: of the sequence that the data set is an item of. InputError TOO_DEEP; ValueError for a group or VR that is
    none, and whatever pydicom raises for damaged elements.
    """
    require_depth(depth)
    elements: Elements = {}
    for key in [key for key in dataset.keys() if not only or key in only]:  # noqa: SIM118  # keys convert nothing
        element = dataset.get_item(key)
        number = int(key)
        if isinstance(element, RawDataElement):
            vr = vr_to_write(number, element.VR, signed)
            if not number >> 16 or (vr not in LONG_VRS and vr not in _SHORT_VRS and not (number >> 16) & 1):
                raise ValueError("a group or VR that no data set has")  # a copy with it could not be read
            if vr != "SQ":
                value = bytes(element.value or b"")
                elements[number] = (vr, value if element.is_little_endian else swapped(vr, value))
                continue
            element = dataset[key]
        if element.VR == "SQ":
            elements[number] = ("SQ", [plain(item, signed=signed, depth=depth + 1) for item in element.value or []])
        else:
            elements[number] = _converted(str(element.VR), element.value, signed)
    return elements


def vr_to_write(number: int, vr: str | None, signed: bool) -> str:
    """The VR to write. Files in Implicit VR do not hold it; UN of a public tag is looked up likewise."""
    if vr in (None, "UN") and not (number >> 16) & 1:
        try:
            vr = dictionary_VR(number)
        except KeyError:
            vr = "UN"
    if vr == "US or SS":
        return "SS" if signed else "US"
    return "UN" if vr is None else "OW" if vr in ("OB or OW", "US or OW", "US or SS or OW") else vr


def swapped(vr: str, value: bytes) -> bytes:
    """A big-endian value as little endian."""
    code = _SWAP.get(vr)
    if code is None:
        return value
    count = len(value) // struct.calcsize("<" + code)
    return struct.pack(f"<{count}{code}", *struct.unpack(f">{count}{code}", value))


def _converted(vr: str, value: Any, signed: bool) -> Element:
    """An element that pydicom has already converted while reading (the character set, mostly)."""
    if isinstance(value, bytes):
        return (vr, value)
    if value is None:
        value = []
    values = value if isinstance(value, list | tuple) or type(value).__name__ == "MultiValue" else [value]
    if vr in ("US", "SS", "UL", "SL", "FL", "FD", "US or SS"):
        code = "SS" if vr == "US or SS" and signed else "US" if vr == "US or SS" else vr
        return (code, struct.pack(f"<{len(values)}{_NUMBERS[code]}", *values))
    return text(vr, *("" if item is None else str(item) for item in values))


def text(vr: str, *values: str) -> Element:
    """A string element, padded to even length as PS3.5 6.2 asks. Values are ASCII."""
    data = "\\".join(values).encode("latin-1", "replace")
    return (vr, data + (b"\0" if vr == "UI" else b" ") * (len(data) % 2))


def words(vr: str, *values: int) -> Element:
    """A US, SS, UL or SL element."""
    return (vr, struct.pack(f"<{len(values)}{_NUMBERS[vr]}", *values))


# The files of a series say the same again and again. Long values are not kept.
_SHORT = 128


@lru_cache(maxsize=2048)
def _parts(value: bytes) -> tuple[str, ...]:
    whole = value.decode("latin-1").strip(" \0")
    return tuple(part.strip(" \0") for part in whole.split("\\")) if whole else ()


@lru_cache(maxsize=2048)
def _values(code: str, value: bytes) -> tuple[float, ...]:
    try:
        if code:
            count = len(value) // struct.calcsize("<" + code)
            return tuple(float(number) for number in struct.unpack_from(f"<{count}{code}", value))
        values = tuple(float(part) for part in _parts.__wrapped__(value))
        return values if all(map(math.isfinite, values)) else ()  # Python reads "nan" and "1e400", the standard not
    except ValueError:
        return ()


def strings(elements: Elements, keyword: str) -> tuple[str, ...]:
    """Values of a text element without padding; () where it is absent, empty or not text."""
    element = elements.get(tag(keyword))
    if element is None or not isinstance(element[1], bytes):
        return ()
    return (_parts if len(element[1]) <= _SHORT else _parts.__wrapped__)(element[1])


def string(elements: Elements, keyword: str) -> str:
    """First value of a text element, or ""."""
    values = strings(elements, keyword)
    return values[0] if values else ""


def numbers(elements: Elements, keyword: str) -> tuple[float, ...]:
    """Values of a DS, IS or binary number element of any length; () where absent or not numbers, and where what
    decides shape, place or scaling is written as text instead of binary, or the other way round: it is damaged."""
    element = elements.get(tag(keyword))
    if element is None or not isinstance(element[1], bytes):
        return ()
    code = _NUMBERS.get(element[0], "")
    if keyword in (_TEXT if code else _BINARY):
        return ()
    return (_values if len(element[1]) <= _SHORT else _values.__wrapped__)(code, element[1])


def number(elements: Elements, keyword: str) -> float | None:
    """First value of a number element, or None."""
    values = numbers(elements, keyword)
    return values[0] if values else None


def items(elements: Elements, keyword: str) -> list[Elements]:
    """Items of a sequence; [] where it is absent."""
    element = elements.get(tag(keyword))
    return element[1] if element is not None and isinstance(element[1], list) else []


def encode(elements: Elements) -> bytes:
    """The elements in tag order as Explicit VR Little Endian, sequences with defined lengths (PS3.5 7.1.2, 7.5)."""
    parts: list[bytes] = []
    for number_ in sorted(elements):
        vr, value = elements[number_]
        if isinstance(value, list):
            value = b"".join(_item(encode(item)) for item in value)
        if len(value) % 2:
            value += b"\0" if vr in ("UI", "OB", "UN") else b" "
        if vr not in LONG_VRS and len(value) > 0xFFFF:
            vr = "UN"
        head = struct.pack("<HH2s", number_ >> 16, number_ & 0xFFFF, vr.encode())
        size = _UNDEFINED if isinstance(value, Encapsulated) else len(value)
        length = struct.pack("<HL", 0, size) if vr in LONG_VRS else struct.pack("<H", size)
        parts += [head, length, value, _END_OF_SEQUENCE] if size == _UNDEFINED else [head, length, value]
    return b"".join(parts)


def _item(data: bytes) -> bytes:
    return struct.pack("<HHL", 0xFFFE, 0xE000, len(data)) + data


def encode_file(meta: Elements, body: Elements) -> bytes:
    """A whole Part 10 file: preamble, File Meta Information with its length, data set."""
    group = encode({key: value for key, value in meta.items() if key != 0x00020000})
    head = encode({0x00020000: words("UL", len(group))})
    return b"\0" * 128 + b"DICM" + head + group + encode(body)
