"""The elements that medn2n needs of a DICOM file, as bytes, with as little read as possible (PS3.10 7, PS3.5 7, A).

pydicom reads every element of a header and inflates a deflated file whole; a catalogue of thousands of files needs
some seventy elements of each, and must survive any file. This reader takes the wanted elements, seeks over the others,
stops at the pixels, and refuses by name what no header has: sequences more than 64 deep, values of more than 64 MB,
lengths past the end, one element with two values. It reads as pydicom does where files break the standard in known
ways (items in Implicit VR, UN that is a sequence); the tests compare both on pydicom's own files.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from typing import BinaryIO, TypeAlias

from medn2n.errors import InputError
from medn2n.formats.dicom_elements import LONG_VRS, Element, Elements, require_depth, swapped, vr_to_write
from medn2n.formats.dicom_window import LONGEST, Window

_KEPT = 1_000_000  # elements and items kept of one header

_IMPLICIT, _BIG_ENDIAN, _DEFLATED = "1.2.840.10008.1.2", "1.2.840.10008.1.2.2", "1.2.840.10008.1.2.1.99"
_UNDEFINED = 0xFFFFFFFF
_ITEM, _ITEM_END, _SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
_PIXELS = {0x7FE00008, 0x7FE00009, 0x7FE00010}
_ENDS = {_ITEM_END, *_PIXELS}
_PIXEL_REPRESENTATION = 0x00280103
_LONG = {vr.encode() for vr in LONG_VRS}
_Find: TypeAlias = Callable[[bytes], int | None]  # bytes of a tag → the tag, where it is wanted or ends what is read


@dataclass(slots=True, kw_only=True)
class Part10:
    """What was read of one file. pixels_at: where the pixel data's element begins, or the data set ends. oversized: a
    value that was not wanted is longer than LONGEST. flaw: why reading ended early; what came before it is there."""

    meta: Elements = field(default_factory=dict)
    elements: Elements = field(default_factory=dict)
    syntax: str = ""
    pixels_at: int = 0
    oversized: bool = False
    flaw: InputError | None = None


def read_part10(file: BinaryIO, wanted: frozenset[int]) -> Part10 | None:
    """The file meta information, and the elements of the data set whose tags are `wanted`, sequences with all they
    hold, as `dicom_elements.plain` gives them. None where the file does not have the DICM mark.

    file: unbuffered, not read from yet. What is wrong becomes `flaw`: NOT_DICOM, TRUNCATED, TOO_DEEP, TOO_LARGE.
    """
    window = Window(file)
    if window.data[128:132] != b"DICM":
        return None
    reader = _Reader(window)
    found = Part10()
    try:
        found.pixels_at = reader.file_meta(132, found.meta)
        value = found.meta.get(0x00020010, ("UI", b""))[1]
        found.syntax = value.decode("latin-1").strip(" \0") if isinstance(value, bytes) else ""
        position = found.pixels_at
        if found.syntax == _DEFLATED:
            position = window.inflate(position)
        reader.order = _BIG if found.syntax == _BIG_ENDIAN else _LITTLE
        implicit = reader.is_implicit(position, found.syntax in ("", _IMPLICIT))
        keys = reader.order.keys(wanted | _PIXELS)
        found.pixels_at = reader.elements(position, window.size, implicit, found.elements, keys.get, 0)
    except InputError as error:
        found.flaw = error
    except zlib.error:
        found.flaw = InputError("NOT_DICOM", "its deflated data set is damaged. Export it again.")
    found.oversized = reader.oversized
    return found


class _Order:
    """How a byte order reads: heads of elements with and without VR, tags and lengths."""

    def __init__(self, order: str) -> None:
        self.little = order == "<"
        self.explicit = struct.Struct(order + "4s2sH").unpack_from
        self.implicit = struct.Struct(order + "4sL").unpack_from
        self.length = struct.Struct(order + "L").unpack_from
        self._tag = struct.Struct(order + "HH")
        self.nothing = self.keys(frozenset())

    def number(self, key: bytes) -> int:
        """The tag that these four bytes are."""
        group, element = self._tag.unpack(key)
        return int(group) << 16 | int(element)

    @lru_cache(maxsize=16)  # noqa: B019
    def keys(self, wanted: frozenset[int]) -> dict[bytes, int]:
        """Bytes → tag of those that are wanted, or end what is read."""
        return {self._tag.pack(number >> 16, number & 0xFFFF): number for number in wanted | {_ITEM_END}}


def _of_file_meta(key: bytes) -> int:
    """The tag of an element of group 0002; anything else ends the file meta information as pixels end a data set."""
    return 0x00020000 | int.from_bytes(key[2:], "little") if key[:2] == b"\2\0" else 0x7FE00010


_LITTLE, _BIG = _Order("<"), _Order(">")


class _Reader:
    """The descent over the elements in a window on the file."""

    def __init__(self, window: Window) -> None:
        self.window = window
        self.order = _LITTLE
        self.oversized = False
        self._kept = 0
        self._signed = False

    def is_implicit(self, position: int, assumed: bool) -> bool:
        """Whether the elements from here on have no VR: some files lie about it, above all in sequences."""
        if position + 6 > self.window.size:
            return assumed
        at = self.window.offset(position, 12)
        return not (0x40 < self.window.data[at + 4] < 0x5B and 0x40 < self.window.data[at + 5] < 0x5B)

    def file_meta(self, position: int, into: Elements) -> int:
        """Group 0002, whatever its length element says. Returns where the data set begins."""
        return self.elements(position, self.window.size, self.is_implicit(position, False), into, _of_file_meta, 0)

    def elements(self, position: int, end: int, implicit: bool, into: Elements, find: _Find, depth: int) -> int:
        """Take the elements that `find` wants up to `end`, an item's end mark, or the pixels; returns where."""
        order, explicit, window = self.order, self.order.explicit, self.window
        data, begin, last = window.view()
        while position + 8 <= end:
            if position > last:
                window.move(position)
                data, begin, last = window.view()
            head, at = 8, position - begin
            if implicit:
                key, length = order.implicit(data, at)
                vr = b""
            else:
                key, vr, length = explicit(data, at)
                if vr in _LONG:
                    length, head = order.length(data, at + 8)[0], 12
                elif not b"AA" <= vr <= b"ZZ":
                    key, length = order.implicit(data, at)
                    vr = b""
            number = find(key)
            if number in _ENDS and (number == _ITEM_END or not depth):
                return position + 8 if number == _ITEM_END else position
            start = position + head
            if length == _UNDEFINED:
                position = self._of_undefined_length(number, vr, start, implicit, into, depth)
                data, begin, last = window.view()
                continue
            position = start + length
            if position > end:
                self._require(position, end)
            elif number is not None:
                self._of_known_length(number, vr, start, length, implicit, into, depth)
                data, begin, last = window.view()
            elif length > LONGEST:
                self.oversized = True
        return position

    def _of_known_length(
        self, number: int, vr: bytes, start: int, length: int, implicit: bool, into: Elements, depth: int
    ) -> None:
        name = _vr(number, vr, self._signed)
        if depth:
            self._count()
        if name == "SQ":
            items: list[Elements] = []
            self._sequence(start, start + length, implicit, items, depth + 1)
            _put(into, number, ("SQ", items))
            return
        data = self.window.value(start, length)
        _put(into, number, (name, data if self.order.little else swapped(name, data)))
        if number == _PIXEL_REPRESENTATION and not depth:
            self._signed = data not in (b"", b"\0\0")

    def _of_undefined_length(
        self, number: int | None, vr: bytes, start: int, implicit: bool, into: Elements, depth: int
    ) -> int:
        """A sequence, which may call itself UN, or encapsulated data. Returns where it ends."""
        if number is None:
            return self._sequence(start, None, implicit, None, depth + 1)
        name = _vr(number, vr, self._signed)
        if name in ("SQ", "UN") or vr == b"UN":
            items: list[Elements] = []
            end = self._sequence(start, None, implicit, items, depth + 1)
            _put(into, number, ("SQ", items))
            return end
        end = self._sequence(start, None, implicit, None, depth + 1)
        data = self.window.value(start, end - 8 - start)
        _put(into, number, (name, data if self.order.little else swapped(name, data)))
        return end

    def _sequence(self, position: int, end: int | None, implicit: bool, into: list[Elements] | None, depth: int) -> int:
        """Items up to `end` (None: up to their end mark), put into `into` (None: nowhere). Returns where they end."""
        require_depth(depth)
        limit = self.window.size if end is None else end
        find: _Find = self.order.nothing.get if into is None else self.order.number
        while end is None or position < end:
            self._require(position + 8, limit)
            key, length = self.order.implicit(self.window.data, self.window.offset(position, 12))
            number, position = self.order.number(key), position + 8
            if number == _SEQUENCE_END:
                break
            if number != _ITEM:
                raise InputError("NOT_DICOM", "one of its sequences holds what is not an item. Export it again.")
            stop = limit if length == _UNDEFINED else position + length
            self._require(stop, limit)
            if into is not None or length == _UNDEFINED:
                item: Elements = {}
                lacks_vr = implicit or self.is_implicit(position, implicit)
                after = self.elements(position, stop, lacks_vr, item, find, depth)
                position = after if length == _UNDEFINED else stop
                if into is not None:
                    self._count()
                    into.append(item)
            else:
                position = stop
        return position

    def _count(self) -> None:
        self._kept += 1
        if self._kept > _KEPT:
            raise InputError("TOO_LARGE", f"its header holds more than {_KEPT} values. Export it again.")

    def _require(self, position: int, end: int) -> None:
        """InputError where what ends at `position` does not end within `end`."""
        if position <= end:
            return
        if end >= self.window.size:
            raise InputError("TRUNCATED", "the file ends within its header. Copy or export it again.")
        raise InputError("NOT_DICOM", "a value of its header is longer than what holds it. Export it again.")


def _put(into: Elements, number: int, element: Element) -> None:
    """Keep an element. InputError where it stands there twice with two values: nothing says which of them counts."""
    if into.setdefault(number, element) != element:
        raise InputError("NOT_DICOM", "one of its elements stands there twice. Export it again.")


@lru_cache(maxsize=4096)
def _vr(number: int, vr: bytes, signed: bool) -> str:
    return vr_to_write(number, vr.decode("latin-1") or None, signed)
