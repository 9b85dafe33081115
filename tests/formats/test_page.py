"""The report page: well-formed, alone, escaped, bounded in size."""

from __future__ import annotations

import base64
import io
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from medn2n.core.display import SlicePair
from medn2n.core.evaluation import SingleScanFigures
from medn2n.formats import denoise_page, page
from medn2n.formats.denoise_page import DenoisedSeries, write_denoise_page
from medn2n.formats.page import DISCLAIMER, write_page
from medn2n.formats.page_blocks import (
    Bars,
    Block,
    Column,
    Comparison,
    Curves,
    Frame,
    Measured,
    Picture,
    Section,
    Table,
    Text,
)
from medn2n.formats.page_parts import figure_text, png_bytes

VOID = {"meta", "img", "input", "br", "path", "rect"}
HOSTILE = "<script>alert('x')</script>\"&'"


class Tree(HTMLParser):
    """Collects what the tests ask for, and fails where tags do not nest."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def parse(path: Path) -> Tree:
    tree = Tree()
    tree.feed(path.read_text(encoding="utf-8"))
    tree.close()
    assert tree.open == []
    return tree


def frame(size: int = 24) -> Frame:
    pixels = np.random.default_rng(0).normal(0, 1, (size, size + 3))
    names = ("before", "after", "after − before")
    return Frame(
        label=HOSTILE,
        pictures=tuple(Picture(pixels=pixels, window=(-2, 2), label=name, aspect=1.2) for name in names),
    )


def everything() -> list[Block]:
    table = Table(
        columns=(
            Column(name="Method"),
            Column(name="PSNR (dB)", better="higher"),
            Column(name="Bias", better="nearest zero"),
        ),
        rows=(
            ("noisy", 99.0, 0.0),
            (HOSTILE, 20.0, -3.0),
            ("best", Measured(value=21, low=20, high=22), 1.0),
            ("none", None, None),
        ),
        caption=HOSTILE,
        unranked=frozenset({0}),
    )
    blocks = (
        Text(paragraphs=(HOSTILE,), heading=HOSTILE),
        table,
        Bars(items=((HOSTILE, 1.0), ("b", Measured(value=-2, low=-3, high=-1))), unit="dB", caption=HOSTILE),
        Bars(items=(("nothing", float("nan")),), unit="dB"),
        Curves(lines=((HOSTILE, (0.1, 0.2), (1.0, 3.0)),), x_name=HOSTILE, y_name=HOSTILE, caption=HOSTILE),
        Comparison(frames=(frame(), frame(), frame()), caption=HOSTILE),
        Comparison(frames=(frame(),)),
    )
    return [Section(title=f"{HOSTILE} {number}", blocks=blocks) for number in range(3)]


def test_the_page_nests_escapes_and_asks_nothing_of_the_network(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "report.html"
    size = write_page(path, title=HOSTILE, summary=[HOSTILE], blocks=everything())
    assert size == path.stat().st_size
    assert [child.name for child in path.parent.iterdir()] == ["report.html"]
    tree = parse(path)
    assert sum(tag == "script" for tag, _ in tree.tags) == 1
    for _, attributes in tree.tags:
        for key in ("src", "href", "srcset", "action", "data"):
            assert (attributes.get(key) or "#").startswith(("data:image/png;base64,", "#"))
    source = path.read_text(encoding="utf-8")
    source = re.sub(r'data:image/png;base64,[^"]*', "", source)
    assert not re.search(r"https?:|url\(|@import|//[a-z]", source)
    assert source.count(DISCLAIMER) == 1
    assert "".join(tree.text).count(HOSTILE) >= 3 * 6
    assert "default-src 'none'" in source


def test_figures_stand_right_and_the_best_is_marked_among_the_ranked(tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    write_page(path, title="t", summary=[], blocks=everything()[:1])
    source = path.read_text(encoding="utf-8")
    assert '<td class="number best">21.00<br><small>[20.00, 22.00]</small></td>' in source
    assert '<td class="number best">1.00</td>' in source
    assert source.count("number best") == 2
    assert '<td class="number">99.00</td>' in source
    assert "<nav" not in source


def test_figures_in_words() -> None:
    assert figure_text(-1.5, 1) == "−1.5"
    assert figure_text(-0.001, 2) == "0.00"
    assert figure_text(None, 2) == "–"
    assert figure_text(float("inf"), 2) == "∞"
    assert figure_text(float("-inf"), 2) == "−∞"
    assert figure_text(float("nan"), 2) == "–"
    assert figure_text(-12345, 2) == "−12 345"
    assert figure_text("as it is", 2) == "as it is"


def test_a_picture_is_a_png_of_the_window() -> None:
    pixels = np.array([[-10.0, 0.0, 5.0], [10.0, 20.0, np.nan]])
    shown = np.asarray(Image.open(io.BytesIO(png_bytes(pixels, (0, 10)))))
    assert shown.tolist() == [[0, 0, 128], [255, 255, 0]]
    noise = np.random.default_rng(1).integers(0, 256, (37, 53))
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(png_bytes(noise, (0, 255))))), noise)


def test_the_slider_starts_in_the_middle_and_one_frame_needs_none(tmp_path: Path) -> None:
    write_page(tmp_path / "r.html", title="t", summary=[], blocks=everything()[:1])
    tree = parse(tmp_path / "r.html")
    sliders = [attributes for tag, attributes in tree.tags if tag == "input"]
    assert [(one["max"], one["value"]) for one in sliders] == [("2", "1")]
    frames = [attributes for tag, attributes in tree.tags if attributes.get("class") == "frame"]
    assert ["hidden" in one for one in frames] == [True, False, True, False]
    first = next(attributes["src"] for tag, attributes in tree.tags if tag == "img")
    assert first is not None
    assert Image.open(io.BytesIO(base64.b64decode(first.partition(",")[2]))).size == (27, 24)


def test_pictures_beyond_the_limit_become_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page, "PAGE_LIMIT", 1_000_000 + 60_000)
    blocks = [
        Comparison(frames=tuple(frame(100) for _ in range(4)), caption="many"),
        Comparison(frames=(frame(300),)),
    ]
    size = write_page(tmp_path / "r.html", title="t", summary=[], blocks=blocks)
    assert size < 1_060_000
    source = (tmp_path / "r.html").read_text(encoding="utf-8")
    assert "of 4 slices left out" in source
    assert "1 of 1 slices left out" in source


def series(number: int, **changes: object) -> DenoisedSeries:
    figures = SingleScanFigures(
        noise_before=20.0,
        noise_after=8.0 + number,
        mean_shift=-0.25,
        minimum=(-1024, -1020),
        maximum=(1500, 1490),
    )
    pixels = np.zeros((16, 16), np.float32)
    pair = SlicePair(
        before=pixels,
        after=pixels,
        window=(-160, 240),
        difference_half_width=100,
        aspect=1,
        label="axial, slice 1 of 1",
    )
    fields: dict[str, object] = {
        "id": f"s-{number:010x}",
        "status": "done",
        "model": "ct",
        "modality": "CT",
        "unit": "HU",
        "figures": figures,
        "pairs": (pair,),
        "seconds": 1.5,
    }
    return DenoisedSeries(**{**fields, **changes})  # type: ignore[arg-type]


def test_the_page_of_a_denoise_run_says_what_happened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(denoise_page, "MAX_PICTURED", 2)
    refused = DenoisedSeries(id="s-refused", status="refused", reason=f"Two slices look missing {HOSTILE}")
    entries = [series(0), series(2), series(4, status="review", reason="Noise left is high."), refused]
    write_denoise_page(tmp_path / "r.html", entries)
    text = " ".join("".join(parse(tmp_path / "r.html").text).split())
    assert "4 series: 2 done, 1 review, 1 refused." in text
    assert "Noise in flat tissue is down by 50 % in the median (from 40 to 60 %)." in text
    assert "moved by 0.25 HU at most" in text
    assert "1 series must be looked at" in text
    assert "1 more series were denoised" in text
    assert "s-refused" in text
    assert "-0.25" not in text


def test_a_run_without_any_result_still_has_a_page(tmp_path: Path) -> None:
    write_denoise_page(tmp_path / "r.html", [DenoisedSeries(id="s-1", status="passed", reason="A localizer.")])
    assert "1 series: 1 passed." in "".join(parse(tmp_path / "r.html").text)
