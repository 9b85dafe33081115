"""Slices are shown the way a radiologist sees them, whatever way they were stored."""

from __future__ import annotations

from itertools import permutations, product

import numpy as np
import pytest

from medn2n.core.display import display_window, oriented, shrink, slice_pairs
from medn2n.core.volume import Volume


@pytest.mark.parametrize("order", list(permutations(range(3))))
@pytest.mark.parametrize("signs", list(product((-1, 1), repeat=3)))
def test_every_stored_orientation_is_shown_alike(order: tuple[int, int, int], signs: tuple[int, int, int]) -> None:
    spacing = (1.0, 2.0, 3.0)
    affine = np.eye(4)
    affine[:3, :3] = 0
    for column, (axis, sign) in enumerate(zip(order, signs, strict=True)):
        affine[axis, column] = sign * spacing[column]
    i, j = np.indices((8, 6))
    # Each pixel holds its own patient position (R, A or S) along the axis under test.
    shown = [oriented(sign_i * i * spacing[0], affine)[0] for sign_i in (signs[0],)]
    along_i = shown[0]
    along_j, aspect, plane = oriented(signs[1] * j * spacing[1], affine)
    horizontal = {"axial": 0, "coronal": 0, "sagittal": 1}[plane]
    across, down = (along_i, along_j) if order[0] == horizontal else (along_j, along_i)
    # To the right of the picture lies the patient's left (or back), downwards the back or the feet: both
    # negative RAS.
    assert (np.diff(across, axis=1) < 0).all()
    assert (np.diff(down, axis=0) < 0).all()
    expected = (8 * 1.0) / (6 * 2.0) if order[0] == horizontal else (6 * 2.0) / (8 * 1.0)
    assert aspect == pytest.approx(expected)


def test_an_oblique_slice_goes_to_the_nearest_plane() -> None:
    angle = np.deg2rad(30)
    affine = np.eye(4)
    affine[1:3, 1:3] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    assert oriented(np.zeros((4, 4)), affine)[2] == "axial"


def test_pictures_shrink_by_block_means() -> None:
    picture = np.arange(64, dtype=np.float32).reshape(8, 8)
    assert shrink(picture, 8) is not None
    assert shrink(picture, 8) == pytest.approx(picture)
    assert shrink(picture, 4) == pytest.approx(picture.reshape(4, 2, 4, 2).mean(axis=(1, 3)))
    assert max(shrink(np.zeros((700, 1030)), 512).shape) <= 512


def test_slice_pairs_of_a_scan_and_of_a_series_of_frames() -> None:
    voxels = np.random.default_rng(0).normal(50, 10, (20, 30, 9)).astype(np.float32)
    ct = Volume(voxels=voxels, affine=np.eye(4), unit="HU", modality="CT")
    assert display_window(ct) == (-160, 240)
    pairs = slice_pairs(ct, ct.with_voxels(voxels - 1), number=3)
    assert [pair.label for pair in pairs] == [f"axial, slice {number} of 9" for number in (3, 5, 7)]
    assert pairs[0].before - pairs[0].after == pytest.approx(np.ones((30, 20)), abs=1e-4)
    frames = Volume(voxels=np.stack([voxels, voxels], -1), affine=np.eye(4), unit="a.u.", modality="MR")
    assert len(slice_pairs(frames, frames)) == 1
    low, high = display_window(frames)
    assert low < 50 < high
