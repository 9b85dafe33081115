"""One self-contained HTML page: text, tables, charts and pictures that open from a file with no network.

Everything shown is escaped, pictures are PNG data URIs or packed values that the page's own script draws, and a
content policy in the page forbids any request. The caller names scans by keyed ids only. A page stays below
`PAGE_LIMIT`: pictures beyond it become a sentence.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from html import escape
from importlib.resources import files
from pathlib import Path

from medn2n.formats.page_blocks import (
    Bars,
    Block,
    Comparison,
    Curves,
    Frame,
    Picture,
    Section,
    Table,
    Text,
    Viewer,
)
from medn2n.formats.page_curves import curves_html
from medn2n.formats.page_parts import bars_html, picture_kind, png_bytes, slider_html, table_html, window_text
from medn2n.formats.results import write_whole
from medn2n.formats.slice_viewer import slice_html, viewer_html

PAGE_LIMIT = 19_000_000
DISCLAIMER = "For research use only: not a medical device."


def write_page(path: Path, *, title: str, summary: Sequence[str], blocks: Sequence[Block]) -> int:
    """Write the page whole or not at all (temporary file in the same folder, then rename); its size in bytes.

    summary: the plain words on top, one paragraph each. The line that this is for research use is added once.
    """
    data = _Page().render(title, summary, blocks).encode("utf-8")
    write_whole(path, data)
    return len(data)


class _Page:
    """One rendering: counts its picture bytes."""

    def __init__(self) -> None:
        self._spent = 0

    def render(self, title: str, summary: Sequence[str], blocks: Sequence[Block]) -> str:
        sections = [block for block in blocks if isinstance(block, Section)]
        index = ""
        if len(sections) > 2:
            entries = "".join(
                f'<li><a href="#part-{number}">{escape(section.title)}</a></li>'
                for number, section in enumerate(sections, start=1)
            )
            index = f'<nav aria-label="Contents"><ol>{entries}</ol></nav>'
        numbers = {id(section): number for number, section in enumerate(sections, start=1)}
        body = "".join(self._block(block, numbers.get(id(block), 0)) for block in blocks)
        words = "".join(f"<p>{escape(line)}</p>" for line in summary)
        style, script = _asset("page.css"), _asset("page.js") + "\n" + _asset("slice_viewer.js")
        policy = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'"
        return (
            '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
            f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
            '<meta name="viewport" content="width=device-width, initial-scale=1">'
            '<meta name="robots" content="noindex">'
            f"<title>{escape(title)}</title><style>{style}</style></head><body><main>"
            f'<h1>{escape(title)}</h1><div class="summary">{words}</div>{index}{body}'
            f"<footer>{DISCLAIMER} Made by medn2n.</footer></main><script>{script}</script></body></html>\n"
        )

    def _block(self, block: Block, number: int = 0) -> str:
        if isinstance(block, Section):
            inner = "".join(self._block(part) for part in block.blocks)
            return f'<section id="part-{number}"><h2>{escape(block.title)}</h2>{inner}</section>'
        if isinstance(block, Text):
            heading = f"<h3>{escape(block.heading)}</h3>" if block.heading else ""
            return heading + "".join(f"<p>{escape(line)}</p>" for line in block.paragraphs)
        if isinstance(block, Table):
            return table_html(block)
        if isinstance(block, Bars):
            return bars_html(block)
        if isinstance(block, Viewer):
            slices = [html for pair in block.pairs if self._fits(html := slice_html(pair))]
            caption = _caption(block.caption, len(slices), len(block.pairs))
            return viewer_html(block, slices, caption) if slices else f'<p class="caption">{caption}</p>'
        if isinstance(block, Curves):
            return curves_html(block)
        return self._comparison(block)

    def _comparison(self, block: Comparison) -> str:
        frames = [html for frame in block.frames if (html := self._frame(frame))]
        caption = _caption(block.caption, len(frames), len(block.frames))
        if not frames:
            return f'<p class="caption">{caption}</p>'
        middle = len(frames) // 2
        shown = "".join(
            f'<div class="frame"{"" if index == middle else " hidden"}>{html}</div>'
            for index, html in enumerate(frames)
        )
        return (
            f'<figure class="comparison">{slider_html(len(frames))}{shown}<figcaption>{caption}</figcaption></figure>'
        )

    def _fits(self, *texts: str) -> bool:
        """Whether the page still has room for these pictures; if so, they count as spent."""
        size = sum(map(len, texts))
        if self._spent + size > PAGE_LIMIT - 1_000_000:
            return False
        self._spent += size
        return True

    def _frame(self, frame: Frame) -> str:
        uris = [
            "data:image/png;base64," + base64.b64encode(png_bytes(picture.pixels, picture.window)).decode()
            for picture in frame.pictures
        ]
        if not self._fits(*uris):
            return ""
        cells = "".join(
            _picture(picture, uri, swap=index < 2 <= len(uris))
            for index, (picture, uri) in enumerate(zip(frame.pictures, uris, strict=True))
        )
        label = f'<p class="where">{escape(frame.label)}</p>' if frame.label else ""
        return f'{label}<div class="pictures">{cells}</div>'


def _asset(name: str) -> str:
    return (files("medn2n.formats") / name).read_text(encoding="utf-8").strip()


def _caption(text: str, shown: int, number: int) -> str:
    """Escaped, and with a sentence where pictures had no room."""
    if shown == number:
        return escape(text)
    return f"{escape(text)} {number - shown} of {number} slices left out to keep this page below 20 MB."


def _picture(picture: Picture, uri: str, *, swap: bool) -> str:
    kind = picture_kind(picture.pixels)
    return (
        f'<div class="picture"><img class="{kind}{" swap" if swap else ""}" alt="{escape(picture.label)}" '
        f'style="aspect-ratio:{picture.aspect:.4f}" src="{uri}">'
        f"<p>{escape(picture.label)} <small>{window_text(picture.window)}</small></p></div>"
    )
