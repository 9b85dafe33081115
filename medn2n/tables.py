"""What the command line prints: plain aligned text, or JSON values. Keyed ids only, never a path or header text."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from medn2n.core.catalogue import Catalogue, Series

if TYPE_CHECKING:
    from medn2n.benchmark import CatalogueBenchmark
    from medn2n.core.repeat_groups import Decision
    from medn2n.demo import DemoResult
    from medn2n.formats.bundle_dir import Bundle
    from medn2n.formats.manifest import Manifest
    from medn2n.formats.run_record import RunRecord
    from medn2n.pair_benchmark import Case, PairBenchmark
    from medn2n.stages.scans_to_report import Evaluation


def aligned(rows: Sequence[Sequence[str]], *, right: Sequence[int] = ()) -> str:
    """Columns padded to their widest cell; `right` are right-aligned. The first row is the header."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = [
        "  ".join(
            cell.rjust(width) if column in right else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
    lines.insert(1, "  ".join("─" * width for width in widths))
    return "\n".join(lines)


def catalogue_table(found: Catalogue) -> str:
    """One line a series, then one for each thing passed over or refused."""
    lines = []
    if found.series:
        rows = [("series", "modality", "voxels", "spacing mm", "files", "note")]
        rows += [_series_row(series) for series in found]
        lines.append(aligned(rows, right=(4,)))
    counts = Counter((item.status, item.code) for item in found.passed_over)
    refused = [item for item in found.passed_over if item.status == "refused"]
    lines += [f"refused {item.id} ({_files(len(item.files))}) {item.code}: {item.reason}" for item in refused]
    lines += [f"passed  {count} × {code}" for (status, code), count in sorted(counts.items()) if status == "passed"]
    lines.append(f"{len(found)} series; {len(refused)} refused; {len(found.passed_over) - len(refused)} passed over.")
    return "\n".join(lines)


def _series_row(series: Series) -> tuple[str, str, str, str, str, str]:
    geometry = series.geometry
    note = "uneven slices: 2D only" if series.slice_wise else ""
    return (
        series.id,
        series.modality or "unknown",
        "×".join(str(size) for size in geometry.shape),
        "×".join(f"{edge:.3g}" for edge in geometry.spacing_mm),
        str(len(series.files)),
        note,
    )


def _files(count: int) -> str:
    return "1 file" if count == 1 else f"{count} files"


def catalogue_json(found: Catalogue) -> dict[str, Any]:
    """Versioned JSON value of a catalogue: geometry and verdicts, ids instead of names."""
    return {
        "schema": "medn2n.catalogue/1",
        "series": [
            {
                "id": series.id,
                "format": series.format,
                "modality": series.modality,
                "files": len(series.files),
                "slice_wise": series.slice_wise,
                **dataclasses.asdict(series.geometry),
            }
            for series in found
        ],
        "passed_over": [
            {"id": item.id, "files": len(item.files), "status": item.status, "code": item.code, "reason": item.reason}
            for item in found.passed_over
        ],
    }


def run_table(record: RunRecord) -> str:
    """One line a series of a denoise run, and the sum."""
    rows = [
        ("series", "status", "model", "noise before", "after", "unit", "mean shift", "clipped", "seconds", "reason")
    ]
    rows += [
        (
            item.id,
            item.status,
            item.model,
            _number(item.noise_before),
            _number(item.noise_after),
            item.unit,
            _number(item.mean_shift),
            str(item.clipped_voxels) if item.outputs else "",
            f"{item.seconds:.1f}" if item.seconds else "",
            f"{item.code}: {item.reason}" if item.code else item.reason,
        )
        for item in record.series
    ]
    counts = Counter(item.status for item in record.series)
    total = ", ".join(f"{count} {status}" for status, count in sorted(counts.items())) or "nothing found"
    table = aligned(rows, right=(3, 4, 6, 7, 8)) + "\n" if record.series else ""
    return f"{table}{total}. Research use, not a medical device."


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3g}"


def decision_lines(manifest: Manifest, decisions: Sequence[Decision]) -> str:
    """Every decision of `medn2n pair`, and what is in the manifest."""
    lines = [f"{decision.verdict:12} {' '.join(decision.series)}: {decision.reason}" for decision in decisions]
    counts = ", ".join(
        f"{len(groups)} {split}" for split in ("training", "validation", "test") if (groups := getattr(manifest, split))
    )
    lines.append(f"Groups in the manifest: {counts or 'none'}.")
    return "\n".join(lines)


def evaluation_table(result: Evaluation) -> str:
    """Mean figures of every method, by modality and question."""
    names = sorted({name for summary in result.summaries for name in summary.figures})
    rows = [("modality", "judged by", "method", "scans", *names)]
    rows += [
        (
            summary.modality,
            summary.question,
            summary.method,
            str(summary.groups),
            *(_number(summary.figures.get(name)) for name in names),
        )
        for summary in result.summaries
    ]
    return aligned(rows, right=range(3, len(rows[0]))) if result.summaries else "Nothing was evaluated."


def models_table(bundles: Sequence[Bundle]) -> str:
    """One line a shipped model."""
    rows = [("model", "modality", "network", "parameters", "weights sha256")]
    rows += [
        (
            bundle.info.name,
            bundle.info.modality,
            f"{bundle.info.network.name} {bundle.info.network.dims}D",
            f"{int(bundle.info.figures.get('parameters', 0)):,}",
            bundle.sha256[:16],
        )
        for bundle in bundles
    ]
    return aligned(rows, right=(3,))


def demo_table(result: DemoResult) -> str:
    """The table that everyone asks for first, and the real pair's figure beside it."""
    rows = [("method", "MSE", "PSNR dB")]
    rows += [(row.method, f"{row.mse:.5f}", f"{row.psnr_db:.2f}") for row in result.rows]
    share = result.pair_error_left
    return (
        f"Brain MR at {result.snr_db:.0f} dB input SNR, held-out slices, figures over the head:\n\n"
        + aligned(rows, right=(1, 2))
        + f"\n\nReal pair, no truth needed: {share:.0%} of the scan's own squared error is left "
        f"(noise {result.pair_noise_before:.3g} → {result.pair_noise_after:.3g} {result.pair_unit})."
    )


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
