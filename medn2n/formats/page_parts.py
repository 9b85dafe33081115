"""Pieces of a report page as HTML text or PNG bytes: tables, charts, figures in words, pictures. All of it
escaped."""

from __future__ import annotations

import math
import struct
import zlib
from html import escape
from typing import Any

import numpy as np
import numpy.typing as npt

from medn2n.formats.page_blocks import Bars, Cell, Chip, Measured, Table


def png_bytes(pixels: npt.NDArray[Any], window: tuple[float, float]) -> bytes:
    """An 8-bit grey PNG of rows × columns, window low → 0, high → 255; values that are not finite are
    black."""
    low, high = window
    scaled = (np.nan_to_num(pixels.astype(np.float64), nan=low, posinf=high, neginf=low) - low) / max(high - low, 1e-12)
    grey = np.clip(np.rint(scaled * 255), 0, 255).astype(np.uint8)
    rows, columns = grey.shape
    # PNG's filter 2 ("up"): each row as its difference from the row above; it packs a fifth smaller.
    above = np.vstack([np.zeros((1, columns), np.uint8), grey[:-1]])
    lines = np.hstack([np.full((rows, 1), 2, np.uint8), grey - above])
    header = struct.pack(">IIBBBBB", columns, rows, 8, 0, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(lines.tobytes(), 6)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body)) for kind, body in chunks
    )


def figure_text(value: Cell, digits: int) -> str:
    """A cell as plain text: true minus sign, dash for None, "value [low, high]" for a measured figure."""
    if value is None:
        return "–"
    if isinstance(value, str):
        return value
    if isinstance(value, Chip):
        return value.text
    if isinstance(value, Measured):
        return (
            f"{figure_text(float(value.value), digits)} "
            f"[{figure_text(float(value.low), digits)}, {figure_text(float(value.high), digits)}]"
        )
    if isinstance(value, int):
        return f"{value:,}".replace(",", " ").replace("-", "−")
    if not math.isfinite(value):
        return "–" if math.isnan(value) else ("∞" if value > 0 else "−∞")
    text = f"{value:.{digits}f}"
    return (text.lstrip("-") if float(text) == 0 else text).replace("-", "−")


def table_html(table: Table) -> str:
    """A <table>: numbers right-aligned, the best row of each column marked."""
    best = [_best_row(table, column) for column in range(len(table.columns))]
    text = [
        not any(isinstance(row[c], int | float | Measured) for row in table.rows) for c in range(len(table.columns))
    ]
    head = "".join(
        f'<th scope="col"{"" if text[index] else " class=number"}>{escape(column.name)}</th>'
        for index, column in enumerate(table.columns)
    )
    lines = []
    for number, row in enumerate(table.rows):
        cells = []
        for index, (column, value) in enumerate(zip(table.columns, row, strict=True)):
            kinds = [*([] if text[index] else ["number"]), *(["best"] if best[index] == number else [])]
            mark = f' class="{" ".join(kinds)}"' if kinds else ""
            cells.append(f"<td{mark}>{_cell_html(value, column.digits)}</td>")
        lines.append(f"<tr>{''.join(cells)}</tr>")
    caption = f"<caption>{escape(table.caption)}</caption>" if table.caption else ""
    body = f"<thead><tr>{head}</tr></thead><tbody>{''.join(lines)}</tbody>"
    return f'<div class="wide"><table>{caption}{body}</table></div>'


def _cell_html(value: Cell, digits: int) -> str:
    """A figure with its interval in small print below it; a verdict in its frame; anything else as text."""
    if isinstance(value, Chip):
        return f'<span class="chip {value.tone}">{escape(value.text)}</span>'
    if not isinstance(value, Measured):
        return escape(figure_text(value, digits))
    low, high = (figure_text(float(edge), digits) for edge in (value.low, value.high))
    return f"{figure_text(float(value.value), digits)}<br><small>[{low}, {high}]</small>"


def _number(value: Cell) -> float | None:
    if isinstance(value, Measured):
        value = value.value
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None


def _best_row(table: Table, column: int) -> int | None:
    """The row to mark, of those that are ranked; none where fewer than two have a figure."""
    better = table.columns[column].better
    scores = {
        number: figure
        for number, row in enumerate(table.rows)
        if number not in table.unranked and (figure := _number(row[column])) is not None
    }
    if better is None or len(scores) < 2:
        return None
    cost = {"higher": lambda x: -x, "lower": lambda x: x, "nearest zero": abs}[better]
    return min(scores, key=lambda number: cost(scores[number]))


def bars_html(chart: Bars) -> str:
    """An inline SVG: label, bar from zero, interval, figure. Its colours come from the page's style."""
    figures = [(label, value if isinstance(value, Measured) else Measured(value=value, low=value, high=value))
               for label, value in chart.items if _number(value) is not None]  # fmt: skip
    if not figures:
        return ""
    low = min(0.0, *(figure.low for _, figure in figures))
    high = max(0.0, *(figure.high for _, figure in figures)) or 1.0
    left, width, step = 190, 520, 30

    def at(value: float) -> float:
        return left + width * (value - low) / (high - low)

    parts = []
    for number, (label, figure) in enumerate(figures):
        y = number * step + 6
        start, end = sorted((at(0), at(figure.value)))
        parts.append(
            f'<text x="{left - 8}" y="{y + 13}" text-anchor="end">{escape(label)}</text>'
            f'<rect class="bar" x="{start:.1f}" y="{y}" width="{max(end - start, 1):.1f}" '
            f'height="18" rx="2"/>'
        )
        if figure.high > figure.low:
            parts.append(
                f'<path class="whisker" d="M{at(figure.low):.1f} {y + 9}H{at(figure.high):.1f}'
                f'M{at(figure.low):.1f} {y + 4}v10M{at(figure.high):.1f} {y + 4}v10"/>'
            )
        shown = figure_text(float(figure.value), chart.digits)
        parts.append(f'<text x="{at(max(figure.high, 0)) + 8:.1f}" y="{y + 13}">{shown} {escape(chart.unit)}</text>')
    return (
        f'<figure><svg viewBox="0 0 {left + width + 110} {len(figures) * step + 8}" role="img" '
        f'aria-label="{escape(chart.caption)}">{"".join(parts)}</svg>'
        f"<figcaption>{escape(chart.caption)}</figcaption></figure>"
    )
