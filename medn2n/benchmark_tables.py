"""What `medn2n benchmark` prints, as text and as JSON values."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from medn2n.tables import aligned

if TYPE_CHECKING:
    from medn2n.benchmark import CatalogueBenchmark
    from medn2n.pair_benchmark import Case, PairBenchmark
    from medn2n.sample_benchmark import SampleBenchmark


def benchmark_table(result: CatalogueBenchmark) -> str:
    """One line a tool: files per second (slowest and fastest round), against pydicom, peak memory."""
    rows = [("tool", "files/s", "slowest–fastest", "× pydicom", "peak MB")]
    for timing in result.timings:
        peak = "unknown" if timing.peak_mb is None else f"{timing.peak_mb:.0f}"
        if timing.files_per_second:
            slowest, fastest = min(timing.files_per_second), max(timing.files_per_second)
            speed = (f"{timing.usual:.0f}", f"{slowest:.0f}–{fastest:.0f}", f"{result.times_pydicom(timing):.2f}")
        else:
            speed, peak = ("not installed", "", ""), ""
        rows.append((timing.tool, *speed, peak))
    return f"{aligned(rows, right=(1, 2, 3, 4))}\n{result.files} DICOM files; {result.machine}."


def benchmark_json(result: CatalogueBenchmark) -> dict[str, Any]:
    """The same as JSON values; null for a tool that is not installed, or memory that the system does not tell."""
    tools = [
        {
            "tool": timing.tool,
            "installed": bool(timing.files_per_second),
            "files_per_second": list(timing.files_per_second),
            "times_pydicom": result.times_pydicom(timing) if timing.files_per_second else None,
            "peak_mb": timing.peak_mb,
        }
        for timing in result.timings
    ]
    return {"files": result.files, "machine": result.machine, "tools": tools}


def pair_benchmark_table(result: PairBenchmark) -> str:
    """What was found of each built fault, then how it depends on noise and object.

    "found": the check named a fault, whichever, so that of "none" it is the false alarms; "unproven": it asked for a
    declaration; "fit": it saw nothing.
    """
    rows = [("built fault", "pairs", "found", "unproven", "fit", "codes")]
    rows += [_fault_row(name, cases) for name, cases in _fault_rows(result).items()]
    parts = {name: [case for case in result.cases if fits(case)] for name, fits in _STRATA.items()}
    strata = [("found, % of", *parts)]
    for fault in dict.fromkeys(case.fault for case in result.cases):
        cells = [[case for case in cases if case.fault == fault] for cases in parts.values()]
        strata.append(
            (fault, *(f"{100 * _found(cell) / len(cell):.0f} ({len(cell)})" if cell else "" for cell in cells))
        )
    sizes = "shift 0.25 voxel, gain ±1 %, offset ±0.05 σ, shared noise 0.2 (little: 0.05); SNR 5 to 100"
    objects = ", ".join(f"{count} {kind}" for kind, count in result.objects)
    return (
        f"{aligned(rows, right=(1, 2, 3, 4))}\n\n{aligned(strata, right=range(1, len(strata[0])))}\n"
        f"Objects: {objects}; {sizes}; seed {result.seed}."
    )


FLAT_VOXELS = 5000  # from which on shared noise of 0.2 is to be found
IDEAL_ERRORS = 3.6  # standard errors from which on an ideal test finds 95 % at 5 % false alarms
_STRATA: dict[str, Callable[[Case], bool]] = {
    "SNR 5-15": lambda case: case.snr < 15,
    "15-40": lambda case: 15 <= case.snr < 40,
    "40-100": lambda case: case.snr >= 40,
    "white": lambda case: case.grain == "white",
    "smooth": lambda case: case.grain == "smooth",
    "ct": lambda case: case.grain == "ct",
    "floats": lambda case: case.stored == "floats",
    "whole": lambda case: case.stored == "whole numbers",
    "floor": lambda case: case.stored == "floor",
    "phantom": lambda case: case.kind == "phantom",
    "digital": lambda case: case.kind == "digital",
    "scan": lambda case: case.kind == "scan",
    "1 slice": lambda case: case.slices == 1,
}


def _fault_rows(result: PairBenchmark) -> dict[str, list[Case]]:
    """Title → cases; beside each fault that some cases cannot show, those that can."""
    from medn2n.core.pair_faults import OFFSET_SIGMAS

    rows: dict[str, list[Case]] = {}
    for case in result.cases:
        rows.setdefault(case.fault, []).append(case)
        if case.fault in ("shared noise", "little shared") and case.flat_voxels >= FLAT_VOXELS:
            rows.setdefault(f"{case.fault}, ≥ {FLAT_VOXELS} flat voxels", []).append(case)
        if case.fault == "offset" and case.mean_error * IDEAL_ERRORS <= OFFSET_SIGMAS:
            rows.setdefault("offset, where any test can", []).append(case)
    return rows


def _found(cases: Sequence[Case]) -> int:
    return sum(case.code not in ("FIT", "UNPROVEN_INDEPENDENCE") for case in cases)


def _fault_row(name: str, cases: Sequence[Case]) -> tuple[str, str, str, str, str, str]:
    unproven = sum(case.code == "UNPROVEN_INDEPENDENCE" for case in cases)
    shares = [f"{100 * n / len(cases):.1f} %" for n in (_found(cases), unproven, len(cases) - unproven - _found(cases))]
    codes = Counter(case.code for case in cases).most_common()
    return (name, str(len(cases)), shares[0], shares[1], shares[2], ", ".join(f"{code} {n}" for code, n in codes))


def sample_benchmark_table(result: SampleBenchmark) -> str:
    """One line a kind of sample: patches per second (slowest and fastest round), memory for the set."""
    rows = [("tool", "samples/s", "slowest–fastest", "MB")]
    for timing in result.timings:
        memory = "unknown" if timing.memory_mb is None else f"{timing.memory_mb:.0f}"
        slowest, fastest = min(timing.samples_per_second), max(timing.samples_per_second)
        rows.append((timing.tool, f"{timing.usual:.0f}", f"{slowest:.0f}–{fastest:.0f}", memory))
    return f"{aligned(rows, right=(1, 2, 3))}\nA set of {result.gigabytes:.1f} GB; one thread each, in turns."
