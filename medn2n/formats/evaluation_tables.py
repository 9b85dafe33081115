"""The tables of an evaluation's page that go into detail: clinical windows, tissues, CT numbers, each patient."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from medn2n.core.ct_numbers import BRIGHTNESS, REGIONS_HU
from medn2n.core.packaged_filters import BASELINES
from medn2n.core.scores import FIGURES, NOISY, TOGETHER, Evaluation, Summary
from medn2n.core.truth_figures import RANGE_HU, UNWINDOWED, WINDOWS_HU
from medn2n.formats.page_blocks import Better, Cell, Column, Measured, Section, Table, Text

HEADINGS = {
    "psnr_db": "PSNR (dB)", "ssim": "SSIM", "rmse": "RMSE", "bias": "Bias",
    "body_psnr_db_true": "PSNR (body, dB), true", "body_psnr_db_estimated": "PSNR (body, dB), estimated from repeats",
    "body_rmse_true": "RMSE (body), true", "body_rmse_estimated": "RMSE (body), estimated from repeats",
    "share_true": "Error left, true", "share": "Error left, estimated from repeats",
    "noise_before": "Noise before", "noise_after": "Noise after", "noise_left": "Noise left",
    "mean_shift": "Shift of mean", "edge_blur": "Blur of edges (pixel²)", "edges_moved": "Edges moved (pixels)",
    "spot": "Strongest spot (σ)", "weakened": "Weakened", "invented": "Made up",
}  # fmt: skip
# (figure, heading, decimals, which end is better); all in HU.
_FIGURES: tuple[tuple[str, str, int, Better], ...] = (
    ("psnr_db", "PSNR (dB)", 2, "higher"),
    ("ssim", "SSIM", 3, "higher"),
    ("rmse", "RMSE (HU)", 2, "lower"),
    ("bias", "Bias (HU)", 2, "nearest zero"),
)


def label(method: str) -> str:
    """A method as people read it."""
    if method == NOISY:
        return "Noisy scan"
    if method.endswith(TOGETHER):
        return f"{label(method.removesuffix(TOGETHER))}, all repeats at once"
    return BASELINES[method].label if method in BASELINES else f"Model {method}"


def measured(one: Summary, key: str) -> Measured | float:
    """A mean figure, with its interval where there is one; NaN where no scan had it."""
    value, interval = one.figures.get(key, float("nan")), one.intervals.get(key)
    return Measured(value=value, low=interval[0], high=interval[1]) if interval else value


def detail_sections(rows: Sequence[Summary], modality: str) -> list[Section]:
    """What one modality and question has beyond its first table; no section without figures."""
    found = []
    windows = [table for name in WINDOWS_HU if (table := _window_table(rows, name))]
    if windows:
        found.append(Section(title=f"{modality}: as seen in clinical windows", blocks=(_WINDOWS, *windows)))
    regions = [table for name in REGIONS_HU if (table := _region_table(rows, name))]
    if regions:
        found.append(Section(title=f"{modality}: tissue by tissue", blocks=(_REGIONS, *regions)))
    numbers = _numbers_table(rows, modality)
    if numbers:
        found.append(numbers)
    return found


_BODY: tuple[tuple[str, int, Better], ...] = (
    ("body_psnr_db_true", 2, "higher"), ("body_psnr_db_estimated", 2, "higher"),
    ("body_rmse_true", 2, "lower"), ("body_rmse_estimated", 2, "lower"),
    ("share_true", 2, "lower"), ("share", 2, "lower"),
)  # fmt: skip
BODY_MEANING = (
    "PSNR (body) and RMSE (body): over the body alone, nothing clipped; PSNR of CT over the width of the soft-tissue "
    "window (400 HU), of MR with the 99.9th percentile as 1. Error left is the mean squared error of the denoised scan "
    "over that of the noisy one there: 0 is perfect, 1 means nothing gained, above 1 means harm."
)


def body_section(rows: Sequence[Summary], modality: str) -> Section | None:
    """True error over the body, and beside it the one estimated from repeats; None without a truth."""
    if not any("body_psnr_db_true" in one.figures for one in rows):
        return None
    more = 0 if modality == "CT" else 2  # MR's RMSE is a share of 1
    columns = [
        (name, HEADINGS[name], digits + more * name.startswith("body_rmse"), better) for name, digits, better in _BODY
    ]
    texts = [BODY_MEANING]
    if any("share" in one.figures for one in rows):
        texts.append(
            "Where a scan was repeated, the same figures are estimated from two repeats, without the truth: what they "
            "say beside what is true. Of magnitude MR the repeats' truth is the mean of the magnitude, which lies "
            "above the signal where that is weak."
        )
    table = _table(rows, columns, worst="body_psnr_db_true", title="HU" if modality == "CT" else "Relative to 1")
    assert table is not None
    return Section(
        title=f"{modality}: error over the body, true and estimated", blocks=(Text(paragraphs=(*texts,)), table)
    )


_WINDOWS = Text(
    paragraphs=(
        "Both scans are clipped to the window, and its width is the data range of PSNR and SSIM. Unwindowed, nothing "
        f"is clipped, and the data range is {RANGE_HU:.0f} HU (−1024…3071, the 12 bits in which CT is stored).",
    )
)
_REGIONS = Text(
    paragraphs=(
        "Regions by the truth's CT number; nothing is clipped. Inside: all of the 5×5 pixels around are of the region. "
        f"Edge: the rest of it. Data range of PSNR and SSIM: {RANGE_HU:.0f} HU.",
    )
)


def _window_table(rows: Sequence[Summary], name: str) -> Table | None:
    window = WINDOWS_HU[name]
    title = UNWINDOWED.capitalize()
    if window is not None:
        title = f"{name.capitalize()}: level {sum(window) / 2:.0f}, width {window[1] - window[0]:.0f} HU"
    columns = [(f"{figure}/{name}", heading, digits, better) for figure, heading, digits, better in _FIGURES]
    return _table(rows, columns, worst="psnr_db", title=title)


def _region_table(rows: Sequence[Summary], region: str) -> Table | None:
    columns = [
        (f"{figure}/{region}/{part}", f"{heading} {part}", digits, better)
        for part in ("inside", "edge")
        for figure, heading, digits, better in _FIGURES
        if part == "inside" or figure in ("rmse", "bias")
    ]
    low, high = REGIONS_HU[region]
    span = f"{low:.0f} to {high:.0f}"
    if not np.isfinite(low + high):
        span = f"below {high:.0f}" if np.isfinite(high) else f"above {low:.0f}"
    return _table(rows, columns, worst="rmse", title=f"{region.capitalize()}: {span} HU")


def _table(
    rows: Sequence[Summary], columns: Sequence[tuple[str, str, int, Better]], *, worst: str, title: str
) -> Table | None:
    """One line a method; the figures that no scan has are left out. worst: the figure whose worst scan is shown."""
    having = [column for column in columns if any(column[0] in one.figures for one in rows)]
    if not having:
        return None
    worst_key, worst_head = next(((key, head) for key, head, *_ in having if key.startswith(worst)), having[0][:2])
    cells = tuple(
        (
            label(one.method),
            *(measured(one, key) if key in one.figures else None for key, *_ in having),
            one.worst.get(worst_key) if one.groups > 1 else None,
        )
        for one in rows
    )
    return Table(
        columns=(
            Column(name="Method"),
            *(Column(name=head, digits=digits, better=better) for _, head, digits, better in having),
            Column(name=f"Worst {worst_head}"),
        ),
        rows=cells,
        caption=title + ".",
        unranked=unranked(rows),
    )


def _numbers_table(rows: Sequence[Summary], modality: str) -> Section | None:
    """Shift of the CT numbers, or what is left of the MR signal."""
    key, names, unit, digits = (
        ("ct_number_shift", tuple(REGIONS_HU), " (HU)", 2) if modality == "CT" else ("signal_share", BRIGHTNESS, "", 3)
    )
    having = [name for name in names if any(f"{key}/{name}" in one.figures for one in rows)]
    if not having:
        return None

    def cell(one: Summary, name: str) -> Cell:
        return measured(one, f"{key}/{name}") if one.method != NOISY and f"{key}/{name}" in one.figures else None

    columns = [Column(name="Method"), *(Column(name=name.capitalize() + unit, digits=digits) for name in having)]
    cells = tuple((label(one.method), *(cell(one, name) for name in having)) for one in rows)
    what = (
        "Mean CT number after less before, in regions found on a smoothed copy of the noisy scan, away from edges: "
        "near 0 where a filter keeps it."
        if modality == "CT"
        else "Mean signal after over before, in the background and the dark, middle and bright third of the tissue, "
        "away from edges: near 1 where a filter keeps it."
    )
    title = "CT: CT numbers kept" if modality == "CT" else f"{modality}: signal kept"
    table = Table(columns=tuple(columns), rows=cells, unranked=unranked(rows))
    return Section(title=title, blocks=(Text(paragraphs=(what,)), table))


def unranked(rows: Sequence[Summary]) -> frozenset[int]:
    """The rows that are never the best: the noisy scan, and a method that was judged on fewer scans than others."""
    most = max((one.groups for one in rows), default=0)
    return frozenset(number for number, one in enumerate(rows) if one.method == NOISY or one.groups < most)


def each_patient(result: Evaluation) -> Section | None:
    """The mean of each patient; None where each has one scan, which `each_scan` shows."""
    if all(one.groups == 1 for one in result.patients):
        return None
    names = [name for name in FIGURES if any(name in one.figures for one in result.patients)]
    columns = [Column(name="Patient"), Column(name="Method"), Column(name="Scans", digits=0)]
    columns += [Column(name=HEADINGS[name], digits=3) for name in names]
    rows = tuple(
        (one.subject, label(one.method), one.groups, *(one.figures.get(name) for name in names))
        for one in result.patients
    )
    table = Table(columns=tuple(columns), rows=rows, caption="Means of a patient's scans.")
    return Section(title="Each patient", blocks=(table,))


def each_scan(result: Evaluation) -> Section:
    """Every score, so that a mean hides nobody."""
    names = [name for name in FIGURES if any(name in score.figures for score in result.scores)]
    columns = [Column(name="Scan"), Column(name="Method"), *(Column(name=HEADINGS[name], digits=3) for name in names)]
    rows = tuple(
        (score.group, label(score.method), *(score.figures.get(name) for name in names)) for score in result.scores
    )
    table = Table(columns=tuple(columns), rows=rows, caption="CT in HU; MR relative to 1.")
    return Section(title="Each scan", blocks=(table,))
