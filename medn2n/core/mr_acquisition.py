"""One simulated MR acquisition: coils, averages, noise in k-space, what is sampled, and the image that comes out.

Thermal noise is white, complex and Gaussian in each coil's k-space. Coil sensitivities are smooth and their squares add
up to one, so that the root of the sum of squares gives the signal back and its noise is non-central χ, and the matched
combination Σ S*·x (Roemer 1990) has Gaussian noise of the coil's own σ in its real and imaginary part.

Undersampling is that of the Noise2Noise paper (`core.kspace_keeping`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import fft

from medn2n.core.digital_objects import smooth_field
from medn2n.core.kspace_keeping import undersampled
from medn2n.core.mr_physics import acquired_band

FloatArray = npt.NDArray[np.float32]
Array = npt.NDArray[np.float64]
IMAGES = ("magnitude", "complex")
UNDERSAMPLING = ("none", "bspec")
COIL_WIDTH = 0.75  # standard deviation of a coil's reach, in fields of view


@dataclass(frozen=True, slots=True, kw_only=True)
class MrProtocol:
    """sigma: noise of the real and of the imaginary part in one coil's image of one acquisition, in the scan's unit.
    zero_fill: acquired share of k-space each way. averages: acquisitions whose complex mean becomes one image. image:
    "magnitude", or "complex", real and imaginary part. undersample: "none" or "bspec" (above), of one coil, which gives
    a real image with a sign."""

    sigma: float
    coils: int = 1
    averages: int = 1
    zero_fill: float = 1.0
    image: str = "magnitude"
    undersample: str = "none"

    def __post_init__(self) -> None:
        if self.image not in IMAGES:
            raise ValueError(f"image: expected one of {', '.join(IMAGES)}, found {self.image!r}")
        if self.undersample not in UNDERSAMPLING:
            raise ValueError(f"undersample: expected one of {', '.join(UNDERSAMPLING)}, found {self.undersample!r}")
        if self.coils < 1 or self.averages < 1 or self.sigma < 0:
            raise ValueError("coils and averages: expected 1 or more; noise: expected 0 or more")
        if self.undersample == "bspec" and (self.coils > 1 or self.image == "complex" or self.zero_fill < 1):
            raise ValueError("undersample: bspec is for one coil and a real image of all frequencies")

    @property
    def effective_sigma(self) -> float:
        """Noise of one coil's image after averaging, before zero-filling takes its share."""
        return float(self.sigma / self.averages**0.5)

    @property
    def parts(self) -> tuple[str, ...]:
        """Names of the images that one repeat consists of; "" where it is one."""
        return ("real", "imaginary") if self.image == "complex" else ("",)


@dataclass(frozen=True, slots=True, kw_only=True)
class MrRepeats:
    """repeats: (R, parts, rows, columns), independent noise. truth: (parts, rows, columns) without noise, of the same
    sampled band. magnitude: (rows, columns), the signal whose noise theory describes."""

    repeats: FloatArray
    truth: FloatArray
    magnitude: FloatArray


def coil_sensitivities(shape: tuple[int, int], coils: int) -> npt.NDArray[np.complex128]:
    """(coils, rows, columns) smooth complex sensitivities of a ring of coils, Σ|S|² = 1 in every pixel."""
    rows, columns = (np.arange(size) / size - 0.5 for size in shape)
    made = []
    for coil in range(coils):
        angle = 2 * np.pi * coil / coils
        distance = (rows[:, None] - 0.6 * np.sin(angle)) ** 2 + (columns[None, :] - 0.6 * np.cos(angle)) ** 2
        turn = angle + np.pi * (rows[:, None] * np.cos(angle) - columns[None, :] * np.sin(angle))
        made.append(np.exp(-distance / (2 * COIL_WIDTH**2)) * np.exp(1j * turn))
    stack = np.stack(made)
    return np.asarray(stack / np.sqrt(np.sum(np.abs(stack) ** 2, axis=0)))


def acquire(
    slice_magnitude: FloatArray, protocol: MrProtocol, *, repeats: int, generator: np.random.Generator
) -> MrRepeats:
    """Independent acquisitions of one slice: fresh noise, and where frequencies are left out, a fresh choice. A complex
    image has a smooth phase, which all repeats share."""
    image = np.asarray(slice_magnitude, np.float64)
    if protocol.undersample == "bspec":
        drawn = [_undersampled(image, protocol.effective_sigma, generator) for _ in range(repeats)]
        made = np.stack(drawn)[:, None].astype(np.float32)
        truth = image.astype(np.float32)
        return MrRepeats(repeats=made, truth=truth[None], magnitude=truth)
    if protocol.image == "complex":
        size = max(image.shape)
        turn = 0.5 * np.pi * smooth_field(generator, size, size / 2)[: image.shape[0], : image.shape[1]]
        image = image * np.exp(1j * turn)
    shape = (image.shape[0], image.shape[1])
    band = acquired_band(shape, protocol.zero_fill)
    coils = coil_sensitivities(shape, protocol.coils)
    signal = fft.ifft2(fft.fft2(coils * image) * band)
    noisy = [_combined(signal + _coil_noise(signal.shape, band, protocol, generator), coils) for _ in range(repeats)]
    clean = _combined(signal, coils)
    kind = 1 if protocol.image == "complex" else 0
    return MrRepeats(
        repeats=np.stack([_parts(pair[kind]) for pair in noisy]),
        truth=_parts(clean[kind]),
        magnitude=np.asarray(clean[0], np.float32),
    )


def _undersampled(image: Array, sigma: float, generator: np.random.Generator) -> Array:
    noisy = image + generator.normal(0.0, sigma, image.shape) if sigma else image
    return undersampled(noisy, generator).image


def _coil_noise(
    shape: tuple[int, ...], band: Array, protocol: MrProtocol, generator: np.random.Generator
) -> npt.NDArray[np.complex128]:
    """Noise of each coil's image: white in k-space, complex, the mean of all averages, within the acquired band."""
    scale = protocol.sigma * np.sqrt(shape[-1] * shape[-2])  # a unitary transform's, in scipy's normalisation
    total = np.zeros(shape, np.complex128)
    for _ in range(protocol.averages):
        noise = generator.normal(0.0, scale, (2, *shape))
        total += noise[0] + 1j * noise[1]
    return np.asarray(fft.ifft2(total / protocol.averages * band))


def _combined(
    images: npt.NDArray[np.complex128], coils: npt.NDArray[np.complex128]
) -> tuple[Array, npt.NDArray[np.complex128]]:
    """Root of the sum of squares, and the matched complex combination."""
    return np.sqrt(np.sum(np.abs(images) ** 2, axis=0)), np.sum(np.conj(coils) * images, axis=0)


def _parts(image: npt.NDArray[Any]) -> FloatArray:
    pair = [image.real, image.imag] if np.iscomplexobj(image) else [image]
    return np.stack(pair).astype(np.float32)
