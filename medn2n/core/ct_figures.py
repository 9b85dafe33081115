"""What a CT simulation did, measured beside what theory expects of it: noise level, spectrum, correlation, bias.

All figures are of one slice: over its body, and over a square in the body's middle for spectrum and correlation. Noise
is a repeat less what the same rays give without noise.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from medn2n.core.ct_counting import expected_counts, log_moments
from medn2n.core.ct_field import AIR_HU
from medn2n.core.ct_noise_theory import Reconstruction, periodogram_at, variance_at
from medn2n.core.ct_physics import STARVED_PHOTONS, CtProtocol, CtRepeats, Sinogram
from medn2n.core.noise import block_side, flat_regions, noise_in
from medn2n.core.noise_figures import Figure, correlation, lag_one, radial, spread_of_means

Array = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]
BODY_HU = -300.0
MOST_PLACES = 2000  # pixels at which the exact variance is computed
SQUARE = 64  # pixels, edge of the square whose spectrum is taken
LEAST_SQUARE = 16
BINS = 8
DOSE_STEPS = 8


def body_of(slice_hu: npt.NDArray[np.float32], *, field: int | None = None) -> BoolArray:
    """(rows, columns): what is denser than lung, inside the circle that the scanner sees; all of that circle where
    there is no body. field: pixels across that circle, where it is wider than the slice's longer side."""
    rows, columns = np.indices(slice_hu.shape)
    centre_row, centre_column = (size // 2 for size in slice_hu.shape)
    reach = (field or max(slice_hu.shape)) // 2 - 2
    seen = (rows - centre_row) ** 2 + (columns - centre_column) ** 2 < reach**2
    body = seen & (slice_hu > BODY_HU)
    return body if body.any() else np.asarray(seen)


def _part(scan: Sinogram, protocol: CtProtocol, repeats: int) -> tuple[CtProtocol, Sinogram]:
    """The acquisition that one repeat amounts to, and its rays."""
    one = protocol.of_one(repeats)
    if protocol.split != "views":
        return one, scan
    part = Sinogram(
        integrals=scan.integrals[:, ::repeats],
        beam=scan.beam.views(0, repeats),
        side=scan.side,
        window=scan.window,
        pixel_mm=scan.pixel_mm,
    )
    return one, part


def _reconstruction(scan: Sinogram, protocol: CtProtocol) -> Reconstruction:
    return Reconstruction(
        beam=scan.beam, side=scan.side, pixel_mm=scan.pixel_mm, kernel=protocol.kernel, cutoff=protocol.cutoff
    )


def _places(scan: Sinogram, mask: BoolArray) -> tuple[Array, Array]:
    """At most MOST_PLACES evenly spread pixels of the mask, (rows, columns) from the turning point."""
    rows, columns = np.nonzero(mask)
    step = max(1, len(rows) // MOST_PLACES)
    top, left = scan.window[0].start, scan.window[1].start
    return (
        (rows[::step] + top - scan.side // 2).astype(np.float64),
        (columns[::step] + left - scan.side // 2).astype(np.float64),
    )


def own_noise_kept(own_sigma: float, before: npt.NDArray[np.float32], after: npt.NDArray[np.float32]) -> float:
    """HU of the scan's own noise that is left once a slice (rows, columns) was projected and reconstructed without
    noise: a second filter takes some of it, even where the kernel is the scan's own."""
    noisy = before[:, :, None]
    flat, side = flat_regions(noisy), block_side(noisy)
    first, second = (noise_in(one[:, :, None], flat, side) for one in (before, after))
    return own_sigma * min(1.0, second / first) if first > 0 else 0.0


def photons_for_dose(
    fraction: float,
    own_sigma: float,
    scan: Sinogram,
    protocol: CtProtocol,
    body: BoolArray,
    *,
    repeats: int,
    kept_sigma: float,
) -> float:
    """N0 of the acquisition from which each repeat has, with what is kept of the scan's own noise (`own_noise_kept`),
    the noise of a scan at `fraction` of the scan's dose.

    Assumed: own_sigma (HU, measured in the scan) is quantum noise, so that variance goes as 1/dose. Then
    own²/fraction − kept² has to be added.
    """
    if not 0.0 < fraction < 1.0:
        raise ValueError(f"dose: expected a fraction between 0 and 1, found {fraction:g}")
    if own_sigma <= 0.0:
        raise ValueError("dose: the scan has no noise to measure its dose by. Give photons instead")
    one, part = _part(scan, protocol, repeats)
    made, (rows, columns) = _reconstruction(part, one), _places(part, body)
    wanted = own_sigma**2 / fraction - kept_sigma**2
    photons = float(variance_at(np.exp(part.integrals.astype(np.float64)), made, rows, columns).mean() / wanted)
    for _ in range(DOSE_STEPS):  # quantum noise goes as 1/N0; read-out noise and starved rays are the correction
        _, variance = log_moments(expected_counts(part.integrals, photons), one.electronic_sigma)
        photons *= float(variance_at(variance, made, rows, columns).mean() / wanted) ** 0.75
    return photons * repeats if protocol.split == "counts" else photons


@dataclass(frozen=True, slots=True, kw_only=True)
class CtTheory:
    """Expected of one repeat: standard deviation (HU) in body and square, lag-1 correlation along rows and columns,
    periodogram of the square (HU²), mean bias in the body (HU), share of rays below STARVED_PHOTONS."""

    sigma_body: float
    sigma_square: float
    lag1: tuple[float, float]
    periodogram: Array
    bias: float
    starved_share: float


def square_in(body: BoolArray) -> tuple[slice, slice]:
    """A square around the middle of the body, at most SQUARE pixels wide and half as wide as the body (the noise is
    nearly the same all over it), inside the slice and the circle that is reconstructed."""
    side = max(LEAST_SQUARE, min(SQUARE, *(2 * (int(np.ptp(index)) // 4) for index in np.nonzero(body))))
    side = min(side, *(2 * (size // 4) for size in body.shape))
    reach = max(0, int((max(body.shape) // 2 - 1) / np.sqrt(2)) - side // 2)  # of the square's middle from the slice's
    found = []
    for index, size in zip(np.nonzero(body), body.shape, strict=True):
        away = int(np.clip(round(float(index.mean())) - size // 2, -reach, reach))
        start = int(np.clip(size // 2 + away - side // 2, 0, size - side))
        found.append(slice(start, start + side))
    return found[0], found[1]


def theory(scan: Sinogram, protocol: CtProtocol, body: BoolArray, *, repeats: int) -> CtTheory:
    """What noise each repeat must have, from the photons of each ray alone."""
    one, part = _part(scan, protocol, repeats)
    expected = expected_counts(part.integrals, one.photons)
    log_bias, variance = log_moments(expected, one.electronic_sigma)
    made = _reconstruction(part, one)
    square = square_in(body)
    side = square[0].stop - square[0].start
    centre = [cut.start + side // 2 + part.window[n].start - part.side // 2 for n, cut in enumerate(square)]
    place = (float(centre[0]), float(centre[1]))
    periodogram = periodogram_at(variance, made, place, side)
    autocorrelation = np.real(np.fft.ifft2(periodogram))
    lags = autocorrelation / autocorrelation[0, 0] * side / (side - 1)  # fewer pairs of neighbours than pixels
    shifted = part.image(np.asarray(-log_bias[None], np.float32), part.beam, one)[0] - AIR_HU
    return CtTheory(
        sigma_body=float(np.sqrt(variance_at(variance, made, *_places(part, body)).mean())),
        sigma_square=float(np.sqrt(periodogram.mean())),
        lag1=(float(lags[1, 0]), float(lags[0, 1])),
        periodogram=periodogram,
        bias=float(shifted[body].mean(dtype=np.float64)),
        starved_share=float(np.mean(expected < STARVED_PHOTONS)),
    )


def ct_figures(scan: Sinogram, protocol: CtProtocol, made: CtRepeats, body: BoolArray, *, repeats: int) -> list[Figure]:
    """Measured beside expected, in the order in which they are printed."""
    expect = theory(scan, protocol, body, repeats=repeats)
    noise = np.asarray(made.repeats, np.float64) - made.clean
    square = noise[:, *square_in(body)]
    side = square.shape[-1]
    periodogram = np.mean(np.abs(np.fft.fft2(square)) ** 2, axis=0) / side**2
    rho, rho_error = correlation(noise[:, body], periodogram)
    rows, columns = lag_one(square)
    bias, bias_error = spread_of_means(noise[:, body])
    figures = [
        Figure(name="noise in the body", unit="HU", measured=float(noise[:, body].std()), expected=expect.sigma_body),
        Figure(name="noise in the middle", unit="HU", measured=float(square.std()), expected=expect.sigma_square),
        Figure(name="lag-1 along rows", measured=columns, expected=expect.lag1[1]),
        Figure(name="lag-1 along columns", measured=rows, expected=expect.lag1[0]),
        Figure(name="bias in the body", unit="HU", measured=bias, expected=expect.bias, error=bias_error),
        Figure(name="correlation of repeats", measured=rho, expected=0.0, error=rho_error),
        Figure(name="rays below 10 photons", measured=None, expected=expect.starved_share),
    ]
    if protocol.split == "views":
        streaks = float(np.sqrt(np.mean((made.clean - made.truth)[:, body] ** 2, dtype=np.float64)))
        figures.append(Figure(name="streaks of fewer views", unit="HU", measured=streaks, expected=None))
    pixel_mm, area = scan.pixel_mm, scan.pixel_mm**2
    for frequency, found, wanted in radial(periodogram, expect.periodogram, bins=BINS):
        name = f"noise power at {frequency / pixel_mm:.3f}/mm"
        figures.append(Figure(name=name, unit="HU²mm²", measured=found * area, expected=wanted * area))
    return figures
