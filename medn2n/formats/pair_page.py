"""The page of a search for repeats: what was found, how well each pair fits, and a look at the differences.

Scans are named by keyed ids only; nothing of a header but the modality is shown.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from medn2n.core.display import SlicePair
from medn2n.core.pair_result import PairResult
from medn2n.core.repeat_groups import Decision
from medn2n.formats.page import write_page
from medn2n.formats.page_blocks import Block, Chip, Column, Comparison, Frame, Picture, Section, Table, Text
from medn2n.formats.page_parts import figure_text
from medn2n.formats.pair_tables import chip, noise_table, place_table

MOST_ROWS = 300  # of the table of scans left out: a moving head of many runs has thousands of refused volumes
VERDICTS = {  # in words, in the order in which they are told
    "correctable": "moved or differ in intensity",
    "unfit": "not a pair on their voxels",
    "unproven": "independence not shown",
    "not repeats": "not repeats by header, geometry or declaration",
    "alone": "without any repeat",
    "refused": "refused",
}
DIFFERENCE_SIGMAS = 5.0
NEARLY_WHITE = 0.1


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PairShown:
    """Two scans that were compared: keyed ids, the check, and slices of the first (before) and the second (after)."""

    first_id: str
    second_id: str
    result: PairResult
    pictures: tuple[SlicePair, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class GroupShown:
    """A group of the manifest. pairs: each scan against the one that all were checked against."""

    decision: Decision
    modality: str
    pairs: tuple[PairShown, ...]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PairPage:
    """groups: of the manifest; refused: pairs that failed on their voxels; left_out: the decisions on every scan that
    is in no group. dry_run: no manifest was written."""

    groups: tuple[GroupShown, ...]
    refused: tuple[PairShown, ...]
    left_out: tuple[Decision, ...]
    dry_run: bool = False


def write_pair_page(path: Path, page: PairPage) -> int:
    """Write the page; its size in bytes (below 20 MB whatever was found)."""
    blocks: list[Block] = []
    if page.groups:
        blocks.append(_overview(page.groups))
    blocks += [_group(group) for group in page.groups if any(pair.pictures for pair in group.pairs)]
    blank = sum(not any(pair.pictures for pair in group.pairs) for group in page.groups)
    if blank:
        line = "1 more group has its line" if blank == 1 else f"{blank} more groups have their lines"
        blocks.append(Text(paragraphs=(f"{line} in the table above and no pictures.",)))
    if page.left_out:
        blocks.append(Section(title="Left out", blocks=(_left_out(page.left_out),)))
    if page.refused:
        blocks.append(_refused(page.refused))
    blocks.append(_method())
    return write_page(path, title="Which scans repeat each other?", summary=_summary(page), blocks=blocks)


def _summary(page: PairPage) -> list[str]:
    """Plain words: what was found, what was left out and why."""
    groups = [group.decision for group in page.groups]
    scans = sum(decision.scans for decision in groups)
    splits = Counter(decision.split for decision in groups)
    where = ", ".join(f"{count} for {split}" for split, count in splits.items())
    found = f"{_count(len(groups), 'group')} of repeats found, {_count(scans, 'scan')} in all ({where})."
    lines = [found if groups else "No repeats were found."]
    correctable = sum(decision.verdict == "correctable" for decision in groups)
    if correctable:
        lines.append(
            f"{correctable} of them moved or differ a little in intensity from scan to scan; that was measured, and "
            "training makes up for it."
        )
    counts: Counter[str] = Counter()
    for decision in page.left_out:
        counts[decision.verdict] += decision.scans
    if counts:
        told = "; ".join(f"{counts[verdict]} {words}" for verdict, words in VERDICTS.items() if counts[verdict])
        lines.append(f"Left out (some are counted once for each scan they were compared with): {told}.")
    if page.dry_run:
        lines.append("This was a dry run: no manifest was written.")
    return lines


def _count(number: int, word: str) -> str:
    return f"{number} {word}{'' if number == 1 else 's'}"


def _overview(groups: Sequence[GroupShown]) -> Table:
    columns = (
        Column(name="Group"), Column(name="Verdict"), Column(name="Split"), Column(name="Modality"),
        Column(name="Scans"), Column(name="Noise σ", digits=2), Column(name="Drift, % in all", digits=2),
        Column(name="Reason"),
    )  # fmt: skip
    rows = []
    for group in groups:
        figures = dict(group.decision.figures)
        rows.append(
            (
                group.decision.group,
                chip(group.decision.verdict),
                group.decision.split,
                group.modality,
                group.decision.scans,
                figures.get("sigma_pair"),
                figures.get("drift_total_percent"),
                group.decision.reason,
            )
        )
    return Table(columns=columns, rows=tuple(rows), caption="Groups. σ in HU for CT, in the scan's own unit for MR.")


def _left_out(decisions: Sequence[Decision]) -> Table:
    columns = (Column(name="Series"), Column(name="Verdict"), Column(name="Scans"), Column(name="Reason"))
    rows = [
        (" ".join(decision.series), chip(decision.verdict), decision.scans, decision.reason)
        for decision in decisions[:MOST_ROWS]
    ]
    more = len(decisions) - len(rows)
    caption = f"{more} more lines are not shown; the command printed them." if more else ""
    return Table(columns=columns, rows=tuple(rows), caption=caption)


def _group(group: GroupShown) -> Section:
    figures = dict(group.decision.figures)
    unit = "HU" if group.modality == "CT" else ""
    reference = group.pairs[0].first_id
    words = [
        f"{group.decision.verdict.capitalize()}: {group.decision.reason}. {_count(group.decision.scans, 'scan')}; "
        f"each was checked against {reference}, the reference."
    ]
    words += [line for line in (_drift_words(figures, unit), _lag_words(group.pairs)) if line]
    blocks: list[Text | Table | Comparison] = [
        Text(paragraphs=tuple(words)),
        place_table(group.pairs, unit),
        noise_table(group.pairs, unit),
    ]
    blocks.append(_pictures(group.pairs))
    return Section(title=f"Group {group.decision.group}", blocks=tuple(blocks))


def _drift_words(figures: Mapping[str, float], unit: str) -> str:
    """Slow drift over the series, in a sentence; "" for separate scans."""
    if "drift_total_percent" not in figures:
        return ""
    low, high = figures["drift_total_percent_low"], figures["drift_total_percent_high"]
    total = figure_text(figures["drift_total_percent"], 2)
    sigmas = figures.get("drift_total_sigmas")
    size = "" if sigmas is None else f", {figure_text(sigmas, 2)} σ of one scan's noise"
    sure = "" if low > 0 or high < 0 else ": the interval holds zero, no drift is shown"
    return (
        f"Slow drift: the tissue's mean level changes by {figure_text(figures['drift_per_frame'], 4)} "
        f"{unit or 'units'} a frame, {total} % [{figure_text(low, 2)}, {figure_text(high, 2)}] over the "
        f"{figures['drift_frames']:.0f} frames that show this signal{size}{sure}."
    )


def _lag_words(pairs: Sequence[PairShown]) -> str:
    """What the noise's correlation within one image means."""
    lags = [max((pair.result.noise_lag1[axis] for pair in pairs), key=abs) for axis in (0, 1)]
    found = f"Within one image the noise of neighbouring pixels correlates {figure_text(lags[0], 2)} along I and "
    found += f"{figure_text(lags[1], 2)} along J (largest of the group). "
    if max(abs(lag) for lag in lags) < NEARLY_WHITE:
        return found + "It is nearly white: Noise2Noise does not need that, methods that see a single image do."
    return found + (
        "That is harmless for Noise2Noise, which only needs the noise of the two scans to be independent of each "
        "other. It is fatal for blind-spot and neighbour methods (Noise2Void, Neighbor2Neighbor): they take it for "
        "signal."
    )


def _pictures(pairs: Sequence[PairShown]) -> Comparison:
    """Reference, other scan, difference and what gain and offset leave of it, in stated windows."""
    frames = tuple(frame for pair in pairs for frame in _frames(pair))
    shown = sum(bool(pair.pictures) for pair in pairs)
    some = f" Pictured: the {shown} of {len(pairs)} whose difference shows most at edges." if shown < len(pairs) else ""
    return Comparison(
        frames=frames,
        caption="Both scans in one window; press and hold a picture to see the other in its place. Both differences "
        f"from −{DIFFERENCE_SIGMAS:g} σ to +{DIFFERENCE_SIGMAS:g} σ of one scan's noise, mid-grey is zero; the last "
        "one after the fitted gain and offset. They should look like noise: outlines mean motion, areas mean another "
        "intensity or contrast." + some,
    )


def _frames(pair: PairShown) -> tuple[Frame, ...]:
    result = pair.result
    frames = []
    for view in pair.pictures:
        half = DIFFERENCE_SIGMAS * result.sigma_pair or view.difference_half_width
        left_over = view.after - (result.gain * view.before + result.offset)
        parts = (
            (view.before, view.window, "reference"),
            (view.after, view.window, "other scan"),
            (view.after - view.before, (-half, half), "other − reference"),
            (left_over, (-half, half), "after gain and offset"),
        )
        frames.append(
            Frame(
                label=f"{pair.second_id} against {pair.first_id}: {view.label}",
                pictures=tuple(
                    Picture(pixels=pixels, window=window, label=label, aspect=view.aspect)
                    for pixels, window, label in parts
                ),
            )
        )
    return tuple(frames)


def _refused(pairs: Sequence[PairShown]) -> Section:
    """Candidates that headers allowed and voxels refused."""
    blocks: list[Text | Table | Comparison] = [
        Text(
            paragraphs=(
                "Headers and geometry allowed these pairs; their voxels do not, and neither registering nor matching "
                "them helped. Shared noise can never be used, what is unproven can be declared if it was measured "
                "separately.",
            )
        )
    ]
    pictured = [pair for pair in pairs if pair.pictures]
    for pair in pictured:
        heading = f"{pair.second_id} against {pair.first_id}"
        blocks.append(Text(heading=heading, paragraphs=(f"{pair.result.verdict.capitalize()}: {pair.result.reason}.",)))
        if pair.result.sigma_pair > 0:
            blocks += [place_table((pair,), ""), noise_table((pair,), "")]
        blocks.append(_pictures((pair,)))
    more = len(pairs) - len(pictured)
    if more:
        blocks.append(Text(paragraphs=(f"{_count(more, 'more pair')} failed likewise and have their line on top.",)))
    return Section(title="Refused on their voxels", blocks=tuple(blocks))


def _method() -> Section:
    tone: Literal["good", "check", "bad"]
    lines = (
        "Shift, gain, offset and turn come from fits to both scans at once; intervals are ± 1.96 standard errors of a "
        "jackknife over parts of the image. Noise is measured in flat areas, inside each scan and from the difference. "
        "Noise correlation between the two scans is the least over several choices of flat area, and is shown only "
        "where flat areas are large enough to tell noise from anatomy.",
        "Structure: spread of the difference at edges over its spread in flat tissue; about 1 for pure noise, about 2 "
        "for motion. Coarse: the same for 8×8 block means, larger where whole regions changed.",
        "The check sees at most the middle 24 slices. Slices are shown in radiological orientation; scans wider than "
        "256 pixels as block means.",
    )
    words = []
    for verdict, tone, meaning in (
        ("fit", "good", "same object, same place, equal signal, no sign of shared noise"),
        ("correctable", "check", "moved or different in intensity"),
        ("unproven", "check", "too little flat area to show that the noise is independent"),
        ("unfit", "bad", "not a pair"),
    ):
        words.append((Chip(text=verdict, tone=tone), meaning))
    table = Table(columns=(Column(name="Verdict"), Column(name="Meaning")), rows=tuple(words))
    return Section(title="Method and limits", blocks=(table, Text(paragraphs=lines)))
