"""What the command line prints: plain aligned text, or JSON values. Keyed ids only, never a path or header text."""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from medn2n.core.catalogue import Catalogue, PassedOver, Series
from medn2n.core.scores import FIGURES

if TYPE_CHECKING:
    from medn2n.core.repeat_groups import Decision
    from medn2n.demo import DemoResult
    from medn2n.formats.bundle_dir import Bundle
    from medn2n.formats.manifest import Manifest
    from medn2n.formats.run_record import RunRecord
    from medn2n.stages.scans_to_report import Evaluation
    from medn2n.stages.volume_to_repeats import SimulatedSeries


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


def simulation_table(done: Sequence[SimulatedSeries]) -> str:
    """One table a simulated series: what was measured in one slice, its standard error, and what theory expects."""
    tables = []
    for series in done:
        rows: list[tuple[str, ...]] = [("series " + series.id, "measured", "error", "expected", "unit")]
        rows += [
            (figure.name, *(_figure(value) for value in (figure.measured, figure.error, figure.expected)), figure.unit)
            for figure in series.figures
        ]
        tables.append(aligned(rows, right=(1, 2, 3)))
    return "\n\n".join(tables)


def _figure(value: float | None) -> str:
    return "–" if value is None else f"{value:.4g}" if abs(value) >= 0.001 or value == 0 else f"{value:.1e}"


def simulation_json(done: Sequence[SimulatedSeries]) -> list[dict[str, Any]]:
    """What simulation.json holds of each series."""
    return [dataclasses.asdict(series) for series in done]


def catalogue_table(found: Catalogue) -> str:
    """One line a series, then one for each thing passed over or refused."""
    lines = []
    if found.series:
        rows = [("series", "modality", "voxels", "spacing mm", "files", "note")]
        rows += [_series_row(series) for series in found]
        lines.append(aligned(rows, right=(4,)))
    counts = Counter((item.status, item.code) for item in found.passed_over)
    lines += refused_lines(refused := found.refused)
    lines += [f"passed  {count} × {code}" for (status, code), count in sorted(counts.items()) if status == "passed"]
    lines.append(f"{len(found)} series; {len(refused)} refused; {len(found.passed_over) - len(refused)} passed over.")
    return "\n".join(lines)


def refused_lines(refused: Sequence[PassedOver]) -> list[str]:
    """One line for each: its id, its rule's code and what is wrong."""
    return [f"refused {item.id} ({_files(len(item.files))}) {item.code}: {item.reason}" for item in refused]


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
    return "" if value is None or math.isnan(value) else f"{value:.3g}"


def decision_lines(manifest: Manifest, decisions: Sequence[Decision]) -> str:
    """Every decision of `medn2n pair`, and what is in the manifest."""
    lines = [f"{decision.verdict:12} {' '.join(decision.series)}: {decision.reason}" for decision in decisions]
    counts = ", ".join(
        f"{len(groups)} {split}" for split in ("training", "validation", "test") if (groups := getattr(manifest, split))
    )
    lines.append(f"Groups in the manifest: {counts or 'none'}.")
    return "\n".join(lines)


def evaluation_table(result: Evaluation) -> str:
    """Mean figures of every method, by modality and question, what it costs a scan, and whether the limits held."""
    from medn2n.formats.evaluation_gates import gates_sentence  # knows the pages, which other tables do not need

    names = sorted({name for summary in result.summaries for name in summary.figures if name in FIGURES})
    rows = [("modality", "judged by", "method", "scans", *names, "seconds", "MB")]
    rows += [
        (
            summary.modality,
            summary.question,
            summary.method,
            str(summary.groups),
            *(_number(summary.figures.get(name)) for name in names),
            _number(summary.seconds),
            "–" if summary.peak_bytes is None else f"{summary.peak_bytes / 1e6:.0f}",
        )
        for summary in result.summaries
    ]
    if not result.summaries:
        return "Nothing was evaluated."
    table = aligned(rows, right=range(3, len(rows[0])))
    if result.left_out:
        table += f"\nNot installed, left out: {', '.join(result.left_out)} (pip install 'medn2n[baselines]')."
    table += "".join(f"\nNot judged: {one.words}" for one in result.refused)
    return "\n".join([table, *filter(None, (gates_sentence(result, name) for name in result.models))])


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
