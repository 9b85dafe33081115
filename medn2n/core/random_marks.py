"""Random marks as coverage images, 0 to 1, axes (I,J): so many kinds that a mark of none of them looks like them too.

Words in a ring or a frame, lines of annotation, shapes as of a logo, and small marks repeated as a tiling; half of them
turned by any angle, some with soft edges.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from medn2n.core.lettering import FONTS, random_line, written

FloatArray = npt.NDArray[np.float32]
SMALLEST = 8  # pixels: what is smaller shows no form
TURNED, SOFT = 0.5, 0.25  # shares of the marks


def random_mark(generator: np.random.Generator, *, edge: int) -> FloatArray:
    """One mark, its larger edge at most `edge` pixels (at least 8), (I,J) coverage."""
    kinds = [_framed_word, _lines, _shapes, *([_tiling] if edge >= 3 * SMALLEST else [])]
    mark = kinds[int(generator.integers(len(kinds)))](generator, edge)
    if generator.random() < TURNED:
        mark = _turned(mark, float(generator.uniform(0, 180)), edge)
    if generator.random() < SOFT:
        from scipy.ndimage import gaussian_filter

        mark = gaussian_filter(mark, float(generator.uniform(0.4, 1.5)))
    return np.asarray(np.clip(mark, 0.0, 1.0), np.float32)


def _font(generator: np.random.Generator) -> str:
    return FONTS[int(generator.integers(len(FONTS)))]


def _framed_word(generator: np.random.Generator, edge: int) -> FloatArray:
    """A word inside a ring or a frame."""
    word = random_line(generator, characters=(3, 8))
    size = max(6.0, edge * 0.8 / max(2.0, 0.62 * len(word)))
    letters = written(word, size=size, font=_font(generator))[:edge, :edge]
    if generator.random() < 0.5:
        shape = (edge, min(edge, max(letters.shape[1] + edge // 4, 3)))
        distance = _to_frame(shape)
    else:
        shape = (edge, edge)
        distance = _to_ring(edge)
    line = max(1.0, edge * float(generator.uniform(0.02, 0.05)))
    mark = np.clip(line / 2 + 0.5 - np.abs(distance - line / 2 - 0.5), 0.0, 1.0).astype(np.float32)
    place = tuple(
        slice((outer - inner) // 2, (outer - inner) // 2 + inner)
        for outer, inner in zip(shape, letters.shape, strict=True)
    )
    mark[place] = np.maximum(mark[place], letters)
    return mark


def _lines(generator: np.random.Generator, edge: int) -> FloatArray:
    """One to four lines of text below one another, as scanners burn them in."""
    font, size = _font(generator), float(generator.uniform(8.0, max(9.0, edge / 3)))
    mark, top = np.zeros((edge, edge), np.float32), 0
    for _ in range(int(generator.integers(1, 5))):
        ink = written(random_line(generator, characters=(2, 16)), size=size, font=font)[:edge, : edge - top]
        mark[: ink.shape[0], top : top + ink.shape[1]] = ink
        top = min(edge, top + round(1.3 * size))
    inked = np.argwhere(mark > 0).max(axis=0) + 1
    return np.ascontiguousarray(mark[: inked[0], : inked[1]])


def _shapes(generator: np.random.Generator, edge: int) -> FloatArray:
    """Two to six ellipses, boxes and triangles, filled or in outline, each added to the others or cut out of them."""
    mark = np.zeros((edge, edge), np.float32)
    for number in range(int(generator.integers(2, 7))):
        part = np.clip(0.5 - _outside(generator, edge), 0.0, 1.0).astype(np.float32)
        mark = mark * (1 - part) if number and generator.random() < 0.35 else np.maximum(mark, part)
    return mark


def _outside(generator: np.random.Generator, edge: int) -> npt.NDArray[np.float64]:
    """How many pixels each pixel lies outside one shape; below 0 inside."""
    i, j = np.indices((edge, edge)) - generator.uniform(0.2, 0.8, (2, 1, 1)) * edge
    angle, (a, b) = generator.uniform(0, np.pi), generator.uniform(0.06, 0.35, 2) * edge
    u, v = np.cos(angle) * i + np.sin(angle) * j, np.cos(angle) * j - np.sin(angle) * i
    kind = int(generator.integers(3))
    if kind == 0:
        away = (np.hypot(u / a, v / b) - 1) * min(a, b)
    elif kind == 1:
        away = np.maximum(np.abs(u) - a, np.abs(v) - b)
    else:
        away = np.max([u - a / 2, *(-u / 2 + side * v * np.sqrt(0.75) - a / 2 for side in (-1, 1))], axis=0)
    if generator.random() < 0.35:
        away = np.abs(away) - max(1.0, edge * float(generator.uniform(0.02, 0.06))) / 2
    return np.asarray(away, np.float64)


def _tiling(generator: np.random.Generator, edge: int) -> FloatArray:
    """A small mark again and again."""
    inner = int(generator.integers(SMALLEST, max(SMALLEST + 1, edge // 2)))
    kind = (_framed_word, _lines, _shapes)[int(generator.integers(3))]
    small = kind(generator, inner)
    gap = generator.integers(2, max(3, inner), size=2)
    cell = np.pad(small, [(0, int(gap[0])), (0, int(gap[1]))])
    times = [-(-edge // length) for length in cell.shape]
    return np.ascontiguousarray(np.tile(cell, times)[:edge, :edge])


def _turned(mark: FloatArray, degrees: float, edge: int) -> FloatArray:
    """The mark turned about its middle, what does not fit into edge × edge cut off."""
    from scipy.ndimage import rotate

    whole = rotate(mark, degrees, order=1)
    start = [max(0, (length - edge) // 2) for length in whole.shape]
    return np.asarray(whole[start[0] : start[0] + edge, start[1] : start[1] + edge], np.float32)


def _to_frame(size: tuple[int, int]) -> npt.NDArray[np.float64]:
    """Distance of each pixel's centre from the nearest edge of the picture."""
    i, j = np.indices(size)
    return np.asarray(np.minimum.reduce([i, size[0] - 1 - i, j, size[1] - 1 - j]) + 0.5, np.float64)


def _to_ring(edge: int) -> npt.NDArray[np.float64]:
    """Distance of each pixel's centre inwards from the circle that touches all four edges."""
    i, j = np.indices((edge, edge)) - (edge - 1) / 2
    return np.asarray(edge / 2 - np.hypot(i, j), np.float64)
