"""A hint about memory: which pages it names, and that it changes nothing."""

from __future__ import annotations

import mmap

import pytest
import torch

from medn2n.core import paging


def test_exactly_the_pages_of_a_view_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    named: list[tuple[int, int, int]] = []
    monkeypatch.setattr(paging, "_MADVISE", lambda *call: named.append(call))
    volume = torch.zeros(7, 300, 200)  # (K,I,J), as a cache file has it
    view = volume[2:5, 40:60, 30:90].permute(1, 2, 0)
    paging.read_soon(view)
    assert len(named) == 3  # one run of rows in each slice
    for k, (start, length, advice) in enumerate(named, start=2):
        first, last = volume[k, 40, 30].data_ptr(), volume[k, 59, 89].data_ptr() + 4
        assert start % mmap.PAGESIZE == 0
        assert 0 <= first - start < mmap.PAGESIZE
        assert start + length == last
        assert advice == mmap.MADV_WILLNEED


def test_the_real_call_takes_any_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    image = torch.arange(24.0).reshape(2, 3, 4)
    for view in (image, image[:, 1:, ::2], image[:0], image.flip(0), torch.zeros(())[None]):
        before = view.clone()
        paging.read_soon(view)
        assert torch.equal(view, before)
    monkeypatch.setattr(paging, "_MADVISE", None)
    paging.read_soon(image)
