"""Trials of the error told from repeats: a known object, repeats of it with drawn noise, a denoiser, and what the
estimates say beside what is true.

Magnitude MR is judged on the scanner's own scale: its truth is E[M], the mean of the Rician magnitude, not the signal.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from medn2n.core import metrics
from medn2n.core.body import body_mask
from medn2n.core.repeat_error import RepeatError, error_from_repeats, error_from_three_repeats
from medn2n.core.rician import magnitude_mean

Array = npt.NDArray[Any]
Float = npt.NDArray[np.float64]
Noise = Literal["white", "coloured", "Rician"]
Estimator = Literal["two repeats", "three repeats"]
Denoise = Callable[[Array, float], Array]
NOISES: tuple[Noise, ...] = ("white", "coloured", "Rician")
SNR: dict[Noise, tuple[float, float]] = {"white": (2.0, 50.0), "coloured": (2.0, 50.0), "Rician": (0.5, 30.0)}
WIDEST_NLM = 64  # pixels; beyond, non-local means take most of the time


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorTrial:
    """One estimate beside the truth. snr: of the object's bright part. method: the denoiser. masked: judged over the
    body only. true_mse, true_share: of these very scans; found: what the repeats say, both in unit². data_range: in the
    unit, for figures in dB."""

    noise: Noise
    estimator: Estimator
    method: str
    side: int
    snr: float
    masked: bool
    true_mse: float
    true_share: float
    found: RepeatError
    data_range: float

    @property
    def deviation_db(self) -> float:
        """PSNR told from the repeats less the true one; infinite where the estimate of the error is not positive."""
        return self.found.psnr_db(self.data_range)[0] - float(10 * np.log10(self.data_range**2 / self.true_mse))

    @property
    def half_width_db(self) -> float:
        """Half the width of the PSNR's interval."""
        low, high = self.found.psnr_db(self.data_range)[1]
        return (high - low) / 2

    @property
    def covered(self) -> tuple[bool, bool, bool]:
        """Whether the intervals of MSE, PSNR and share hold what is true."""
        psnr = float(10 * np.log10(self.data_range**2 / self.true_mse))
        pairs = (
            (self.true_mse, self.found.mse_interval),
            (psnr, self.found.psnr_db(self.data_range)[1]),
            (self.true_share, self.found.share_interval),
        )
        mse, of_psnr, share = (low <= value <= high for value, (low, high) in pairs)
        return mse, of_psnr, share


def error_trials(quiet: Array, noise: Noise, generator: np.random.Generator) -> tuple[ErrorTrial, ErrorTrial]:
    """What two repeats of `quiet` (I,J,K; HU, magnitude or grey levels) say of a drawn denoiser, and what three say.
    The noise's strength is drawn, and whether all counts or the body only."""
    lowest = float(quiet.min())
    level = float(np.percentile(quiet, 90)) - lowest
    snr = float(np.exp(generator.uniform(*np.log(SNR[noise]))))
    sigma = level / snr
    truth = magnitude_mean(quiet, sigma) if noise == "Rician" else np.asarray(quiet, np.float64)
    repeats = [_repeat(quiet, noise, sigma, generator) for _ in range(3)]
    method, denoise = _denoiser(quiet.shape[0], generator)
    masked = bool(generator.random() < 0.5)
    mask = body_mask(quiet, "CT" if lowest < -500 else "MR") if masked else None
    denoised = [denoise(repeat, sigma) for repeat in repeats[:2]]
    left = [metrics.mse(truth, one, mask) for one in denoised]
    noisy = [metrics.mse(truth, one, mask) for one in repeats[:2]]
    one, two, three = repeats
    of_two = error_from_repeats(one, two, *denoised, mask=mask)
    of_three = error_from_three_repeats(one, two, three, denoised[0], mask=mask)

    def trial(estimator: Estimator, found: RepeatError, true: float, noisy_mse: float) -> ErrorTrial:
        return ErrorTrial(
            noise=noise, estimator=estimator, method=method, side=quiet.shape[0], snr=snr, masked=masked,
            true_mse=true, true_share=true / noisy_mse, found=found, data_range=level,
        )  # fmt: skip

    return (
        trial("two repeats", of_two, sum(left) / 2, sum(noisy) / 2),
        trial("three repeats", of_three, left[0], noisy[0]),
    )


def ramp_noise(shape: tuple[int, ...], generator: np.random.Generator) -> Float:
    """(I,J,K) noise of unit variance as filtered back-projection leaves it, slice by slice: its power rises with the
    frequency (ramp) and falls under a Hann window's square (Kak & Slaney 1988, §3.3; Riederer et al. 1978)."""
    frequency = np.hypot(*np.meshgrid(*(np.fft.fftfreq(size) for size in shape[:2]), indexing="ij"))
    window = np.where(frequency < 0.5, 0.5 + 0.5 * np.cos(2 * np.pi * frequency), 0.0)
    amplitude = np.sqrt(frequency) * window
    amplitude /= np.sqrt(np.mean(amplitude**2))
    white = generator.standard_normal(shape)
    spectrum = np.fft.fft2(white, axes=(0, 1)) * amplitude[:, :, None]
    return np.asarray(np.fft.ifft2(spectrum, axes=(0, 1)).real)


def _repeat(quiet: Array, noise: Noise, sigma: float, generator: np.random.Generator) -> Float:
    if noise == "coloured":
        return np.asarray(quiet + sigma * ramp_noise(quiet.shape, generator))
    real = quiet + sigma * generator.standard_normal(quiet.shape)
    return np.asarray(np.hypot(real, sigma * generator.standard_normal(quiet.shape)) if noise == "Rician" else real)


def _denoiser(side: int, generator: np.random.Generator) -> tuple[str, Denoise]:
    """A drawn one, with its name: from none to one that smooths too much."""
    from scipy import ndimage

    from medn2n.core.classical import FILTERS

    names = [
        "none",
        "Gaussian",
        "median",
        "wavelet",
        "over-smoother",
        *(["non-local means"] if side <= WIDEST_NLM else []),
    ]
    name = str(generator.choice(names))
    width = float(generator.uniform(0.5, 2.0) if name == "Gaussian" else generator.uniform(4.0, 8.0))
    filters = {"median": "median", "wavelet": "wavelet", "non-local means": "nlm"}
    if name == "none":
        return name, lambda voxels, _: voxels
    if name in filters:
        chosen = FILTERS[filters[name]]
        return name, lambda voxels, sigma: chosen(voxels, chosen.default, sigma)
    return name, lambda voxels, _: np.asarray(ndimage.gaussian_filter(voxels, (width, width, 0)))
