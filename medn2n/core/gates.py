"""The gates of one denoised scan: its figures (`core.scan_proof`) against the limits, and what is said where it is
outside. Where a slice, or a part of a tissue, fails by more than the whole scan does, the gate tells of that.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import hypot, isfinite

from medn2n.core.ct_numbers import RegionNumbers
from medn2n.core.edges import EdgeBlur
from medn2n.core.limits import SURE, TOO_LITTLE_TISSUE, Gate, Limits, doubt, held, unmeasured
from medn2n.core.scan_proof import ScanProof
from medn2n.core.spot_search import Spot
from medn2n.core.structure_removed import Structure


def gates(proof: ScanProof, limits: Limits) -> tuple[Gate, ...]:
    """All of GATES, in that order; none of a photograph, from which a mark or a pixel's noise may well be all there is
    to take."""
    if proof.modality == "PHOTO":
        return ()
    return (
        _numbers(proof, limits), _sharpness(proof, limits), _position(proof, limits),
        *_structure(proof.structure, limits), _invention(proof.invented, limits.invented), _noise(proof, limits),
    )  # fmt: skip


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
    whole = _mean_gate(_tissue(region.region, ct=ct), shift, error, limit, unit)
    return _or_part(whole, _moved_part([region for *_, region in judged], limits, air, ct=ct))


def _or_part(whole: Gate, part: Gate | None) -> Gate:
    """The part's gate where that fails, and by more than the whole."""
    surely = part is not None and part.excess > 1 and not part.excess <= whole.excess
    return part if part is not None and surely else whole


def _or_slice(whole: Gate, odd: Sequence[Gate]) -> Gate:
    """The gate of the part that is most surely beyond the limit, where one is; else the whole says that none is."""
    found = _or_part(whole, max(odd, key=lambda gate: gate.excess, default=None))
    if found is not whole or not whole.passed or not odd:
        return found
    return replace(whole, words=f"{whole.words[:-1]}, and no slice or quarter is surely beyond that.")


def _nearness(judged: tuple[float, float, float, RegionNumbers]) -> tuple[bool, bool, float]:
    """Surely beyond its limit before beyond it by a mean that is known too little, before the one nearest to its
    limit: a region that is known well must not hide one that may have moved."""
    shift, error, limit, _ = judged
    excess = (abs(shift) - SURE * error) / limit
    return excess > 1, abs(shift) > limit, excess


def _mean_gate(name: str, shift: float, error: float, limit: float, unit: str) -> Gate:
    passed = held(shift, error, limit)
    why = doubt(passed)
    words = (
        f"The mean of {name} moved by {shift:+.2f} ± {SURE * error:.2f} {unit}, at most {limit:g} {unit} is allowed"
        f"{why and f', which is {why} to tell'}."
    )
    return Gate(
        name="numbers", passed=passed, value=shift, limit=limit, excess=(abs(shift) - SURE * error) / limit, unit=unit,
        words=words, why=why,
    )  # fmt: skip


def _moved_part(regions: Sequence[RegionNumbers], limits: Limits, air: float, *, ct: bool) -> Gate | None:
    """Of the slice or field of a tissue that moved most surely; its error is what chance may give the largest of so
    many."""
    parts = [(region.region, region.part, _limit(region, limits, ct=ct)) for region in regions]
    found = [
        _mean_gate(
            f"{_tissue(name, ct=ct)} in {part.name}", part.shift * _share(part.before, air, ct=ct),
            part.chance * _share(part.before, air, ct=ct) / SURE, limit, "HU" if ct else "%",
        )
        for name, part, limit in parts if part is not None and limit is not None
    ]  # fmt: skip
    return max(found, key=lambda gate: gate.excess, default=None)


def _tissue(region: str, *, ct: bool) -> str:
    return region if ct else f"{region} tissue"


def _shift(region: RegionNumbers, air: float, *, ct: bool) -> tuple[float, float]:
    """Shift of the mean and its standard error (NaN of a single patch), in the gate's unit."""
    scale = _share(region.before, air, ct=ct)
    return region.shift * scale, region.shift_error * scale


def _share(before: float, air: float, *, ct: bool) -> float:
    """From the scan's unit to the gate's: HU, or per cent of the mean before; of its distance from `air` where that is
    below zero (an MR scan of which somebody took the mean)."""
    return 1.0 if ct else 100 / max(abs(before - min(air, 0.0)), 1e-30)


def _limit(region: RegionNumbers, limits: Limits, *, ct: bool) -> float | None:
    if ct:
        return limits.ct_number_hu.get(region.region)
    return None if region.region == "background" else 100 * limits.signal_share


def _sharpness(proof: ScanProof, limits: Limits) -> Gate:
    odd = [_blur_gate(edge, f" in {name}", limits.blur) for name, edge in proof.odd_edges if isfinite(edge.error)]
    if proof.edge is None:
        whole = unmeasured("sharpness", "pixel²", "No edge was found to compare sharpness at.", "no edge")
    elif not isfinite(proof.edge.error):
        whole = unmeasured("sharpness", "pixel²", "Too few edges were found to compare sharpness at.", "too few edges")
    else:
        whole = _blur_gate(proof.edge, _where(proof), limits.blur)
    return _or_slice(whole, odd)


def _blur_gate(edge: EdgeBlur, where: str, limit: float) -> Gate:
    """where: for people, after "Edges"."""
    does = "softer" if edge.square > 0 else "harder"
    surely = abs(edge.square) - SURE * edge.error - _feigned(edge)
    passed = held(edge.square, edge.error, limit)
    if passed is False and surely <= limit:
        passed = None
    why = doubt(passed)
    feigned = f", of which noise may feign {_feigned(edge):.2f}" if _feigned(edge) > 0 else ""
    words = (
        f"Edges{where} are {does}, as by {'' if edge.square > 0 else 'taking off '}a blur of {abs(edge.pixels):.2f} "
        f"pixels ({edge.square:+.2f} ± {SURE * edge.error:.2f} pixel²{feigned}); at most {limit**0.5:.2f} is "
        f"allowed{why and f', which is {why} to tell'}."
    )
    return Gate(
        name="sharpness", passed=passed, value=edge.square, limit=limit, excess=surely / limit, unit="pixel²",
        words=words, why=why,
    )  # fmt: skip


def _feigned(edge: EdgeBlur) -> float:
    """Noise makes edges seem softer, never harder."""
    return edge.seeming if edge.square > 0 else 0.0


def _where(proof: ScanProof) -> str:
    """For people: in which share of the slices edges were measured; "" where in all."""
    some, all_of_them = proof.slices
    return "" if some == all_of_them else f" in {some} of {all_of_them} slices"


def _position(proof: ScanProof, limits: Limits) -> Gate:
    odd = [
        _move_gate(edge, f" in {name}", limits.moved) for name, edge in proof.odd_edges if isfinite(edge.moved_error)
    ]
    if proof.edge is None:
        whole = unmeasured("position", "pixel", "No edge was found to compare positions at.", "no edge")
    elif not isfinite(proof.edge.moved_error):
        whole = unmeasured("position", "pixel", "Too few edges were found to compare positions at.", "too few edges")
    else:
        whole = _move_gate(proof.edge, _where(proof), limits.moved)
    return _or_slice(whole, odd)


def _move_gate(edge: EdgeBlur, where: str, limit: float) -> Gate:
    """where: for people, after "Edges"."""
    length = hypot(*edge.moved)
    passed = held(length, edge.moved_error, limit)
    why = doubt(passed)
    words = (
        f"Edges{where} moved by {length:.2f} ± {SURE * edge.moved_error:.2f} pixels; at most {limit:g} is "
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
