"""Slices before and after of known values, and a page of everything that the browser must show."""

from __future__ import annotations

import numpy as np

from medn2n.core.display import READING_WINDOWS_HU, SlicePair
from medn2n.formats.page_blocks import Block, Column, Comparison, Frame, Picture, Section, Table, Text, Viewer

SHAPE = (40, 56)


def ct_pairs() -> tuple[SlicePair, ...]:
    """Three slices that differ, of whole HU before and fractions after, with a value that is not finite."""
    pairs = []
    for number in range(3):
        rng = np.random.default_rng(number)
        smooth = np.linspace(-1100, 1700, SHAPE[0] * SHAPE[1]).reshape(SHAPE) + 40 * number
        before = np.rint(smooth + rng.normal(0, 20, SHAPE)).astype(np.float32)
        after = (smooth + rng.normal(0, 6, SHAPE)).astype(np.float32)
        before[3, 5] = np.nan
        after[4, 6] = np.inf
        pairs.append(
            SlicePair(
                before=before,
                after=after,
                window=READING_WINDOWS_HU["soft tissue"],
                difference_half_width=50.0,
                aspect=1.4,
                label=f"axial, slice {number + 1} of 3",
                unit="HU",
            )
        )
    return tuple(pairs)


def mr_pair() -> SlicePair:
    rng = np.random.default_rng(9)
    before = rng.rayleigh(0.3, (310, 320)).astype(np.float32)
    return SlicePair(
        before=before,
        after=(0.9 * before).astype(np.float32),
        window=(0.0, 1.07),
        difference_half_width=1.07 / 8,
        aspect=320 / 310,
        label="coronal, slice 1 of 1",
        unit="a.u.",
    )


def blocks() -> list[Block]:
    table = Table(
        columns=tuple(Column(name=f"A heading of some length {number}") for number in range(9)),
        rows=(tuple(float(number) for number in range(9)),),
    )
    grey = np.linspace(0, 1, 600).reshape(20, 30)
    frame = Frame(pictures=tuple(Picture(pixels=part, window=(0, 1), label="p") for part in (grey, grey[::-1])))
    return [
        Section(title="CT", blocks=(Text(paragraphs=("A sentence. " * 30,)), Viewer(pairs=ct_pairs(), caption="CT"))),
        Section(title="MR", blocks=(table, Viewer(pairs=(mr_pair(),), caption="MR"))),
        Section(title="Two methods", blocks=(Comparison(frames=(frame, frame), caption="Two"),)),
    ]
