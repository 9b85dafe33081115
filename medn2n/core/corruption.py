"""Corruptions of photographs and scans, each call an independent draw: what Noise2Noise was shown to undo.

Images are float, (I,J) or (I,J,K). K are slices, each with draws of its own, or with colour=True the colour planes of
one picture: then every plane has its own noise, but strings, marks, erased and replaced pixels lie in the same places.
Levels say which value is black and which is white; strengths are given for a range of 0 to 255, as is usual for
photographs, whatever the range. What comes out is float32, never clipped to the range and never quantised: either
would move the mean of the noise, and a network that learns from such targets learns the shift.

Ranges are drawn from anew in each call, uniformly, so input and target of a pair do not share their noise level; of
impulses they do (`of_a_pair`; Lehtinen 2018, §3.1-3.2; the defaults are the paper's).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from medn2n.config.second_views import Corrupt
from medn2n.core.kspace_keeping import EDGE_CHANCE, undersampled
from medn2n.core.lettering import random_line, written
from medn2n.core.random_marks import random_mark

FloatArray = npt.NDArray[np.float32]
Range = tuple[float, float]
DRAWN_SIZE, OWN_SIZE = (0.2, 1.0), (0.8, 1.25)  # of a mark: shares of the image, and of its own pixels
MOST_STRINGS = 20_000  # a picture full of lettering has a few hundred


@dataclass(frozen=True, slots=True, kw_only=True)
class Levels:
    """The values of black and of white: 0 and 255 for photographs, −½ and ½ in network units as the paper has them."""

    black: float = 0.0
    white: float = 255.0

    def shares(self, image: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
        """0 where black, 1 where white."""
        return (np.asarray(image, np.float64) - self.black) / (self.white - self.black)

    def values(self, shares: npt.NDArray[np.float64]) -> FloatArray:
        """Back to the image's own values, float32."""
        return np.asarray(shares * (self.white - self.black) + self.black, np.float32)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Corrupted:
    """image: float32, shape of what was corrupted. valid: bool, the same shape, True where a pixel is still a
    measurement; None where all are. drawn: what this call drew, by name."""

    image: FloatArray
    valid: npt.NDArray[np.bool_] | None = None
    drawn: Mapping[str, float] = field(default_factory=dict)


class Corruption(Protocol):
    """Anything that corrupts one picture: shares of the range, axes (I,J,P) with P planes, in and out."""

    def draw(self, shares: npt.NDArray[np.float64], generator: np.random.Generator) -> Corrupted:
        """One independent corruption; `image` of what comes back is in shares of the range too, float64."""
        ...


def corrupt(
    image: npt.NDArray[Any],
    corruption: Corruption,
    generator: np.random.Generator,
    *,
    levels: Levels | None = None,
    colour: bool = False,
) -> Corrupted:
    """One independent corruption of an image (I,J) or (I,J,K). drawn: of several slices, the mean of what each drew."""
    levels = levels or Levels()
    shares = levels.shares(image)
    planes = shares.reshape(*shares.shape[:2], -1)
    pictures = [planes] if colour else [planes[:, :, k : k + 1] for k in range(planes.shape[2])]
    made = [corruption.draw(picture, generator) for picture in pictures]
    masks = [one.valid for one in made if one.valid is not None]
    return Corrupted(
        image=levels.values(np.concatenate([one.image for one in made], axis=2).reshape(shares.shape)),
        valid=np.concatenate(masks, axis=2).reshape(shares.shape) if masks else None,
        drawn={name: float(np.mean([one.drawn[name] for one in made])) for name in made[0].drawn} if made else {},
    )


def corruption_of(section: Corrupt, *, mark: FloatArray | None = None) -> Corruption:
    """The corruption that a recipe's section names. mark: (I,J) coverage of the watermark, where one was given."""
    parameters = section.parameters()
    if section.kind == "watermark":
        return Watermark(mark=mark, **{name: value for name, value in parameters.items() if name != "mark"})
    made: Corruption = KINDS[section.kind](**parameters)
    return made


@dataclass(frozen=True, slots=True, kw_only=True)
class Gaussian:
    """White noise of one standard deviation a call, in 255ths of the range (Lehtinen 2018, §3.1)."""

    sigma: Range = (0.0, 50.0)

    def draw(self, shares: npt.NDArray[np.float64], generator: np.random.Generator) -> Corrupted:
        """x + σ·n."""
        sigma = _between(self.sigma, generator)
        return _made(shares + generator.normal(0.0, sigma / 255.0, shares.shape), sigma=sigma)


@dataclass(frozen=True, slots=True, kw_only=True)
class Poisson:
    """Counting noise: chi counts a pixel of full white (Lehtinen 2018, §3.2; λ in its tables). Below black: none, so
    that the mean of many draws is what `countable` gives."""

    chi: Range = (0.001, 50.0)

    def draw(self, shares: npt.NDArray[np.float64], generator: np.random.Generator) -> Corrupted:
        """Poisson(χx)/χ."""
        chi = _between(self.chi, generator)
        return _made(generator.poisson(chi * np.maximum(shares, 0.0)) / chi, chi=chi)


def countable(image: FloatArray, levels: Levels) -> tuple[FloatArray, float]:
    """The image whose counts `Poisson` draws, since nothing has fewer than none: never below black; and the share of
    the pixels that were."""
    return np.maximum(image, np.float32(levels.black)), float(np.mean(image < levels.black))


@dataclass(frozen=True, slots=True, kw_only=True)
class Bernoulli:
    """Pixels turned black with probability p; `valid` is the mask of those that were kept (Lehtinen 2018, §3.2)."""

    p: Range = (0.0, 0.95)

    def draw(self, shares: npt.NDArray[np.float64], generator: np.random.Generator) -> Corrupted:
        """m·x."""
        p = _between(self.p, generator)
        kept = generator.random(shares.shape[:2]) >= p
        valid = np.repeat(kept[:, :, None], shares.shape[2], axis=2)
        return _made(shares * valid, valid, p=p)


@dataclass(frozen=True, slots=True, kw_only=True)
class Impulse:
    """Pixels replaced with probability p by a value, of each plane its own, that is uniform over the range: harder
    than salt and pepper, since a replaced pixel does not show that it is one (Lehtinen 2018, §3.2)."""

    p: Range = (0.0, 0.95)

    def draw(self, shares: npt.NDArray[np.float64], generator: np.random.Generator) -> Corrupted:
        """x where kept, else U(0,1)."""
        p = _between(self.p, generator)
        replaced = generator.random(shares.shape[:2]) < p
        return _made(np.where(replaced[:, :, None], generator.random(shares.shape), shares), p=p)


def of_a_pair(corruption: Corruption, generator: np.random.Generator) -> Corruption:
    """The corruption as input and target of one pair have it: of impulses, one probability for both, drawn here
    (Lehtinen 2018, §3.2). With one each, targets below a half would teach the median what it cannot know above."""
    if not isinstance(corruption, Impulse):
        return corruption
    p = _between(corruption.p, generator)
    return replace(corruption, p=(p, p))


@dataclass(frozen=True, slots=True, kw_only=True)
class Rician:
    """Magnitude of a complex signal with noise of σ, in 255ths of the range, in both parts (Gudbjartsson 1995); the
    range starts at no signal. Its mean is not the truth: see the docs on Rician bias."""

    sigma: Range = (0.0, 50.0)

    def draw(self, shares: npt.NDArray[np.float64], generator: np.random.Generator) -> Corrupted:
        """|x + σ(n₁ + i·n₂)|."""
        sigma = _between(self.sigma, generator)
        noise = generator.normal(0.0, sigma / 255.0, (2, *shares.shape))
        return _made(np.hypot(shares + noise[0], noise[1]), sigma=sigma)


@dataclass(frozen=True, slots=True, kw_only=True)
class Text:
    """Random strings on top of one another until they cover a share p of the pixels (Lehtinen 2018, §3.2): place, size
    and colour (grey, in one plane) are drawn for each; font and orientation stay. size: of the letters in pixels."""

    p: Range = (0.0, 0.5)
    size: Range = (10.0, 40.0)
    characters: tuple[int, int] = (3, 14)

    def draw(self, shares: npt.NDArray[np.float64], generator: np.random.Generator) -> Corrupted:
        """x under opaque lettering; a pixel that ink covers by half counts by half."""
        p = _between(self.p, generator)
        picture, under = shares.copy(), np.zeros(shares.shape[:2])
        for _ in range(MOST_STRINGS):
            if under.mean() >= p:
                break
            ink = written(random_line(generator, characters=self.characters), size=_between(self.size, generator))
            colour = generator.random(shares.shape[2])
            there, part = _place(ink, shares.shape[:2], generator)
            cover = ink[part][:, :, None].astype(np.float64)
            picture[there] = (1 - cover) * picture[there] + cover * colour
            under[there] = 1 - (1 - under[there]) * (1 - cover[:, :, 0])
        return _made(picture, p=p, covered=float(under.mean()))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Watermark:
    """`marks` transparent marks at random places: the one given, (I,J) coverage 0 to 1, or each time one that is drawn.

    size: its larger edge, as a share of the image's smaller edge; None: of a given mark 0.8 to 1.25 times its own
    pixels, of a drawn one 0.2 to 1. strength: how much of the image it takes away where
    it covers all: 1 is opaque. shade: its colour, a share of the range, the same in all planes.
    """

    strength: Range = (0.2, 0.7)
    size: Range | None = None
    shade: Range = (0.0, 1.0)
    marks: tuple[int, int] = (1, 3)
    mark: FloatArray | None = None

    def draw(self, shares: npt.NDArray[np.float64], generator: np.random.Generator) -> Corrupted:
        """(1 − s·c)·x + s·c·shade for each mark in turn."""
        picture, under = shares.copy(), np.zeros(shares.shape[:2])
        count = int(generator.integers(self.marks[0], self.marks[1] + 1))
        for _ in range(count):
            edge = max(8, round(self._edge(min(shares.shape[:2]), generator)))
            ink = random_mark(generator, edge=edge) if self.mark is None else _resized(self.mark, edge)
            there, part = _place(ink, shares.shape[:2], generator)
            cover = ink[part][:, :, None].astype(np.float64) * _between(self.strength, generator)
            picture[there] = (1 - cover) * picture[there] + cover * _between(self.shade, generator)
            under[there] = 1 - (1 - under[there]) * (1 - cover[:, :, 0])
        return _made(picture, marks=count, covered=float(under.mean()))

    def _edge(self, image_edge: int, generator: np.random.Generator) -> float:
        """The larger edge of one mark in pixels."""
        if self.size is None and self.mark is not None:
            return float(max(self.mark.shape)) * _between(OWN_SIZE, generator)
        return image_edge * _between(self.size or DRAWN_SIZE, generator)


@dataclass(frozen=True, slots=True, kw_only=True)
class KSpace:
    """Frequencies left out by chance, more of them towards the edge of k-space, where they are kept with probability
    p_edge, and the kept ones divided by their probability (Lehtinen 2018, §3.4; `core.kspace_keeping`)."""

    p_edge: float = EDGE_CHANCE

    def draw(self, shares: npt.NDArray[np.float64], generator: np.random.Generator) -> Corrupted:
        """IFFT(keep · FFT(x) / m), of each plane by itself."""
        planes = [undersampled(shares[..., k], generator, edge=self.p_edge) for k in range(shares.shape[2])]
        kept = float(np.mean([plane.kept for plane in planes]))
        return _made(np.stack([plane.image for plane in planes], axis=2), kept=kept)


KINDS: dict[str, Any] = {
    "gaussian": Gaussian, "poisson": Poisson, "bernoulli": Bernoulli, "impulse": Impulse, "rician": Rician,
    "text": Text, "watermark": Watermark, "kspace": KSpace,
}  # fmt: skip


def _made(shares: npt.NDArray[Any], valid: npt.NDArray[np.bool_] | None = None, **drawn: float) -> Corrupted:
    return Corrupted(image=shares, valid=valid, drawn=drawn)


def _between(limits: Range, generator: np.random.Generator) -> float:
    return float(generator.uniform(*limits))


def _place(
    ink: FloatArray, size: tuple[int, ...], generator: np.random.Generator
) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
    """Where ink lies in an image of `size`, and which part of it: its middle is anywhere in the image."""
    there, part = [], []
    for edge, length in zip(size[:2], ink.shape, strict=True):
        start = int(generator.integers(edge)) - length // 2
        there.append(slice(max(start, 0), min(start + length, edge)))
        part.append(slice(max(-start, 0), max(-start, 0) + there[-1].stop - there[-1].start))
    return (there[0], there[1]), (part[0], part[1])


def _resized(mark: FloatArray, edge: int) -> FloatArray:
    """The mark with its larger edge `edge` pixels, smoothed where it shrinks."""
    along_i, along_j = (_resampling(max(1, round(length * edge / max(mark.shape))), length) for length in mark.shape)
    return np.asarray(along_i @ mark @ along_j.T, np.float32)


def _resampling(new: int, old: int) -> npt.NDArray[np.float64]:
    """(new,old): weights of linear interpolation between pixel centres; where pixels grow, over all that one holds."""
    centres = (np.arange(new)[:, None] + 0.5) * old / new - 0.5
    weights = np.maximum(0.0, 1.0 - np.abs(np.arange(old) - centres) / max(1.0, old / new))
    return np.asarray(weights / weights.sum(axis=1, keepdims=True), np.float64)
