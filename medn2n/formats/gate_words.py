"""What the pages, the record of a run and the command line say of limits: the verdict, and what was not measured."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from medn2n.core.limits import Gate, failed
from medn2n.formats.page_blocks import Chip

NEEDED = ("numbers", "sharpness", "spots")  # where one of these is open, no copy is called passed

Gates = Sequence[Gate]


def verdict(scans: Sequence[Gates]) -> Chip:
    """Of one method or series over its scans: what was not measured is no failure, and no pass."""
    gates = [gate for scan in scans for gate in scan]
    if failed(gates):
        return Chip(text="failed", tone="bad")
    if all(gate.passed is None for gate in gates):
        return Chip(text="not measured", tone="check")
    if any(gate.name in NEEDED for gate in _open(gates)):
        return Chip(text="partly measured", tone="check")
    return Chip(text="passed", tone="good")


def not_measured(scans: Sequence[Gates], *, what: str = "scans") -> str:
    """One sentence that names the limits that are open and why, and in how many of `scans` where not in all; "" where
    none is. A limit that nobody set is not open."""
    open_in = Counter((gate.name, gate.why) for scan in scans for gate in _open(scan))
    alike: dict[str, list[str]] = {}
    for (name, why), count in open_in.items():
        share = "" if count == len(scans) else f", {count} of {len(scans)} {what}"
        alike.setdefault(f"{why}{share}", []).append(name)
    parts = [f"{', '.join(names)} ({why})" for why, names in alike.items()]
    return f"Not measured: {'; '.join(parts)}." if parts else ""


def measured_in(count: int, scans: int) -> str:
    """What follows a figure that not all scans have; "" where all have it."""
    return "" if count == scans else f" (measured in {count} of {scans} scans)"


def _open(gates: Gates) -> list[Gate]:
    return [gate for gate in gates if gate.passed is None and gate.why]
