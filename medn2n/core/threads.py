"""Threads for work that numpy and scipy do: they let go of the interpreter, and share the cores well."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from multiprocessing import cpu_count
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")
MOST = 8  # each holds what it makes of one item


def in_threads(function: Callable[[Item], Result], items: Iterable[Item]) -> list[Result]:
    """The function's answers, in the order of the items; an error of one is raised."""
    with ThreadPoolExecutor(min(MOST, cpu_count())) as pool:
        return list(pool.map(function, items))
