"""Is a scan one of those that a model knows? What it was trained on, beside what is asked of it.

A network gives an answer to any scan; on noise or sharpness that it never saw the answer is a guess that looks like
one. Kernels and coils go by many names, so the texture of the noise is measured; names count where the training knew
them.
"""

from __future__ import annotations

from dataclasses import dataclass

from medn2n.core.spread_slices import spread_slices
from medn2n.core.volume import FloatArray

Range = tuple[float, float]
# How far beyond what was seen a scan may lie: noise, pixels and slices by a factor, texture by a difference.
NOISE_FACTOR, SIZE_FACTOR, TEXTURE_REACH = 2.0, 1.5, 0.15
SAME_FIELD = 1.25  # 1.5 T and 1.41 T are one field strength, 3 T is another


@dataclass(frozen=True, slots=True, kw_only=True)
class ScanTraits:
    """noise_share: noise over the network's scale. texture: correlation of the noise between neighbouring pixels, mean
    of both axes. kernel, field_t: as the header says, "" and None where it does not."""

    noise_share: float
    texture: float
    pixel_mm: float
    slice_mm: float
    kernel: str = ""
    field_t: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What the training scans spanned, lowest and highest; None and empty where that is not known, and then it is no
    limit."""

    noise_share: Range
    texture: Range | None = None
    pixel_mm: Range | None = None
    slice_mm: Range | None = None
    field_t: tuple[float, ...] = ()
    kernels: tuple[str, ...] = ()


def noise_traits(voxels: FloatArray, scale: float) -> tuple[float, float]:
    """(noise share, texture) of a scan's first frame, in evenly spread slices."""
    from medn2n.core.noise import lag1, noise_sigma, quiet_blocks  # a bare node that trains has no scipy

    frame = voxels if voxels.ndim == 3 else voxels[..., 0]
    frame = frame[..., spread_slices(frame.shape)]
    blocks = quiet_blocks(frame)
    return noise_sigma(frame, blocks=blocks) / scale, sum(lag1(blocks)) / 2


def out_of_scope(scan: ScanTraits, seen: Seen) -> list[str]:
    """One sentence for each way in which the scan lies outside, none where it lies within."""
    found = [
        _outside("noise", 100 * scan.noise_share, _percent(seen.noise_share), NOISE_FACTOR, "% of the model's scale"),
        _outside("pixel", scan.pixel_mm, seen.pixel_mm, SIZE_FACTOR, "mm"),
        _outside("slice", scan.slice_mm, seen.slice_mm, SIZE_FACTOR, "mm"),
    ]
    low, high = seen.texture or (-1.0, 1.0)
    if scan.noise_share > 0 and not low - TEXTURE_REACH <= scan.texture <= high + TEXTURE_REACH:
        found.append(
            f"noise of neighbouring pixels correlates by {scan.texture:.2f}, trained on {low:.2f} to {high:.2f} "
            "(another kernel or filter)"
        )
    if seen.field_t and scan.field_t and not any(_same_field(scan.field_t, known) for known in seen.field_t):
        found.append(f"field of {scan.field_t:g} T, trained on {', '.join(f'{known:g}' for known in seen.field_t)} T")
    if seen.kernels and scan.kernel and scan.kernel not in seen.kernels:
        found.append(f"a reconstruction kernel that is none of the {len(seen.kernels)} trained on")
    return [sentence for sentence in found if sentence]


def _outside(name: str, value: float, seen: Range | None, factor: float, unit: str) -> str:
    # A value of 0 is one that could not be measured.
    if seen is None or value <= 0 or seen[0] / factor <= value <= seen[1] * factor:
        return ""
    return f"{name} of {value:.3g} {unit}, trained on {seen[0]:.3g} to {seen[1]:.3g}"


def _percent(share: Range) -> Range:
    return 100 * share[0], 100 * share[1]


def _same_field(one: float, other: float) -> bool:
    return max(one, other) <= SAME_FIELD * min(one, other)
