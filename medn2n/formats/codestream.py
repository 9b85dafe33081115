"""Rows, columns and components that a JPEG, JPEG-LS or JPEG 2000 code stream says it has, without decoding it.

Codecs allocate what the code stream asks for, and some crash on streams that disagree with the DICOM header: the two
are compared first. ISO/IEC 10918-1 B.2 (JPEG), 14495-1 C.2 (JPEG-LS), 15444-1 A.5.1 (JPEG 2000).
"""

from __future__ import annotations

import struct

_SIZ = b"\xff\x4f\xff\x51"
# Start-of-frame markers: SOF0-15 without DHT, JPG, DAC; SOF55 of JPEG-LS.
_FRAMES = {*range(0xC0, 0xD0), 0xF7} - {0xC4, 0xC8, 0xCC}
_WITHOUT_LENGTH = {0x01, *range(0xD0, 0xD9)}


def frame_size(stream: bytes) -> tuple[int, int, int] | None:
    """(rows, columns, components); None where the stream's headers do not say."""
    start = stream.find(_SIZ, 0, 1024)  # a few bytes in where the stream lies in a JP2 file
    return _jpeg_2000(stream, start) if start >= 0 else _jpeg(stream)


def _jpeg_2000(stream: bytes, start: int) -> tuple[int, int, int] | None:
    head = stream[start + 8 : start + 42]
    if len(head) < 34:
        return None
    width, height, left, top, tile_width, tile_height, _, _, components = struct.unpack(">8LH", head)
    if not tile_width or not tile_height:
        return None
    return height - top, width - left, components


def _jpeg(stream: bytes) -> tuple[int, int, int] | None:
    if stream[:2] != b"\xff\xd8":
        return None
    at, found = 2, None
    while at + 4 <= len(stream) and stream[at] == 0xFF:
        marker = stream[at + 1]
        if marker == 0xFF or marker in _WITHOUT_LENGTH:
            at += 1 if marker == 0xFF else 2
            continue
        if marker in _FRAMES:
            if found is not None or at + 10 > len(stream):
                return None
            rows, columns, components = struct.unpack(">HHB", stream[at + 5 : at + 10])
            found = rows, columns, components
        if marker == 0xDA:  # scan data follows
            return found
        at += 2 + struct.unpack(">H", stream[at + 2 : at + 4])[0]
    return None
