"""A part of a volume lies where it lay in the whole."""

import numpy as np

from medn2n.core.volume import Volume


def test_a_part_keeps_its_values_and_its_place_in_space() -> None:
    rng = np.random.default_rng(0)
    affine = np.eye(4)
    affine[:3] = rng.normal(size=(3, 4))
    padding = rng.random((6, 7, 8)) < 0.2
    whole = Volume(
        voxels=rng.normal(size=(6, 7, 8)).astype(np.float32), affine=affine, unit="HU", modality="CT", padding=padding,
        slice_positions_mm=np.arange(8.0),
    )  # fmt: skip
    part = whole.part((slice(1, 4), slice(-3, None), slice(5, 7)))
    assert part.voxels.shape == (3, 3, 2)
    assert np.array_equal(part.voxels, whole.voxels[1:4, 4:, 5:7])
    assert part.padding is not None
    assert np.array_equal(part.padding, padding[1:4, 4:, 5:7])
    assert part.slice_positions_mm is not None
    assert part.slice_positions_mm.tolist() == [5, 6]
    assert np.allclose(part.affine @ [1, 2, 1, 1], affine @ [2, 6, 6, 1])


def test_middle_slices_are_from_the_middle_and_at_most_all() -> None:
    whole = Volume(voxels=np.zeros((2, 2, 7), np.float32), affine=np.diag([1, 1, 3, 1.0]), unit="", modality="MR")
    assert (whole.middle_slices(3).affine @ [0, 0, 0, 1])[2] == 3 * 2
    assert whole.middle_slices(3).voxels.shape == (2, 2, 3)
    assert whole.middle_slices(9).voxels.shape == (2, 2, 7)
