"""Random lettering and marks as coverage images: how much of each pixel the ink covers, 0 to 1, axes (I,J).

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


def random_mark(generator: np.random.Generator, *, edge: int) -> FloatArray:
    """A watermark: a word inside a ring or a frame, its larger edge `edge` pixels, (I,J) coverage."""
    word = random_line(generator, characters=(3, 8))
    font = FONTS[int(generator.integers(len(FONTS)))]
    letters = written(word, size=max(6.0, edge * 0.8 / max(2.0, 0.62 * len(word))), font=font)[:edge, :edge]
    if generator.random() < 0.5:
        size = (edge, min(edge, max(letters.shape[1] + edge // 4, 3)))
        distance = _to_frame(size)
    else:
        size = (edge, edge)
        distance = _to_ring(edge)
    line = max(1.0, edge * float(generator.uniform(0.02, 0.05)))
    mark = np.clip(line / 2 + 0.5 - np.abs(distance - line / 2 - 0.5), 0.0, 1.0).astype(np.float32)
    place = tuple(
        slice((outer - inner) // 2, (outer - inner) // 2 + inner)
        for outer, inner in zip(size, letters.shape, strict=True)
    )
    mark[place] = np.maximum(mark[place], letters)
    return mark


def _to_frame(size: tuple[int, int]) -> npt.NDArray[np.float64]:
    """Distance of each pixel's centre from the nearest edge of the picture."""
    i, j = np.indices(size)
    return np.asarray(np.minimum.reduce([i, size[0] - 1 - i, j, size[1] - 1 - j]) + 0.5, np.float64)


def _to_ring(edge: int) -> npt.NDArray[np.float64]:
    """Distance of each pixel's centre inwards from the circle that touches all four edges."""
    i, j = np.indices((edge, edge)) - (edge - 1) / 2
    return np.asarray(edge / 2 - np.hypot(i, j), np.float64)
