"""What one call costs: its seconds and its peak memory.

The memory is that of the whole process as the kernel counts it (Linux: VmHWM after it was set back, proc(5)), so what
C++ libraries take counts too, which Python's own count (tracemalloc) does not see. Memory of a graphics card does not
count. Where the system keeps no such count, there is no figure rather than a worse one.
"""

from __future__ import annotations

import contextlib
import ctypes
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

Result = TypeVar("Result")
_PROCESS = Path("/proc/self")


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost(Generic[Result]):
    """result: what the call gave. seconds: of wall clock. peak_bytes: the most memory held during the call over what
    was held before; None where it cannot be measured."""

    result: Result
    seconds: float
    peak_bytes: int | None


def measured(call: Callable[[], Result]) -> Cost[Result]:
    """What `call()` gives and costs. What a first call loads once (a library, weights) counts with it."""
    held = _held_before()
    started = time.perf_counter()
    result = call()
    seconds = time.perf_counter() - started
    peak = None if held is None else max(0, _status_bytes("VmHWM") - held)
    return Cost(result=result, seconds=seconds, peak_bytes=peak)


def _held_before() -> int | None:
    """Bytes resident now, the peak set back to them; None where the kernel does not do that.

    Freed memory that the C library keeps for itself is given back first: reused, it would hide what a call takes.
    """
    with contextlib.suppress(AttributeError, OSError, TypeError):  # another C library: the figure may be a little low
        ctypes.CDLL(None).malloc_trim(0)
    try:
        (_PROCESS / "clear_refs").write_text("5")
        return _status_bytes("VmRSS")
    except (OSError, LookupError):
        return None


def _status_bytes(name: str) -> int:
    for line in (_PROCESS / "status").read_text().splitlines():
        if line.startswith(name + ":"):
            return int(line.split()[1]) * 1024
    raise LookupError(name)
