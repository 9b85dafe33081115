"""What a report page is made of: text, tables, charts, pictures, sections; each knows nothing about HTML."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy.typing as npt

from medn2n.core.display import SlicePair

Better = Literal["higher", "lower", "nearest zero"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """A figure with its 95 % interval, shown as "value [low, high]"."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Chip:
    """A verdict in a coloured frame; the word says the same as the colour."""

    text: str
    tone: Literal["good", "check", "bad", "plain"] = "plain"


Cell = str | float | int | None | Measured | Chip


@dataclass(frozen=True, slots=True, kw_only=True)
class Text:
    """Paragraphs below an optional small heading."""

    paragraphs: tuple[str, ...]
    heading: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """name: heading, with the unit. digits: decimals of its figures. better: which end is marked as the
    best."""

    name: str
    digits: int = 2
    better: Better | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """rows: one cell a column; None shows as a dash. unranked: rows that never count as the best (the noisy
    input)."""

    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]
    caption: str = ""
    unranked: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class Bars:
    """One horizontal bar a method, with its interval where known. unit: for the axis. digits: of the
    figures."""

    items: tuple[tuple[str, Measured | float], ...]
    unit: str
    caption: str = ""
    digits: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Curves:
    """Lines over one axis, from zero on both axes. lines: (label, x, y), at most six, told apart by dashes as well as
    by colour; values that are not finite break a line. x_name, y_name: of the axes, with their units."""

    lines: tuple[tuple[str, tuple[float, ...], tuple[float, ...]], ...]
    x_name: str
    y_name: str
    caption: str = ""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Picture:
    """pixels: rows × columns, any real dtype; window: (low, high) shown as black and white; aspect: width
    over height in millimetres. Small pictures are enlarged with sharp pixel edges, so that nothing is
    smoothed for the eye."""

    pixels: npt.NDArray[Any]
    window: tuple[float, float]
    label: str
    aspect: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """Pictures of one slice, side by side. The first two change places on a click (before and after)."""

    pictures: tuple[Picture, ...]
    label: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """≥ 1 frames; several get a slider, which starts in the middle."""

    frames: tuple[Frame, ...]
    caption: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Viewer:
    """Slices of one scan before and after (≥ 1, of one window), with their difference; several get a slider, and the
    reader changes the window. ValueError where the two pictures of a slice, or the windows, do not fit together."""

    pairs: tuple[SlicePair, ...]
    caption: str = ""

    def __post_init__(self) -> None:
        if len({pair.window for pair in self.pairs}) != 1:
            raise ValueError("A viewer shows at least one slice, and all of its slices in one window.")
        for pair in self.pairs:
            if pair.before.shape != pair.after.shape:
                raise ValueError(f"Before is {pair.before.shape} pixels and after {pair.after.shape} ({pair.label}).")


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """A titled part of the page; the page lists its sections on top where there are more than two."""

    title: str
    blocks: tuple[Text | Table | Bars | Curves | Comparison | Viewer, ...]


Block = Text | Table | Bars | Curves | Comparison | Viewer | Section
