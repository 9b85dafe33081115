"""Noisy repeats of single scans: which slices serve as a base, and independent draws from them.

Every repeat of a base shares the base's own noise, which training then takes for anatomy. So bases are made quiet
first: neighbouring slices are averaged into thicker slabs, and a slab that is still loud is averaged 2×2 in plane.
And what is added is never less than a multiple of what a base brings along: among noise of the same kind k times as
strong, the best estimate keeps 1/(1 + k²) of the base's own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt

from medn2n.core import ct_physics, mr_physics
from medn2n.core.ct_field import AIR_HU, pad_to_square
from medn2n.core.digital_objects import smooth_field
from medn2n.core.geometry import square_pixel_mm
from medn2n.core.noise import noise_sigma

FloatArray = npt.NDArray[np.float32]
ABOVE_OWN = 3.0  # added noise over the base's own, at least
BODY_HU = -300.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Base:
    """One quiet slice, axes (I,J), its pixel edge, and the standard deviation of the noise that it still has."""

    image: FloatArray
    pixel_mm: float
    own_sigma: float = 0.0


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
    """At most `count` slabs of axial slices, (I,J,K) in HU, evenly spread over the scan. Padding below −1000 HU becomes
    air. InputError where the pixels of a slice are not square."""
    edge = square_pixel_mm(spacing_mm)
    depth = max(1, min(voxels.shape[2], round(slab_mm / spacing_mm[2])))
    starts = _spread(voxels.shape[2] - depth + 1, step=depth, count=count)
    bases = []
    for start in starts:
        slab = np.maximum(voxels[:, :, start : start + depth], -1000.0).mean(axis=2, dtype=np.float32)
        pixel, own = edge, noise_sigma(slab[:, :, None])
        if own > quiet_hu and min(slab.shape) >= 256:
            slab, pixel = _halved(slab), 2 * pixel
            own = noise_sigma(slab[:, :, None])
        bases.append(Base(image=slab, pixel_mm=pixel, own_sigma=own))
    return bases


def mr_bases(
    voxels: FloatArray, spacing_mm: tuple[float, float, float], *, count: int, own_sigma: float | None = None
) -> list[Base]:
    """At most `count` slices of (I,J,K), evenly spread. Of large ones every other is brought to half resolution, which
    halves its own noise too; the rest stay, so that detail of both sizes is learned. own_sigma: the noise that the
    voxels have, where repeats told it; else it is measured slice by slice."""
    bases = []
    for number, k in enumerate(_spread(voxels.shape[2], step=1, count=count)):
        image, pixel, own = np.ascontiguousarray(voxels[:, :, k]), float(spacing_mm[0]), own_sigma
        if min(image.shape) >= 200 and number % 2 == 0:
            image, pixel = mr_physics.half_resolution(image), 2 * pixel
            own = None if own is None else own / 2
        if np.count_nonzero(image) > 0.05 * image.size:
            own = noise_sigma(image[:, :, None]) if own is None else own
            bases.append(Base(image=image, pixel_mm=pixel, own_sigma=own))
    return bases


def quiet_enough(base: Base, loudest: float) -> bool:
    """Whether noise of at most `loudest` is `ABOVE_OWN` times the base's own."""
    return ABOVE_OWN * base.own_sigma <= loudest


def ct_draws(
    base: Base,
    *,
    noise_hu: tuple[float, float],
    kernels: Sequence[str],
    cutoff: tuple[float, float],
    noise_cutoff: tuple[float, float],
    views: int,
    electronic_sigma: float,
    repeats: int,
    draws: int,
    generator: np.random.Generator,
    device: str = "cpu",
) -> list[Draw]:
    """`draws` acquisitions of one slice, each of random noise level (log-uniform, never below the base's own noise
    times `ABOVE_OWN`) and kernel, measured `repeats` times. As an exposure control does, the dose follows from the
    object and the noise level asked for. In half of them image and noise have one kernel, as in filtered
    back-projection; in the others the noise is smoother than the edges, as iterative reconstruction leaves it.
    """
    square, window = pad_to_square(base.image)
    integrals = ct_physics.project(square, pixel_mm=base.pixel_mm, views=views, device=device)
    body = base.image > BODY_HU
    made = []
    for _ in range(draws):
        kernel = kernels[int(generator.integers(len(kernels)))]
        sharp, smooth = _cutoffs(cutoff, noise_cutoff, generator)
        sigma = _log_uniform(noise_hu, base.own_sigma, generator)
        image = partial(_reconstructed, window=window, pixel_mm=base.pixel_mm, kernel=kernel, device=device)
        unit = image(ct_physics.unit_noise(integrals, generator), smooth)
        photons = ct_physics.photons_for(sigma, integrals, float(unit[body].std() if body.any() else unit.std()))
        protocol = ct_physics.CtProtocol(photons=photons, electronic_sigma=electronic_sigma, views=views)
        noise = np.stack([ct_physics.measure(integrals, protocol, generator) - integrals for _ in range(repeats)])
        truth = image(integrals, sharp) + np.float32(AIR_HU)
        noisy = truth + image(noise, smooth)
        made.append(Draw(repeats=noisy, truth=truth, sigma=_added_sigma(noisy)))
    return made


def _cutoffs(
    limits: tuple[float, float], noise_limits: tuple[float, float], generator: np.random.Generator
) -> tuple[float, float]:
    """Cut-off frequencies of the image and of its noise; in half of the cases the same."""
    sharp = smooth = float(generator.uniform(*limits))
    if generator.random() < 0.5:
        smooth = float(np.exp(generator.uniform(*np.log(noise_limits)))) * sharp
    return sharp, smooth


def _reconstructed(
    integrals: FloatArray, cutoff: float, *, window: tuple[slice, slice], pixel_mm: float, kernel: str, device: str
) -> FloatArray:
    """Filtered back-projection, without the padding that made the slice square."""
    full = ct_physics.filtered_back_projection(
        integrals, pixel_mm=pixel_mm, kernel=kernel, cutoff=cutoff, device=device
    )
    return np.ascontiguousarray(full[..., window[0], window[1]])


def mr_draws(
    base: Base,
    *,
    snr: tuple[float, float],
    zero_fill: tuple[float, float],
    repeats: int,
    draws: int,
    generator: np.random.Generator,
) -> list[Draw]:
    """`draws` acquisitions of one slice, each of random signal-to-noise ratio (log-uniform, its noise never below the
    base's own times `ABOVE_OWN`) and k-space share, measured `repeats` times. In half of them anatomy has the band of
    the noise; in the others it keeps its own, and the noise alone is smooth, as filters of the scanner leave it. In
    half of them the noise varies over the slice."""
    signal = mr_signal(base)
    made = []
    for _ in range(draws):
        shares = _band(zero_fill, generator)
        # Filling takes noise away; the level is that of the image as it leaves the scanner.
        sigma = _log_uniform((signal / snr[1], signal / snr[0]), base.own_sigma, generator) / np.sqrt(np.prod(shares))
        noisy, truth = mr_physics.noisy_repeats(
            base.image,
            sigma=float(sigma),
            zero_fill=shares,
            signal_share=None if generator.random() < 0.5 else 1.0,
            gain=_gain(base.image.shape, generator) if generator.random() < 0.5 else None,
            repeats=repeats,
            generator=generator,
        )
        made.append(Draw(repeats=noisy, truth=truth, sigma=_added_sigma(noisy)))
    return made


def mr_signal(base: Base) -> float:
    """What the signal-to-noise ratio of a slice is of: its bright tissue."""
    return float(np.percentile(base.image[base.image > 0], 99))


def _band(limits: tuple[float, float], generator: np.random.Generator) -> tuple[float, float]:
    """Acquired shares of rows and columns, log-uniform; in half of the cases not the same for both."""
    first, second = (float(np.exp(generator.uniform(*np.log(limits)))) for _ in range(2))
    return (first, first) if generator.random() < 0.5 else (first, min(1.0, max(second, 0.5 * first)))


def _gain(shape: tuple[int, ...], generator: np.random.Generator) -> FloatArray:
    size = max(shape)
    field = smooth_field(generator, size, size * float(generator.uniform(0.2, 0.6)))
    return np.asarray(np.exp(0.4 * field)[: shape[0], : shape[1]], np.float32)


def _log_uniform(limits: tuple[float, float], own: float, generator: np.random.Generator) -> float:
    low = max(limits[0], ABOVE_OWN * own)
    return float(np.exp(generator.uniform(np.log(low), np.log(max(low, limits[1])))))


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
