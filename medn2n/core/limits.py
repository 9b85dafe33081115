"""What a figure of a scan is held against, and what is said of it.

A gate that could not be measured neither passes nor fails; it says so. The limits were chosen from what faults of known
size and faithful models measure on scans of many makes (`medn2n benchmark gates`; medn2n/docs/gates.md has the table).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from math import isfinite, nan
from types import MappingProxyType

from medn2n.core.lesions import LEAST_CONTRAST

# HU. Noise that was clipped at −1024 HU shifts the mean of air and lung by itself; bone is edges nearly everywhere.
CT_NUMBER_HU: Mapping[str, float] = MappingProxyType({"air": 3.0, "lung": 3.0, "fat": 1.2, "soft tissue": 1.2})
GATES = ("numbers", "sharpness", "position", "spots", "weakening", "invention", "noise")
TRIAL_GATES = ("lesions", "detectability")  # of `evaluate` alone: the method is run again (`core.quality`)
SURE = 2.0  # standard errors that a shift must exceed its limit by
TOO_LITTLE_TISSUE = "too little even tissue"
TOO_UNCERTAIN = "too uncertain"


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """ct_number_hu: by tissue. signal_share: how far an MR signal may move, of itself. blur: extra variance of edges,
    pixel², either way. moved: of edges, pixels. spot: standard deviations. weakened: share of the fine structure.
    invented: correlation of what was removed with what is shown, below zero. noise_left: after over before. scope:
    whether a scan unlike those that the model was trained on is a reason to look. lesion_contrast: share that every
    lesion which noise cannot hide must keep. auc_loss: how much worse a faint disc may be found."""

    ct_number_hu: Mapping[str, float] = field(default_factory=lambda: CT_NUMBER_HU)
    signal_share: float = 0.02
    blur: float = 0.12
    moved: float = 0.1
    spot: float = 8.0
    weakened: float = 0.11
    invented: float = 0.1
    noise_left: float = 1.02
    scope: bool = True
    lesion_contrast: float = LEAST_CONTRAST
    auc_loss: float = 0.02
    error_left: float = 1.0  # of the noisy scan's squared error (`core.error_gate`)
    residual_share: float = 0.22  # of the noise's variance, removed from two repeats alike

    def as_json(self) -> dict[str, object]:
        """For medn2n.json: another limit may give a copy another status."""
        names = [one.name for one in fields(self)]
        return {name: getattr(self, name) for name in names} | {"ct_number_hu": dict(self.ct_number_hu)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Gate:
    """name: one of GATES, TRIAL_GATES or `error_gate.ERROR_GATES`. passed: None where nothing could be measured. value,
    limit: in `unit`. excess: the value (without what may be chance) over the limit, NaN where nothing could be
    measured. words: one sentence for people. why: the few words that say why it is open; "" where it is not, or where
    no limit is set."""

    name: str
    passed: bool | None
    value: float | None
    limit: float
    excess: float
    unit: str
    words: str
    why: str = ""

    @property
    def too_uncertain(self) -> bool:
        """Measured, with an error too large to tell."""
        return self.why == TOO_UNCERTAIN

    def as_json(self) -> dict[str, object]:
        """For medn2n.json and results.json; null where nothing could be measured."""
        limit = self.limit if isfinite(self.limit) else None
        return {
            "name": self.name, "passed": self.passed, "value": self.value, "limit": limit, "unit": self.unit,
            "words": self.words,
        }  # fmt: skip


def failed(found: Sequence[Gate]) -> tuple[Gate, ...]:
    """The gates that say no."""
    return tuple(gate for gate in found if gate.passed is False)


def held(value: float, error: float, limit: float) -> bool | None:
    """False where the value is surely beyond the limit, None where its error is too large to tell."""
    if abs(value) - SURE * error > limit:
        return False
    return None if abs(value) > limit or SURE * error > limit else True


def doubt(passed: bool | None) -> str:
    """Why a gate is open, in short; "" where it is not."""
    return TOO_UNCERTAIN if passed is None else ""


def unmeasured(name: str, unit: str, words: str, why: str) -> Gate:
    """A gate that neither passes nor fails; words: why, and `why` in short."""
    return Gate(name=name, passed=None, value=None, limit=nan, excess=nan, unit=unit, words=words, why=why)
