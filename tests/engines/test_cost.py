"""Seconds and peak memory of a call, C allocations included."""

from __future__ import annotations

import ctypes
import sys

import numpy as np
import pytest

from medn2n.engines.cost import measured

linux = pytest.mark.skipif(sys.platform != "linux", reason="the peak is counted by the Linux kernel")
MEGABYTES = 1_000_000


def test_the_result_comes_through_and_an_error_too() -> None:
    cost = measured(lambda: 41 + 1)
    assert cost.result == 42
    assert cost.seconds > 0

    def fails() -> None:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        measured(fails)


@linux
def test_memory_that_was_given_back_counts_and_an_earlier_peak_does_not() -> None:
    def large(megabytes: int) -> float:
        return float(np.ones(megabytes * MEGABYTES // 8).sum())

    big = measured(lambda: large(160)).peak_bytes
    small = measured(lambda: large(40)).peak_bytes
    nothing = measured(lambda: 1).peak_bytes
    assert big is not None
    assert small is not None
    assert nothing is not None
    assert 155 * MEGABYTES < big < 200 * MEGABYTES
    assert 35 * MEGABYTES < small < 80 * MEGABYTES
    assert nothing < 10 * MEGABYTES


@linux
def test_memory_of_a_c_library_counts() -> None:
    library = ctypes.CDLL(None)
    library.malloc.restype, library.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
    library.free.argtypes = [ctypes.c_void_p]

    def outside_python() -> None:
        block = library.malloc(80 * MEGABYTES)
        ctypes.memset(block, 1, 80 * MEGABYTES)
        library.free(block)

    peak = measured(outside_python).peak_bytes
    assert peak is not None
    assert peak > 75 * MEGABYTES


def test_where_the_system_keeps_no_count_there_is_no_figure(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("medn2n.engines.cost._PROCESS", tmp_path / "nowhere")
    assert measured(lambda: 1).peak_bytes is None
