"""Slow drift of a series: does the tissue's level rise or fall from frame to frame, and how sure is that?

Gradient heating, the steady-state tail and arriving contrast agent all make later frames brighter or darker. Two frames
far apart then differ in more than noise; the figures say by how much.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import stats

from medn2n.core.body import tissue_mask

LEAST_FRAMES = 4  # a slope and its error need two frames to spare
MOST_LAG = 0.9  # of the frames' correlation: beyond it a short series cannot tell drift from wander


@dataclass(frozen=True, slots=True, kw_only=True)
class Drift:
    """Straight line through the mean tissue level of each frame.

    per_frame: slope, in the scan's unit a frame; low, high: its 95 % interval. total: change from the first frame to
    the last; total_percent: of the mean level, with its interval; frames: how many.
    """

    per_frame: float
    low: float
    high: float
    total: float
    total_percent: float
    total_percent_low: float
    total_percent_high: float
    frames: int

    def figures(self, sigma: float) -> dict[str, float]:
        """Flat name → value, for the manifest. sigma: noise of one frame, in the scan's unit; 0 where not known."""
        found = {
            "drift_per_frame": self.per_frame,
            "drift_per_frame_low": self.low,
            "drift_per_frame_high": self.high,
            "drift_total_percent": self.total_percent,
            "drift_total_percent_low": self.total_percent_low,
            "drift_total_percent_high": self.total_percent_high,
            "drift_frames": float(self.frames),
        }
        if sigma > 0:
            found["drift_total_sigmas"] = self.total / sigma
        return {name: round(value, 6) for name, value in found.items()}


def tissue_levels(voxels: npt.NDArray[Any], frames: Sequence[int]) -> npt.NDArray[np.float64]:
    """Mean tissue value of each of the frames of (I,J,K,T), with one mask for all: that of their mean."""
    tissue = tissue_mask(voxels[..., list(frames)].mean(axis=3))
    return np.array([float(voxels[..., t][tissue].mean(dtype=np.float64)) for t in frames])


def level_drift(levels: npt.ArrayLike, times: npt.ArrayLike) -> Drift | None:
    """Slope of `levels` against `times` (frame numbers) by least squares; None below four frames or for a level of 0.

    Breathing and pulse make neighbouring frames alike, so the interval counts independent frames only: n(1 − r)/(1 + r)
    with r the correlation of neighbouring residuals (first-order autoregressive), Student's t for what is left.
    """
    level, time = np.asarray(levels, float), np.asarray(times, float)
    if len(level) < LEAST_FRAMES or level.mean() == 0 or not np.isfinite(level).all():
        return None
    centred = time - time.mean()
    spread = float(centred @ centred)
    slope = float(centred @ level) / spread
    rest = level - level.mean() - slope * centred
    energy = float(rest @ rest)
    lag = float(rest[1:] @ rest[:-1]) / energy if energy > 0 else 0.0
    lag = min(max(lag, 0.0), MOST_LAG)
    freedom = max(len(level) * (1 - lag) / (1 + lag) - 2, 1.0)
    error = float(np.sqrt(energy / freedom / spread))
    reach = float(stats.t.ppf(0.975, freedom)) * error
    span = float(time.max() - time.min())
    share = 100 * span / abs(float(level.mean()))
    return Drift(
        per_frame=slope,
        low=slope - reach,
        high=slope + reach,
        total=slope * span,
        total_percent=slope * share,
        total_percent_low=(slope - reach) * share,
        total_percent_high=(slope + reach) * share,
        frames=len(level),
    )
