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
from skimage.transform import iradon, radon

FloatArray = npt.NDArray[np.float32]

# Water at the effective energy of a 120 kV beam (about 70 keV), NIST XCOM.
WATER_ATTENUATION_PER_MM = 0.0193
AIR_HU = -1000.0

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


def project(square_hu: FloatArray, *, pixel_mm: float, views: int) -> FloatArray:
    """Line integrals (dimensionless), float32 (detector, view), of a square slice in HU. What lies outside the
    inscribed circle is taken as air, as a scanner's field of view does."""
    attenuation = (np.asarray(square_hu, np.float64) / 1000.0 + 1.0) * WATER_ATTENUATION_PER_MM * pixel_mm
    side = attenuation.shape[0]
    rows, columns = np.ogrid[:side, :side]
    centre = side // 2
    attenuation[(rows - centre) ** 2 + (columns - centre) ** 2 > (side // 2) ** 2] = 0.0
    angles = np.linspace(0.0, 180.0, views, endpoint=False)
    return np.asarray(radon(attenuation, theta=angles, circle=True), np.float32)


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


def reconstruct(integrals: FloatArray, *, pixel_mm: float, kernel: str, cutoff: float = 1.0) -> FloatArray:
    """Filtered back-projection to HU, float32 (side, side), side = number of detector elements."""
    detectors, views = integrals.shape
    size = max(64, 1 << int(np.ceil(np.log2(2 * detectors))))
    spectrum = fft.fft(integrals, n=size, axis=0) * kernel_response(kernel, cutoff, size)[:, None]
    filtered = np.real(fft.ifft(spectrum, axis=0))[:detectors].astype(np.float32)
    angles = np.linspace(0.0, 180.0, views, endpoint=False)
    attenuation = iradon(filtered, theta=angles, filter_name=None, circle=True, output_size=detectors)
    return np.asarray((attenuation / (WATER_ATTENUATION_PER_MM * pixel_mm) - 1.0) * 1000.0, np.float32)


@dataclass(frozen=True, slots=True, kw_only=True)
class CtRepeats:
    """repeats: (R, rows, columns) HU, independent noise. truth: the noiseless reconstruction with the same kernel."""

    repeats: FloatArray
    truth: FloatArray


def low_dose_repeats(
    slice_hu: FloatArray, *, pixel_mm: float, protocol: CtProtocol, repeats: int, generator: np.random.Generator
) -> CtRepeats:
    """Independent low-dose scans of one slice, (rows, columns) as given: fresh counts for each."""
    square, window = pad_to_square(slice_hu)
    integrals = project(square, pixel_mm=pixel_mm, views=protocol.views)
    return repeats_from_projection(
        integrals, window, pixel_mm=pixel_mm, protocol=protocol, repeats=repeats, generator=generator
    )


def repeats_from_projection(
    integrals: FloatArray,
    window: tuple[slice, slice],
    *,
    pixel_mm: float,
    protocol: CtProtocol,
    repeats: int,
    generator: np.random.Generator,
) -> CtRepeats:
    """The same from line integrals that were computed before: projecting costs as much as reconstructing."""

    def image(line_integrals: FloatArray) -> FloatArray:
        full = reconstruct(line_integrals, pixel_mm=pixel_mm, kernel=protocol.kernel, cutoff=protocol.cutoff)
        return np.ascontiguousarray(full[window])

    noisy = [image(measure(integrals, protocol, generator)) for _ in range(repeats)]
    return CtRepeats(repeats=np.stack(noisy), truth=image(integrals))
