"""The text header of a NRRD (.nrrd, .nhdr) or MetaImage (.mha, .mhd) file, read strictly, and the voxels behind it.

ITK's own readers crash on some damaged headers, take a damaged compressed stream for a sound one, follow file names
anywhere, and print what they find. They see no header that this module has not found regular, and no voxels.
https://teem.sourceforge.net/nrrd/format.html, https://itk.org/Wiki/ITK/MetaIO/Documentation
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

import numpy as np
import numpy.typing as npt

from medn2n.errors import InputError
from medn2n.formats.limits import Coding, check_size, inflated

_MOST_HEADER = 1 << 20
_NUMBER = r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d{1,3})?"
_VECTOR = rf"\({_NUMBER}(?:,{_NUMBER})*\)"
# Fields that decide what is read: what each word of them is, and how many there are ("n": one an axis, "*": any).
_NRRD_WORDS = {
    "dimension": (r"[1-4]", "1"), "sizes": (r"\d{1,9}", "n"), "space dimension": (r"[1-4]", "1"),
    "space directions": (rf"none|{_VECTOR}", "n"), "space origin": (_VECTOR, "1"),
    "measurement frame": (rf"none|{_VECTOR}", "*"), "spacings": (rf"{_NUMBER}|[Nn]a[Nn]", "n"),
    "kinds": (r"[\w?-]+", "n"), "endian": ("little|big", "1"), "byte skip": (r"-1|\d{1,9}", "1"),
    "line skip": ("0", "1"),
}  # fmt: skip
_NRRD_TEXT = {
    "type", "encoding", "space", "space units", "data file", "datafile", "content", "number", "thicknesses",
    "axis mins", "axis maxs", "axismins", "axismaxs", "centers", "centerings", "labels", "units", "min", "max",
    "old min", "old max", "oldmin", "oldmax", "sample units", "sampleunits",
}  # fmt: skip
_META_WORDS = {
    name: (r"\d{1,9}" if name == "DimSize" else _NUMBER, count)
    for count, names in {
        "n": "DimSize ElementSpacing ElementSize Offset Origin Position CenterOfRotation SequenceID",
        "nn": "TransformMatrix Orientation Rotation",
        "1": "NDims HeaderSize CompressedDataSize CompressionLevel ElementNumberOfChannels ElementMin ElementMax "
        "ElementNBits ElementToIntensityFunctionSlope ElementToIntensityFunctionOffset ID ParentID",
        "4": "Color",
    }.items()
    for name in names.split()
}
_NRRD_TYPES = {
    "i1": "signed char|int8|int8_t", "u1": "uchar|unsigned char|uint8|uint8_t",
    "i2": "short|short int|signed short|signed short int|int16|int16_t",
    "u2": "ushort|unsigned short|unsigned short int|uint16|uint16_t", "i4": "int|signed int|int32|int32_t",
    "u4": "uint|unsigned int|uint32|uint32_t", "f4": "float", "f8": "double",
    "i8": "longlong|long long|long long int|signed long long|signed long long int|int64|int64_t",
    "u8": "ulonglong|unsigned long long|unsigned long long int|uint64|uint64_t",
}  # fmt: skip
_META_TYPES = {
    "MET_CHAR": "i1", "MET_UCHAR": "u1", "MET_SHORT": "i2", "MET_USHORT": "u2", "MET_INT": "i4", "MET_UINT": "u4",
    "MET_LONG_LONG": "i8", "MET_ULONG_LONG": "u8", "MET_FLOAT": "f4", "MET_DOUBLE": "f8",
}  # fmt: skip
_DAMAGED = InputError("UNREADABLE", "its header is damaged. Copy it again, or convert it from its source.")


@dataclass(frozen=True, slots=True, kw_only=True)
class TextHeader:
    """sizes: fastest axis first. start: of the voxels in `data_path`, in bytes; −1: they are its last bytes."""

    sizes: tuple[int, ...]
    dtype: np.dtype[Any]
    compressed: bool
    data_path: Path
    start: int


def read_text_header(path: Path) -> TextHeader:
    """InputError UNREADABLE, UNSUPPORTED_FORMAT, UNSUPPORTED_DTYPE, UNSUPPORTED_SHAPE, OUTSIDE_FOLDER (voxels named by
    a path that leaves the header's folder), MISSING_FILE, TRUNCATED or TOO_LARGE."""
    try:
        with path.open("rb") as file:
            data = file.read(_MOST_HEADER)
        nrrd = path.name.lower().endswith((".nrrd", ".nhdr"))
        header = _nrrd(data, path) if nrrd else _meta(data, path)
        packed = header.data_path.stat().st_size - max(0, header.start)
    except OSError as error:
        raise InputError("UNREADABLE", f"cannot be read ({type(error).__name__}). Check that it is there.") from None
    if len(header.sizes) not in (2, 3, 4) or min(header.sizes) < 1:
        raise InputError("UNSUPPORTED_SHAPE", f"has {len(header.sizes)} axes, expected 2, 3 or 4, none of them empty.")
    coding: Coding = "deflate" if header.compressed else "plain"
    check_size(math.prod(header.sizes), header.dtype.itemsize, max(0, packed), coding)
    return header


def read_text_voxels(header: TextHeader) -> npt.NDArray[Any]:
    """Stored numbers, shape `sizes`, as the file holds them. InputError TRUNCATED where they are not all there."""
    count = math.prod(header.sizes)
    needed = count * header.dtype.itemsize
    try:
        with header.data_path.open("rb") as file:
            size = file.seek(0, 2)
            file.seek(header.start if header.start >= 0 else max(0, size - needed))
            data = file.read() if header.compressed else file.read(needed)
    except OSError as error:
        raise InputError("UNREADABLE", f"cannot be read ({type(error).__name__}). Check that it is there.") from None
    if header.compressed:
        data = inflated(data, wbits=47, most=needed + _MOST_HEADER)
    if len(data) < needed:
        raise InputError("TRUNCATED", f"holds {len(data)} bytes of voxels, expected {needed}. Copy it again.")
    return np.frombuffer(data, dtype=header.dtype, count=count).reshape(header.sizes, order="F")


def _lines(data: bytes, end: bytes) -> tuple[list[str], int]:
    """Lines up to the one that ends the header, and where the bytes after it begin."""
    try:
        at = re.search(end, data)
        stop = at.end() if at else len(data)
        return data[:stop].decode("utf-8").replace("\r\n", "\n").split("\n"), stop
    except UnicodeDecodeError:
        raise _DAMAGED from None


def _require_regular(fields: dict[str, str], words: dict[str, tuple[str, str]], axes: int) -> None:
    for name, (pattern, count) in words.items():
        found = fields[name].split() if name in fields else None
        if found is None:
            continue
        wanted = {"n": axes, "nn": axes * axes, "*": len(found)}.get(count) or int(count)
        if len(found) != wanted or not all(re.fullmatch(pattern, word) for word in found):
            raise _DAMAGED


def _nrrd(data: bytes, path: Path) -> TextHeader:
    lines, stop = _lines(data, rb"\n\r?\n")
    if not re.fullmatch(r"NRRD000[1-5]", lines[0]):
        raise _DAMAGED
    fields: dict[str, str] = {}
    for line in lines[1:]:
        if not line or line.startswith("#") or re.fullmatch(r"[^:\0]+:=[^\0]*", line):
            continue
        name, mark, value = line.partition(":")
        name = name.lower()
        if not mark or name in fields or name not in _NRRD_TEXT | set(_NRRD_WORDS) or "\0" in value:
            raise _DAMAGED
        fields[name] = re.sub(r"(?<=\() | (?=\))| ?(,) ?", r"\1", " ".join(value.split()))
    axes = {"1": 1, "2": 2, "3": 3, "4": 4}.get(fields.get("dimension", ""), 0)
    if not axes or "sizes" not in fields:
        raise _DAMAGED
    _require_regular(fields, _NRRD_WORDS, axes)
    return _nrrd_header(fields, path, stop)


def _nrrd_header(fields: dict[str, str], path: Path, stop: int) -> TextHeader:
    encoding = fields.get("encoding", "").lower()
    if encoding not in ("raw", "gzip", "gz"):
        raise InputError("UNSUPPORTED_FORMAT", "its voxels are neither raw nor gzip. Write it again as one of them.")
    kind = next(
        (kind for kind, names in _NRRD_TYPES.items() if fields.get("type", "").lower() in names.split("|")), None
    )
    name = fields.get("data file", fields.get("datafile"))
    start = int(fields.get("byte skip", "0"))
    if start and encoding != "raw":
        raise InputError("UNSUPPORTED_FORMAT", "its compressed voxels begin inside their stream. Write it again.")
    return TextHeader(
        sizes=tuple(map(int, fields["sizes"].split())),
        dtype=_dtype(kind, fields.get("endian") == "big"),
        compressed=encoding != "raw",
        data_path=path if name is None else _beside(path, name),
        start=start if name is not None or start < 0 else stop + start,
    )


def _meta(data: bytes, path: Path) -> TextHeader:
    lines, stop = _lines(data, rb"(?:^|\n)ElementDataFile *=[^\n]*(?:\n|$)")
    fields: dict[str, str] = {}
    for line in lines:
        name, mark, value = (part.strip() for part in line.partition("="))
        if not line.strip():
            continue
        # Keys of other programs ("0008|0060") are theirs; longer ones than MetaIO's own buffers hold it never sees.
        if not mark or name in fields or not re.fullmatch(r"[ -~]{1,200}", name) or "\0" in value or len(value) > 8000:
            raise _DAMAGED
        fields[name] = value
    axes = int(fields["NDims"]) if fields.get("NDims") in ("2", "3", "4") else 0
    if not axes or list(fields)[-1] != "ElementDataFile" or "DimSize" not in fields:
        raise _DAMAGED
    _require_regular(fields, _META_WORDS, axes)
    return _meta_header(fields, path, stop)


def _meta_header(fields: dict[str, str], path: Path, stop: int) -> TextHeader:
    if fields.get("BinaryData", "True").lower() != "true":
        raise InputError("UNSUPPORTED_FORMAT", "its voxels are written as text. Write it again in binary.")
    swapped = fields.get("BinaryDataByteOrderMSB", fields.get("ElementByteOrderMSB", "False")).lower()
    compressed = fields.get("CompressedData", "False").lower()
    if {swapped, compressed} - {"true", "false"} or fields.get("ElementNumberOfChannels", "1") != "1":
        raise InputError("UNSUPPORTED_DTYPE", "holds colour or vector values. Convert it to single numbers.")
    local = fields["ElementDataFile"].upper() == "LOCAL"
    start = int(float(fields.get("HeaderSize", "0")))
    return TextHeader(
        sizes=tuple(map(int, fields["DimSize"].split())),
        dtype=_dtype(_META_TYPES.get(fields.get("ElementType", "")), swapped == "true"),
        compressed=compressed == "true",
        data_path=path if local else _beside(path, fields["ElementDataFile"]),
        start=start if start < 0 or not local else stop + start,
    )


def _dtype(kind: str | None, swapped: bool) -> np.dtype[Any]:
    if kind is None:
        raise InputError("UNSUPPORTED_DTYPE", "its numbers are of no known type. Convert it to single numbers.")
    return np.dtype((">" if swapped else "<") + kind)


def _beside(path: Path, name: str) -> Path:
    """The one file, in the header's folder or below it, that `name` names. A link that leads out of it is refused."""
    if re.match(r"LIST\b", name) or "%" in name or re.search(r" \d+ \d+( \d+)?$", name):
        raise InputError("UNSUPPORTED_FORMAT", "its voxels lie in several files. Write it again as one.")
    parts = (*PurePosixPath(name).parts, *PureWindowsPath(name).parts)
    outside = PurePosixPath(name).is_absolute() or PureWindowsPath(name).is_absolute() or ".." in parts
    found = path.parent / name
    try:
        if not outside and not found.is_file():  # nor a pipe, which would be waited for
            raise InputError("MISSING_FILE", "the file that its header names for the voxels is not there. Copy both.")
        outside = outside or not found.resolve().is_relative_to(path.parent.resolve())
    except OSError:
        outside = True
    if outside:
        raise InputError(
            "OUTSIDE_FOLDER", "its header names a file outside its own folder for the voxels. Put it beside the header."
        )
    return found
