"""A scan unlike those of the training is told, and why; what is not known is no limit."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import ndimage

from medn2n.core.scope import ScanTraits, Seen, noise_traits, out_of_scope

SEEN = Seen(
    noise_share=(0.01, 0.08), texture=(0.3, 0.7), pixel_mm=(0.6, 1.0), slice_mm=(1.0, 5.0), field_t=(1.5, 3.0),
    kernels=("B30f", "B45f"),
)  # fmt: skip
SCAN = ScanTraits(noise_share=0.03, texture=0.5, pixel_mm=0.8, slice_mm=3.0, kernel="B30f", field_t=3.0)


def test_a_scan_within_is_not_told() -> None:
    assert out_of_scope(SCAN, SEEN) == []


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"noise_share": 0.2}, "noise of 20 %"),
        ({"noise_share": 0.004}, "noise of 0.4 %"),
        ({"texture": 0.95}, "kernel or filter"),
        ({"pixel_mm": 2.0}, "pixel of 2 mm"),
        ({"slice_mm": 10.0}, "slice of 10 mm"),
        ({"field_t": 7.0}, "field of 7 T"),
        ({"kernel": "B70s"}, "kernel"),
    ],
)
def test_each_way_out_is_told(change: dict[str, float], word: str) -> None:
    found = out_of_scope(replace(SCAN, **change), SEEN)
    assert len(found) == 1
    assert word in found[0]


def test_what_nobody_knows_is_no_limit() -> None:
    unknown = Seen(noise_share=(0.01, 0.08))
    assert out_of_scope(replace(SCAN, pixel_mm=9, slice_mm=40, field_t=7, kernel="X", texture=0.99), unknown) == []
    assert out_of_scope(replace(SCAN, kernel="", field_t=None), SEEN) == []
    assert out_of_scope(replace(SCAN, noise_share=0.0), SEEN) == []


def test_noise_and_its_texture_are_measured_in_the_scan() -> None:
    body = np.full((256, 256, 4), -1000.0)
    body[40:216, 40:216] = 40
    white = body + 20 * np.random.default_rng(0).normal(size=body.shape)
    soft = ndimage.gaussian_filter(white, (1, 1, 0))
    share, texture = noise_traits(white.astype(np.float32), 1000.0)
    assert share == pytest.approx(0.02, rel=0.1)
    assert abs(texture) < 0.05
    # Lag 1 under a Gaussian of 1 pixel is exp(−¼) = 0.78; the plane that is taken off each block lowers it.
    assert 0.6 < noise_traits(soft.astype(np.float32), 1000.0)[1] < 0.8


def test_of_a_scan_without_noise_no_texture_is_told() -> None:
    assert out_of_scope(replace(SCAN, noise_share=0.0, texture=0.0), SEEN) == []
