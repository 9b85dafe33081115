"""Noisy repeats of single scans: which slices serve as a base, and independent draws from them.

Every repeat of a base shares the base's own noise, which training then takes for anatomy. So bases are made quiet
first: neighbouring slices are averaged into thicker slabs, and a slab that is still loud is averaged 2×2 in plane.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from medn2n.core import ct_physics, mr_physics
from medn2n.core.noise import noise_sigma

FloatArray = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True)
class Base:
    """One quiet slice, axes (I,J), and its pixel edge."""

    image: FloatArray
    pixel_mm: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Draw:
    """repeats (R,I,J) with independent noise; truth (I,J) without the added noise; sigma: what was added, measured
    in the slice as standard deviation over the repeats, in the slice's unit."""

    repeats: FloatArray
    truth: FloatArray
    sigma: float


def ct_bases(
    voxels: FloatArray, spacing_mm: tuple[float, float, float], *, slab_mm: float, quiet_hu: float, count: int
) -> list[Base]:
    """At most `count` slabs of (I,J,K) HU, evenly spread over the scan. Padding below −1000 HU becomes air."""
    depth = max(1, min(voxels.shape[2], round(slab_mm / spacing_mm[2])))
    starts = _spread(voxels.shape[2] - depth + 1, step=depth, count=count)
    bases = []
    for start in starts:
        slab = np.maximum(voxels[:, :, start : start + depth], -1000.0).mean(axis=2, dtype=np.float32)
        pixel = float(spacing_mm[0] + spacing_mm[1]) / 2
        if noise_sigma(slab[:, :, None]) > quiet_hu and min(slab.shape) >= 256:
            slab, pixel = _halved(slab), 2 * pixel
        bases.append(Base(image=slab, pixel_mm=pixel))
    return bases


def mr_bases(voxels: FloatArray, spacing_mm: tuple[float, float, float], *, count: int) -> list[Base]:
    """At most `count` slices of (I,J,K), evenly spread. Of large ones every other is brought to half resolution, which
    halves its own noise too; the rest stay, so that detail of both sizes is learned."""
    bases = []
    for number, k in enumerate(_spread(voxels.shape[2], step=1, count=count)):
        image, pixel = np.ascontiguousarray(voxels[:, :, k]), float(spacing_mm[0])
        if min(image.shape) >= 200 and number % 2 == 0:
            image, pixel = mr_physics.half_resolution(image), 2 * pixel
        if np.count_nonzero(image) > 0.05 * image.size:
            bases.append(Base(image=image, pixel_mm=pixel))
    return bases


def ct_draw(
    base: Base,
    *,
    photons: tuple[float, float],
    kernels: list[str],
    cutoff: tuple[float, float],
    views: int,
    electronic_sigma: float,
    repeats: int,
    generator: np.random.Generator,
) -> Draw:
    """One acquisition of random dose (log-uniform) and kernel, measured `repeats` times."""
    protocol = ct_physics.CtProtocol(
        photons=float(np.exp(generator.uniform(*np.log(photons)))),
        kernel=kernels[int(generator.integers(len(kernels)))],
        cutoff=float(generator.uniform(*cutoff)),
        views=views,
        electronic_sigma=electronic_sigma,
    )
    made = ct_physics.low_dose_repeats(
        base.image, pixel_mm=base.pixel_mm, protocol=protocol, repeats=repeats, generator=generator
    )
    return Draw(repeats=made.repeats, truth=made.truth, sigma=_added_sigma(made.repeats))


def mr_draw(
    base: Base,
    *,
    snr: tuple[float, float],
    zero_fill: tuple[float, float],
    repeats: int,
    generator: np.random.Generator,
) -> Draw:
    """One acquisition of random signal-to-noise ratio (log-uniform) and k-space share, measured `repeats` times."""
    signal = float(np.percentile(base.image[base.image > 0], 99))
    sigma = signal / float(np.exp(generator.uniform(*np.log(snr))))
    share = float(generator.uniform(*zero_fill))
    noisy, truth = mr_physics.noisy_repeats(
        base.image, sigma=sigma, zero_fill=share, repeats=repeats, generator=generator
    )
    return Draw(repeats=noisy, truth=truth, sigma=_added_sigma(noisy))


def _added_sigma(repeats: FloatArray) -> float:
    return float(np.sqrt(np.mean(np.var(repeats, axis=0, ddof=1))))


def _spread(available: int, *, step: int, count: int) -> list[int]:
    positions = list(range(0, max(1, available), step))
    if len(positions) <= count:
        return positions
    return [positions[i] for i in np.linspace(0, len(positions) - 1, count).round().astype(int)]


def _halved(image: FloatArray) -> FloatArray:
    rows, columns = (2 * (size // 2) for size in image.shape)
    cropped = image[:rows, :columns].reshape(rows // 2, 2, columns // 2, 2)
    return np.asarray(cropped.mean(axis=(1, 3)), np.float32)
