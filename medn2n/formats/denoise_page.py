"""The page of a denoise run: what happened to each series, and a look at it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from medn2n.core.ct_numbers import RegionNumbers
from medn2n.core.display import SlicePair
from medn2n.core.evaluation import SingleScanFigures
from medn2n.core.limits import Gate
from medn2n.core.scores import Curve
from medn2n.formats.gate_words import not_measured, verdict
from medn2n.formats.page import write_page
from medn2n.formats.page_blocks import Block, Chip, Column, Curves, Measured, Section, Table, Text, Viewer
from medn2n.formats.page_parts import figure_text

# Series with pictures on one page, about 0.7 MB a slice of 512 × 512: the rest keep their line in the table.
MAX_PICTURED = 24


@dataclass(frozen=True, slots=True, kw_only=True)
class DenoisedSeries:
    """One series of a denoise run, as the page shows it.

    id: keyed id. status: done, already, passed, review, refused or failed. reason: one sentence without
    header text. unit: of the figures. figures, gates, spectra (`quality.noise_spectra`), regions (means by tissue),
    pairs: only where the series was denoised in this run.
    clipped: voxels that the stored type could not hold. seconds: wall time.
    """

    id: str
    status: str
    reason: str = ""
    model: str = ""
    modality: str = ""
    unit: str = ""
    figures: SingleScanFigures | None = None
    gates: tuple[Gate, ...] = ()
    spectra: Mapping[str, Curve] = field(default_factory=dict)
    regions: tuple[RegionNumbers, ...] = ()
    clipped: int = 0
    seconds: float = 0.0
    pairs: tuple[SlicePair, ...] = ()


def write_denoise_page(path: Path, entries: Sequence[DenoisedSeries]) -> int:
    """Write the page; its size in bytes (below 20 MB whatever the number of series)."""
    blocks: list[Block] = [_overview(entries)]
    pictured = [entry for entry in entries if entry.figures is not None or entry.pairs]
    shown = pictured[:MAX_PICTURED]
    blocks += [_series(entry, slices=max(1, MAX_PICTURED // len(shown))) for entry in shown]
    if len(pictured) > MAX_PICTURED:
        left_out = len(pictured) - MAX_PICTURED
        blocks.append(Text(paragraphs=(f"{left_out} more series were denoised and have no pictures on this page.",)))
    blocks.append(_method())
    return write_page(path, title="Denoised scans", summary=_summary(entries), blocks=blocks)


def _summary(entries: Sequence[DenoisedSeries]) -> list[str]:
    counts = Counter(entry.status for entry in entries)
    lines = [f"{len(entries)} series: " + ", ".join(f"{number} {status}" for status, number in counts.items()) + "."]
    left = sorted(entry.figures.noise_left for entry in entries if entry.figures and entry.figures.noise_before > 0)
    if left:
        down = [figure_text(100 * (1 - share), 0) for share in (median(left), left[-1], left[0])]
        spread = f" in the median (from {down[1]} to {down[2]} %)" if len(left) > 1 else ""
        lines.append(f"Noise in flat tissue is down by {down[0]} %{spread}.")
    shifts = [abs(entry.figures.mean_shift) for entry in entries if entry.figures and entry.unit == "HU"]
    if shifts:
        lines.append(f"Mean CT numbers in the body moved by {figure_text(max(shifts), 2)} HU at most.")
    judged = [entry.gates for entry in entries if entry.gates]
    if still_open := not_measured(judged, what="series"):
        lines.append(still_open)
    review = counts["review"]
    if review:
        lines.append(f"{review} series must be looked at before anybody uses them: see the reason in the table.")
    return lines


def _overview(entries: Sequence[DenoisedSeries]) -> Table:
    columns = (
        Column(name="Series"),
        Column(name="Status"),
        Column(name="Limits"),
        Column(name="Model"),
        Column(name="Noise before"),
        Column(name="Noise after"),
        Column(name="Shift of mean"),
        Column(name="Clipped"),
        Column(name="Seconds", digits=1),
        Column(name="Reason"),
    )
    rows = tuple(
        (
            entry.id,
            entry.status,
            verdict([entry.gates]) if entry.gates else None,
            entry.model or "–",
            entry.figures.noise_before if entry.figures else None,
            entry.figures.noise_after if entry.figures else None,
            entry.figures.mean_shift if entry.figures else None,
            entry.clipped if entry.figures else None,
            entry.seconds if entry.seconds else None,
            entry.reason,
        )
        for entry in entries
    )
    return Table(
        columns=columns,
        rows=rows,
        caption="CT in HU, MR in the scan's own units. Clipped: voxels beyond the stored type's range.",
    )


def _series(entry: DenoisedSeries, *, slices: int) -> Section:
    """One series, with at most `slices` of its pictures, the middle ones."""
    spare = max(0, len(entry.pairs) - slices)
    pairs = entry.pairs[spare // 2 : len(entry.pairs) - (spare - spare // 2)]
    blocks: list[Text | Table | Viewer | Curves] = []
    if entry.figures is not None:
        figures, unit = entry.figures, " HU" if entry.unit == "HU" else ""
        low, high = figures.minimum, figures.maximum
        line = (
            f"{entry.modality} {entry.status} with model {entry.model or 'unknown'}. Noise in flat tissue "
            f"{figure_text(figures.noise_before, 2)} → {figure_text(figures.noise_after, 2)}{unit}; mean "
            f"over the body moved "
            f"by {figure_text(figures.mean_shift, 2)}{unit}; range {figure_text(low[0], 0)} … "
            f"{figure_text(high[0], 0)} → "
            f"{figure_text(low[1], 0)} … {figure_text(high[1], 0)}{unit}."
        )
        blocks.append(Text(paragraphs=(line, *([entry.reason] if entry.reason else []))))
    if entry.gates:
        blocks.append(_gates(entry.gates))
    if entry.regions:
        blocks.append(_numbers(entry))
    if len(entry.spectra) > 1:
        blocks.append(_grain(entry))
    if pairs:
        blocks.append(
            Viewer(
                pairs=pairs,
                caption="Before and after in the same window; press and hold a picture to see the other "
                "in its place. "
                "The difference should look like noise: an outline of anatomy in it is detail that was "
                "taken away.",
            )
        )
    return Section(title=f"Series {entry.id}", blocks=tuple(blocks))


def _grain(entry: DenoisedSeries) -> Curves:
    unit = "HU²·mm²" if entry.unit == "HU" else "unit²·mm²"
    return Curves(
        lines=tuple((name.removeprefix("noise_power_"), *curve) for name, curve in entry.spectra.items()),
        x_name="frequency (1/mm)",
        y_name=f"noise power ({unit})",
        caption="Noise power spectrum in flat tissue: where the mean frequency falls, noise looks coarser, or waxen.",
    )


def _gates(gates: Sequence[Gate]) -> Table:
    chips = {True: Chip(text="holds", tone="good"), False: Chip(text="failed", tone="bad"), None: Chip(text="open")}
    rows = tuple((gate.name.capitalize(), chips[gate.passed], gate.words) for gate in gates)
    return Table(columns=(Column(name="Limit"), Column(name="Verdict"), Column(name="Measured")), rows=rows)


def _numbers(entry: DenoisedSeries) -> Table:
    """Means of even tissue; the shift with its 95 % interval."""
    unit = "HU" if entry.unit == "HU" else "scan's unit"
    columns = (
        Column(name="CT number" if entry.unit == "HU" else "Signal"),
        *(Column(name=f"{name} ({unit})") for name in ("Before", "After", "Shift")),
        Column(name="Voxels", digits=0),
    )
    rows = tuple(
        (
            one.region.capitalize(),
            one.before,
            one.after,
            Measured(value=one.shift, low=one.shift - 1.96 * one.shift_error, high=one.shift + 1.96 * one.shift_error),
            one.voxels,
        )
        for one in entry.regions
    )
    return Table(columns=columns, rows=rows, caption="Away from edges, with 95 % intervals of the shift.")


def _method() -> Section:
    lines = (
        "Noise is the median standard deviation of small flat blocks of tissue, chosen on the scan before "
        "denoising and "
        "measured in the same places after it. Pictures show the acquired slices in radiological "
        "orientation.",
        "Noise, means and edges are measured in evenly spread slices (in all, where a scan has few), spots in every "
        "slice; of a series in time, in its first, middle and last frame.",
        "These figures come from one scan: they show how much was taken away, and only the pictures show "
        "what. Keep the "
        "original series and read it beside the denoised one.",
    )
    return Section(title="Method and limits", blocks=(Text(paragraphs=lines),))
