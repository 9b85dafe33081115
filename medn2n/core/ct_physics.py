"""Low-dose CT from a normal-dose slice: project, count photons, reconstruct. Parallel beam, monochromatic.

The chain is HU → attenuation → line integrals p = ∫μ dl (Radon transform) → counts N ~ Poisson(N0·exp(−p)) plus
electronic noise → p̂ = −ln((N + ½)/N0) → filtered back-projection → HU. Adding ½ removes the 1/(2N) bias that the
logarithm gives a Poisson count (the next term is 1/(24 N²)), so that the mean of many reconstructions is the
reconstruction of the noiseless projections down to a few counts a ray.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import fft

from medn2n.core.ct_projection import back_project, radon

FloatArray = npt.NDArray[np.float32]

# Water at the effective energy of a 120 kV beam (about 70 keV), NIST XCOM.
WATER_ATTENUATION_PER_MM = 0.0193
AIR_HU = -1000.0
STARVED_PHOTONS = 10.0

# Reconstruction kernels: window of the ramp filter over frequency, 1 at zero; f in units of the cut-off.
KERNELS = ("ramp", "shepp-logan", "cosine", "hamming", "hann")


@dataclass(frozen=True, slots=True, kw_only=True)
class CtProtocol:
    """One simulated acquisition. photons: N0 per ray without object. cutoff: frequency where the kernel ends, as
    a share of the detector's Nyquist frequency. electronic_sigma: read-out noise in photon counts."""

    photons: float
    kernel: str = "hann"
    cutoff: float = 1.0
    views: int = 492
    electronic_sigma: float = 5.0

    def __post_init__(self) -> None:
        _check_kernel(self.kernel)


def _check_kernel(kernel: str) -> None:
    if kernel not in KERNELS:
        raise ValueError(f"kernel: expected one of {', '.join(KERNELS)}, found {kernel!r}")


def pad_to_square(slice_hu: FloatArray) -> tuple[FloatArray, tuple[slice, slice]]:
    """The slice centred in a square of air that holds its circumscribed circle's content, and where it lies."""
    rows, columns = slice_hu.shape
    side = max(rows, columns)
    side += side % 2
    top, left = (side - rows) // 2, (side - columns) // 2
    square = np.full((side, side), AIR_HU, np.float32)
    window = (slice(top, top + rows), slice(left, left + columns))
    square[window] = np.maximum(slice_hu, AIR_HU)
    return square, window


def project(square_hu: FloatArray, *, pixel_mm: float, views: int, device: str = "cpu") -> FloatArray:
    """Line integrals (dimensionless), float32 (detector, view), of a square slice in HU. What lies outside the
    inscribed circle is taken as air, as a scanner's field of view does."""
    attenuation = (np.asarray(square_hu, np.float64) / 1000.0 + 1.0) * WATER_ATTENUATION_PER_MM * pixel_mm
    side = attenuation.shape[0]
    rows, columns = np.ogrid[:side, :side]
    centre = side // 2
    attenuation[(rows - centre) ** 2 + (columns - centre) ** 2 > (side // 2) ** 2] = 0.0
    return radon(np.asarray(attenuation, np.float32), views=views, device=device)


def measure(integrals: FloatArray, protocol: CtProtocol, generator: np.random.Generator) -> FloatArray:
    """One noisy measurement of the line integrals: fresh photons, fresh electronics. Same shape, float32."""
    expected = protocol.photons * np.exp(-np.asarray(integrals, np.float64))
    counts = generator.poisson(expected).astype(np.float64)
    counts += generator.normal(0.0, protocol.electronic_sigma, counts.shape)
    # Read-out noise can make a starved ray negative; it then tells no more than "fewer than one photon".
    return np.asarray(-np.log(np.maximum(counts + 0.5, 0.5) / protocol.photons), np.float32)


def kernel_response(kernel: str, cutoff: float, size: int) -> npt.NDArray[np.float64]:
    """Ramp filter times the kernel's window at the `size` FFT frequencies (band-limited ramp, Kak & Slaney eq. 61:
    built from its spatial samples, so that the zero frequency is right)."""
    _check_kernel(kernel)
    spatial = np.zeros(size)
    spatial[0] = 0.25
    odd = np.arange(1, size // 2 + 1, 2)
    spatial[odd] = spatial[-odd] = -1.0 / (np.pi * odd) ** 2
    ramp = 2.0 * np.real(fft.fft(spatial))
    frequency = np.abs(fft.fftfreq(size)) / (0.5 * cutoff)
    window = {
        "ramp": np.ones(size),
        "shepp-logan": np.sinc(frequency / 2),
        "cosine": np.cos(np.pi * frequency / 2),
        "hamming": 0.54 + 0.46 * np.cos(np.pi * frequency),
        "hann": 0.5 + 0.5 * np.cos(np.pi * frequency),
    }[kernel]
    return np.asarray(ramp * np.where(frequency <= 1.0, window, 0.0))


def filtered_back_projection(
    integrals: FloatArray, *, pixel_mm: float, kernel: str, cutoff: float = 1.0, device: str = "cpu"
) -> FloatArray:
    """Attenuation over that of water, ×1000, float32: (detector, view) → (side, side), and a stack of the first to a
    stack of the second; side = number of detector elements. Linear, so it serves for noise alone too."""
    stack = integrals if integrals.ndim == 3 else integrals[None]
    detectors = stack.shape[1]
    size = max(64, 1 << int(np.ceil(np.log2(2 * detectors))))
    spectrum = fft.rfft(stack, n=size, axis=1) * kernel_response(kernel, cutoff, size)[: size // 2 + 1, None]
    filtered = fft.irfft(spectrum, n=size, axis=1)[:, :detectors].astype(np.float32)
    images = back_project(filtered, device=device) * np.float32(1000.0 / (WATER_ATTENUATION_PER_MM * pixel_mm))
    return images if integrals.ndim == 3 else images[0]


def reconstruct(
    integrals: FloatArray, *, pixel_mm: float, kernel: str, cutoff: float = 1.0, device: str = "cpu"
) -> FloatArray:
    """Filtered back-projection to HU, float32 (side, side), side = number of detector elements."""
    images = filtered_back_projection(integrals, pixel_mm=pixel_mm, kernel=kernel, cutoff=cutoff, device=device)
    return images + np.float32(AIR_HU)


def unit_noise(integrals: FloatArray, generator: np.random.Generator) -> FloatArray:
    """Noise of the line integrals of an acquisition with one photon a ray; over √N0 it is that of N0 photons, since
    var p̂ = exp(p)/N0 as long as no ray is starved. Same shape, float32."""
    noise = generator.normal(size=integrals.shape) * np.exp(0.5 * integrals.astype(np.float64))
    return np.asarray(noise, np.float32)


def photons_for(sigma: float, integrals: FloatArray, unit_sigma: float) -> float:
    """Photons a ray that give noise of `sigma` HU, or as many as let STARVED_PHOTONS through the densest path: fewer
    would shift the mean. unit_sigma: standard deviation of reconstructed `unit_noise` in the object."""
    return max((unit_sigma / sigma) ** 2, STARVED_PHOTONS * float(np.exp(np.percentile(integrals, 99.9))))


@dataclass(frozen=True, slots=True, kw_only=True)
class CtRepeats:
    """repeats: (R, rows, columns) HU, independent noise. truth: the noiseless reconstruction with the same kernel."""

    repeats: FloatArray
    truth: FloatArray


def low_dose_repeats(
    slice_hu: FloatArray,
    *,
    pixel_mm: float,
    protocol: CtProtocol,
    repeats: int,
    generator: np.random.Generator,
    device: str = "cpu",
) -> CtRepeats:
    """Independent low-dose scans of one slice, (rows, columns) as given: fresh counts for each."""
    square, window = pad_to_square(slice_hu)
    integrals = project(square, pixel_mm=pixel_mm, views=protocol.views, device=device)
    measured = [integrals, *(measure(integrals, protocol, generator) for _ in range(repeats))]
    images = reconstruct(
        np.stack(measured), pixel_mm=pixel_mm, kernel=protocol.kernel, cutoff=protocol.cutoff, device=device
    )
    images = np.ascontiguousarray(images[:, *window])
    return CtRepeats(repeats=images[1:], truth=images[0])
