"""Gates: the limits that a denoised scan is held against, and what is said where it is outside.

A gate that could not be measured neither passes nor fails; it says so. The limits were chosen from what faults of known
size and faithful models measure on scans of many makes (`medn2n benchmark gates`; medn2n/docs/gates.md has the table).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from math import hypot, isfinite, nan
from types import MappingProxyType

from medn2n.core.ct_numbers import RegionNumbers
from medn2n.core.lesions import LEAST_CONTRAST
from medn2n.core.scan_proof import ScanProof
from medn2n.core.structure_removed import Spot, Structure

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
    invented: float = 0.15
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


def gates(proof: ScanProof, limits: Limits) -> tuple[Gate, ...]:
    """All of GATES, in that order; none of a photograph, from which a mark or a pixel's noise may well be all there is
    to take."""
    if proof.modality == "PHOTO":
        return ()
    return (
        _numbers(proof, limits), _sharpness(proof, limits), _position(proof, limits),
        *_structure(proof.structure, limits), _invention(proof.invented, limits.invented), _noise(proof, limits),
    )  # fmt: skip


def failed(found: Sequence[Gate]) -> tuple[Gate, ...]:
    """The gates that say no."""
    return tuple(gate for gate in found if gate.passed is False)


def _numbers(proof: ScanProof, limits: Limits) -> Gate:
    ct = proof.modality == "CT"
    unit = "HU" if ct else "%"
    if ct and not limits.ct_number_hu:
        return unmeasured("numbers", unit, "No limit is set for the mean of tissue.", "")
    limited = [(region, _limit(region, limits, ct=ct)) for region in proof.regions]
    air = min((region.before for region in proof.regions if region.region == "background"), default=0.0)
    judged = [(*_shift(region, air, ct=ct), limit, region) for region, limit in limited if limit is not None]
    judged = [one for one in judged if isfinite(one[1])]
    if not judged:
        words = "Too little even tissue was found to compare its mean in."
        return unmeasured("numbers", unit, words, TOO_LITTLE_TISSUE)
    shift, error, limit, region = max(judged, key=_nearness)
    whole = _mean_gate(region.region if ct else f"{region.region} tissue", shift, error, limit, unit)
    part = _moved_part(judged) if ct else None
    return part if part is not None and part.excess > max(whole.excess, 1.0) else whole


def _nearness(judged: tuple[float, float, float, RegionNumbers]) -> tuple[bool, bool, float]:
    """Surely beyond its limit before beyond it by a mean that is known too little, before the one nearest to its
    limit: a region that is known well must not hide one that may have moved."""
    shift, error, limit, _ = judged
    excess = (abs(shift) - SURE * error) / limit
    return excess > 1, abs(shift) > limit, excess


def _mean_gate(name: str, shift: float, error: float, limit: float, unit: str) -> Gate:
    passed = _held(shift, error, limit)
    why = _doubt(passed)
    words = (
        f"The mean of {name} moved by {shift:+.2f} ± {SURE * error:.2f} {unit}, at most {limit:g} {unit} is allowed"
        f"{why and f', which is {why} to tell'}."
    )
    return Gate(
        name="numbers", passed=passed, value=shift, limit=limit, excess=(abs(shift) - SURE * error) / limit, unit=unit,
        words=words, why=why,
    )  # fmt: skip


def _moved_part(judged: Sequence[tuple[float, float, float, RegionNumbers]]) -> Gate | None:
    """Of the slice or field of soft tissue that moved most surely; its error is what chance may give the largest of so
    many."""
    for _, _, limit, region in judged:
        if region.region == "soft tissue" and region.part is not None:
            part = region.part
            return _mean_gate(f"{region.region} in {part.name}", part.shift, part.chance / SURE, limit, "HU")
    return None


def _held(value: float, error: float, limit: float) -> bool | None:
    """False where the value is surely beyond the limit, None where its error is too large to tell."""
    if abs(value) - SURE * error > limit:
        return False
    return None if abs(value) > limit or SURE * error > limit else True


def _doubt(passed: bool | None) -> str:
    return TOO_UNCERTAIN if passed is None else ""


def _shift(region: RegionNumbers, air: float, *, ct: bool) -> tuple[float, float]:
    """Shift of the mean and its standard error (NaN of a single patch): HU, or per cent of itself; of its distance from
    `air` where that is below zero (an MR scan of which somebody took the mean)."""
    scale = 1.0 if ct else 100 / max(abs(region.before - min(air, 0.0)), 1e-30)
    return region.shift * scale, region.shift_error * scale


def _limit(region: RegionNumbers, limits: Limits, *, ct: bool) -> float | None:
    if ct:
        return limits.ct_number_hu.get(region.region)
    return None if region.region == "background" else 100 * limits.signal_share


def _sharpness(proof: ScanProof, limits: Limits) -> Gate:
    edge = proof.edge
    if edge is None:
        return unmeasured("sharpness", "pixel²", "No edge was found to compare sharpness at.", "no edge")
    excess = (abs(edge.square) - SURE * edge.error) / limits.blur
    does = "softer" if edge.square > 0 else "harder"
    passed = _held(edge.square, edge.error, limits.blur)
    why = _doubt(passed)
    words = (
        f"Edges{_where(proof)} are {does}, as by {'' if edge.square > 0 else 'taking off '}a blur of "
        f"{abs(edge.pixels):.2f} pixels ({edge.square:+.2f} ± {SURE * edge.error:.2f} pixel²); at most "
        f"{limits.blur**0.5:.2f} is allowed{why and f', which is {why} to tell'}."
    )
    return Gate(
        name="sharpness", passed=passed, value=edge.square, limit=limits.blur, excess=excess, unit="pixel²",
        words=words, why=why,
    )  # fmt: skip


def _where(proof: ScanProof) -> str:
    """For people: in which share of the slices edges were measured; "" where in all."""
    some, all_of_them = proof.slices
    return "" if some == all_of_them else f" in {some} of {all_of_them} slices"


def _position(proof: ScanProof, limits: Limits) -> Gate:
    edge = proof.edge
    if edge is None:
        return unmeasured("position", "pixel", "No edge was found to compare positions at.", "no edge")
    if not isfinite(edge.moved_error):
        return unmeasured("position", "pixel", "Too few edges were found to compare positions at.", "too few edges")
    length, limit = hypot(*edge.moved), limits.moved
    passed = _held(length, edge.moved_error, limit)
    why = _doubt(passed)
    words = (
        f"Edges{_where(proof)} moved by {length:.2f} ± {SURE * edge.moved_error:.2f} pixels; at most {limit:g} is "
        f"allowed{why and f', which is {why} to tell'}."
    )
    return Gate(
        name="position", passed=passed, value=length, limit=limit, excess=(length - SURE * edge.moved_error) / limit,
        unit="pixel", words=words, why=why,
    )  # fmt: skip


def _structure(found: Structure | None, limits: Limits) -> tuple[Gate, Gate]:
    if found is None:
        words = "There is too little even tissue to look for what went or came."
        spots, weakening = (unmeasured(name, "", words, TOO_LITTLE_TISSUE) for name in ("spots", "weakening"))
        return spots, weakening
    return _spot(found.spot, limits.spot), _weakening(found.weakened, limits.weakened)


def _spot(spot: Spot, limit: float) -> Gate:
    excess = abs(spot.strength) / limit
    place = ", ".join(str(index) for index in spot.place)
    words = f"What was removed holds no spot beyond {abs(spot.strength):.1f} σ."
    if excess > 1:
        words = (
            f"A spot of about {spot.diameter_mm:g} mm is {'gone from' if spot.strength > 0 else 'new at'} voxel "
            f"({place}), {abs(spot.strength):.1f} times the spread of its surroundings; at most {limit:g} is allowed."
        )
    return Gate(
        name="spots", passed=excess <= 1, value=abs(spot.strength), limit=limit, excess=excess, unit="σ", words=words
    )


def _weakening(share: float | None, limit: float) -> Gate:
    if share is None:
        words = "Even tissue holds too little structure to tell whether it was weakened."
        return unmeasured("weakening", "", words, "too little structure")
    words = f"At least {100 * share:.0f} % of the fine structure of tissue (3 mm) went with the noise"
    words += f"; at most {100 * limit:.0f} % is allowed." if share > limit else "."
    return Gate(
        name="weakening", passed=share <= limit, value=share, limit=limit, excess=share / limit, unit="", words=words
    )


def _invention(correlation: float | None, limit: float) -> Gate:
    if correlation is None:
        words = "There is too little even tissue to look for what came."
        return unmeasured("invention", "", words, TOO_LITTLE_TISSUE)
    words = f"What was removed correlates with what is shown by {correlation:.2f}"
    words += f": the copy shows detail that the scan does not hold; at most {-limit:g} is allowed." if (
        -correlation > limit
    ) else "."  # fmt: skip
    return Gate(
        name="invention", passed=-correlation <= limit, value=-correlation, limit=limit, excess=-correlation / limit,
        unit="", words=words,
    )  # fmt: skip


def _noise(proof: ScanProof, limits: Limits) -> Gate:
    if proof.figures.noise_before <= 0:
        return unmeasured("noise", "", "No noise could be measured in this scan.", "no noise")
    left = proof.figures.noise_left
    words = f"{100 * left:.0f} % of the noise is left; more than {100 * limits.noise_left:.0f} % is not allowed."
    return Gate(
        name="noise", passed=left <= limits.noise_left, value=left, limit=limits.noise_left,
        excess=left / limits.noise_left, unit="", words=words,
    )  # fmt: skip


def unmeasured(name: str, unit: str, words: str, why: str) -> Gate:
    """A gate that neither passes nor fails; words: why, and `why` in short."""
    return Gate(name=name, passed=None, value=None, limit=nan, excess=nan, unit=unit, words=words, why=why)
