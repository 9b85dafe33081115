"""Two threads for work that numpy and scipy do: they let go of the interpreter, and share two cores well."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def two_at_a_time(function: Callable[[Item], Result], items: Iterable[Item]) -> list[Result]:
    """The function's answers, in the order of the items; an error of one is raised."""
    with ThreadPoolExecutor(2) as pool:
        return list(pool.map(function, items))
