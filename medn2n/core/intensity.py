"""Physical units ↔ network units, one recorded and invertible pair of numbers a scan."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True, slots=True, kw_only=True)
class IntensityScale:
    """network = (physical − offset) / scale."""

    offset: float
    scale: float

    def to_network(self, values: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Physical units → network units, float32."""
        return np.asarray((values - np.float32(self.offset)) / np.float32(self.scale), np.float32)

    def to_physical(self, values: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Network units → physical units, float32."""
        return np.asarray(values * np.float32(self.scale) + np.float32(self.offset), np.float32)


def fit_scale(values: npt.NDArray[Any], *, kind: str, offset: float, scale: float, percentile: float) -> IntensityScale:
    """The scale that a recipe's `scaling` section gives for these voxels (the mean of the repeats, in training).

    A percentile of the bulk, never a minimum or maximum: those are statistics of the noise. A scan that is zero
    everywhere gets scale 1.
    """
    if kind == "fixed":
        return IntensityScale(offset=offset, scale=scale)
    magnitude = np.abs(np.asarray(values, np.float32))
    signal = magnitude[magnitude > 0]
    level = float(np.percentile(signal, percentile)) if signal.size else 1.0
    return IntensityScale(offset=0.0, scale=level if level > 0 else 1.0)
