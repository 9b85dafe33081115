"""Tables of what was measured on pairs of scans: place and signal, and noise; intervals where they are known."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, Protocol

from medn2n.core.pair_result import PairResult
from medn2n.formats.page_blocks import Cell, Chip, Column, Measured, Table

SURE = 1.96  # standard errors on either side of a 95 % interval

_TONES: dict[str, Literal["good", "check", "bad", "plain"]] = {
    "fit": "good", "correctable": "check", "unproven": "check", "unfit": "bad", "refused": "bad",
}  # fmt: skip


class Pair(Protocol):
    """What a row needs: the keyed ids of both scans, and the check."""

    @property
    def first_id(self) -> str:
        """Keyed id of the reference."""

    @property
    def second_id(self) -> str:
        """Keyed id of the scan that was compared with the reference."""

    @property
    def result(self) -> PairResult:
        """The check's outcome."""


def chip(verdict: str) -> Chip:
    """A verdict in its colour."""
    return Chip(text=verdict, tone=_TONES.get(verdict, "plain"))


def place_table(pairs: Sequence[Pair], unit: str) -> Table:
    """Same place, same signal: one row a scan."""
    columns = (
        Column(name="Scan"), Column(name="Verdict"), Column(name="Shift I", digits=3), Column(name="Shift J", digits=3),
        Column(name="Shift K", digits=3), Column(name="Turn", digits=3), Column(name="Gain", digits=3),
        Column(name="Offset"), Column(name="Mismatch"),
    )  # fmt: skip
    rows = []
    for pair in pairs:
        result = pair.result
        shifts = [  # along K nothing is fitted where slices are few
            _measured(shift, error) if error > 0 else None
            for shift, error in zip(result.shift, result.shift_error, strict=True)
        ]
        turn = _measured(result.turn_degrees, result.turn_error_degrees)
        rows.append(
            (
                _name(pair),
                chip(result.verdict),
                *shifts,
                turn if isinstance(turn, Measured) else None,
                _measured(result.gain, result.gain_error),
                _measured(result.offset, result.offset_error),
                result.mismatch_sigmas,
            )
        )
    caption = (
        "Same place, same signal? 95 % intervals in brackets. Shift in voxels; turn in the image plane, in degrees; "
    )
    caption += f"offset in {unit or 'the scan’s unit'}; mismatch: what gain and offset explain, in σ."
    return Table(columns=columns, rows=tuple(rows), caption=caption)


def noise_table(pairs: Sequence[Pair], unit: str) -> Table:
    """Independent noise, and nothing but noise: one row a scan."""
    columns = (
        Column(name="Scan"), Column(name="σ reference"), Column(name="σ this scan"), Column(name="σ difference"),
        Column(name="Noise correlation"), Column(name="Structure"), Column(name="Coarse"), Column(name="Lag-1 I"),
        Column(name="Lag-1 J"),
    )  # fmt: skip
    rows = []
    for pair in pairs:
        result = pair.result
        seen = "noise_correlation" in result.figures()
        rows.append(
            (
                _name(pair),
                result.sigma_first,
                result.sigma_second,
                result.sigma_pair,
                _measured(result.noise_correlation, result.noise_correlation_error) if seen else None,
                result.edge_ratio,
                result.coarse_ratio,
                *result.noise_lag1,
            )
        )
    caption = (
        f"Independent noise, and nothing but noise? σ in {unit or 'the scan’s unit'}: inside each scan, where fine "
    )
    caption += "anatomy counts as noise too, and from the difference (over √2), where it does not. Noise correlation "
    caption += "between the two scans: – where no flat area is large enough to tell."
    return Table(columns=columns, rows=tuple(rows), caption=caption)


def _name(pair: Pair) -> str:
    """The other scan; its volume alone where both are of one series."""
    series, _, volume = pair.second_id.partition(" ")
    return volume if volume and pair.first_id.startswith(f"{series} ") else pair.second_id


def _measured(value: float, error: float) -> Cell:
    """The figure with its interval; alone where no error is known."""
    if not math.isfinite(error) or error <= 0:
        return value
    return Measured(value=value, low=value - SURE * error, high=value + SURE * error)
