"""What a file says of its own shape, read here a second time and without medn2n: the test's oracle."""

from __future__ import annotations

import re
import struct
import zlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from pydicom import dcmread
from pydicom.datadict import tag_for_keyword
from pydicom.uid import UID

from medn2n.formats.dicom_elements import no_header_text


@dataclass(frozen=True)
class Facts:
    """grid: (I,J) and number of frames, or (I,J,K,…). decides: everything that voxel values follow from. voxels:
    what they must be, where the pixels are plain. enough: whether the file holds all bytes that the grid needs."""

    grid: tuple[int, ...]
    decides: tuple[Any, ...]
    enough: bool = True
    voxels: np.ndarray | None = field(default=None, compare=False)


def dicom_facts(path: Path) -> Facts:
    """Of one DICOM file, by pydicom."""
    with no_header_text():
        ds = dcmread(path)
        values = [_text(ds, keyword) for keyword in ("BitsAllocated", "BitsStored", "PixelRepresentation",
                  "RescaleSlope", "RescaleIntercept", "PixelPaddingValue", "PixelPaddingRangeLimit")]  # fmt: skip
        place = [_text(ds, keyword) for keyword in ("ImagePositionPatient", "ImageOrientationPatient")]
        groups = [_raw(item) for key in (0x52009229, 0x52009230) if key in ds for item in ds[key].value]
        syntax = str(ds.file_meta.TransferSyntaxUID)
        frames = int(ds.get("NumberOfFrames") or 1)
        grid = (int(ds.Columns), int(ds.Rows), frames)
        pixels = bytes(ds.PixelData)
    decides = (*values, *place, *groups, syntax, pixels)
    if UID(syntax).is_compressed and not UID(syntax).is_deflated:
        return Facts(grid, decides)
    size = int(values[0]) // 8
    needed = int(np.prod(grid)) * size
    voxels = None
    if frames == 1 and not groups and len(pixels) >= needed and int(values[1]) == 8 * size:
        kind = (">" if syntax == "1.2.840.10008.1.2.2" else "<") + ("i" if values[2] == "1" else "u") + str(size)
        stored = np.frombuffer(pixels[:needed], kind).astype(np.float64)
        scaled = stored * float(values[3] or 1) + float(values[4] or 0)
        voxels = scaled.astype(np.float32).reshape(grid[1], grid[0]).T[..., np.newaxis]
    return Facts(grid, decides, len(pixels) >= needed, voxels)


def _raw(ds: Any) -> tuple[Any, ...]:
    """A nested data set as it stands, no value converted."""
    found = []
    for key in ds.keys():  # noqa: SIM118  # a Dataset's own iterator converts
        element = ds.get_item(key)
        nested = element.VR == "SQ" and not isinstance(element.value, bytes)
        found.append((int(key), tuple(map(_raw, element.value)) if nested else str(element.value)))
    return tuple(found)


def _text(ds: Any, keyword: str) -> str:
    """A value as it stands: text without its padding, or a number; "" where it is empty or not there."""
    key = tag_for_keyword(keyword)
    element = ds.get_item(key) if key in ds else None
    value = "" if element is None or element.value is None else element.value
    if isinstance(value, bytes):
        if not keyword.startswith(("Bits", "Pixel")):
            return value.decode("latin-1").strip()
        little = ds.file_meta.TransferSyntaxUID != "1.2.840.10008.1.2.2"
        return str(int.from_bytes(value, "little" if little else "big"))
    return str(value)


def nifti_facts(header: Path, data: Path) -> Facts:
    """Of a NIfTI by the offsets in its standard."""
    block, voxels = _unzipped(header), _unzipped(data)
    if block[344:346] in (b"n+", b"ni"):
        order = "<" if struct.unpack("<h", block[40:42])[0] in range(1, 8) else ">"
        dim = struct.unpack(order + "8h", block[40:56])
        bits = struct.unpack(order + "h", block[70:72])[0]
        offset = int(struct.unpack(order + "f", block[108:112])[0])
        decides = (block[40:56], block[70:74], block[108:120])
        size, single = 348, block[345:346] == b"+"
    else:
        order = "<" if struct.unpack("<q", block[16:24])[0] in range(1, 8) else ">"
        dim = struct.unpack(order + "8q", block[16:80])
        bits, offset = struct.unpack(order + "h", block[12:14])[0], struct.unpack(order + "q", block[168:176])[0]
        decides, size, single = (block[12:16], block[16:80], block[168:192]), 540, block[5:6] == b"+"
    offset = max(offset, size) if single else offset
    grid = tuple(dim[1 : dim[0] + 1])
    itemsize = {2: 1, 4: 2, 8: 4, 16: 4, 64: 8, 256: 1, 512: 2, 768: 4, 1024: 8, 1280: 8}.get(bits, 0)
    needed = int(np.prod([int(n) for n in grid], dtype=object)) * itemsize
    return Facts(_four(grid), (*decides, voxels[offset : offset + needed]), len(voxels) - offset >= needed)


def _unzipped(path: Path) -> bytes:
    data = path.read_bytes()
    return zlib.decompressobj(31).decompress(data, 1 << 28) if data[:2] == b"\x1f\x8b" else data


def _four(grid: tuple[int, ...]) -> tuple[int, ...]:
    grid = (*grid, 1, 1, 1)[: max(3, len(grid))]
    return grid[:3] + tuple(n for n in grid[3:] if n != 1)


def text_facts(path: Path) -> Facts:
    """Of a NRRD or MetaImage header: the line that names the sizes."""
    head = path.read_bytes()
    nrrd = path.suffix in (".nrrd", ".nhdr")
    head = re.split(rb"\n\r?\n" if nrrd else rb"\nElementDataFile", head)[0]
    key = rb"^sizes:\s*(.*)$" if nrrd else rb"^DimSize\s*=\s*(.*)$"
    (line,) = re.findall(key, head, re.MULTILINE | re.IGNORECASE)
    return Facts(_four(tuple(int(float(word)) for word in line.split())), ())


def facts_of(path: Path, kind: str) -> Facts:
    """Facts of one scan file. Whatever cannot be read raises."""
    if kind == "dicom":
        return dicom_facts(path)
    if kind == "text":
        return text_facts(path)
    data = path
    for header, image in ((".hdr.gz", ".img.gz"), (".hdr", ".img")):
        if path.name.endswith(header):
            data = path.with_name(path.name[: -len(header)] + image)
            break
    return nifti_facts(path, data)
