"""Whether a denoised scan may go on as it is, or a person looks at it first."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import isfinite
from typing import Any

from medn2n.core.gates import gates
from medn2n.core.intensity import IntensityScale
from medn2n.core.limits import Gate, Limits, failed
from medn2n.core.scan_proof import ScanProof, scan_proof
from medn2n.core.scope import ScanTraits, Seen, noise_traits, out_of_scope
from medn2n.core.volume import Volume


@dataclass(frozen=True, slots=True, kw_only=True)
class Review:
    """proof: what was measured, of the first frame. gates: each limit and whether it held. outside: sentences, where
    the scan is none of those that the model was trained on."""

    proof: ScanProof
    gates: tuple[Gate, ...]
    outside: tuple[str, ...]

    @property
    def code(self) -> str:
        """Why a person has to look: GATE, OUT_OF_SCOPE, or "" where nobody has to."""
        return "GATE" if failed(self.gates) else "OUT_OF_SCOPE" if self.outside else ""

    @property
    def reason(self) -> str:
        """In words, "" where nobody has to look."""
        sentences = [gate.words for gate in failed(self.gates)]
        if self.outside:
            sentences.append(f"The scan is unlike those that the model was trained on: {'; '.join(self.outside)}.")
        return " ".join([*sentences, "Look at the copy before it is used."]) if sentences else ""


def review(
    before: Volume, after: Volume, *, seen: Seen, scale: IntensityScale, acquisition: Mapping[str, Any], limits: Limits
) -> Review:
    """Of one denoised scan; of a series in time, the first, the middle and the last frame are measured, and each limit
    is told of the worst. scale: of the network. acquisition: what its header says (`catalogue.ACQUISITION_KEYS`)."""
    frames = before.voxels.shape[3] if before.voxels.ndim == 4 else 1
    chosen = sorted({0, frames // 2, frames - 1})
    proofs = [scan_proof(before.frame(n), after.frame(n)) for n in chosen]
    found = [gates(proof, limits) for proof in proofs]
    if frames > 1:
        found = [tuple(_of_frame(gate, n + 1, frames) for gate in each) for n, each in zip(chosen, found, strict=True)]
    outside: list[str] = []
    if limits.scope and before.modality != "PHOTO":
        outside = out_of_scope(scan_traits(before, scale, acquisition), seen)
    worst = tuple(max(same, key=_badness) for same in zip(*found, strict=True))
    return Review(proof=proofs[0], gates=worst, outside=tuple(outside))


def _of_frame(gate: Gate, number: int, frames: int) -> Gate:
    return replace(gate, words=f"Frame {number} of {frames}: {gate.words}")


def _badness(gate: Gate) -> tuple[int, float]:
    """Failed before open before held, so that no frame is said to hold which could not be measured; then by how near
    the limit is."""
    rank = {False: 2, None: 1, True: 0}[gate.passed]
    return rank, gate.excess if isfinite(gate.excess) else float("-inf")


def scan_traits(scan: Volume, scale: IntensityScale, acquisition: Mapping[str, Any]) -> ScanTraits:
    """What decides whether a model knows scans like this one. acquisition: as for `review`."""
    share, texture = noise_traits(scan.frame(0).filled(), scale.scale)
    i, j, k = scan.spacing_mm
    field = acquisition.get("field_t")
    return ScanTraits(
        noise_share=share, texture=texture, pixel_mm=max(i, j), slice_mm=k, kernel=str(acquisition.get("kernel") or ""),
        field_t=float(field) if isinstance(field, int | float) else None,
    )  # fmt: skip
