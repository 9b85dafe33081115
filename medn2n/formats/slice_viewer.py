"""Slices before and after on a page, whose window the reader changes: their values, packed, and the controls.

Each picture is embedded once, as numbers of 16 bits; the page's script (`slice_viewer.js`) unpacks the slice that is
shown, makes the difference from the two, applies the window and draws. The numbers travel as a deflate stream, not as
a PNG that the script would read back from a canvas: browsers that guard against fingerprinting (Brave, Firefox with
resistFingerprinting, Safari's private windows) falsify what is read back, without a word. Two planes of bytes in place
of colours are also a third smaller.
"""

from __future__ import annotations

import base64
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import numpy as np
import numpy.typing as npt

from medn2n.core.display import READING_WINDOWS_HU, SlicePair, Window
from medn2n.formats.page_blocks import Viewer
from medn2n.formats.page_parts import picture_kind, slider_html, window_text

NOT_FINITE = 65535
# Steps of a picture that holds no whole numbers over its window. The difference is shown in a quarter of the window's
# width, so that its grey is right to one part in 255 in windows down to a quarter as wide: head among soft tissue's.
STEPS_A_WINDOW = 4096
PICTURES = ("before", "after", "after − before")
WITHOUT_SCRIPTS = "The pictures are drawn by this page's own script: open it in a browser that runs scripts."


@dataclass(frozen=True, slots=True, kw_only=True)
class PackedPicture:
    """value = offset + step × number, the number from 0 to 65534, or `NOT_FINITE`. data: base64 of a zlib stream
    (RFC 1950): all high bytes, then all low bytes, of each number's difference from the one before it in reading
    order, modulo 65536, zigzag-coded (0, −1, 1, −2 … become 0, 1, 2, 3 …)."""

    data: str
    offset: float
    step: float


def packed_picture(pixels: npt.NDArray[Any], window: Window) -> PackedPicture:
    """The picture (rows × columns, any real dtype) as the page embeds it.

    Whole numbers (CT in HU as it is stored) that span at most 65534 are kept exactly; others to half a step, which is
    1/4096 of the window's width, or more where 65534 such steps do not reach over the picture's range. Values that are
    not finite are marked.
    """
    values = np.asarray(pixels, dtype=np.float64)
    finite = np.isfinite(values)
    offset, step = _scale(values[finite], window)
    numbers = np.full(values.shape, NOT_FINITE, np.uint16)
    numbers[finite] = np.rint((values[finite] - offset) / step)
    # Differences from the left neighbour are small where noise is smooth, as in every CT: a sixth fewer bytes.
    change = np.diff(numbers.ravel(), prepend=np.uint16(0)).view(np.int16)
    coded = ((change << 1) ^ (change >> 15)).view(np.uint16)
    planes = np.concatenate([coded >> 8, coded & 255]).astype(np.uint8).tobytes()
    # Run lengths and Huffman codes alone: noise repeats nothing, and the search for repeats is most of deflate's time.
    packer = zlib.compressobj(6, zlib.DEFLATED, zlib.MAX_WBITS, 9, zlib.Z_RLE)
    data = base64.b64encode(packer.compress(planes) + packer.flush()).decode("ascii")
    return PackedPicture(data=data, offset=offset, step=step)


def _scale(finite: npt.NDArray[np.float64], window: Window) -> tuple[float, float]:
    """Offset and step of the numbers."""
    if not finite.size:
        return 0.0, 1.0
    low, spread = float(finite.min()), float(finite.max() - finite.min())
    if spread < NOT_FINITE and np.array_equal(finite, np.rint(finite)):
        return low, 1.0
    return low, max((window[1] - window[0]) / STEPS_A_WINDOW, spread / (NOT_FINITE - 1))


def slice_html(pair: SlicePair) -> str:
    """One slice's values and label, as an element that shows nothing by itself."""
    rows, columns = pair.before.shape
    parts = [f'data-label="{escape(pair.label)}" data-rows="{rows}" data-columns="{columns}"']
    for name, pixels in (("before", pair.before), ("after", pair.after)):
        packed = packed_picture(pixels, pair.window)
        parts.append(
            f'data-{name}-offset="{packed.offset!r}" data-{name}-step="{packed.step!r}" data-{name}="{packed.data}"'
        )
    return f'<span class="slice" hidden {" ".join(parts)}></span>'


def viewer_html(viewer: Viewer, slices: Sequence[str], caption: str) -> str:
    """Controls, three canvases and the slices (of `slice_html`, at least one). caption: already escaped."""
    first = viewer.pairs[0]
    low, high = first.window
    ratio = first.difference_half_width / (high - low)
    kind = picture_kind(first.before)
    pictures = "".join(
        f'<div class="picture"><canvas class="{kind}{" swap" if place < 2 else ""}" role="img" aria-label="{name}"'
        f'{" tabindex=0" if place < 2 else ""} style="aspect-ratio:{first.aspect:.4f}"></canvas>'
        f"<p><span>{name}</span> <small></small></p></div>"
        for place, name in enumerate(PICTURES)
    )
    return (
        f'<figure class="viewer" data-level="{(low + high) / 2!r}" data-width="{high - low!r}" '
        f'data-difference="{ratio!r}"><noscript><p>{WITHOUT_SCRIPTS}</p></noscript>'
        f"{_window_html(first)}{slider_html(len(slices))}"
        f'<p class="where" aria-live="polite"></p><div class="pictures">{pictures}</div>{"".join(slices)}'
        f"<figcaption>{caption}</figcaption></figure>"
    )


def _window_html(pair: SlicePair) -> str:
    """Buttons for the named windows; level and width as sliders."""
    low, high = pair.window
    width = high - low
    windows: Mapping[str, Window]
    if pair.unit == "HU":
        windows, unit = READING_WINDOWS_HU, " (HU)"
        levels, widths, step = (-1000.0, 1000.0), (10.0, 2500.0), 1.0
    else:
        windows, unit, step = {"automatic": pair.window}, "", width / 200
        levels, widths = (low, low + 2 * width), (2 * step, 3 * width)
    buttons = "".join(
        f'<button type="button" aria-pressed="false" data-level="{(one[0] + one[1]) / 2!r}" '
        f'data-width="{one[1] - one[0]!r}" title="{window_text(one)}">{escape(name.capitalize())}</button>'
        for name, one in windows.items()
    )
    sliders = "".join(
        f'<label>{name} <input class="{name.lower()}" type="range" min="{edges[0]!r}" max="{edges[1]!r}" '
        f'step="{step!r}" value="{value!r}"><output></output></label>'
        for name, edges, value in (("Level", levels, (low + high) / 2), ("Width", widths, width))
    )
    return f'<fieldset class="window"><legend>Window{unit}</legend><div>{buttons}</div>{sliders}</fieldset>'
