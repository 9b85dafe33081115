"""Low-dose CT from a normal-dose slice: project, count photons, reconstruct. Parallel or fan beam, monochromatic.

The chain is HU → attenuation → line integrals p = ∫μ dl (Radon transform) → counts N ~ Poisson(N0·exp(−p)) plus
electronic noise → p̂ = ln N0 − (ln λ)^, the logarithm estimated without bias (`core.ct_counting`) → filtered
back-projection → HU. So the mean of many reconstructions is the reconstruction of the noiseless projections down to a
few counts a ray. A fan is reconstructed by weighted back-projection from a flat detector (Kak & Slaney 1988, §3.4.2).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from scipy import fft

from medn2n.core.ct_astra import astra_radon
from medn2n.core.ct_counting import count, expected_counts, log_counts, read_out, thin
from medn2n.core.ct_field import AIR_HU, outside_circle, pad_to_square
from medn2n.core.ct_projection import Beam, back_project, fan_beam, parallel_beam, radon

FloatArray = npt.NDArray[np.float32]

# Water at the effective energy of a 120 kV beam (about 70 keV), NIST XCOM.
WATER_ATTENUATION_PER_MM = 0.0193
STARVED_PHOTONS = 10.0
MOST_PHOTONS = 1e15  # numpy draws counts up to 9e18

# Reconstruction kernels: window of the ramp filter over frequency, 1 at zero; f in units of the cut-off.
KERNELS = ("ramp", "shepp-logan", "cosine", "hamming", "hann")
GEOMETRIES = ("parallel", "fan")
PROJECTORS = ("own", "astra")
SPLITS = ("draws", "counts", "views")


@dataclass(frozen=True, slots=True, kw_only=True)
class CtProtocol:
    """One simulated acquisition.

    photons: N0 per ray without object. electronic_sigma: read-out noise in photon counts. kernel, and cutoff: the
    frequency where it ends, as a share of the detector's Nyquist frequency. views: over half a turn of a parallel beam,
    or a whole turn of a fan whose source is source_mm from the axis. detector_mm: width of a detector element at the
    axis; None = a pixel. split: how one acquisition becomes independent repeats: each is an acquisition of its own
    (draws), or has a share of its photons (counts) or of its views (views).
    """

    photons: float
    kernel: str = "hann"
    cutoff: float = 1.0
    views: int = 492
    electronic_sigma: float = 5.0
    geometry: str = "parallel"
    source_mm: float = 595.0
    detector_mm: float | None = None
    projector: str = "own"
    split: str = "draws"

    def __post_init__(self) -> None:
        _check("kernel", self.kernel, KERNELS)
        _check("geometry", self.geometry, GEOMETRIES)
        _check("projector", self.projector, PROJECTORS)
        _check("split", self.split, SPLITS)
        if not 0 < self.photons <= MOST_PHOTONS:
            raise ValueError(
                f"photons: expected more than 0 and at most {MOST_PHOTONS:g} a ray, found {self.photons:g}"
            )

    def of_one(self, repeats: int) -> CtProtocol:
        """The acquisition whose noise each of `repeats` repeats has. ValueError where the views do not divide."""
        if self.split == "counts":
            return replace(self, photons=self.photons / repeats, electronic_sigma=self.electronic_sigma / repeats**0.5)
        if self.split == "views":
            if self.views % repeats:
                raise ValueError(f"views: expected a multiple of the {repeats} repeats, found {self.views}")
            return replace(self, views=self.views // repeats)
        return self


def _check(name: str, found: str, known: tuple[str, ...]) -> None:
    if found not in known:
        raise ValueError(f"{name}: expected one of {', '.join(known)}, found {found!r}")


def beam_for(protocol: CtProtocol, *, side: int, pixel_mm: float) -> Beam:
    """The rays of one acquisition of a square image. ValueError where the source would stand inside it."""
    pitch = 1.0 if protocol.detector_mm is None else protocol.detector_mm / pixel_mm
    if protocol.geometry == "fan":
        reach = side * pixel_mm / 2
        if protocol.source_mm <= reach:
            raise ValueError(
                f"source_mm: expected more than the {reach:.4g} from the axis to the field's edge, "
                f"found {protocol.source_mm:g}"
            )
        return fan_beam(side, protocol.views, source=protocol.source_mm / pixel_mm, pitch=pitch)
    return parallel_beam(side, protocol.views, pitch=pitch)


def project(
    square_hu: FloatArray,
    *,
    pixel_mm: float,
    views: int = 492,
    beam: Beam | None = None,
    projector: str = "own",
    device: str = "cpu",
) -> FloatArray:
    """Line integrals (dimensionless), float32 (detector, view), of a square slice in HU: along the rays of `beam`, or
    of `views` parallel views. What lies outside the inscribed circle is taken as air, as a scanner's field of view
    does."""
    attenuation = (np.asarray(square_hu, np.float64) / 1000.0 + 1.0) * WATER_ATTENUATION_PER_MM * pixel_mm
    side = attenuation.shape[0]
    attenuation[outside_circle(side)] = 0.0
    image = np.asarray(attenuation, np.float32)
    beam = beam or parallel_beam(side, views)
    return astra_radon(image, beam) if projector == "astra" else radon(image, beam, device=device)


def measure(integrals: FloatArray, protocol: CtProtocol, generator: np.random.Generator) -> FloatArray:
    """One noisy measurement of the line integrals: fresh photons, fresh electronics. Same shape, float32."""
    counts = count(expected_counts(integrals, protocol.photons), generator)
    return _integrals(counts, protocol, generator)


def _integrals(counts: npt.NDArray[np.int64], protocol: CtProtocol, generator: np.random.Generator) -> FloatArray:
    readings = read_out(counts, protocol.electronic_sigma, generator)
    estimate = np.log(protocol.photons) - log_counts(readings, protocol.electronic_sigma)
    return np.asarray(estimate, np.float32)


def kernel_response(kernel: str, cutoff: float, size: int) -> npt.NDArray[np.float64]:
    """Ramp filter times the kernel's window at the `size` FFT frequencies (band-limited ramp, Kak & Slaney eq. 61:
    built from its spatial samples, so that the zero frequency is right)."""
    _check("kernel", kernel, KERNELS)
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
    integrals: FloatArray,
    *,
    pixel_mm: float,
    kernel: str,
    cutoff: float = 1.0,
    beam: Beam | None = None,
    side: int | None = None,
    device: str = "cpu",
) -> FloatArray:
    """Attenuation over that of water, ×1000, float32: (detector, view) → (side, side), and a stack of the first to a
    stack of the second. Without `beam`: parallel views over half a turn, side = number of detector elements. Linear, so
    it serves for noise alone too."""
    stack = integrals if integrals.ndim == 3 else integrals[None]
    detectors = stack.shape[1]
    side = side or detectors
    beam = beam or parallel_beam(side, stack.shape[2])
    response = kernel_response(kernel, cutoff, filter_length(detectors))
    weighted = stack * beam.cosines[:, None].astype(np.float32)
    spectrum = fft.rfft(weighted, n=len(response), axis=1)
    spectrum *= (response[: len(response) // 2 + 1, None] / beam.pitch).astype(np.float32)
    filtered = fft.irfft(spectrum, n=len(response), axis=1)[:, :detectors].astype(np.float32)
    images = back_project(filtered, beam, side=side, device=device)
    images *= np.float32(1000.0 / (WATER_ATTENUATION_PER_MM * pixel_mm))
    return images if integrals.ndim == 3 else images[0]


def filter_length(detectors: int) -> int:
    """Samples of the Fourier transform that filters a view: a power of two, long enough that nothing wraps round."""
    return max(64, 1 << int(np.ceil(np.log2(2 * detectors))))


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
class Sinogram:
    """One slice, projected once for all its repeats. integrals: (detector, view). window: where the slice lies in the
    square that was projected."""

    integrals: FloatArray
    beam: Beam
    side: int
    window: tuple[slice, slice]
    pixel_mm: float

    def without_noise(self, protocol: CtProtocol) -> FloatArray:
        """HU of the noiseless line integrals, (rows, columns) of the slice: what a simulated repeat has but noise."""
        return np.asarray(self.image(self.integrals[None], self.beam, protocol)[0])

    def image(self, integrals: FloatArray, beam: Beam, protocol: CtProtocol, device: str = "cpu") -> FloatArray:
        """HU of (R, detector, view) line integrals along `beam`: (R, rows, columns) of the slice."""
        full = filtered_back_projection(
            integrals,
            pixel_mm=self.pixel_mm,
            kernel=protocol.kernel,
            cutoff=protocol.cutoff,
            beam=beam,
            side=self.side,
            device=device,
        )
        return np.ascontiguousarray(full[:, *self.window] + np.float32(AIR_HU))


def sinogram(slice_hu: FloatArray, *, pixel_mm: float, protocol: CtProtocol, device: str = "cpu") -> Sinogram:
    """The noiseless line integrals of one slice, (rows, columns) in HU."""
    square, window = pad_to_square(slice_hu)
    side = square.shape[0]
    beam = beam_for(protocol, side=side, pixel_mm=pixel_mm)
    integrals = project(square, pixel_mm=pixel_mm, beam=beam, projector=protocol.projector, device=device)
    return Sinogram(integrals=integrals, beam=beam, side=side, window=window, pixel_mm=pixel_mm)


@dataclass(frozen=True, slots=True, kw_only=True)
class CtRepeats:
    """repeats: (R, rows, columns) HU, independent noise. truth: the noiseless reconstruction with the same kernel and
    all views. clean: (R, rows, columns), each repeat without its noise; it differs from the truth by the streaks of
    fewer views where views were split, and nowhere else."""

    repeats: FloatArray
    truth: FloatArray
    clean: FloatArray


def acquire(
    scan: Sinogram,
    protocol: CtProtocol,
    *,
    repeats: int,
    generator: np.random.Generator,
    realisations: int = 1,
    device: str = "cpu",
) -> CtRepeats:
    """`realisations` acquisitions of a slice, each split into `repeats` (`CtProtocol.split`): R = the product. In
    draws, each repeat is an acquisition of its own. ValueError where the views cannot be divided."""
    one = protocol.of_one(repeats)
    expected = expected_counts(scan.integrals, protocol.photons)
    if protocol.split == "views":
        whole = np.stack([_integrals(count(expected, generator), protocol, generator) for _ in range(realisations)])
        return _by_views(scan, protocol, whole, repeats=repeats, device=device)
    if protocol.split == "counts":
        parts = [part for _ in range(realisations) for part in thin(count(expected, generator), repeats, generator)]
    else:
        parts = [count(expected, generator) for _ in range(realisations * repeats)]
    measured = [scan.integrals, *(_integrals(counts, one, generator) for counts in parts)]
    images = scan.image(np.stack(measured), scan.beam, protocol, device)
    return CtRepeats(repeats=images[1:], truth=images[0], clean=np.broadcast_to(images[0], images[1:].shape))


def _by_views(scan: Sinogram, protocol: CtProtocol, measured: FloatArray, *, repeats: int, device: str) -> CtRepeats:
    """(acquisitions, detector, view) → every repeats-th view of each, and the same of the noiseless projections."""
    stack = np.concatenate([scan.integrals[None], measured])
    parts = [
        scan.image(stack[:, :, first::repeats], scan.beam.views(first, repeats), protocol, device)
        for first in range(repeats)
    ]
    images = np.stack(parts, axis=1)  # (1 + acquisitions, parts, …)
    shape = (-1, *images.shape[2:])
    return CtRepeats(
        repeats=images[1:].reshape(shape),
        # Back-projection is a mean over views, so the mean of the parts is the image of all views.
        truth=images[0].mean(axis=0),
        clean=np.concatenate([images[0]] * len(measured)),
    )
