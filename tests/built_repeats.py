"""Built scans of one object, with known noise and named faults, for the pairing tests."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

Array = np.ndarray


def head(shape: tuple[int, int, int] = (128, 128, 6), *, seed: int = 0, level: float = 300.0) -> Array:
    """A magnitude-like object, float64, 0 in air: an ellipse with a bright rim, two dark ventricles and blobs. Another
    seed is another subject."""
    rng = np.random.default_rng(seed)
    i, j, k = (np.linspace(-1, 1, n)[tuple(slice(None) if a == b else None for b in range(3))]
               for a, n in enumerate(shape))  # fmt: skip
    wide, high = rng.uniform(0.65, 0.8, 2)
    radius = np.sqrt((i / wide) ** 2 + (j / high) ** 2) + 0.08 * k**2
    image = level * (radius < 1) + 0.5 * level * ((radius > 0.88) & (radius < 1))
    for _ in range(14):
        centre, size = rng.uniform(-0.5, 0.5, 2), rng.uniform(0.03, 0.22)
        inside = (i - centre[0]) ** 2 + (j - centre[1]) ** 2 < size**2
        image = image + rng.uniform(-0.5, 0.5) * level * (inside & (radius < 0.85))
    return ndimage.gaussian_filter(image, (0.7, 0.7, 0))


def moved(image: Array, shift: tuple[float, float, float]) -> Array:
    """The object shifted by voxels along I, J, K (cubic spline)."""
    return ndimage.shift(image, shift, order=3, mode="nearest")


def noise_field(shape: tuple[int, ...], rng: np.random.Generator, *, blur: float = 0.5) -> Array:
    """Zero mean, unit standard deviation, in-plane correlated."""
    field = ndimage.gaussian_filter(rng.standard_normal(shape), (blur, blur, 0), mode="wrap")
    return field / field.std()


def repeats(
    image: Array,
    sigma: float,
    seed: int,
    *,
    count: int = 2,
    shared: float = 0.0,
    blur: float = 0.5,
    offset: float = 50.0,
) -> list[Array]:
    """`count` float32 scans of `image` + offset (which keeps noise off zero). shared: correlation of their noise."""
    rng = np.random.default_rng(seed)
    common = noise_field(image.shape, rng, blur=blur)
    scans = []
    for _ in range(count):
        own = noise_field(image.shape, rng, blur=blur)
        scans.append(image + offset + sigma * (np.sqrt(shared) * common + np.sqrt(1 - shared) * own))
    return [scan.astype(np.float32) for scan in scans]
