"""What `medn2n benchmark` prints, as text and as JSON values."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from math import isfinite
from statistics import stdev
from typing import TYPE_CHECKING, Any

from medn2n.tables import aligned

if TYPE_CHECKING:
    from medn2n.benchmark import CatalogueBenchmark
    from medn2n.core.error_trials import ErrorTrial
    from medn2n.error_benchmark import ErrorBenchmark
    from medn2n.gate_benchmark import GateBenchmark
    from medn2n.pair_benchmark import Case, PairBenchmark
    from medn2n.repeat_gate_benchmark import RepeatGateBenchmark
    from medn2n.sample_benchmark import SampleBenchmark

OF_THE_LIMIT = (0.25, 0.5, 0.75, 1.0, 1.25, 1.5)  # multiples of it, at which a ROC is shown


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


NARROW_DB = 0.1


def error_benchmark_table(result: ErrorBenchmark) -> str:
    """One line a kind of noise and estimator, then one a denoiser: how many of the 95 % intervals hold what is true;
    how many PSNR intervals reach at most ±0.1 dB, how many of those lie within 0.1 dB of the truth, and the furthest;
    how many reach at most ±0.05 dB, and the furthest; the mean of (estimate − truth) / truth, of MSE, with its standard
    error.
    """
    header = (
        "noise, estimator", "trials", "MSE", "PSNR", "share", "≤ ±0.1 dB", "within 0.1", "furthest", "≤ ±0.05 dB",
        "furthest", "bias %",
    )  # fmt: skip
    by_noise: dict[str, list[ErrorTrial]] = {}
    by_method: dict[str, list[ErrorTrial]] = {}
    for trial in result.trials:
        by_noise.setdefault(f"{trial.noise}, {trial.estimator}", []).append(trial)
        by_method.setdefault(f"{trial.method}, {trial.estimator}", []).append(trial)
    tables = [
        aligned(
            [(title, *header[1:]), *(_error_row(name, trials) for name, trials in rows.items())], right=range(1, 11)
        )
        for title, rows in ((header[0], by_noise), ("denoiser, estimator", by_method))
    ]
    return (
        "\n\n".join(tables) + f"\nMSE, PSNR, share: % of the 95 % intervals that hold the true value; the share "
        "is not counted where nothing was denoised (it is 1). Of magnitudes, the truth is their mean E[M]. "
        f"Seed {result.seed}."
    )


def _error_row(name: str, trials: Sequence[ErrorTrial]) -> tuple[str, ...]:
    held = [trial.covered for trial in trials]
    shares = [trial.covered[2] for trial in trials if trial.method != "none"]
    narrow, narrower = (
        [abs(trial.deviation_db) for trial in trials if trial.half_width_db <= limit]
        for limit in (NARROW_DB, NARROW_DB / 2)
    )
    gaps = [100 * (trial.found.mse / trial.true_mse - 1) for trial in trials]
    error = stdev(gaps) / len(gaps) ** 0.5 if len(gaps) > 1 else 0.0
    return (
        name,
        str(len(trials)),
        *(_percent(values) for values in ([one[0] for one in held], [one[1] for one in held], shares)),
        str(len(narrow)),
        _percent([one <= NARROW_DB for one in narrow]),
        f"{max(narrow):.3f}" if narrow else "",
        str(len(narrower)),
        f"{max(narrower):.3f}" if narrower else "",
        f"{sum(gaps) / len(gaps):+.2f} ± {error:.2f}",
    )


def _percent(values: Sequence[bool]) -> str:
    return f"{100 * sum(values) / len(values):.1f}" if values else ""


def gate_benchmark_table(result: GateBenchmark) -> str:
    """One line a fault and size: scans, how many fail, how many would by limits chosen on other scans, and for each
    gate how many it fails, with the area under its ROC (against faithful copies) in brackets; then how many scans the
    scope guard calls unlike the training's. Between the two, points of each gate's ROC. The gates that only `evaluate`
    has are not counted in how many fail."""
    from medn2n.core.gate_faults import SIZES
    from medn2n.core.limits import GATES, TRIAL_GATES
    from medn2n.gate_benchmark import area_under_roc, held_out_rates

    every = GATES + TRIAL_GATES
    others = held_out_rates(result.cases, seed=result.seed)
    rows: list[tuple[str, ...]] = [
        ("fault", "size", "scans", "failed %", "held out %", *(f"{name} % (AUC)" for name in every))
    ]
    for fault, size in ((fault, size) for fault, sizes in SIZES.items() for size in sizes):
        found = [case for case in result.cases if case.fault == fault and case.size == size]
        if found:
            areas = {gate: area_under_roc(result.cases, gate, fault, size) for gate in every}
            gates = (
                f"{_percent([case.excess[gate] > 1 for case in found])} ({area:.2f})" if isfinite(area) else ""
                for gate, area in areas.items()
            )
            failed = _percent([case.failed for case in found])
            rows.append((fault, f"{size:g}", str(len(found)), failed, f"{100 * others[fault, size]:.1f}", *gates))
    scopes: list[tuple[str, ...]] = [("scan", "scans", "out of scope %")]
    for change in dict.fromkeys(case.change for case in result.scopes):
        told = [bool(case.outside) for case in result.scopes if case.change == change]
        scopes.append((change, str(len(told)), _percent(told)))
    tables = (aligned(rows, right=range(1, len(rows[0]))), _roc_table(result), aligned(scopes, right=(1, 2)))
    return "\n\n".join(tables) + f"\nSeed {result.seed}."


def _roc_table(result: GateBenchmark) -> str:
    """One line a gate: faithful copies / least faults beyond multiples of its limit, in per cent."""
    from medn2n.gate_benchmark import MULTIPLES, MUST_CATCH, roc_points

    rows = [("faithful / fault beyond, %", "least fault", *(f"limit × {one:g}" for one in MULTIPLES))]
    for gate, faults in MUST_CATCH.items():
        points = roc_points(result.cases, gate)
        least = " or ".join(f"{fault} {size:g}" for fault, size in faults)
        rows.append((gate, least, *(f"{100 * false:.0f} / {100 * true:.0f}" for _, false, true in points)))
    return aligned([row for row in rows if len(row) == len(rows[0])], right=range(2, len(rows[0])))


def repeat_gate_table(result: RepeatGateBenchmark) -> str:
    """One line a fault and size: pairs, how many each gate fails, how many either, and the ranges of `share` and of
    the lower end of `residual_share`; then how many faithful copies, and how many of each fault, lie beyond multiples
    of the limit of the latter."""
    from medn2n.core.limits import Limits

    limit = Limits().residual_share
    rows: list[tuple[str, ...]] = [
        ("fault", "size", "pairs", "error", "anatomy", "either", "share", "residual_share, lower end")
    ]
    beyond = [("residual_share beyond", "size", *(f"{multiple * limit:.3g}" for multiple in OF_THE_LIMIT))]
    for fault, size in dict.fromkeys((case.fault, case.size) for case in result.cases):
        found = [case for case in result.cases if (case.fault, case.size) == (fault, size)]
        counts = (sum(told) for told in zip(*((*case.failed, any(case.failed)) for case in found), strict=True))
        spans = (f"{min(one):.3f} to {max(one):.3f}" for one in (
            [case.share for case in found], [case.residual for case in found],
        ))  # fmt: skip
        rows.append((fault, f"{size:g}", str(len(found)), *(str(count) for count in counts), *spans))
        over = (sum(case.residual > multiple * limit for case in found) for multiple in OF_THE_LIMIT)
        beyond.append((fault, f"{size:g}", *(str(count) for count in over)))
    tables = (aligned(rows, right=range(1, len(rows[0]))), aligned(beyond, right=range(1, len(beyond[0]))))
    return "\n\n".join(tables) + f"\nGroups left out as unproven: {result.unproven}. Seed {result.seed}."
