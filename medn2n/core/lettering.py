"""Random lettering as coverage images: how much of each pixel the ink covers, 0 to 1, axes (I,J).

The fonts are those that come with matplotlib, so that nothing is downloaded and every machine draws the same letters.
"""

from __future__ import annotations

import functools
import string
from typing import Any

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float32]

FONTS = ("DejaVuSans", "DejaVuSans-Bold", "DejaVuSansMono", "DejaVuSerif")
_ALPHABET = np.array(list(string.ascii_letters + string.digits + "-:./"))


@functools.lru_cache(maxsize=len(FONTS))
def _font(name: str) -> Any:
    import matplotlib
    from matplotlib.ft2font import FT2Font

    return FT2Font(f"{matplotlib.get_data_path()}/fonts/ttf/{name}.ttf")


def written(text: str, *, size: float, font: str = FONTS[0]) -> FloatArray:
    """(I,J) coverage of one line of text, upright where I runs to the right and J downwards, cropped to its ink.

    size: of the font in pixels (an em). No ink (a blank) gives an empty array.
    """
    face = _font(font)
    face.set_size(size, 72)  # at 72 points an inch, a point is a pixel
    face.set_text(text)
    face.draw_glyphs_to_bitmap(antialiased=True)
    rows = np.asarray(face.get_image(), np.float32).T / np.float32(255)
    ink = np.argwhere(rows > 0)
    if not len(ink):
        return np.zeros((0, 0), np.float32)
    (left, top), (right, bottom) = ink.min(axis=0), ink.max(axis=0) + 1
    return np.ascontiguousarray(rows[left:right, top:bottom])


def random_line(generator: np.random.Generator, *, characters: tuple[int, int]) -> str:
    """Random letters, digits and marks, so many of them as drawn between the two, both included."""
    count = int(generator.integers(characters[0], characters[1] + 1))
    return "".join(generator.choice(_ALPHABET, count))
