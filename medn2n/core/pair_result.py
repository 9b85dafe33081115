"""What the check of a pair comes out with: a verdict, the rule that decided, and every figure with its error."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

Verdict = Literal["fit", "correctable", "unfit", "unproven"]

UNPROVEN_NOISE = 0.20  # if even this much could hide, the voxels do not prove independence
NOISE_CODES = ("IDENTICAL", "RESCALED", "SHARED_NOISE")  # rules that mean: the noise is not independent


@dataclass(frozen=True, slots=True, kw_only=True)
class PairResult:
    """Outcome for two scans. Errors are standard errors; sigmas are in the scans' unit; shift in voxels (I,J,K).

    code: the rule that decided, e.g. "SHARED_NOISE"; reason: one sentence for a person. same_object: the anatomy
    is the same, whether or not the pair is fit: such scans belong to one subject.
    smallest_*: the least noise correlation, shift (in plane, voxels), gain and offset that this check would have seen.
    """

    verdict: Verdict
    code: str
    reason: str
    same_object: bool
    shift: tuple[float, float, float] = (0.0, 0.0, 0.0)
    shift_error: tuple[float, float, float] = (0.0, 0.0, 0.0)
    gain: float = 1.0
    gain_error: float = 0.0
    offset: float = 0.0
    offset_error: float = 0.0
    level_sigmas: float = 0.0
    level_error_sigmas: float = 0.0
    mismatch_sigmas: float = 0.0
    sigma_first: float = 0.0
    sigma_second: float = 0.0
    sigma_pair: float = 0.0
    noise_correlation: float = 0.0
    noise_correlation_error: float = 0.0
    smallest_shared_noise: float = 1.0
    smallest_shift: float = float("inf")
    smallest_gain: float = float("inf")
    smallest_level_sigmas: float = float("inf")
    edge_ratio: float = 1.0
    coarse_ratio: float = 1.0
    spectral_peak: float = 1.0
    line_ratio: float = 1.0
    ghost: float = 0.0
    ghost_error: float = float("inf")
    ghost_sigmas: float = 0.0
    ring_ratio: float = 1.0
    anatomy_correlation: float = 0.0
    anatomy_error: float = 0.0
    noise_lag1: tuple[float, float] = (0.0, 0.0)
    turn_degrees: float = 0.0
    turn_error_degrees: float = float("inf")

    def figures(self) -> dict[str, float]:
        """Flat name → value, for the manifest. The noise correlation only where flat areas show it: elsewhere it
        would be the anatomy's."""
        names = [
            "gain", "gain_error", "offset", "offset_error", "level_sigmas", "level_error_sigmas", "mismatch_sigmas",
            "sigma_first", "sigma_second",
            "sigma_pair", "smallest_shared_noise", "smallest_shift", "smallest_gain", "smallest_level_sigmas",
            "edge_ratio", "coarse_ratio", "spectral_peak",
            "line_ratio", "ghost", "ghost_error", "ghost_sigmas", "ring_ratio", "anatomy_correlation", "anatomy_error",
        ]  # fmt: skip
        if self.smallest_shared_noise <= UNPROVEN_NOISE or self.code == "SHARED_NOISE":
            names += ["noise_correlation", "noise_correlation_error"]
        if np.isfinite(self.turn_error_degrees):
            names += ["turn_degrees", "turn_error_degrees"]
        figures = {name: float(getattr(self, name)) for name in names}
        for axis, shift, error in zip("ijk", self.shift, self.shift_error, strict=True):
            figures[f"shift_{axis}_voxels"] = shift
            figures[f"shift_{axis}_error_voxels"] = error
        figures["noise_lag1_i"], figures["noise_lag1_j"] = self.noise_lag1
        return {name: round(value, 5) for name, value in figures.items() if np.isfinite(value)}
