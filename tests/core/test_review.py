"""Whether somebody looks at a copy: every frame of a series in time counts, and the worst one is told."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from medn2n.core.intensity import IntensityScale
from medn2n.core.limits import GATES, Limits
from medn2n.core.review import Review, review
from medn2n.core.scope import Seen
from medn2n.core.volume import Volume

SHAPE = (120, 110, 2)
FRAMES = 5


def series(seed: int = 0) -> Volume:
    """A body of water with an organ, in air, in five frames that differ by their noise alone."""
    rng = np.random.default_rng(seed)
    i, j = np.mgrid[: SHAPE[0], : SHAPE[1]]
    truth = np.where(np.hypot(i - 60, j - 55) < 50, 20.0, -1000.0) + np.where(np.hypot(i - 50, j - 60) < 15, 50, 0)
    noise = ndimage.gaussian_filter(rng.normal(size=(*SHAPE, FRAMES)), (0.8, 0.8, 0, 0))
    voxels = ndimage.gaussian_filter(truth, 0.8)[..., None, None] + 12 * noise / noise.std()
    return Volume(voxels=voxels.astype(np.float32), affine=np.diag([0.8, 0.8, 3, 1]), unit="HU", modality="CT")


def reviewed(before: Volume, after: Volume) -> Review:
    return review(
        before, after, seen=Seen(noise_share=(0.001, 1.0)), scale=IntensityScale(offset=0.0, scale=1000.0),
        acquisition={}, limits=Limits(),
    )  # fmt: skip


@pytest.mark.parametrize("frame", [0, 2, 4])
def test_a_fault_in_a_later_frame_is_found_and_told(frame: int) -> None:
    before = series()
    voxels = np.array(before.voxels)
    voxels[..., frame] += 5
    found = reviewed(before, before.with_voxels(voxels))
    assert found.code == "GATE"
    assert f"Frame {frame + 1} of 5: The mean of" in found.reason
    assert tuple(gate.name for gate in found.gates) == GATES


def test_a_series_without_fault_passes_and_a_volume_names_no_frame() -> None:
    before = series()
    assert reviewed(before, before).code == ""
    one = before.frame(3)
    assert np.array_equal(one.voxels, before.voxels[..., 3])
    assert one.frame(0) is one
    assert not any("Frame" in gate.words for gate in reviewed(one, one).gates)


def test_a_frame_that_cannot_be_measured_is_told_beside_others_that_hold() -> None:
    before = series()
    voxels = np.array(before.voxels)
    voxels[..., 4] = -1000  # no body in the last frame
    empty = before.with_voxels(voxels)
    whole, first = (
        next(gate for gate in reviewed(scan, scan).gates if gate.name == "sharpness")
        for scan in (empty, empty.frame(0))
    )
    assert first.passed is True
    assert whole.passed is None
    assert whole.words.startswith("Frame 5 of 5: ")


def test_what_is_too_uncertain_to_tell_neither_holds_nor_fails() -> None:
    rng = np.random.default_rng(0)
    i, j = np.mgrid[:64, :64]
    body = np.where(np.hypot(i - 32, j - 32) < 26, 40.0, -1000.0)[..., None]
    before = Volume(
        voxels=(body + rng.normal(0, 30, (64, 64, 1))).astype(np.float32), affine=np.diag([0.8, 0.8, 3, 1]), unit="HU",
        modality="CT",
    )  # fmt: skip
    moved = before.with_voxels((body + 1 + rng.normal(0, 10, (64, 64, 1))).astype(np.float32))
    numbers = next(gate for gate in reviewed(before, moved).gates if gate.name == "numbers")
    assert numbers.passed is None
    assert "±" in numbers.words
    assert "too uncertain to tell" in numbers.words
