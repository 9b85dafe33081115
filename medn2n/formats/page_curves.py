"""A chart of lines as an inline SVG for a report page; its colours and dashes come from the page's style."""

from __future__ import annotations

import math
from html import escape

from medn2n.formats.page_blocks import Curves

LEFT, WIDTH, HEIGHT = 100, 560, 240  # of the plot, in the drawing's units
TOP = 12


def curves_html(chart: Curves) -> str:
    """A <figure>: axes from zero to round numbers, one line a curve, its name beside its dashes below. What a screen
    reader says names the lines and their highest points. "" without any point."""
    finite = [(x, y) for _, xs, ys in chart.lines for x, y in zip(xs, ys, strict=True) if math.isfinite(x + y)]
    if not finite:
        return ""
    along, up = (_marks(max(values)) for values in zip(*finite, strict=True))
    lines = "".join(
        f'<path class="curve curve-{number % 6}" d="{_path(xs, ys, along[-1], up[-1])}"/>'
        for number, (_, xs, ys) in enumerate(chart.lines)
    )
    legend = "".join(
        f'<path class="curve curve-{number % 6}" d="M{LEFT} {HEIGHT + 66 + 22 * number}h44"/>'
        f'<text x="{LEFT + 54}" y="{HEIGHT + 71 + 22 * number}">{escape(label)}</text>'
        for number, (label, *_) in enumerate(chart.lines)
    )
    words = f"{chart.caption} {chart.y_name} over {chart.x_name}: " + "; ".join(map(_highest, chart.lines)) + "."
    return (
        f'<figure><svg viewBox="0 0 {LEFT + WIDTH + 40} {HEIGHT + 70 + 22 * len(chart.lines)}" role="img" '
        f'aria-label="{escape(words)}">{_axes(chart, along, up)}{lines}{legend}</svg>'
        f"<figcaption>{escape(chart.caption)}</figcaption></figure>"
    )


def _marks(most: float) -> list[float]:
    """Round numbers from zero to `most` or just above, two to five steps apart."""
    if most <= 0:
        return [0.0, 1.0]
    size = 10.0 ** math.floor(math.log10(most))
    step = next(times * size for times in (0.2, 0.5, 1.0, 2.0) if most / (times * size) <= 5)
    return [n * step for n in range(math.ceil(most / step - 1e-9) + 1)]


def _at(x: float, y: float, right: float, top: float) -> tuple[float, float]:
    return LEFT + WIDTH * x / right, TOP + HEIGHT * (1 - max(y, 0.0) / top)


def _path(xs: tuple[float, ...], ys: tuple[float, ...], right: float, top: float) -> str:
    parts, pen = [], "M"
    for x, y in zip(xs, ys, strict=True):
        if not math.isfinite(x + y):
            pen = "M"
            continue
        parts.append("{}{:.1f} {:.1f}".format(pen, *_at(x, y, right, top)))
        pen = "L"
    return "".join(parts)


def _axes(chart: Curves, along: list[float], up: list[float]) -> str:
    below = "".join(
        f'<text x="{_at(x, 0, along[-1], 1)[0]:.0f}" y="{TOP + HEIGHT + 20}" text-anchor="middle">{_short(x)}</text>'
        for x in along
    )
    beside = "".join(
        f'<path class="grid" d="M{LEFT} {y:.1f}h{WIDTH}"/>'
        f'<text x="{LEFT - 8}" y="{y + 5:.0f}" text-anchor="end">{_short(value)}</text>'
        for value in up
        for y in [_at(0, value, 1, up[-1])[1]]
    )
    middle = TOP + HEIGHT // 2
    return (
        f'{beside}{below}<path class="whisker" d="M{LEFT} {TOP}v{HEIGHT}h{WIDTH}"/>'
        f'<text x="{LEFT + WIDTH}" y="{HEIGHT + 52}" text-anchor="end">{escape(chart.x_name)}</text>'
        f'<text x="18" y="{middle}" text-anchor="middle" transform="rotate(-90 18 {middle})">'
        f"{escape(chart.y_name)}</text>"
    )


def _highest(line: tuple[str, tuple[float, ...], tuple[float, ...]]) -> str:
    name, xs, ys = line
    points = [(y, x) for x, y in zip(xs, ys, strict=True) if math.isfinite(x + y)]
    return f"{name} highest, {_short(max(points)[0])}, at {_short(max(points)[1])}" if points else f"{name} not known"


def _short(value: float) -> str:
    """Three figures that count; thousands apart by a space."""
    return f"{value:,.0f}".replace(",", " ") if value >= 1000 else f"{value:.3g}"
