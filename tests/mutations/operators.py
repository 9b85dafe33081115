"""Ways to damage a file, each a function (bytes, sample, other bytes, generator) → bytes. All drawn from a numpy
Generator, so that a seed and a case number name one damaged file."""

from __future__ import annotations

import gzip
import re
import struct
import zlib
from collections.abc import Callable

import numpy as np

from tests.mutations.corpus import Sample, unzipped

Operator = Callable[[bytes, Sample, bytes, np.random.Generator], bytes]

# Numbers that programs trip over: ends of ranges, off by one, and plain large ones.
WHOLE = (0, 1, 2, 3, 7, 31, 255, 256, 4095, 32767, 32768, 65535, 65536, 2**24, 2**31 - 1, 2**31, 2**32 - 1, 2**62,
         2**63 - 1, -1, -2, -128, -32768, -(2**31))  # fmt: skip
REAL = (0.0, -0.0, 1e-45, 1e-3, 0.5, 1.0, 352.0, 353.5, 1e9, 3e38, -1.0, float("nan"), float("inf"), -float("inf"))
VRS = (b"OB", b"OW", b"SQ", b"UN", b"US", b"SS", b"UL", b"IS", b"DS", b"FD", b"LO", b"UI", b"UT", b"AT", b"PN", b"ZZ")
DICOM_NUMBERS = (
    0x00280010, 0x00280011, 0x00280008, 0x00280100, 0x00280101, 0x00280102, 0x00280103, 0x00280002, 0x00280030,
    0x00281052, 0x00281053, 0x00200032, 0x00200037, 0x00280120, 0x00180050,
)  # fmt: skip


def _place(data: bytes, rng: np.random.Generator) -> int:
    """An offset: half of them in the first 2 kB, where headers are."""
    end = len(data) if rng.random() < 0.5 else min(len(data), 2000)
    return int(rng.integers(0, max(end, 1)))


def truncate(data: bytes, _: Sample, __: bytes, rng: np.random.Generator) -> bytes:
    return data[: _place(data, rng)]


def flip_bits(data: bytes, _: Sample, __: bytes, rng: np.random.Generator) -> bytes:
    changed = bytearray(data)
    for _n in range(int(rng.integers(1, 9))):
        if changed:
            changed[_place(data, rng)] ^= 1 << int(rng.integers(0, 8))
    return bytes(changed)


def overwrite_run(data: bytes, _: Sample, __: bytes, rng: np.random.Generator) -> bytes:
    start, length = _place(data, rng), int(rng.integers(1, 65))
    run = (bytes(length), b"\xff" * length, rng.bytes(length))[int(rng.integers(0, 3))]
    return data[:start] + run + data[start + length :]


def delete_block(data: bytes, _: Sample, __: bytes, rng: np.random.Generator) -> bytes:
    start = _place(data, rng)
    return data[:start] + data[start + int(rng.integers(1, 300)) :]


def repeat_block(data: bytes, _: Sample, __: bytes, rng: np.random.Generator) -> bytes:
    start, length = _place(data, rng), int(rng.integers(1, 300))
    return data[:start] + data[start : start + length] * int(rng.integers(2, 40)) + data[start + length :]


def insert_block(data: bytes, _: Sample, __: bytes, rng: np.random.Generator) -> bytes:
    start = _place(data, rng)
    return data[:start] + rng.bytes(int(rng.integers(1, 100))) + data[start:]


def append(data: bytes, _: Sample, __: bytes, rng: np.random.Generator) -> bytes:
    return data + rng.bytes(int(rng.integers(1, 2000)))


def splice(data: bytes, _: Sample, other: bytes, rng: np.random.Generator) -> bytes:
    return data[: _place(data, rng)] + other[_place(other, rng) :]


def edit_element(data: bytes, sample: Sample, _: bytes, rng: np.random.Generator) -> bytes:
    """One DICOM element's tag, VR or length."""
    if not sample.elements:
        return flip_bits(data, sample, _, rng)
    element = sample.elements[int(rng.integers(0, len(sample.elements)))]
    what = int(rng.integers(0, 3))
    if what == 0:
        other = sample.elements[int(rng.integers(0, len(sample.elements)))]
        return data[: element.start] + data[other.start : other.start + 4] + data[element.start + 4 :]
    if what == 1:
        return data[: element.start + 4] + VRS[int(rng.integers(0, len(VRS)))] + data[element.start + 6 :]
    width = 2 if element.value - element.start == 8 and data[element.start + 4 : element.start + 6].isalpha() else 4
    length = WHOLE[int(rng.integers(0, len(WHOLE)))] % (1 << 8 * width)
    return data[: element.value - width] + length.to_bytes(width, "little") + data[element.value :]


def edit_number(data: bytes, sample: Sample, _: bytes, rng: np.random.Generator) -> bytes:
    """A number that decides shape, place or scaling."""
    return {"dicom": _dicom_number, "nifti": _nifti_number, "text": _text_number}[sample.kind](data, sample, rng)


def _dicom_number(data: bytes, sample: Sample, rng: np.random.Generator) -> bytes:
    numbers = [element for element in sample.elements if element.tag in DICOM_NUMBERS]
    if not numbers:
        return flip_bits(data, sample, b"", rng)
    element = numbers[int(rng.integers(0, len(numbers)))]
    value = WHOLE[int(rng.integers(0, len(WHOLE)))]
    old = data[element.value : element.value + element.length]
    if element.length == 2 and not old.strip(b" ").isdigit():
        new = struct.pack("<H" if rng.random() < 0.8 else ">H", value % 65536)
    else:
        text = (str(value), "nan", "1e400", "-", "1\\2", "")[int(rng.integers(0, 6))]
        new = text.encode()[: element.length].ljust(element.length)
    return data[: element.value] + new + data[element.value + element.length :]


def _nifti_number(data: bytes, _: Sample, rng: np.random.Generator) -> bytes:
    second = data[4:7] in (b"n+2", b"ni2")
    order = "<" if data[:4] in (b"\x5c\1\0\0", b"\x1c\2\0\0") else ">"
    if second:
        places = [(16 + 8 * i, "q") for i in range(8)] + [(12, "h"), (14, "h"), (168, "q"), (176, "d"), (184, "d")]
        places += [(104 + 8 * i, "d") for i in range(8)] + [(344, "i"), (348, "i"), (400, "d"), (500, "i")]
    else:
        places = [(40 + 2 * i, "h") for i in range(8)] + [(70, "h"), (72, "h"), (108, "f"), (112, "f"), (116, "f")]
        places += [(76 + 4 * i, "f") for i in range(8)] + [(252, "h"), (254, "h"), (280, "f"), (123, "b"), (0, "i")]
    where, code = places[int(rng.integers(0, len(places)))]
    values = REAL if code in "fd" else WHOLE
    value = values[int(rng.integers(0, len(values)))]
    size = struct.calcsize(code)
    packed = (
        struct.pack(order + code, value)
        if code in "fd"
        else (int(value) % (1 << 8 * size)).to_bytes(size, "little" if order == "<" else "big")
    )
    return data[:where] + packed + data[where + size :]


def _text_number(data: bytes, sample: Sample, rng: np.random.Generator) -> bytes:
    """A number or a line of a text header."""
    lines = data[:1000].split(b"\n")
    if len(lines) < 5:
        return flip_bits(data, sample, b"", rng)
    at = int(rng.integers(0, min(len(lines), 14)))
    what = rng.random()
    if what < 0.1:
        del lines[at]
    elif what < 0.2:
        lines.insert(at, lines[int(rng.integers(0, min(len(lines), 14)))])
    elif what < 0.35:
        name = (b"../x.raw", b"/etc/passwd", b"LIST", b"x%03d.raw 1 4 1", b"LOCAL", b"a.raw", b".", b"")[
            int(rng.integers(0, 8))
        ]
        key = (b"ElementDataFile = ", b"data file: ", b"encoding: ", b"HeaderSize = ", b"CompressedData = ")
        lines.insert(at, key[int(rng.integers(0, len(key)))] + name)
    else:
        numbers = list(re.finditer(rb"[0-9.]+", lines[at]))
        if numbers:
            found = numbers[int(rng.integers(0, len(numbers)))]
            values = WHOLE if rng.random() < 0.8 else REAL
            new = str(values[int(rng.integers(0, len(values)))]).encode()
            lines[at] = lines[at][: found.start()] + new + lines[at][found.end() :]
    return b"\n".join(lines) + data[1000:]


PLAIN: dict[str, Operator] = {
    "truncate": truncate, "flip bits": flip_bits, "overwrite": overwrite_run, "delete": delete_block,
    "repeat": repeat_block, "insert": insert_block, "append": append, "splice": splice,
    "edit element": edit_element, "edit number": edit_number,
}  # fmt: skip
_NAMES = tuple(PLAIN)
_SHARES = np.array([8, 12, 10, 7, 7, 6, 3, 7, 15, 25], float) / 100


def damage(sample: Sample, other: bytes, rng: np.random.Generator) -> tuple[str, bytes]:
    """(operator, damaged file). Compressed files are damaged as they are, or inside and packed again."""
    data = sample.files[sample.damaged]
    name = str(rng.choice(_NAMES, p=_SHARES))
    operator = PLAIN[name]
    if rng.random() < 0.7:
        inner = unzipped(data) if data[:2] == b"\x1f\x8b" else None
        if inner is not None:
            return f"{name} inside gzip", gzip.compress(operator(inner, sample, other, rng), 6, mtime=0)
        if sample.name == "ct deflated":
            start = 132 + 12 + int.from_bytes(data[140:144], "little")
            inner = operator(zlib.decompress(data[start:], -15), sample, other, rng)
            packer = zlib.compressobj(wbits=-15)
            return f"{name} inside deflate", data[:start] + packer.compress(inner) + packer.flush()
    return name, operator(data, sample, other, rng)
