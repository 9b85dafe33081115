"""The chart of lines: where its points lie, what it says to a screen reader, what it does with what is no number."""

from __future__ import annotations

import re

import numpy as np
import pytest

from medn2n.formats.page_blocks import Curves
from medn2n.formats.page_curves import HEIGHT, LEFT, TOP, WIDTH, curves_html


def chart(*lines: tuple[str, tuple[float, ...], tuple[float, ...]]) -> Curves:
    return Curves(lines=lines, x_name="frequency (1/mm)", y_name="power", caption="Spectrum.")


def points(html: str, number: int) -> np.ndarray:
    """(N,2) of the line of that number, as drawn."""
    path = re.search(rf'class="curve curve-{number}" d="([^"]*)"', html)
    assert path
    return np.array(re.findall(r"[ML]([\d.-]+) ([\d.-]+)", path[1]), np.float64)


def test_points_lie_where_their_values_say_between_round_numbers() -> None:
    html = curves_html(chart(("before", (0.0, 0.35, 0.7), (0.0, 4800.0, 2500.0)), ("after", (0.0, 0.7), (100.0, 0.0))))
    marks = re.findall(r">([\d. ]+)</text>", html)
    assert marks == ["0", "1 000", "2 000", "3 000", "4 000", "5 000", "0", "0.2", "0.4", "0.6", "0.8"]
    drawn = points(html, 0)
    assert (drawn[:, 0] - LEFT) / WIDTH * 0.8 == pytest.approx([0, 0.35, 0.7], abs=0.001)
    assert (TOP + HEIGHT - drawn[:, 1]) / HEIGHT * 5000 == pytest.approx([0, 4800, 2500], abs=3)
    assert len(points(html, 1)) == 2
    assert 'role="img" aria-label="Spectrum. power over frequency (1/mm): before highest, 4 800, at 0.35; after' in html


def test_what_is_no_number_breaks_the_line_and_nothing_draws_nothing() -> None:
    html = curves_html(chart(("a", (0.1, 0.2, 0.3, 0.4), (1.0, float("nan"), 2.0, 3.0))))
    path = re.search(r'class="curve curve-0" d="([^"]*)"', html)
    assert path
    assert path[1].count("M") == 2
    assert path[1].count("L") == 1
    assert curves_html(chart(("a", (0.1,), (float("inf"),)))) == ""
    assert "nan" not in curves_html(chart(("flat", (0.1, 0.2), (0.0, 0.0))))
