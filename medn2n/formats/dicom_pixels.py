"""DICOM pixel data: is it all there, and the stored numbers of each frame, decoded from any codec."""

from __future__ import annotations

import os
import struct
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt
from pydicom import dcmread
from pydicom.dataset import FileDataset
from pydicom.pixels.utils import pixel_array

from medn2n.errors import InputError
from medn2n.formats.dicom_elements import Elements, no_header_text, number

_DEFLATED = "1.2.840.10008.1.2.1.99"
_IMPLICIT = "1.2.840.10008.1.2"
_BIG_ENDIAN = "1.2.840.10008.1.2.2"
_UNDEFINED = 0xFFFFFFFF


def pixels_complete(file: BinaryIO, size: int, syntax: str, elements: Elements) -> bool:
    """Whether the pixel data that starts at the file's position is whole; decodes nothing.

    Plain pixels: as many bytes as Rows × Columns × frames need. Encapsulated ones: every fragment and the end mark
    (PS3.5 A.4). True for a deflated data set, whose length only the decoder can tell.
    """
    if syntax == _DEFLATED:
        return True
    endian = ">" if syntax == _BIG_ENDIAN else "<"
    head = file.read(12)
    if len(head) < 8 or struct.unpack(endian + "HH", head[:4]) != (0x7FE0, 0x0010):
        return False
    if syntax == _IMPLICIT:
        file.seek(8 - len(head), os.SEEK_CUR)
        length = struct.unpack("<L", head[4:8])[0]
    elif len(head) < 12:
        return False
    else:
        length = struct.unpack(endian + "L", head[8:12])[0]
    if length == _UNDEFINED:
        return _fragments_complete(file, size)
    needed = 1.0
    for keyword in ("Rows", "Columns", "BitsAllocated"):
        needed *= number(elements, keyword) or 0
    needed *= (number(elements, "NumberOfFrames") or 1) * (number(elements, "SamplesPerPixel") or 1) / 8
    return length >= int(needed) and file.tell() + int(needed) <= size


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
    """The whole file. InputError TRUNCATED where it ends early."""
    try:
        with no_header_text():
            return dcmread(path)
    except Exception as error:  # damaged bytes make pydicom raise many kinds
        raise InputError(
            "TRUNCATED", f"cannot be read to its end ({type(error).__name__}). Copy or export it again."
        ) from None


def stored_frames(dataset: FileDataset) -> npt.NDArray[Any]:
    """Stored numbers (frames, rows, columns), int or uint of BitsAllocated, unused high bits as in the file.

    MONOCHROME1 is not inverted, and no lookup table or rescale is applied. InputError NO_CODEC for a compression
    that no installed decoder reads, DECODE_FAILED for damaged pixels.
    """
    try:
        with no_header_text():
            pixels = pixel_array(dataset, raw=True, correct_unused_bits=False)
    except NotImplementedError:
        raise InputError(
            "NO_CODEC", "its compression is not one that the installed decoders read. Export it uncompressed."
        ) from None
    except Exception as error:  # each codec raises its own kinds, some with header text in them
        raise InputError(
            "DECODE_FAILED", f"its pixel data cannot be decoded ({type(error).__name__}). Export it again."
        ) from None
    pixels = pixels.astype(pixels.dtype.newbyteorder("="), copy=False)
    return pixels if pixels.ndim == 3 else pixels[np.newaxis]


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
