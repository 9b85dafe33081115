"""Tables of what was measured on pairs of scans: place and signal, and noise; intervals where they are known."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, Protocol

from medn2n.core.pair_check import PairResult
from medn2n.formats.page_blocks import Cell, Chip, Column, Measured, Table

SURE = 1.96  # standard errors on either side of a 95 % interval

_TONES: dict[str, Literal["good", "check", "bad", "plain"]] = {
    "fit": "good", "correctable": "check", "unproven": "check", "unfit": "bad", "refused": "bad",
}  # fmt: skip


class Pair(Protocol):
    """What a row needs: the other scan's keyed id, and the check."""

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
    level = f" ({unit})" if unit else ""
    columns = (
        Column(name="Scan"), Column(name="Verdict"), Column(name="Shift I (voxels)", digits=3),
        Column(name="Shift J (voxels)", digits=3), Column(name="Shift K (voxels)", digits=3),
        Column(name="Turn in plane (°)", digits=3), Column(name="Gain", digits=4),
        Column(name=f"Offset{level}", digits=2), Column(name="Mismatch (σ)", digits=3),
    )  # fmt: skip
    rows = []
    for pair in pairs:
        result = pair.result
        shifts = [_measured(*both) for both in zip(result.shift, result.shift_error, strict=True)]
        turn = _measured(result.turn_degrees, result.turn_error_degrees)
        rows.append(
            (
                pair.second_id,
                chip(result.verdict),
                *shifts,
                turn if isinstance(turn, Measured) else None,
                _measured(result.gain, result.gain_error),
                _measured(result.offset, result.offset_error),
                result.mismatch_sigmas,
            )
        )
    return Table(columns=columns, rows=tuple(rows), caption="Same place, same signal? With 95 % intervals.")


def noise_table(pairs: Sequence[Pair], unit: str) -> Table:
    """Independent noise, and nothing but noise: one row a scan."""
    level = f" ({unit})" if unit else ""
    columns = (
        Column(name="Scan"), Column(name=f"σ of reference{level}"), Column(name=f"σ of this scan{level}"),
        Column(name=f"σ from the difference{level}"), Column(name="Noise correlation", digits=3),
        Column(name="Structure", digits=2), Column(name="Coarse", digits=2), Column(name="Lag-1 along I"),
        Column(name="Lag-1 along J"),
    )  # fmt: skip
    rows = []
    for pair in pairs:
        result = pair.result
        seen = "noise_correlation" in result.figures()
        correlation = _measured(result.noise_correlation, result.noise_correlation_error) if seen else "not measurable"
        rows.append(
            (
                pair.second_id,
                result.sigma_first,
                result.sigma_second,
                result.sigma_pair,
                correlation,
                result.edge_ratio,
                result.coarse_ratio,
                *result.noise_lag1,
            )
        )
    return Table(columns=columns, rows=tuple(rows), caption="Independent noise, and nothing but noise?")


def _measured(value: float, error: float) -> Cell:
    """The figure with its interval; alone where no error is known."""
    if not math.isfinite(error) or error <= 0:
        return value
    return Measured(value=value, low=value - SURE * error, high=value + SURE * error)
