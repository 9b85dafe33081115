"""The elements that medn2n needs of a DICOM file, as bytes, with as little read as possible (PS3.10 7, PS3.5 7, A).

pydicom reads every element of a header and inflates a deflated file whole; a catalogue of thousands of files needs
some seventy elements of each, and must survive any file. This reader takes the wanted elements, seeks over the others,
stops at the pixels, and refuses by name what no header has: sequences more than 64 deep, values of more than 64 MB,
lengths past the end. It reads as pydicom does where files break the standard in known ways (items in Implicit VR, UN
that is a sequence); the tests compare both on pydicom's own files.
"""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from typing import BinaryIO, TypeAlias

from medn2n.errors import InputError
from medn2n.formats.dicom_elements import LONG_VRS, Elements, swapped, vr_to_write

DEPTH = 64
LONGEST = 64_000_000  # bytes of one value
_READ = 128_000_000  # bytes that one header may make us read
_KEPT = 1_000_000  # elements and items kept of one header
_INFLATED = 256_000_000  # bytes of a whole deflated data set
_CHUNK = 32_768

_IMPLICIT, _BIG_ENDIAN, _DEFLATED = "1.2.840.10008.1.2", "1.2.840.10008.1.2.2", "1.2.840.10008.1.2.1.99"
_UNDEFINED = 0xFFFFFFFF
_ITEM, _ITEM_END, _SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
_PIXELS = {0x7FE00008, 0x7FE00009, 0x7FE00010}
_ENDS = {_ITEM_END, *_PIXELS}
_PIXEL_REPRESENTATION = 0x00280103
_LONG = {vr.encode() for vr in LONG_VRS}
_Find: TypeAlias = Callable[[bytes], int | None]  # bytes of a tag → the tag, where it is wanted or ends what is read
_PAD = bytes(12)  # so that the head of an element can be looked at where the file ends


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
    reader = _Reader(file)
    if not reader.has_mark():
        return None
    found = Part10()
    try:
        found.pixels_at = reader.file_meta(132, found.meta)
        value = found.meta.get(0x00020010, ("UI", b""))[1]
        found.syntax = value.decode("latin-1").strip(" \0") if isinstance(value, bytes) else ""
        position = found.pixels_at
        if found.syntax == _DEFLATED:
            reader.take(*_inflated(file, position))
            position = 0
        reader.order = _BIG if found.syntax == _BIG_ENDIAN else _LITTLE
        implicit = reader.is_implicit(position, found.syntax in ("", _IMPLICIT))
        keys = reader.order.keys(wanted | _PIXELS)
        found.pixels_at = reader.elements(position, reader.size, implicit, found.elements, keys.get, 0)
    except InputError as error:
        found.flaw = error
    except zlib.error:
        found.flaw = InputError("NOT_DICOM", "its deflated data set is damaged. Export it again.")
    found.oversized = reader.oversized
    return found


def _inflated(file: BinaryIO, position: int) -> tuple[bytes, int]:
    """The start of a deflated data set (PS3.5 A.5), as far as a header may reach, and the length of all of it, which
    is inflated piece by piece. InputError TOO_LARGE, TRUNCATED; zlib.error."""
    file.seek(position)
    stream = zlib.decompressobj(-zlib.MAX_WBITS)
    start, size = bytearray(), 0
    while not stream.eof:
        piece = stream.unconsumed_tail or file.read(_CHUNK)
        data = stream.decompress(piece, 1 << 20)
        if not piece and not data:
            raise InputError("TRUNCATED", "its deflated data set ends early. Copy or export it again.")
        size += len(data)
        if size > _INFLATED:
            most = f"{_INFLATED // 1_000_000} MB"
            raise InputError("TOO_LARGE", f"its deflated data set holds more than {most}. Export it uncompressed.")
        if len(start) < LONGEST:
            start += data
    return bytes(start), size


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
    """A window that moves over the file, and the descent over its elements."""

    def __init__(self, file: BinaryIO) -> None:
        self.file: BinaryIO | None = file
        self.size = os.fstat(file.fileno()).st_size
        self.order = _LITTLE
        self.oversized = False
        self._read = self._kept = 0
        self._signed = False
        self._load(0, _CHUNK)

    def has_mark(self) -> bool:
        """Whether the file starts as PS3.10 7.1 says."""
        return self._data[128:132] == b"DICM"

    def take(self, data: bytes, size: int) -> None:
        """Go on in the first bytes of an inflated data set of `size`."""
        self.file, self._data, self._start, self.size = None, data + _PAD, 0, size

    def _load(self, position: int, count: int) -> None:
        """Move the window: `count` bytes from `position`, fewer where the file ends, then zeros."""
        if self.file is None:
            raise InputError("TOO_LARGE", "its header is longer than an image's can be. Export it again.")
        self.file.seek(position)
        asked = max(count, _CHUNK)
        data = self.file.read(asked)
        self._data, self._start = data + _PAD if len(data) < asked else data, position
        self._read += len(data)
        if self._read > _READ:
            raise InputError("TOO_LARGE", "its header is longer than an image's can be. Export it again.")

    def _offset(self, position: int, count: int) -> int:
        """Where `position` is in the window, which then holds `count` bytes from there."""
        if not self._start <= position <= self._start + len(self._data) - count:
            self._load(position, count)
        return position - self._start

    def value(self, position: int, length: int) -> bytes:
        """Bytes of the file. InputError TOO_LARGE, TRUNCATED."""
        if length > LONGEST:
            most = f"{LONGEST // 1_000_000} MB"
            raise InputError("TOO_LARGE", f"one value of its header is longer than {most}. Export it again.")
        at = self._offset(position, length)
        data = self._data[at : at + length]
        if len(data) < length:  # somebody cuts the file while we read it
            self._require(self.size + 1, self.size)
        return data

    def is_implicit(self, position: int, assumed: bool) -> bool:
        """Whether the elements from here on have no VR: some files lie about it, above all in sequences."""
        at = self._offset(position, 12)
        if position + 6 > self.size:
            return assumed
        return not (0x40 < self._data[at + 4] < 0x5B and 0x40 < self._data[at + 5] < 0x5B)

    def file_meta(self, position: int, into: Elements) -> int:
        """Group 0002, whatever its length element says. Returns where the data set begins."""
        return self.elements(position, self.size, self.is_implicit(position, False), into, _of_file_meta, 0)

    def elements(self, position: int, end: int, implicit: bool, into: Elements, find: _Find, depth: int) -> int:
        """Take the elements that `find` wants up to `end`, an item's end mark, or the pixels; returns where."""
        order, data, begin, explicit = self.order, self._data, self._start, self.order.explicit
        while position + 8 <= end:
            at = position - begin
            if at < 0 or at + 12 > len(data):
                self._load(position, 12)
                data, begin, at = self._data, self._start, 0
            head = 8
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
            position = start + length
            if length == _UNDEFINED:
                position = self._of_undefined_length(number, vr, start, implicit, into, depth)
                data, begin = self._data, self._start
            elif position > end:
                self._require(position, end)
            elif number is not None:
                self._of_known_length(number, vr, start, length, implicit, into, depth)
                data, begin = self._data, self._start
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
            into[number] = ("SQ", items)
            return
        at = start - self._start
        data = self._data[at : at + length] if at + length < len(self._data) else self.value(start, length)
        into[number] = (name, data if self.order.little else swapped(name, data))
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
            into[number] = ("SQ", items)
            return end
        end = self._sequence(start, None, implicit, None, depth + 1)
        data = self.value(start, end - 8 - start)
        into[number] = (name, data if self.order.little else swapped(name, data))
        return end

    def _sequence(self, position: int, end: int | None, implicit: bool, into: list[Elements] | None, depth: int) -> int:
        """Items up to `end` (None: up to their end mark), put into `into` (None: nowhere). Returns where they end."""
        if depth > DEPTH:
            raise InputError("TOO_DEEP", f"its sequences are nested more than {DEPTH} deep. Export it again.")
        limit = self.size if end is None else end
        find: _Find = self.order.nothing.get if into is None else self.order.number
        while end is None or position < end:
            self._require(position + 8, limit)
            key, length = self.order.implicit(self._data, self._offset(position, 12))
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
        if end >= self.size:
            raise InputError("TRUNCATED", "the file ends within its header. Copy or export it again.")
        raise InputError("NOT_DICOM", "a value of its header is longer than what holds it. Export it again.")


@lru_cache(maxsize=4096)
def _vr(number: int, vr: bytes, signed: bool) -> str:
    return vr_to_write(number, vr.decode("latin-1") or None, signed)
