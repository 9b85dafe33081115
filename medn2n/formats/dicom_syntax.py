"""Transfer syntaxes that a derived object can be written in, all of them lossless (PS3.5 8, annex A)."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from pydicom.encaps import encapsulate
from pydicom.pixels.encoders.base import get_encoder
from pydicom.uid import JPEG2000Lossless, JPEGLSLossless, RLELossless

from medn2n.errors import InputError
from medn2n.formats.dicom_elements import Element, Elements, Encapsulated, no_header_text, number, string
from medn2n.formats.dicom_pixels import without_unused_bits

Syntax = Literal["explicit", "rle", "jpegls", "j2k"]
EXPLICIT_LITTLE_ENDIAN = "1.2.840.10008.1.2.1"
SYNTAX_UIDS: dict[str, str] = {
    "explicit": EXPLICIT_LITTLE_ENDIAN,
    "rle": str(RLELossless),
    "jpegls": str(JPEGLSLossless),
    "j2k": str(JPEG2000Lossless),
}


def pixel_data(frames: npt.NDArray[Any], elements: Elements, syntax: Syntax) -> Element:
    """The PixelData element of (frames, rows, columns) stored numbers in the source's pixel format: native
    little-endian words, or one fragment a frame.

    InputError UNUSED_BITS where the words hold more than the stored bits (an overlay), which JPEG-LS and JPEG 2000
    would lose; NOT_ENCODED where the codec refuses.
    """
    if syntax == "explicit":
        return ("OB" if frames.dtype.itemsize == 1 else "OW", _little_endian(frames))
    bits_stored = int(number(elements, "BitsStored") or 0)
    if syntax != "rle" and not np.array_equal(without_unused_bits(frames, bits_stored), frames):
        raise InputError(
            "UNUSED_BITS", "Its pixel words hold an overlay beside the image, which this --syntax would lose. Use rle."
        )
    layout = _layout(frames, elements, bits_stored if syntax != "rle" else frames.dtype.itemsize * 8)
    try:
        with no_header_text():
            encoder = get_encoder(SYNTAX_UIDS[syntax])
            fragments = [encoder.encode(np.ascontiguousarray(frame), **layout) for frame in frames]
    except RuntimeError:  # what pydicom makes of a codec's own refusal; anything else is a fault of ours
        need = ", which needs 32 pixels each way" if syntax == "j2k" else ""
        raise InputError(
            "NOT_ENCODED",
            f"Its frames of {frames.shape[1]}×{frames.shape[2]} pixels cannot be written as {syntax}{need}. "
            "Use --syntax explicit.",
        ) from None
    return ("OB", Encapsulated(encapsulate(fragments)))


def _layout(frames: npt.NDArray[Any], elements: Elements, bits_stored: int) -> dict[str, Any]:
    return {
        "rows": frames.shape[1],
        "columns": frames.shape[2],
        "number_of_frames": 1,
        "samples_per_pixel": 1,
        "bits_allocated": frames.dtype.itemsize * 8,
        "bits_stored": bits_stored,
        "pixel_representation": int(number(elements, "PixelRepresentation") or 0),
        "photometric_interpretation": string(elements, "PhotometricInterpretation") or "MONOCHROME2",
    }


def _little_endian(pixels: npt.NDArray[Any]) -> bytes:
    data = np.ascontiguousarray(pixels, dtype=pixels.dtype.newbyteorder("<")).tobytes()
    return data + b"\0" * (len(data) % 2)
