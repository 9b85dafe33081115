"""What an MR simulation did, measured beside what theory expects: moments, correlation, independence."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import fft

from medn2n.core.kspace_keeping import keep_chance
from medn2n.core.mr_acquisition import MrProtocol, MrRepeats
from medn2n.core.mr_physics import acquired_band
from medn2n.core.noise_figures import Figure, correlation
from medn2n.core.rician import magnitude_mean, magnitude_variance

Array = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]
AIR_SHARE = 0.05  # of the brightest signal: below it is air
TISSUE_SHARE = 0.3
LEAST_PAIRS = 100  # of neighbours; fewer say nothing of a correlation


def mr_figures(made: MrRepeats, protocol: MrProtocol) -> list[Figure]:
    """Measured beside expected, over all repeats of one slice, in the order in which they are printed."""
    noise = np.asarray(made.repeats, np.float64) - made.truth
    if protocol.undersample == "bspec":
        return [*_undersampling_figures(made, protocol, noise), _independence(noise)]
    shape = (noise.shape[-2], noise.shape[-1])
    band = acquired_band(shape, protocol.zero_fill) ** 2
    sigma = protocol.effective_sigma * float(np.sqrt(band.mean()))
    autocorrelation = np.real(fft.ifft2(band))
    lags = (float(autocorrelation[0, 1] / band.mean()), float(autocorrelation[1, 0] / band.mean()))
    if protocol.image == "complex":
        level = Figure(name="noise of real and imaginary part", unit="a.u.", measured=_rms(noise), expected=sigma)
        return [level, *_lag_figures(noise, np.ones(shape, bool), lags), _independence(noise)]
    shift = magnitude_mean(made.magnitude, sigma, coils=protocol.coils) - made.magnitude if sigma else 0.0
    return [*_magnitude_figures(made, noise[:, 0], sigma, protocol.coils, lags), _independence(noise - shift)]


def own_noise_kept(sigma: float, shape: tuple[int, int], protocol: MrProtocol) -> float:
    """What is left of the scan's own white noise, standard deviation `sigma`, in what the protocol acquires of its
    k-space; all repeats share it. shape: (rows, columns)."""
    return sigma * float(np.sqrt(np.mean(acquired_band(shape, protocol.zero_fill) ** 2)))


def _independence(noise: Array) -> Figure:
    """noise: (R, parts, rows, columns) of mean zero in every pixel."""
    power = np.mean(np.abs(fft.fft2(noise)) ** 2, axis=(0, 1))
    rho, error = correlation(noise.reshape(len(noise), -1), power)
    return Figure(name="correlation of repeats", measured=rho, expected=0.0, error=error)


def _magnitude_figures(
    made: MrRepeats, noise: Array, sigma: float, coils: int, lags: tuple[float, float]
) -> list[Figure]:
    signal = made.magnitude.astype(np.float64)
    brightest = float(np.percentile(signal, 99))
    figures = []
    regions = (("air", signal <= AIR_SHARE * brightest), ("tissue", signal >= TISSUE_SHARE * brightest))
    for name, where in regions:
        if not where.any() or sigma == 0.0:
            continue
        mean = magnitude_mean(signal[where], sigma, coils=coils) - signal[where]
        variance = magnitude_variance(signal[where], sigma, coils=coils)
        spread = np.sqrt(np.mean((noise[:, where] - mean) ** 2))
        figures += [
            Figure(
                name=f"mean of {name} above its signal",
                unit="a.u.",
                measured=float(noise[:, where].mean()),
                expected=float(mean.mean()),
            ),
            Figure(
                name=f"noise in {name}", unit="a.u.", measured=float(spread), expected=float(variance.mean() ** 0.5)
            ),
        ]
    # Far above the noise the magnitude's noise is that of the part in phase with the signal, with its correlation.
    bright = signal >= max(TISSUE_SHARE * brightest, 5 * np.sqrt(coils) * sigma)
    return [*figures, *_lag_figures(noise[:, None], bright, lags)]


def _lag_figures(noise: Array, where: BoolArray, lags: tuple[float, float]) -> list[Figure]:
    pairs = [where & np.roll(where, 1, axis=axis) for axis in (-1, -2)]
    if min(np.count_nonzero(both) for both in pairs) < LEAST_PAIRS:
        return []
    inside = noise[..., where]
    centred = np.where(where, noise - inside.mean(), 0.0)
    found = []
    for axis, both in zip((-1, -2), pairs, strict=True):
        other = np.roll(centred, 1, axis=axis)
        found.append(float(np.mean((centred * other)[..., both]) / max(inside.var(), 1e-30)))
    return [
        Figure(name="lag-1 along rows", measured=found[0], expected=lags[0]),
        Figure(name="lag-1 along columns", measured=found[1], expected=lags[1]),
    ]


def _undersampling_figures(made: MrRepeats, protocol: MrProtocol, noise: Array) -> list[Figure]:
    """Mean square error of a repeat is Σ|X|²·(1/m − 1)/N² by Parseval; noise, which is divided by m too, adds σ²/m."""
    chance = keep_chance(made.magnitude.shape)
    power = np.abs(fft.fft2(made.magnitude.astype(np.float64))) ** 2 / made.magnitude.size**2
    expected = float(np.sum(power * (1 / chance - 1)) + protocol.effective_sigma**2 * np.mean(1 / chance))
    signal = made.magnitude - made.magnitude.mean(dtype=np.float64)
    gain = float(np.mean(np.sum(noise * signal, axis=(1, 2, 3))) / max(float(np.sum(signal**2)), 1e-30))
    power.flat[0] = 0.0  # the mean is always kept
    spread = (
        2 * np.sum(power**2 * (1 / chance - 1)) / max(float(np.sum(power)), 1e-30) ** 2
    )  # 2: conjugates go together
    return [
        Figure(name="error of one repeat (RMS)", unit="a.u.", measured=_rms(noise), expected=expected**0.5),
        Figure(name="signal gained or lost", measured=gain, expected=0.0, error=float(spread / len(noise)) ** 0.5),
        Figure(name="kept share of k-space", measured=None, expected=float(chance.mean())),
    ]


def _rms(values: Array) -> float:
    return float(np.sqrt(np.mean(values**2)))
