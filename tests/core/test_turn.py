"""Turns of built heads are found with the right sign and an honest error."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from medn2n.core import noise
from medn2n.core.pair_check import check_pair
from medn2n.core.turn import in_plane_turn
from tests.built_repeats import head, moved, noise_field

SHAPE = (128, 128, 6)
LEVEL = 300.0


def turned(image: np.ndarray, degrees: float) -> np.ndarray:
    """The object turned from axis I towards axis J about the slice's centre (cubic spline)."""
    cosine, sine = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    back = np.array([[cosine, sine], [-sine, cosine]])  # where a voxel of the turned object came from
    centre = (np.array(image.shape[:2]) - 1) / 2
    return np.stack(
        [
            ndimage.affine_transform(image[:, :, k], back, centre - back @ centre, order=3, mode="nearest")
            for k in range(image.shape[2])
        ],
        axis=2,
    )


def pair(degrees: float, snr: float, seed: int, *, shift: tuple[float, float, float] = (0, 0, 0)) -> list[np.ndarray]:
    """A head and the same head turned and shifted, each with noise of its own."""
    rng = np.random.default_rng(seed)
    image = head(SHAPE, seed=seed % 3)
    second = moved(turned(image, degrees), shift)
    sigma = LEVEL / snr
    return [(part + 50 + sigma * noise_field(SHAPE, rng, blur=0.5)).astype(np.float32) for part in (image, second)]


def found(scans: list[np.ndarray], start: tuple[float, float] = (0.0, 0.0)) -> tuple[float, float]:
    sigmas = (noise.noise_sigma(scans[0]), noise.noise_sigma(scans[1]))
    turn = in_plane_turn(scans[0], scans[1], np.ones(SHAPE, dtype=bool), sigmas, start=start)
    return turn.degrees, turn.error


@pytest.mark.parametrize("snr", [5.0, 20.0, 100.0])
@pytest.mark.parametrize("degrees", [0.0, 0.25, -0.5, 1.0, -3.0])
def test_a_turn_is_found_at_every_noise_level(degrees: float, snr: float) -> None:
    value, error = found(pair(degrees, snr, seed=round(10 * snr)))
    assert abs(value - degrees) < 5 * error + 0.02
    assert error < 2 / snr


def test_the_error_says_how_far_off_the_turn_is() -> None:
    off = [value / error for value, error in (found(pair(0.0, 5.0, seed=3 * n)) for n in range(16))]
    assert 0.5 < np.std(off) < 2.0
    assert abs(np.mean(off)) < 1.0


def test_a_shift_is_no_turn_and_a_turn_is_found_beside_it() -> None:
    value, error = found(pair(0.0, 20.0, seed=4, shift=(0.6, -0.4, 0)))
    assert abs(value) < 5 * error + 0.02
    value, error = found(pair(1.5, 20.0, seed=5, shift=(7.0, -5.0, 0)), start=(7.0, -5.0))
    assert abs(value - 1.5) < 5 * error + 0.03


def test_what_shows_no_turn_gives_none() -> None:
    rng = np.random.default_rng(0)
    i, j, _ = np.meshgrid(*[np.linspace(-1, 1, n) for n in SHAPE], indexing="ij")
    disc = 300 * np.exp(-(((i**2 + j**2) / 0.3) ** 2))
    scans = [(disc + 10 * rng.standard_normal(SHAPE)).astype(np.float32) for _ in range(2)]
    value, error = found(scans)
    assert abs(value) < 4 * error  # no figure, or one that is not sure
    flat = [np.full(SHAPE, 5.0, np.float32)] * 2
    assert in_plane_turn(flat[0], flat[1], np.ones(SHAPE, dtype=bool), (0.0, 0.0)).error == np.inf
    empty = in_plane_turn(scans[0], scans[1], np.zeros(SHAPE, dtype=bool), (1.0, 1.0))
    assert empty.error == np.inf


def test_the_check_records_it() -> None:
    figures = check_pair(*pair(0.5, 20.0, seed=7)).figures()
    assert figures["turn_degrees"] == pytest.approx(0.5, abs=0.05)
    assert 0 < figures["turn_error_degrees"] < 0.05
