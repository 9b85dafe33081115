"""What a viewer embeds: values that come back, within the step that is promised, and few bytes."""

from __future__ import annotations

import base64
import re
import zlib
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from medn2n.core.display import SlicePair
from medn2n.core.evaluation import SingleScanFigures
from medn2n.formats import page
from medn2n.formats.denoise_page import MAX_PICTURED, DenoisedSeries, write_denoise_page
from medn2n.formats.page import write_page
from medn2n.formats.page_blocks import Viewer
from medn2n.formats.slice_viewer import PackedPicture, packed_picture

SOFT_TISSUE = (-160.0, 240.0)


def unpacked(packed: PackedPicture, shape: tuple[int, ...]) -> npt.NDArray[np.float64]:
    """The oracle: what the format says, one number after the other."""
    planes = zlib.decompress(base64.b64decode(packed.data))
    size = len(planes) // 2
    number, values = 0, []
    for high, low in zip(planes[:size], planes[size:], strict=True):
        coded = 256 * high + low
        number = (number + (coded // 2 if coded % 2 == 0 else -(coded + 1) // 2)) % 65536
        values.append(np.nan if number == 65535 else packed.offset + packed.step * number)
    return np.array(values).reshape(shape)


def ct_slice(sigma_hu: float, *, seed: int = 0, size: int = 512) -> npt.NDArray[np.float32]:
    """An ellipse of water in air, with white noise."""
    row, column = np.mgrid[:size, :size] / size - 0.5
    body = (column / 0.4) ** 2 + (row / 0.3) ** 2 < 1
    noise = np.random.default_rng(seed).normal(0, sigma_hu, (size, size))
    return (np.where(body, 40.0, -1000.0) + noise).astype(np.float32)


def pair(before: npt.NDArray[np.float32], after: npt.NDArray[np.float32], **changes: object) -> SlicePair:
    fields = {"window": SOFT_TISSUE, "difference_half_width": 50.0, "aspect": 1.0, "label": "one", "unit": "HU"}
    return SlicePair(before=before, after=after, **{**fields, **changes})  # type: ignore[arg-type]


@settings(max_examples=40, deadline=None)
@given(hnp.arrays(np.int32, hnp.array_shapes(min_dims=2, max_dims=2, max_side=9), elements=st.integers(-32768, 32766)))
def test_whole_numbers_come_back_exactly(pixels: npt.NDArray[np.int32]) -> None:
    packed = packed_picture(pixels, SOFT_TISSUE)
    if np.ptp(pixels) <= 65534:
        assert packed.step == 1
        assert np.array_equal(unpacked(packed, pixels.shape), pixels)


@settings(max_examples=60, deadline=None)
@given(
    hnp.arrays(
        np.float32,
        hnp.array_shapes(min_dims=2, max_dims=2, max_side=9),
        elements=st.one_of(st.floats(-3000, 3000, width=32), st.just(np.nan), st.just(np.inf), st.just(-np.inf)),
    )
)
def test_other_values_come_back_to_half_a_step_and_what_is_not_finite_is_marked(
    pixels: npt.NDArray[np.float32],
) -> None:
    packed = packed_picture(pixels, SOFT_TISSUE)
    back = unpacked(packed, pixels.shape)
    finite = np.isfinite(pixels)
    assert np.array_equal(np.isfinite(back), finite)
    assert packed.step <= max(1.0, 6000 / 65534)
    assert np.abs(back - pixels)[finite] == pytest.approx(0, abs=packed.step / 2 + 1e-9)


def test_the_step_follows_the_window_and_reaches_over_the_range() -> None:
    fractions = np.array([[0.25, 1000.5]])
    assert packed_picture(fractions, SOFT_TISSUE).step == 400 / 4096
    assert packed_picture(fractions, (0, 1)).step == 1000.25 / 65534
    assert packed_picture(np.array([[0, 65535]]), (0, 65535)).step == 65535 / 4096
    assert packed_picture(np.full((2, 2), np.nan), (0, 1)).offset == 0


def test_a_viewer_is_of_one_scan() -> None:
    image = ct_slice(20, size=8)
    with pytest.raises(ValueError, match="one window"):
        Viewer(pairs=(pair(image, image), pair(image, image, window=(0.0, 80.0))))
    with pytest.raises(ValueError, match="at least one"):
        Viewer(pairs=())
    with pytest.raises(ValueError, match=re.escape("(8, 8) pixels and after (4, 8)")):
        Viewer(pairs=(pair(image, image[:4]),))


def test_slices_beyond_the_limit_become_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    image = ct_slice(20, size=64)
    one = write_page(tmp_path / "one.html", title="t", summary=[], blocks=[Viewer(pairs=(pair(image, image),))])
    bare = write_page(tmp_path / "none.html", title="t", summary=[], blocks=[])
    monkeypatch.setattr(page, "PAGE_LIMIT", 1_000_000 + 2 * (one - bare))
    write_page(tmp_path / "r.html", title="t", summary=[], blocks=[Viewer(pairs=(pair(image, image),) * 5)])
    source = (tmp_path / "r.html").read_text(encoding="utf-8")
    kept = source.count('<span class="slice"')
    assert kept in (2, 3)
    assert f"{5 - kept} of 5 slices left out to keep this page below 20 MB." in source
    assert f'type="range" min="0" max="{kept - 1}" value="{kept // 2}"' in source
    monkeypatch.setattr(page, "PAGE_LIMIT", 1_000_000)
    write_page(tmp_path / "r.html", title="t", summary=[], blocks=[Viewer(pairs=(pair(image, image),))])
    assert "<figure" not in (tmp_path / "r.html").read_text(encoding="utf-8")


def test_a_full_page_of_noisy_ct_stays_below_20_mb_with_every_slice(tmp_path: Path) -> None:
    """24 series of 512 × 512, before stored in whole HU at 20 HU of noise, after as the network gives it at 8 HU."""
    figures = SingleScanFigures(
        noise_before=20.0, noise_after=8.0, mean_shift=0.0, minimum=(-1100, -1050), maximum=(200, 100)
    )
    entries = []
    for number in range(MAX_PICTURED):
        before, after = np.rint(ct_slice(20, seed=number)), ct_slice(8, seed=100 + number)
        entries.append(
            DenoisedSeries(
                id=f"s-{number}", status="done", modality="CT", unit="HU", figures=figures, pairs=(pair(before, after),)
            )
        )
    size = write_denoise_page(tmp_path / "r.html", entries)
    source = (tmp_path / "r.html").read_text(encoding="utf-8")
    assert len(source.encode("utf-8")) == size < 20_000_000
    assert source.count('<span class="slice"') == MAX_PICTURED == 24
    assert "left out" not in source
