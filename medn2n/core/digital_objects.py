"""Digital objects: random bodies and heads whose every value is known, as (I,J,K) scans without any noise.

A scan that serves as a base for simulated repeats brings its own noise along, which all its repeats share; these bring
none. Shapes come from thresholded smooth random fields: outlines, organs, folds as fine as a brain's, vessels,
cavities and a bone shell. They are drawn at twice the size and averaged down, so that edges have partial volume.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
from scipy import ndimage

FloatArray = npt.NDArray[np.float32]
BoolArray = npt.NDArray[np.bool_]
Tissue = Callable[[str, np.random.Generator], float]

# Mean and spread of CT numbers at 120 kV, in HU; what is drawn lies within the spread.
CT_HU = {
    "air": (-1000.0, 0.0), "lung": (-820.0, 80.0), "gas": (-980.0, 20.0), "fat": (-100.0, 25.0),
    "muscle": (55.0, 20.0), "organ": (60.0, 60.0), "bone": (700.0, 500.0), "vessel": (120.0, 100.0),
}  # fmt: skip
FOLD_CONTRAST = (0.0, 30.0)  # HU between the two sides of a fold; grey against white matter is 5 to 10


def digital_ct(generator: np.random.Generator, *, side: int, slices: int) -> FloatArray:
    """(side, side, slices) HU; every slice another object."""

    def tissue(name: str, draw: np.random.Generator) -> float:
        mean, spread = CT_HU[name]
        return mean + spread * float(draw.uniform(-1, 1))

    made = [_slice(generator, side, tissue, float(generator.uniform(*FOLD_CONTRAST))) for _ in range(slices)]
    return np.stack(made, axis=-1)


def digital_mr(generator: np.random.Generator, *, side: int, slices: int) -> FloatArray:
    """(side, side, slices) magnitude, about 0 to 1000; every slice another object with contrasts and a receive field
    of its own. Air is zero."""

    def tissue(name: str, draw: np.random.Generator) -> float:
        if name in ("air", "gas", "lung"):
            return 0.0 if name == "air" else float(draw.uniform(0, 60))
        return float(draw.uniform(10, 120) if name == "bone" else draw.uniform(150, 1000))

    made = []
    for _ in range(slices):
        plain = _slice(generator, side, tissue, float(generator.uniform(20, 300)))
        field = 1 + 0.25 * smooth_field(generator, side, side / 4)
        made.append(np.asarray(np.maximum(plain * np.clip(field, 0.3, 2.0), 0), np.float32))
    return np.stack(made, axis=-1)


def _slice(generator: np.random.Generator, side: int, tissue: Tissue, fold: float) -> FloatArray:
    size = 2 * side
    image = np.full((size, size), tissue("air", generator), np.float32)
    depth = _outline(generator, size)  # pixels below the skin, negative outside
    image[depth > 0] = tissue("fat", generator)
    inner = generator.uniform(0.01, 0.08) * size
    if generator.random() < 0.4:  # a head: scalp, skull, brain
        bone = inner + generator.uniform(0.01, 0.05) * size
        image[depth > inner] = tissue("bone", generator)
        inner = bone
    inside = depth > inner
    image[inside] = tissue("muscle", generator)
    _add_regions(image, inside, generator, tissue)
    if generator.random() < 0.6:  # wider than three pixels: finer ones would look like the noise they are not
        folds = smooth_field(generator, size, generator.uniform(10, 40)) > generator.uniform(-0.5, 0.5)
        # In part of the object only, as a brain or a gland is; the rest stays flat.
        image[inside & folds & (smooth_field(generator, size, size / 8) > generator.uniform(-2, 1))] += fold
    _add_spots(image, inside, generator, tissue)
    return np.asarray(image.reshape(side, 2, side, 2).mean(axis=(1, 3)), np.float32)


def _outline(generator: np.random.Generator, size: int) -> FloatArray:
    """Depth below a bent ellipse's edge, in pixels."""
    rows, columns = np.mgrid[:size, :size] / size - 0.5
    angle = np.arctan2(rows, columns)
    radius = np.hypot(rows / generator.uniform(0.6, 1.0), columns / generator.uniform(0.75, 1.0))
    bend = sum(generator.normal(0, 0.05 / n) * np.cos(n * angle + generator.uniform(0, 6.3)) for n in range(2, 7))
    inside = radius < generator.uniform(0.3, 0.46) * (1 + bend)
    return np.asarray(ndimage.distance_transform_edt(inside), np.float32)


def smooth_field(generator: np.random.Generator, size: int, length: float) -> FloatArray:
    """A smooth random field of unit variance; length: its correlation length in pixels."""
    step = max(1, int(length // 3))
    coarse = generator.normal(size=(size // step + 8, size // step + 8))
    smooth = ndimage.gaussian_filter(coarse, length / step / 2)
    field = ndimage.zoom(smooth / max(float(smooth.std()), 1e-9), step, order=1)[:size, :size]
    return np.asarray(field, np.float32)


def _add_regions(image: FloatArray, inside: BoolArray, generator: np.random.Generator, tissue: Tissue) -> None:
    """Two to six organs, each the upper part of a smooth field; sometimes lung."""
    names = ["organ"] * int(generator.integers(1, 5)) + ["fat"] * int(generator.integers(0, 2))
    if generator.random() < 0.25:
        names.append("lung")
    for name in names:
        length = image.shape[0] * generator.uniform(0.05, 0.25)
        image[inside & (smooth_field(generator, image.shape[0], length) > generator.uniform(0.2, 1.2))] = tissue(
            name, generator
        )


def _add_spots(image: FloatArray, inside: BoolArray, generator: np.random.Generator, tissue: Tissue) -> None:
    """Small ellipses: vessels, lesions, gas bubbles, bones."""
    where = np.argwhere(inside)
    if not len(where):
        return
    names = generator.choice(["vessel", "organ", "fat", "bone", "gas"], p=[0.4, 0.35, 0.1, 0.1, 0.05], size=40)
    for name in names[: int(generator.integers(5, 40))]:
        row, column = where[generator.integers(len(where))]
        long = float(np.exp(generator.uniform(np.log(2), np.log(0.06 * image.shape[0]))))
        short, turn = long * generator.uniform(0.3, 1), generator.uniform(0, np.pi)
        reach = int(long) + 2
        window = np.s_[max(0, row - reach) : row + reach + 1, max(0, column - reach) : column + reach + 1]
        rows, columns = np.ogrid[window]
        u = (rows - row) * np.cos(turn) + (columns - column) * np.sin(turn)
        v = (columns - column) * np.cos(turn) - (rows - row) * np.sin(turn)
        image[window][(u / long) ** 2 + (v / short) ** 2 <= 1] = tissue(str(name), generator)
