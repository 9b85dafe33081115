"""What a PNG or TIFF says of itself, read field by field and bounded by the file's size, before a voxel is decoded.

Taken are pictures of 8 or 16 bits, grey or RGB, and the float TIFFs that medn2n writes. Everything else that calls
itself a picture is named in one sentence: transparency has no noise to learn, a palette's numbers are no intensities,
a lossy TIFF has noise of its own, a foreign float TIFF does not say which of its values is white.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Literal

import numpy as np

from medn2n.core.geometry import RAS_FROM_LPS
from medn2n.errors import InputError
from medn2n.formats.limits import Coding, check_size

SUFFIXES = (".png", ".tif", ".tiff")
AFFINE = RAS_FROM_LPS.copy()  # pixels of 1 mm, upright where an axial slice is
PNG_MAGIC = b"\x89PNG\r\n\x1a\n"
OWN_COPY = "denoised by medn2n"
FLOAT_LEVELS = "medn2n grey levels: black 0, white 255"
# Chunks that say how the numbers look or how large a pixel is; texts, times and EXIF may name a person.
_CARRIED = (b"gAMA", b"cHRM", b"sRGB", b"iCCP", b"cICP", b"sBIT", b"pHYs")
_MOST_CHUNKS = 1_000_000
_MOST_BYTES = 4 << 20  # of one field that is kept or searched
_TIFF_CODINGS: dict[int, Coding] = {1: "plain", 5: "deflate", 8: "deflate", 32946: "deflate", 32773: "rle"}
# Size, depth, coding, colour, text, strips, planes, resolution, layout, tiles, alpha, sample format, profile.
_TIFF_TAGS = {
    256, 257, 258, 259, 262, 270, 273, 274, 277, 278, 279, 282, 283, 284, 296, 317, 322, 338, 339, 34675,
}  # fmt: skip
_TIFF_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8}


@dataclass(frozen=True, slots=True, kw_only=True)
class PhotoHeader:
    """planes: 1 (grey) or 3 (RGB). dtype: of the stored numbers. carried: PNG chunks, or {"icc": profile} of a TIFF,
    that the written copy keeps. resolution: of a TIFF, pixels along columns and rows for each unit (2 inch, 3 cm).
    own_copy: whether medn2n denoised it."""

    kind: Literal["png", "tiff"]
    columns: int
    rows: int
    planes: int
    dtype: np.dtype[np.generic]
    compressed: bool
    carried: tuple[tuple[str, bytes], ...] = ()
    resolution: tuple[float, float, int] | None = None
    own_copy: bool = False

    @property
    def slope(self) -> float:
        """Stored number → grey level of 0 to 255."""
        return 1.0 / 257.0 if self.dtype.itemsize == 2 else 1.0


def read_header(path: Path) -> PhotoHeader:
    """InputError whose code begins with PHOTO_ for what is not taken, and as `limits.check_size`."""
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(8)
        if head == PNG_MAGIC:
            return _png(file, size)
        if head[:4] in (b"II*\0", b"MM\0*"):
            return _Tiff(file, size, "<" if head[:2] == b"II" else ">").header(head[4:])
    raise InputError("PHOTO_UNKNOWN", "neither a PNG nor a TIFF, though it is named like one. Export it again.")


def is_photo(path: Path) -> bool:
    """By name and first bytes: a PNG or a (classic) TIFF."""
    if not path.name.lower().endswith(SUFFIXES):
        return False
    with path.open("rb") as file:
        head = file.read(8)
    return head == PNG_MAGIC or head[:4] in (b"II*\0", b"MM\0*")


def _truncated() -> InputError:
    return InputError("PHOTO_TRUNCATED", "ends early or is damaged. Copy or export it again.")


def _checked(columns: int, rows: int, planes: int, bits: int, packed: int, coding: Coding) -> None:
    if columns < 1 or rows < 1:
        raise InputError("PHOTO_EMPTY", "a picture without pixels. Export it again.")
    try:
        check_size(columns * rows * planes, bits // 8, packed, coding)
    except InputError as error:
        code = "PHOTO_TOO_LARGE" if error.code == "TOO_LARGE" else "PHOTO_TRUNCATED"
        raise InputError(code, str(error)) from None


def _png(file: BinaryIO, size: int) -> PhotoHeader:
    """Chunk by chunk to the end (W3C PNG, third edition, §5)."""
    carried: list[tuple[str, bytes]] = []
    packed, ended, own, shape = 0, False, False, None
    for _ in range(_MOST_CHUNKS):
        head = file.read(8)
        if len(head) < 8:
            break
        length, kind = struct.unpack(">I4s", head)
        if file.tell() + length + 4 > size:
            raise _truncated()
        if shape is None:
            shape = _png_shape(kind, file.read(length))
        elif kind == b"tRNS":
            raise InputError("PHOTO_ALPHA", "has transparent pixels. Flatten it to grey or RGB first.")
        elif kind == b"acTL":
            raise InputError("PHOTO_PAGES", "an animation. Export one picture a file.")
        elif kind in (*_CARRIED, b"tEXt") and length <= _MOST_BYTES:
            data = file.read(length)
            own |= kind == b"tEXt" and data == b"Comment\0" + OWN_COPY.encode()
            carried += [(kind.decode(), data)] if kind != b"tEXt" else []
        else:
            file.seek(length, 1)
        packed += length if kind == b"IDAT" else 0
        file.seek(4, 1)
        if kind == b"IEND":
            ended = True
            break
    if shape is None or not ended:
        raise _truncated()
    columns, rows, planes, bits = shape
    _checked(columns, rows, planes, bits, packed, "deflate")
    return PhotoHeader(
        kind="png", columns=columns, rows=rows, planes=planes, dtype=np.dtype(f"u{bits // 8}"), compressed=True,
        carried=tuple(carried), own_copy=own,
    )  # fmt: skip


def _png_shape(kind: bytes, data: bytes) -> tuple[int, int, int, int]:
    if kind != b"IHDR" or len(data) != 13:
        raise _truncated()
    columns, rows, bits, colour, _, _, _ = struct.unpack(">IIBBBBB", data)
    if colour in (4, 6):
        raise InputError("PHOTO_ALPHA", "has an alpha plane. Flatten it to grey or RGB first.")
    if colour not in (0, 2):
        raise InputError("PHOTO_PALETTE", "has a palette, whose numbers are no intensities. Convert it to grey or RGB.")
    if bits not in (8, 16):
        raise InputError("PHOTO_DEPTH", f"has {bits} bits a pixel, expected 8 or 16. Convert it.")
    return columns, rows, 1 if colour == 0 else 3, bits


class _Tiff:
    """The first directory of a classic TIFF (TIFF 6.0, §2): tag → numbers or bytes."""

    def __init__(self, file: BinaryIO, size: int, order: str) -> None:
        self.file, self.size, self.order = file, size, order
        self.tags: dict[int, tuple[float, ...]] = {}
        self.bytes: dict[int, bytes] = {}

    def header(self, place: bytes) -> PhotoHeader:
        """Read and check. InputError as `read_header`."""
        another = self._directory(self._number(place))
        if another:
            raise InputError("PHOTO_PAGES", "holds several pages. Export one picture a file, or convert it to NIfTI.")
        columns, rows, planes, samples = self._int(256, 0), self._int(257, 0), self._int(277, 1), self._int(339, 1)
        bits = set(self.tags.get(258, (1,)))
        self._check_colour(planes)
        if bits not in ({8}, {16}, {32}) or samples != (3 if bits == {32} else 1):
            raise InputError("PHOTO_DEPTH", "not 8 or 16 bits without sign. Convert it.")
        if bits == {32} and FLOAT_LEVELS.encode() not in self.bytes.get(270, b""):
            raise InputError("PHOTO_DEPTH", "its decimal numbers do not say which is white. Convert it to 16 bits.")
        depth, packed = int(max(bits)), self._strips()
        coding = self._coding()
        _checked(columns, rows, planes, depth, packed, coding)
        across, down = (self.tags.get(tag, ()) for tag in (282, 283))
        return PhotoHeader(
            kind="tiff", columns=columns, rows=rows, planes=planes, compressed=coding != "plain",
            dtype=np.dtype("f4" if depth == 32 else f"u{depth // 8}"),
            carried=(("icc", self.bytes[34675]),) if 34675 in self.bytes else (),
            resolution=(across[0], down[0], self._int(296, 2)) if across and down else None,
            own_copy=OWN_COPY.encode() in self.bytes.get(270, b""),
        )  # fmt: skip

    def _check_colour(self, planes: int) -> None:
        if self._int(338, -1) != -1 or planes in (2, 4):
            raise InputError("PHOTO_ALPHA", "has an alpha plane. Flatten it to grey or RGB first.")
        if (planes, self._int(262, -1)) not in ((1, 1), (3, 2)):
            raise InputError("PHOTO_PALETTE", "neither grey with black at zero nor RGB. Convert it.")
        if self._int(274, 1) != 1:
            raise InputError("PHOTO_TURNED", "is stored turned or mirrored. Export it upright.")
        if 322 in self.tags or (planes == 3 and self._int(284, 1) != 1):
            raise InputError("PHOTO_LAYOUT", "is stored in tiles or by planes. Export it in strips.")

    def _coding(self) -> Coding:
        found = _TIFF_CODINGS.get(self._int(259, 1))
        if found is None:
            raise InputError("PHOTO_CODING", "is compressed in a way that is lossy or not known. Export it losslessly.")
        return found

    def _strips(self) -> int:
        """Bytes that the strips take, all of which must lie inside the file."""
        starts, counts = self.tags.get(273, ()), self.tags.get(279, ())
        if not starts or len(starts) != len(counts):
            raise _truncated()
        if any(start + count > self.size for start, count in zip(starts, counts, strict=True)):
            raise _truncated()
        return int(sum(counts))

    def _number(self, data: bytes) -> int:
        return int.from_bytes(data, "little" if self.order == "<" else "big")

    def _int(self, tag: int, default: int) -> int:
        values = self.tags.get(tag, ())
        return int(values[0]) if values else default

    def _read(self, place: int, length: int) -> bytes:
        if place + length > self.size:
            raise _truncated()
        self.file.seek(place)
        return self.file.read(length)

    def _directory(self, place: int) -> int:
        """Fills `tags` and `bytes`; the place of the next directory."""
        count = self._number(self._read(place, 2))
        entries = self._read(place + 2, 12 * count + 4)
        for start in range(0, 12 * count, 12):
            tag, kind, number = struct.unpack(self.order + "HHI", entries[start : start + 8])
            length = _TIFF_SIZES.get(kind, 0) * number
            if tag not in _TIFF_TAGS or tag in self.bytes or not 0 < length <= _MOST_BYTES:
                continue
            inline = entries[start + 8 : start + 12]
            data = inline[:length] if length <= 4 else self._read(self._number(inline), length)
            self.bytes[tag] = data
            self.tags[tag] = self._values(data, kind, number)
        return self._number(entries[12 * count :])

    def _values(self, data: bytes, kind: int, number: int) -> tuple[float, ...]:
        if kind in (3, 4):
            return struct.unpack(f"{self.order}{number}{'H' if kind == 3 else 'I'}", data)
        if kind == 5:
            halves = struct.unpack(f"{self.order}{2 * number}I", data)
            return tuple(top / bottom if bottom else 0.0 for top, bottom in zip(halves[::2], halves[1::2], strict=True))
        return ()
