"""A report page in a real Chromium, from a file and without a network: what is on the screen is what was measured."""

from __future__ import annotations

import base64
import importlib.util
import io
import shutil
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import PIL.Image
import pytest

from medn2n.core.display import SlicePair
from medn2n.formats.page import write_page
from tests.built_slices import blocks, ct_pairs, mr_pair

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed"),
    pytest.mark.skipif(importlib.util.find_spec("playwright") is None, reason="playwright is not installed"),
]

Image = npt.NDArray[Any]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as tool:
        opened = tool.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("page") / "report.html"
    write_page(path, title="A report", summary=["Words."], blocks=blocks())
    return path.as_uri()


@pytest.fixture(params=[1280])
def opened(browser: Any, address: str, request: pytest.FixtureRequest) -> Iterator[Any]:
    """The page, offline; anything it asks of a network and any error in its console fails the test."""
    context = browser.new_context(offline=True, viewport={"width": request.param, "height": 900})
    page = context.new_page()
    page.set_default_timeout(15_000)
    asked: list[str] = []
    errors: list[str] = []
    page.on("request", lambda one: asked.append(one.url))
    page.on("console", lambda one: errors.append(one.text) if one.type in ("error", "warning") else None)
    page.on("pageerror", lambda one: errors.append(str(one)))
    page.goto(address)
    for place, label in ((0, "axial, slice 2 of 3"), (1, "coronal, slice 1 of 1")):
        shows(viewer(page, place), label)
    yield page
    context.close()
    assert asked[0] == address
    assert [url[:60] for url in asked[1:] if not url.startswith("data:")] == []
    assert errors == []


def viewer(page: Any, place: int) -> Any:
    return page.locator(".viewer").nth(place)


def shows(figure: Any, label: str) -> None:
    from playwright.sync_api import expect

    expect(figure.locator(".where")).to_have_text(label)


def canvases(figure: Any) -> list[Image]:
    """The pixels of its three canvases, (rows, columns, RGBA)."""
    uris = figure.evaluate("figure => [...figure.querySelectorAll('canvas')].map((canvas) => canvas.toDataURL())")
    assert len(uris) == 3
    return [np.asarray(PIL.Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2])))) for uri in uris]


def grey(values: Image, low: float, high: float) -> Image:
    """The window function: low is black, high is white, what is not finite is black."""
    shown = 255 * (values.astype(np.float64) - low) / (high - low)
    return np.where(np.isfinite(shown), np.clip(np.rint(shown), 0, 255), 0)


def assert_drawn(figure: Any, pair: SlicePair, low: float, high: float) -> None:
    """Before, after and their difference, each to one grey level, opaque and without colour."""
    half = (high - low) / 8
    before, after = pair.before.astype(np.float64), pair.after.astype(np.float64)
    before[~np.isfinite(before)] = after[~np.isfinite(after)] = np.nan
    wanted = (grey(before, low, high), grey(after, low, high), grey(after - before, -half, half))
    for found, expected in zip(canvases(figure), wanted, strict=True):
        assert found.shape[:2] == expected.shape
        assert np.abs(found[..., :3] - expected[..., None]).max() <= 1
        assert (found[..., 3] == 255).all()
        assert found[..., 0].std() > 1


def set_range(figure: Any, name: str, value: float) -> None:
    figure.get_by_label(name).evaluate(
        "(input, value) => { input.value = value; input.dispatchEvent(new Event('input', { bubbles: true })); }", value
    )


def test_pictures_are_right_as_the_page_opens(opened: Any) -> None:
    assert_drawn(viewer(opened, 0), ct_pairs()[1], -160, 240)
    assert_drawn(viewer(opened, 1), mr_pair(), 0.0, 1.07)


@pytest.mark.parametrize(
    ("name", "low", "high"),
    [
        ("Chest", -1350, 150),
        ("Abdomen", -150, 250),
        ("Head", 0, 80),
        ("Bone", -500, 1300),
    ],
)
def test_a_button_sets_its_window(opened: Any, name: str, low: float, high: float) -> None:
    figure = viewer(opened, 0)
    button = figure.get_by_role("button", name=name)
    assert button.get_attribute("aria-pressed") == "false"
    button.click()
    assert_drawn(figure, ct_pairs()[1], low, high)
    assert figure.locator("button[aria-pressed=true]").all_inner_texts() == [name]
    assert float(figure.get_by_label("Level").input_value()) == (low + high) / 2
    assert float(figure.get_by_label("Width").input_value()) == high - low
    minus = "−" if low < 0 else ""
    assert figure.locator(".picture small").first.inner_text() == f"{minus}{abs(low)} … {high}"
    figure.get_by_role("button", name="Soft tissue").click()
    assert_drawn(figure, ct_pairs()[1], -160, 240)


def test_level_and_width_are_free_and_answer_to_the_keyboard(opened: Any) -> None:
    figure = viewer(opened, 0)
    set_range(figure, "Level", 123)
    set_range(figure, "Width", 310)
    assert_drawn(figure, ct_pairs()[1], 123 - 155, 123 + 155)
    assert figure.locator(".window output").all_inner_texts() == ["123", "310"]
    assert figure.locator("button[aria-pressed=true]").count() == 0
    figure.get_by_label("Level").press("ArrowRight")
    figure.get_by_label("Width").press("ArrowLeft")
    assert figure.locator(".window output").all_inner_texts() == ["124", "309"]
    assert_drawn(figure, ct_pairs()[1], 124 - 154.5, 124 + 154.5)


def test_mr_has_its_automatic_window_and_sliders_in_its_own_units(opened: Any) -> None:
    figure = viewer(opened, 1)
    set_range(figure, "Width", 0.535)
    width = float(figure.get_by_label("Width").input_value())
    level = 0.535
    assert width == pytest.approx(0.535, abs=1.07 / 200)
    assert_drawn(figure, mr_pair(), level - width / 2, level + width / 2)
    figure.get_by_role("button", name="Automatic").click()
    assert_drawn(figure, mr_pair(), 0.0, 1.07)
    assert figure.locator(".slider").count() == 0


def test_the_slider_changes_the_slice_and_keeps_the_window(opened: Any) -> None:
    figure = viewer(opened, 0)
    figure.get_by_role("button", name="Bone").click()
    for key, number in (("ArrowRight", 2), ("Home", 0), ("ArrowRight", 1)):
        figure.get_by_label("Slices").press(key)
        shows(figure, f"axial, slice {number + 1} of 3")
        assert_drawn(figure, ct_pairs()[number], -500, 1300)


def test_the_wheel_scrolls_the_slices_and_at_the_end_the_page(opened: Any) -> None:
    figure = viewer(opened, 0)
    figure.locator(".pictures").scroll_into_view_if_needed()
    figure.locator("canvas").first.hover()
    opened.evaluate("kept = []; addEventListener('wheel', (event) => kept.push(event.defaultPrevented))")

    def turn(*pixels: int) -> None:
        for one in pixels:
            before = opened.evaluate("kept.length")
            opened.mouse.wheel(0, one)
            opened.wait_for_function("before => kept.length > before", arg=before)

    turn(100)
    shows(figure, "axial, slice 3 of 3")
    assert figure.get_by_label("Slices").input_value() == "2"
    turn(-100)
    shows(figure, "axial, slice 2 of 3")
    turn(-25, -25)
    assert figure.get_by_label("Slices").input_value() == "1"
    turn(-25)
    shows(figure, "axial, slice 1 of 3")
    assert_drawn(figure, ct_pairs()[0], -160, 240)
    turn(100, 100)
    shows(figure, "axial, slice 3 of 3")
    # The page stood still all the while; now there is no further slice, and it scrolls.
    assert set(opened.evaluate("kept")) == {True}
    place = opened.evaluate("scrollY")
    turn(100)
    assert opened.evaluate("kept.at(-1)") is False
    opened.wait_for_function("place => scrollY > place", arg=place)


@pytest.mark.parametrize("by", ["pointer", "keyboard"])
def test_press_and_hold_shows_the_other_picture_in_its_place(opened: Any, by: str) -> None:
    figure = viewer(opened, 0)
    before, after, difference = canvases(figure)
    for place, other in ((0, after), (1, before)):
        canvas = figure.locator("canvas").nth(place)
        if by == "pointer":
            canvas.hover()
            opened.mouse.down()
        else:
            canvas.focus()
            opened.keyboard.down("Space")
        held = canvases(figure)
        assert np.array_equal(held[place], other)
        assert np.array_equal(held[1 - place], (after, before)[place])
        assert np.array_equal(held[2], difference)
        assert figure.locator(".picture span").nth(place).inner_text() == ("after", "before")[place]
        if by == "pointer":
            opened.mouse.up()
        else:
            opened.keyboard.up("Space")
        assert all(map(np.array_equal, canvases(figure), (before, after, difference)))
        assert figure.locator(".picture span").all_inner_texts() == ["before", "after", "after − before"]


@pytest.mark.parametrize("opened", [390, 1280], indirect=True)
def test_nothing_is_wider_than_the_screen_and_pictures_keep_their_shape(opened: Any) -> None:
    """A table scrolls inside its own frame; all else fits."""
    width = opened.viewport_size["width"]
    assert opened.evaluate("document.documentElement.scrollWidth") <= width
    beyond = """width => [...document.querySelectorAll("body *")].filter((one) => !one.closest(".wide table"))
        .filter((one) => one.getBoundingClientRect().right > width + 0.5 || one.getBoundingClientRect().left < 0)
        .map((one) => one.outerHTML.slice(0, 80))"""
    assert opened.evaluate(beyond, width) == []
    for place, aspect, rendering in ((0, 1.4, "pixelated"), (1, 320 / 310, "auto")):
        for canvas in viewer(opened, place).locator("canvas").all():
            box = canvas.bounding_box()
            assert box["width"] / box["height"] == pytest.approx(aspect, rel=0.01)
            assert canvas.evaluate("canvas => getComputedStyle(canvas).imageRendering") == rendering


def test_paper_shows_the_pictures_without_the_controls(opened: Any) -> None:
    figure = viewer(opened, 0)
    opened.emulate_media(media="print")
    assert not figure.locator(".window").is_visible()
    assert not figure.locator(".slider").is_visible()
    assert figure.locator("canvas").first.is_visible()
    assert_drawn(figure, ct_pairs()[1], -160, 240)


def test_the_plain_pictures_of_other_comparisons_have_their_slider_and_swap(opened: Any) -> None:
    figure = opened.locator(".comparison")
    figure.get_by_label("Slices").press("Home")
    frames = figure.locator(".frame")
    assert [one.is_visible() for one in frames.all()] == [True, False]
    first, second = (frames.first.locator("img").nth(place) for place in range(2))
    own = first.get_attribute("src")
    assert first.evaluate("image => image.complete && image.naturalWidth") == 30
    first.hover()
    opened.mouse.down()
    assert first.get_attribute("src") == second.get_attribute("src") != own
    opened.mouse.up()
    assert first.get_attribute("src") == own


def test_without_scripts_a_sentence_stands_for_the_pictures(browser: Any, address: str) -> None:
    context = browser.new_context(offline=True, java_script_enabled=False)
    page = context.new_page()
    page.goto(address)
    assert "runs scripts" in page.locator("noscript").first.inner_text()
    assert not page.locator("canvas").first.is_visible()
    context.close()
