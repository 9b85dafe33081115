"""DICOM pixel data: is it all there, and the stored numbers of each frame, decoded from any codec."""

from __future__ import annotations

import io
import math
import os
import struct
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt
from pydicom import dcmread
from pydicom.dataset import FileDataset
from pydicom.encaps import generate_frames
from pydicom.filereader import read_file_meta_info
from pydicom.pixels.decoders.base import get_decoder
from pydicom.pixels.utils import pixel_array
from pydicom.uid import UID, ExplicitVRLittleEndian, RLELossless

from medn2n.errors import InputError
from medn2n.formats.codestream import frame_size
from medn2n.formats.dicom_elements import Elements, encode_file, no_header_text, number, text
from medn2n.formats.limits import Coding, check_size, inflated

_DEFLATED = "1.2.840.10008.1.2.1.99"
_IMPLICIT = "1.2.840.10008.1.2"
_BIG_ENDIAN = "1.2.840.10008.1.2.2"
_NATIVE = {_IMPLICIT, "1.2.840.10008.1.2.1", _BIG_ENDIAN, _DEFLATED}
_STANDARD = "1.2.840.10008.1.2."
_UNDEFINED = 0xFFFFFFFF


def pixels_complete(file: BinaryIO, size: int, syntax: str, elements: Elements) -> bool:
    """Whether the pixel data that starts at the file's position is whole; decodes nothing.

    Plain pixels: as many bytes as Rows × Columns × frames need. Encapsulated ones: every fragment and the end mark
    (PS3.5 A.4). True for a deflated data set, whose length only the decoder can tell. InputError TRUNCATED or
    TOO_LARGE where compressed pixels cannot be as many as the header says (`limits`).
    """
    pixels = (number(elements, "NumberOfFrames") or 1) * (number(elements, "SamplesPerPixel") or 1)
    for keyword in ("Rows", "Columns"):
        pixels *= number(elements, keyword) or 0
    if not 0 < pixels < math.inf:  # a damaged header may hold any number
        return False
    needed = int(pixels * (number(elements, "BitsAllocated") or 0) / 8)
    if syntax == _DEFLATED:
        check_size(int(pixels), needed // int(pixels), size, "deflate")
        return True
    endian = ">" if syntax == _BIG_ENDIAN else "<"
    head = file.read(12)
    if len(head) < 8 or struct.unpack(endian + "HH", head[:4]) != (0x7FE0, 0x0010):
        return False
    if syntax == _IMPLICIT:
        file.seek(8 - len(head), os.SEEK_CUR)
        length = struct.unpack("<L", head[4:8])[0]
    elif len(head) < 12 or head[4:6] not in (b"OB", b"OW"):
        return False
    else:
        length = struct.unpack(endian + "L", head[8:12])[0]
    if length != _UNDEFINED:
        if syntax.startswith(_STANDARD) and syntax not in _NATIVE:
            return False
        return length >= needed and file.tell() + needed <= size
    start = file.tell()
    if not _fragments_complete(file, size):
        return False
    coding: Coding = "rle" if syntax == RLELossless else "jpeg"
    check_size(int(pixels), needed // int(pixels), file.tell() - start, coding)
    return True


def _fragments_complete(file: BinaryIO, size: int) -> bool:
    while True:
        head = file.read(8)
        if len(head) < 8:
            return False
        group, element, length = struct.unpack("<HHL", head)
        if (group, element) == (0xFFFE, 0xE0DD):
            return True
        if (group, element) != (0xFFFE, 0xE000) or file.tell() + length > size:
            return False
        file.seek(length, os.SEEK_CUR)


def read_dataset(path: Path) -> FileDataset:
    """The whole file. InputError TRUNCATED where it ends early, TOO_LARGE where a deflated one holds too much."""
    try:
        with no_header_text():
            return _inflated_dataset(path) if _is_deflated(path) else dcmread(path)
    except InputError:
        raise
    except Exception as error:  # damaged bytes make pydicom raise many kinds
        raise InputError(
            "TRUNCATED", f"cannot be read to its end ({type(error).__name__}). Copy or export it again."
        ) from None


def _is_deflated(path: Path) -> bool:
    """From the file meta information alone; its group length comes first (PS3.10 7.1)."""
    with path.open("rb") as file:
        start = file.read(144)
        length = struct.unpack("<L", start[140:])[0] if start[132:138] == b"\2\0\0\0UL" else 1 << 16
        if _DEFLATED.encode() not in file.read(min(length, 1 << 16)):
            return False
    return str(read_file_meta_info(path).get("TransferSyntaxUID", "")) == _DEFLATED


def _inflated_dataset(path: Path) -> FileDataset:
    """pydicom inflates without a limit, and so gets the inflated bytes (PS3.5 A.5)."""
    meta = read_file_meta_info(path)
    body = inflated(path.read_bytes()[144 + int(meta.FileMetaInformationGroupLength) :])
    dataset = dcmread(io.BytesIO(encode_file({0x00020010: text("UI", str(ExplicitVRLittleEndian))}, {}) + body))
    dataset.file_meta = meta
    return dataset


def stored_frames(dataset: FileDataset) -> npt.NDArray[Any]:
    """Stored numbers (frames, rows, columns), int or uint of BitsAllocated, unused high bits as in the file.

    MONOCHROME1 is not inverted, and no lookup table or rescale is applied. InputError NO_CODEC for a compression
    that no installed decoder reads, DECODE_FAILED for damaged pixels, TRUNCATED and TOO_LARGE as `limits` has them.
    """
    try:
        with no_header_text():
            dtype = _require_plausible(dataset)
            pixels = pixel_array(dataset, raw=True, correct_unused_bits=False)
    except InputError:
        raise
    except Exception as error:  # each codec raises its own kinds, some with header text in them
        raise InputError(
            "DECODE_FAILED", f"its pixel data cannot be decoded ({type(error).__name__}). Export it again."
        ) from None
    if not np.can_cast(pixels.dtype, dtype):  # a codec takes the size of numbers from its code stream
        raise InputError("DECODE_FAILED", "its pixel data holds other numbers than its header says. Export it again.")
    pixels = pixels.astype(dtype, copy=False)
    return pixels if pixels.ndim == 3 else pixels[np.newaxis]


def _require_plausible(dataset: FileDataset) -> np.dtype[Any]:
    """The numbers' type, once the pixel data is known to fit the header: no codec sees one that does not."""
    rows, columns, bits = int(dataset.Rows), int(dataset.Columns), int(dataset.BitsAllocated)
    frames = int(dataset.get("NumberOfFrames") or 1)
    dtype = np.dtype(f"{'i' if dataset.PixelRepresentation else 'u'}{bits // 8}")
    syntax, data = dataset.file_meta.TransferSyntaxUID, dataset.PixelData
    _require_codec(syntax)
    if not syntax.is_encapsulated:
        check_size(rows * columns * frames, dtype.itemsize, len(data), "plain")
        return dtype
    check_size(rows * columns * frames, dtype.itemsize, len(data), "rle" if syntax == RLELossless else "jpeg")
    table = (dataset.get("ExtendedOffsetTable"), dataset.get("ExtendedOffsetTableLengths"))
    offsets = table if all(table) else None
    for frame in generate_frames(data, number_of_frames=frames, extended_offsets=offsets):
        if syntax == RLELossless:
            # Runs never take more than two bytes for one; a longer frame is there to fill the memory.
            fits = len(frame) <= 2 * rows * columns * dtype.itemsize + 128
        else:
            fits = frame_size(frame) == (rows, columns, 1)
        if not fits:
            raise InputError("DECODE_FAILED", "its pixel data has another size than its header says. Export it again.")
    return dtype


def _require_codec(syntax: UID) -> None:
    try:
        available = get_decoder(syntax).is_available
    except NotImplementedError:  # pydicom knows no decoder of this syntax at all
        available = False
    if not available:
        raise InputError(
            "NO_CODEC", "its compression is not one that the installed decoders read. Export it uncompressed."
        )


def without_unused_bits(stored: npt.NDArray[Any], bits_stored: int) -> npt.NDArray[Any]:
    """The numbers in the low `bits_stored` bits, sign-extended for signed types; the rest may hold an overlay."""
    unused = stored.dtype.itemsize * 8 - bits_stored
    if not unused:
        return stored
    shifted = np.left_shift(stored, unused)
    return np.asarray(np.right_shift(shifted, unused), dtype=stored.dtype)


def with_unused_bits(numbers: npt.NDArray[Any], file_pixels: npt.NDArray[Any], bits_stored: int) -> npt.NDArray[Any]:
    """`numbers` as the file holds pixels: where its unused bits hold something else, that is kept."""
    if np.array_equal(without_unused_bits(file_pixels, bits_stored), file_pixels):
        return numbers
    low = np.array((1 << bits_stored) - 1, dtype=np.uint64).astype(f"u{numbers.dtype.itemsize}")
    unsigned = f"u{numbers.dtype.itemsize}"
    merged = (numbers.view(unsigned) & low) | (np.ascontiguousarray(file_pixels).view(unsigned) & ~low)
    return np.asarray(merged.view(numbers.dtype))
