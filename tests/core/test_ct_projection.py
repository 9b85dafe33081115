"""Rays of a parallel and of a fan beam: closed-form line integrals, the same image back, ASTRA beside."""

from __future__ import annotations

from importlib.util import find_spec

import numpy as np
import pytest

from medn2n.core import ct_physics
from medn2n.core.ct_astra import astra_radon
from medn2n.core.ct_physics import CtProtocol, filtered_back_projection, kernel_response
from medn2n.core.ct_projection import Beam, fan_beam, parallel_beam, radon

SIDE, ROW, COLUMN, RADIUS = 96, 8.0, -11.0, 25.0
BEAMS = {
    "parallel": parallel_beam(SIDE, 60),
    "parallel, fine detector": parallel_beam(SIDE, 60, pitch=0.7),
    "fan": fan_beam(SIDE, 60, source=150.0),
    "fan, coarse detector": fan_beam(SIDE, 61, source=120.0, pitch=1.3),
}
needs_astra = pytest.mark.skipif(find_spec("astra") is None, reason="astra-toolbox is not installed")


def disc(side: int = SIDE, fine: int = 8) -> np.ndarray:
    """A disc off the centre, its edge pixels filled in part."""
    place = (np.arange(side * fine) + 0.5) / fine - 0.5 - side // 2
    full = (place[:, None] - ROW) ** 2 + (place[None, :] - COLUMN) ** 2 <= RADIUS**2
    return full.reshape(side, fine, side, fine).mean(axis=(1, 3)).astype(np.float32)


def distances(beam: Beam) -> np.ndarray:
    """Of every ray from the disc's middle, (element, view)."""
    across = COLUMN * np.cos(beam.angles) - ROW * np.sin(beam.angles)
    along = COLUMN * np.sin(beam.angles) + ROW * np.cos(beam.angles)
    offsets = beam.offsets[:, None]
    return np.abs(across - offsets * (1 + along / beam.source)) / np.hypot(1, offsets / beam.source)


def projected(image: np.ndarray, beam: Beam, projector: str) -> np.ndarray:
    return radon(image, beam) if projector == "own" else astra_radon(image, beam)


both_projectors = pytest.mark.parametrize("projector", ["own", pytest.param("astra", marks=needs_astra)])
every_beam = pytest.mark.parametrize("beam", BEAMS.values(), ids=BEAMS)


@every_beam
@both_projectors
def test_line_integrals_of_a_disc_are_its_chords(beam: Beam, projector: str) -> None:
    found = projected(disc(), beam, projector)
    assert found.shape == (beam.elements, len(beam.angles))
    exact = 2 * np.sqrt(np.maximum(RADIUS**2 - distances(beam) ** 2, 0))
    wide = exact > 25  # near the rim a chord changes by more than its length within a pixel
    assert float(np.abs(found - exact)[wide].max()) < (0.5 if projector == "own" else 1.5)
    assert abs(float((found - exact)[wide].mean())) < 0.05
    assert float(np.sqrt(np.mean((found - exact) ** 2))) < 0.4
    assert float(np.abs(found[distances(beam) > RADIUS + 2]).max()) == 0


@every_beam
@both_projectors
def test_line_integrals_of_a_gaussian_are_gaussian(beam: Beam, projector: str) -> None:
    i, j = np.indices((SIDE, SIDE)) - SIDE // 2
    blob = np.exp(-((i - ROW) ** 2 + (j - COLUMN) ** 2) / 72).astype(np.float32)
    exact = np.sqrt(72 * np.pi) * np.exp(-(distances(beam) ** 2) / 72)
    error = projected(blob, beam, projector) - exact
    # ASTRA has no interpolation along the rays of a fan on a processor (`core.ct_astra`).
    loose = projector == "astra" and np.isfinite(beam.source)
    assert float(np.abs(error).max()) < (0.05 if loose else 0.004) * exact.max()
    assert abs(float(error.mean())) < 1e-3


def back(beam: Beam, kernel: str = "hann") -> np.ndarray:
    integrals = radon(disc(), beam) * np.float32(ct_physics.WATER_ATTENUATION_PER_MM)
    return filtered_back_projection(integrals, pixel_mm=1.0, kernel=kernel, beam=beam, side=SIDE)


def test_fan_and_parallel_beam_give_the_same_image() -> None:
    parallel, fan = back(parallel_beam(SIDE, 240)), back(fan_beam(SIDE, 480, source=150.0))
    i, j = np.indices((SIDE, SIDE)) - SIDE // 2
    inside, distance = np.hypot(i, j) < 46, np.hypot(i - ROW, j - COLUMN)
    assert float(np.abs(fan - parallel)[inside & (np.abs(distance - RADIUS) > 3)].max()) < 12
    assert float(np.sqrt(np.mean((fan - parallel)[inside] ** 2))) < 6
    for image in (parallel, fan):
        assert float(image[distance < 20].mean()) == pytest.approx(1000, abs=1)
        assert float(image[inside & (distance > 30)].mean()) == pytest.approx(0, abs=1)


@every_beam
def test_every_beam_gives_the_disc_its_value_and_place(beam: Beam) -> None:
    image = back(beam)
    i, j = np.indices((SIDE, SIDE)) - SIDE // 2
    distance = np.hypot(i - ROW, j - COLUMN)
    assert float(image[distance < 20].mean()) == pytest.approx(1000, abs=2)
    weight = np.where(distance < RADIUS + 5, image, 0)
    middle = [float((index * weight).sum() / weight.sum()) for index in (i, j)]
    assert middle == pytest.approx([ROW, COLUMN], abs=0.05)


def test_a_fan_far_away_is_a_parallel_beam() -> None:
    far = fan_beam(SIDE, 8, source=1e7)
    half = Beam(angles=far.angles, elements=far.elements)
    np.testing.assert_allclose(radon(disc(), far), radon(disc(), half), atol=2e-3)


def test_the_detector_covers_the_inscribed_circle() -> None:
    i, j = np.indices((SIDE, SIDE)) - SIDE // 2
    rim = ((np.hypot(i, j) < 47.5) & (np.hypot(i, j) > 45)).astype(np.float32)
    for source in (60.0, 100.0, 1000.0):
        sums = radon(rim, fan_beam(SIDE, 16, source=source))
        assert float(np.abs(sums[[0, -1]]).max()) < 1.0


def test_a_source_inside_the_image_is_refused() -> None:
    with pytest.raises(ValueError, match="farther than the image's radius of 48 pixels, found 40"):
        fan_beam(SIDE, 16, source=40.0)


def test_views_of_a_beam_are_interleaved() -> None:
    beam = parallel_beam(SIDE, 12)
    parts = [beam.views(first, 3) for first in range(3)]
    assert sorted(angle for part in parts for angle in part.angles) == sorted(beam.angles)
    assert {len(part.angles) for part in parts} == {4}


def test_a_kernel_may_end_beyond_nyquist() -> None:
    response = kernel_response("hann", 2.05, 256)
    assert response[128] == pytest.approx(0.5 + 0.5 * np.cos(np.pi / 2.05), rel=0.01)


def test_what_a_protocol_cannot_be_is_named() -> None:
    for wrong in ({"geometry": "cone"}, {"projector": "gpu"}, {"split": "rows"}, {"kernel": "bone"}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            CtProtocol(photons=1e4, **wrong)
    with pytest.raises(ValueError, match="multiple of the 5 repeats, found 492"):
        CtProtocol(photons=1e4, split="views").of_one(5)
