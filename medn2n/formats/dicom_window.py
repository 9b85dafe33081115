"""The bytes of a DICOM file, a piece at a time and never many: what no header needs is refused before it is read."""

from __future__ import annotations

import os
import zlib
from typing import BinaryIO

from medn2n.errors import InputError

LONGEST = 64_000_000  # bytes of one value
_READ = 128_000_000  # bytes that one header may make us read
_INFLATED = 256_000_000  # bytes of a whole deflated data set
_DEFLATED_HEADER = 16_000_000  # bytes of it that are kept
_CHUNK = 32_768
HEAD = 12  # bytes of the longest head of an element
_TOO_LONG = "its header is longer than an image's can be. Export it again."


class Window:
    """Some bytes of an unbuffered file, moved on as its reader goes on. data: the bytes at hand, which start at
    position `start`, with zeros after the end, so that a head can be looked at there. size: of the whole."""

    def __init__(self, file: BinaryIO) -> None:
        self._file: BinaryIO | None = file
        self._read = 0
        self.size = os.fstat(file.fileno()).st_size
        self.move(0)

    def move(self, position: int, count: int = HEAD) -> None:
        """Have at least `count` bytes from `position`. InputError TOO_LARGE where a header made us read too much."""
        asked = max(count, _CHUNK)
        if self._file is None or self._read > _READ:
            raise InputError("TOO_LARGE", _TOO_LONG)
        self._file.seek(position)
        data = self._file.read(asked)
        self.data, self.start = data + bytes(HEAD) if len(data) < asked else data, position
        self._read += len(data)

    def view(self) -> tuple[bytes, int, int]:
        """The bytes at hand, where they begin, and the last position that has a whole head in them."""
        return self.data, self.start, self.start + len(self.data) - HEAD

    def offset(self, position: int, count: int) -> int:
        """Where `position` is in `data`, which then holds `count` bytes from there."""
        if not self.start <= position <= self.start + len(self.data) - count:
            self.move(position, count)
        return position - self.start

    def value(self, position: int, length: int) -> bytes:
        """Bytes that lie before `size`. InputError TOO_LARGE; TRUNCATED where the file has become shorter."""
        if length > LONGEST:
            raise InputError("TOO_LARGE", f"one value of its header is longer than {LONGEST // 1_000_000} MB.")
        at = self.offset(position, length)
        data = self.data[at : at + length]
        if len(data) < length:
            raise InputError("TRUNCATED", "the file ends within its header. Copy or export it again.")
        return data

    def inflate(self, position: int) -> int:
        """Go on in the deflated data set that begins at `position` (PS3.5 A.5); returns where in it, 0.

        All of it is inflated, piece by piece, to know its size; only what a header can reach is kept. InputError
        TOO_LARGE, TRUNCATED; zlib.error.
        """
        if self._file is None:
            raise ValueError("already inflated")
        self._file.seek(position)
        stream = zlib.decompressobj(-zlib.MAX_WBITS)
        kept, size = bytearray(), 0
        while not stream.eof:
            piece = stream.unconsumed_tail or self._file.read(_CHUNK)
            data = stream.decompress(piece, 1 << 20)
            if not piece and not data:
                raise InputError("TRUNCATED", "its deflated data set ends early. Copy or export it again.")
            size += len(data)
            if size > _INFLATED:
                most = f"{_INFLATED // 1_000_000} MB"
                raise InputError("TOO_LARGE", f"its deflated data set holds more than {most}. Export it uncompressed.")
            if len(kept) < _DEFLATED_HEADER:
                kept += data
        self._file, self.data, self.start, self.size = None, bytes(kept) + bytes(HEAD), 0, size
        return 0
