"""Undersampled k-space, as in the Noise2Noise paper (Lehtinen et al. 2018, §3.4). Needs numpy alone.

Each frequency of a real image is kept with probability m(k) = p_edge^|k|, |k| being 1 at the edge of k-space, and is
divided by it. A frequency and its conjugate are kept together, both or none: each is drawn with probability √m and
needs the other's draw, so that both survive with m, the image stays real and its mean is the image.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from numpy import fft

from medn2n.errors import InputError

FloatArray = npt.NDArray[np.float32]
Array = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]
EDGE_CHANCE = 0.025  # p_edge of the paper: 10.5 % of 255×255 frequencies are kept
ROUNDING = 1e-6  # of a float32 image's largest frequency: what lies below was never measured


def keep_chance(shape: tuple[int, int], edge: float = EDGE_CHANCE) -> Array:
    """m(k), (rows, columns) in FFT order: probability that a frequency is kept."""
    first, second = (fft.fftfreq(size) * size / max(size // 2, 1) for size in shape)
    return np.asarray(edge ** np.hypot(first[:, None], second[None, :]))


def kept(chance: Array, generator: np.random.Generator) -> BoolArray:
    """Which frequencies are kept, conjugates together, each with probability `chance` (symmetric, in FFT order). A
    frequency that is its own conjugate has one draw, not two."""
    drawn = generator.random(chance.shape) ** 2 < chance
    own = np.arange(chance.size).reshape(chance.shape)
    alone = own == _conjugate(own)
    return np.asarray(np.where(alone, generator.random(chance.shape) < chance, drawn & _conjugate(drawn)))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Undersampled:
    """image: (rows, columns) of the frequencies that were kept, each divided by its probability, so that the mean over
    many draws is the full image. measured: (rows, columns) complex, in FFT order, not divided, 0 where not `kept`."""

    image: Array
    measured: npt.NDArray[np.complex128]
    kept: BoolArray


def undersampled(image: npt.NDArray[Any], generator: np.random.Generator, *, edge: float = EDGE_CHANCE) -> Undersampled:
    """One draw of the frequencies of a real image (rows, columns). The result is real: conjugates are kept together."""
    chance = keep_chance((image.shape[0], image.shape[1]), edge)
    there = kept(chance, generator)
    measured = fft.fft2(np.asarray(image, np.float64)) * there
    return Undersampled(image=np.real(fft.ifft2(measured / chance)), measured=measured, kept=there)


def with_kept(answer: FloatArray, image: FloatArray, *, edge: float = EDGE_CHANCE) -> FloatArray:
    """A network's answer (I,J,K) with the frequencies that its undersampled input (I,J,K) still has, slice by slice;
    the same as `core.objectives.with_measured` did in training. A frequency that the input lacks is zero but for
    rounding. InputError NOT_UNDERSAMPLED where a slice has most of its frequencies: it was not made as in training."""
    chance = keep_chance((image.shape[0], image.shape[1]), edge)[..., None]
    spectrum = fft.fft2(np.asarray(image, np.float64), axes=(0, 1))
    size = np.abs(spectrum)
    there = size > ROUNDING * size.max(axis=(0, 1), keepdims=True)
    if there.mean() > 0.5:
        raise InputError(
            "NOT_UNDERSAMPLED",
            f"This model fills in missing frequencies, {1 - chance.mean():.0%} of them; the image lacks "
            f"{1 - there.mean():.0%}. Give it images of undersampled k-space, as float, without any processing.",
        )
    filled = np.where(there, spectrum * chance, fft.fft2(np.asarray(answer, np.float64), axes=(0, 1)))
    return np.asarray(np.real(fft.ifft2(filled, axes=(0, 1))), np.float32)


def _conjugate(spectrum: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Entry −k at k, in FFT order."""
    return np.roll(spectrum[::-1, ::-1], 1, axis=(0, 1))
