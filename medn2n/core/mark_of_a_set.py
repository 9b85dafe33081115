"""One transparent mark that a whole set of pictures has in common, in the same place: its coverage and its shade.

Every picture is (1 − α)·truth + α·shade, α (I,J) and shade the same for all, both unknown. Two neighbouring pixels of
one picture are nearly alike, so where α steps between them, their difference over the set is a line in their level:
that finds the mark's outline, whatever its shade. Inside the outline each picture's truth is foretold from around it,
by the smoothest surface (harmonic; of fields as rough as photographs that is the best guess, whose error does not
depend on the guess). The picture minus the shade is then 1 − α times the guess minus the shade, plus that error: a
regression over the set for each pixel, in which smooth pictures weigh most, with a standard error of its own. The shade
is the one that leaves least over all of them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from medn2n.core.corruption import Levels
from medn2n.errors import InputError

FloatArray = npt.NDArray[np.float32]
Floats = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]

LEAST_PICTURES = 20
MOST_PIXELS = 1_000_000  # a picture: memory, and the surface through all of them
SEEN = 16.0  # twice the log-likelihood ratio of a step; 3e-4 by chance, were differences normal: enough to look closer
LEAST_PIXELS = 12
FAINTEST = 0.04  # of full coverage: below it the eye sees nothing, and errors are as large
SURE = 5.0  # standard errors
MOST_OF_PICTURE = 0.9  # outlined: with less around it, the guess of what lies under the mark has nothing to go by
PARTS = 5  # of the set, for the shade's error
GRAIN = 1.0 / 255.0  # of the range: pictures are no smoother than their last digit


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CommonMark:
    """coverage: (I,J) float32, 0 where there is no mark, 1 where it is opaque. error: (I,J) float32, its standard
    error, 0 outside. shade: as a share of the range, 0 black and 1 white; shade_error: its standard error. Both errors
    come from the pictures' own differences: what the guess is off by in all of them alike adds to them, and what is
    left of the shade of a faint mark goes into its coverage, since their product is what is seen best."""

    coverage: FloatArray
    error: FloatArray
    shade: float
    shade_error: float

    @property
    def strength(self) -> float:
        """The coverage where it is fullest: the 95th percentile of the mark's own pixels."""
        return float(np.percentile(self.coverage[self.coverage > FAINTEST], 95))

    def shape(self) -> FloatArray:
        """The mark alone, cropped to it, 1 where its coverage is fullest: (I,J) float32."""
        there = np.argwhere(self.coverage > max(FAINTEST, self.strength / 10))
        box = tuple(slice(int(low), int(high) + 1) for low, high in zip(there.min(0), there.max(0), strict=True))
        return np.asarray(np.minimum(self.coverage[box] / self.strength, 1.0), np.float32)

    def taken_off(self, picture: npt.NDArray[Any], *, levels: Levels | None = None) -> FloatArray:
        """(I,J) or (I,J,K) → the same with this very mark, in its own place, divided out; noise and rounding grow by
        1/(1 − coverage). Nothing can be said of what lies under opaque pixels: they keep nine tenths of the shade."""
        levels = levels or Levels()
        coverage = np.minimum(self.coverage.astype(np.float64), 0.9)
        coverage = coverage.reshape(*coverage.shape, *[1] * (np.ndim(picture) - 2))
        return levels.values((levels.shares(picture) - coverage * self.shade) / (1 - coverage))


def common_mark(pictures: npt.NDArray[Any], *, levels: Levels | None = None) -> CommonMark:
    """The mark with plain edges that N ≥ 20 different grey pictures (N,I,J) share. InputError TOO_FEW_PICTURES;
    TOO_LARGE; NO_COMMON_MARK where none stands out. What else all have in common in one place, as a frame, is part."""
    pictures = np.asarray(pictures)
    if pictures.ndim != 3 or len({picture.tobytes() for picture in pictures}) < LEAST_PICTURES:
        needed = f"Expected at least {LEAST_PICTURES} different grey pictures of one size, found {pictures.shape}."
        raise InputError("TOO_FEW_PICTURES", needed)
    if np.prod(pictures.shape[1:]) > MOST_PIXELS:
        raise InputError(
            "TOO_LARGE",
            f"Expected at most {MOST_PIXELS} pixels a picture, found {np.prod(pictures.shape[1:])}. Crop all of them "
            "alike, to where the mark is and some way around it.",
        )
    shares = (levels or Levels()).shares(pictures)
    region = _outlined([_Steps.between(shares, axis=axis) for axis in (1, 2)])
    if region.mean() > MOST_OF_PICTURE:
        raise InputError(
            "NO_COMMON_MARK",
            f"What these pictures share covers {region.mean():.0%} of them, at most {MOST_OF_PICTURE:.0%} can be told "
            "from what lies around. Give larger pictures.",
        )
    found, there = None, region
    for _ in range(2):  # the second time from nearer around
        if there.sum() < LEAST_PIXELS:
            break
        region = there
        found = _regressed(shares, region)
        sure = _of_size((found.coverage > FAINTEST) & (found.coverage > SURE * found.error), region)
        there = region & _grown(sure, 3)
    if found is None or there.sum() < LEAST_PIXELS:
        raise InputError(
            "NO_COMMON_MARK",
            f"No mark stands out that these {len(pictures)} pictures share in one place. Give more of them, and only "
            "such as carry the mark at the same place and size.",
        )
    coverage, error = (np.where(_grown(sure, 1), one, np.float32(0.0)) for one in (found.coverage, found.error))
    return replace(found, coverage=coverage, error=error)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Steps:
    """Of each two neighbours along one axis, weighted over the pictures: how many pictures matter, and the means of
    level, difference, level², level·difference and difference². Each of a picture's shape, one shorter along it."""

    count: Floats
    level: Floats
    step: Floats
    levels: Floats
    product: Floats
    steps: Floats

    @classmethod
    def between(cls, shares: Floats, *, axis: int) -> _Steps:
        """Smooth pictures weigh most: there a mark's outline is plain to see."""
        ones, twos = np.delete(shares, -1, axis=axis), np.delete(shares, 0, axis=axis)
        step, level = twos - ones, (twos + ones) / 2
        weight = 1.0 / (_around(step**2, 3.0) + GRAIN**2)
        weight /= weight.sum(axis=0)
        level_mean, step_mean, levels, product, steps = (
            (weight * term).sum(axis=0) for term in (level, step, level**2, level * step, step**2)
        )
        count = 1.0 / (weight**2).sum(axis=0)
        return cls(count=count, level=level_mean, step=step_mean, levels=levels, product=product, steps=steps)

    def evidence(self) -> Floats:
        """2·log likelihood ratio of the difference being a line in the level against there being no step."""
        spread = self.levels - self.level**2
        explained = self.step**2 + (self.product - self.level * self.step) ** 2 / np.maximum(spread, 1e-9)
        return np.asarray(-self.count * np.log1p(-np.minimum(explained / (self.steps + 1e-12), 1 - 1e-9)), np.float64)

    def about(self, shade: float) -> tuple[Floats, Floats]:
        """Means of (level − shade)², and of (level − shade)·difference."""
        return self.levels - 2 * shade * self.level + shade**2, self.product - shade * self.step

    def left(self, shade: float) -> Floats:
        """Mean square of the differences that a mark of this shade leaves unexplained."""
        squares, product = self.about(shade)
        return np.asarray(np.maximum(self.steps - product**2 / np.maximum(squares, 1e-9), 1e-9), np.float64)

    def logarithms(self, shade: float) -> tuple[Floats, Floats]:
        """Step of log(1 − α), alike from either side, and one over its variance."""
        squares, product = self.about(shade)
        middle = squares + self.steps / 4
        step = np.arctanh(np.clip(product / np.maximum(middle, 1e-9), -0.999, 0.999))
        return step, self.count * squares / self.left(shade)


def _around(values: Floats, sigma: float) -> Floats:
    from scipy.ndimage import gaussian_filter

    return np.asarray(gaussian_filter(values, (0.0, sigma, sigma)), np.float64)


def _outlined(steps: list[_Steps]) -> Mask:
    """(I,J): where the steps, added up, leave coverage, with a margin; nothing where too few of them are sure."""
    sure = [step.evidence() > SEEN for step in steps]
    if sum(int(mask.sum()) for mask in sure) < LEAST_PIXELS:
        return np.zeros((steps[1].count.shape[0], steps[0].count.shape[1]), bool)

    def left(shade: float) -> float:
        return float(
            sum(np.sum(one.count[mask] * np.log(one.left(shade)[mask])) for one, mask in zip(steps, sure, strict=True))
        )

    shade = _least(left)
    return _grown(_added_up([step.logarithms(shade) for step in steps]) < -FAINTEST, 3)


def _added_up(along: list[tuple[Floats, Floats]]) -> Floats:
    """(I,J): the surface whose steps along both axes come nearest to those given, each by its weight; 0 where most of
    it lies."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.linalg import splu

    shape = along[1][0].shape[0], along[0][0].shape[1]
    number = np.arange(np.prod(shape)).reshape(shape)
    ones = np.concatenate([number[:-1].ravel(), number[:, :-1].ravel()])
    twos = np.concatenate([number[1:].ravel(), number[:, 1:].ravel()])
    step, weight = (np.concatenate([one[part].ravel() for one in along]) for part in (0, 1))
    weight = weight / weight.mean()
    side = np.bincount(twos, weight * step, number.size) - np.bincount(ones, weight * step, number.size)
    diagonal = np.bincount(twos, weight, number.size) + np.bincount(ones, weight, number.size)
    diagonal[0] += 1.0  # the surface may lie at any height
    rows, columns = np.concatenate([ones, twos, number.ravel()]), np.concatenate([twos, ones, number.ravel()])
    matrix = coo_matrix((np.concatenate([-weight, -weight, diagonal]), (rows, columns))).tocsc()
    surface = splu(matrix).solve(side)
    return np.asarray((surface - np.median(surface)).reshape(shape), np.float64)


def _least(left: Callable[[float], float]) -> float:
    """The shade for which `left` is least: what errors bring below black or above white says how large they are."""
    from scipy.optimize import minimize_scalar

    grid = np.linspace(-0.25, 1.25, 61)
    best = float(grid[np.argmin([left(float(shade)) for shade in grid])])
    found = minimize_scalar(left, bounds=(best - 0.025, best + 0.025), method="bounded")
    return float(found.x)


def _grown(mask: Mask, pixels: int) -> Mask:
    from scipy.ndimage import binary_dilation

    return np.asarray(binary_dilation(mask, np.ones((3, 3)), iterations=pixels) if mask.any() else mask, bool)


def _of_size(mask: Mask, region: Mask) -> Mask:
    """The pixels of `mask` in those parts of the region that hold enough of them to be no chance."""
    from scipy.ndimage import label

    parts, count = label(region)
    sizes = np.bincount(parts[mask], minlength=count + 1)
    return np.asarray(mask & (sizes[parts] >= LEAST_PIXELS), bool)


def _regressed(shares: Floats, region: Mask) -> CommonMark:
    """Coverage and shade in the region, from what the pictures around it foretell."""
    guess, seen = _foretold(shares, region), shares[:, region]
    weight = np.ones_like(seen)
    for _ in range(2):
        sums = np.stack([_sums(guess[n::PARTS], seen[n::PARTS], weight[n::PARTS]) for n in range(PARTS)])
        shade = min(max(_shade(sums.sum(axis=0)), 0.0), 1.0)
        through, left = _through(sums.sum(axis=0), shade)
        away = (seen - shade - through * (guess - shade)) / np.maximum(through, 0.1)
        weight = 1.0 / (_near(away**2, region) + GRAIN**2)
        weight /= weight.mean(axis=0)
    whole = sums.sum(axis=0)
    parts = [_shade(whole - part) for part in sums]
    leverage = whole[3] - 2 * shade * whole[1] + shade**2 * whole[0]
    error = np.sqrt(left / (len(seen) - 2) / np.maximum(leverage, 1e-12))
    coverage, errors = np.zeros((2, *region.shape), np.float32)
    coverage[region], errors[region] = np.clip(1.0 - through, 0.0, 1.0), error
    spread = float(np.sqrt((PARTS - 1) * np.var(parts)))  # jackknife
    return CommonMark(coverage=coverage, error=errors, shade=shade, shade_error=spread)


def _near(values: Floats, region: Mask) -> Floats:
    """(N,pixels of the region): the mean over those of the region near by."""
    full = np.zeros((len(values), *region.shape))
    full[:, region] = values
    return np.asarray(_around(full, 3.0)[:, region] / _around(region[None].astype(float), 3.0)[0, region], np.float64)


def _sums(guess: Floats, seen: Floats, weight: Floats) -> Floats:
    """(6,pixels): Σw, Σw·guess, Σw·seen, Σw·guess², Σw·guess·seen, Σw·seen² over the pictures."""
    terms = (np.ones_like(guess), guess, seen, guess**2, guess * seen, seen**2)
    return np.stack([(weight * term).sum(axis=0) for term in terms])


def _through(sums: Floats, shade: float) -> tuple[Floats, Floats]:
    """How much of the picture comes through, 1 − α, and the squares left, for each pixel, given the shade."""
    count, ones, twos, squares, products, others = sums
    leverage = squares - 2 * shade * ones + shade**2 * count
    common = products - shade * (ones + twos) + shade**2 * count
    through = common / np.maximum(leverage, 1e-12)
    left = others - 2 * shade * twos + shade**2 * count - through * common
    return through, np.maximum(left, 0.0)


def _shade(sums: Floats) -> float:
    """The shade that leaves least."""

    def left(shade: float) -> float:
        return float(np.sum(sums[0] * np.log(_through(sums, shade)[1] + GRAIN**2)))

    return _least(left)


def _foretold(shares: Floats, region: Mask) -> Floats:
    """(N,pixels of the region): of each picture the harmonic surface through the pixels around the region."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.linalg import splu

    number = np.full(region.shape, -1)
    number[region] = np.arange(region.sum())
    rows, columns, degrees = [], [], np.zeros(region.sum())
    right = np.zeros((region.sum(), len(shares)))
    for axis in (0, 1):
        for here, there in ((np.s_[:-1], np.s_[1:]), (np.s_[1:], np.s_[:-1])):
            at, to = (number[side] if axis == 0 else number[:, side] for side in (here, there))
            values = shares[:, there] if axis == 0 else shares[:, :, there]
            inner, outer = (at >= 0) & (to >= 0), (at >= 0) & (to < 0)
            np.add.at(degrees, at[at >= 0], 1.0)
            rows.append(at[inner])
            columns.append(to[inner])
            np.add.at(right, at[outer], values[:, outer].T)
    row, column = np.concatenate([*rows, np.arange(len(degrees))]), np.concatenate([*columns, np.arange(len(degrees))])
    data = np.concatenate([np.full(len(row) - len(degrees), -1.0), degrees])
    matrix = coo_matrix((data, (row, column))).tocsc()
    return np.asarray(splu(matrix).solve(right).T, np.float64)
