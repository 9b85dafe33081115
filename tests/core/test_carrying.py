"""A prediction carried onto a moved target: the same as the object seen at the moved place, whatever patch is cut."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from scipy import ndimage

from medn2n.core.alignment import Rigid
from medn2n.core.carrying import carried, compared, indices, inverted, valid_voxels
from medn2n.core.cases import Case, held_out_slices
from medn2n.core.placement import Placement, through_plane_slices
from medn2n.core.samples import PairedSamples
from tests.core.test_samples import noisy, recipe

torch.set_num_threads(1)
GENERATED = (Phase.explicit, Phase.reuse, Phase.generate)  # a failing draw says enough; shrinking takes minutes
ANGLES = st.floats(-8, 8)
SHIFTS = st.floats(-2.5, 2.5)
AFFINE = np.array([[-1.5, 0, 0.1, 30], [0, -1.5, 0, 25], [0, 0.05, 2.0, -20], [0, 0, 0, 1]])


def wave(places: np.ndarray) -> np.ndarray:
    """A smooth object at (…,3) reference voxel indices: no wave shorter than nine voxels."""
    i, j, k = np.moveaxis(places, -1, 0)
    return np.sin(0.31 * i + 0.2 * j) + np.cos(0.26 * j - 0.33 * i + 0.21 * k) + 0.04 * i + 0.5 * np.sin(0.4 * k)


def at(matrix: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """(…,3) where `matrix` (4,4) sends each voxel."""
    return np.moveaxis(np.indices(shape), 0, -1) @ matrix[:3, :3].T + matrix[:3, 3]


def moving(shape: tuple[int, int, int], motions: list[Rigid], levels: list[tuple[float, float]]) -> Case:
    """Noiseless scans of one object that moved and brightened."""
    maps = [motion.index_map(AFFINE, shape) for motion in motions]
    seen = [gain * wave(at(np.linalg.inv(m), shape)) + offset for m, (gain, offset) in zip(maps, levels, strict=True)]
    placement = Placement(index_maps=np.stack(maps), levels=np.array(levels))
    image = torch.from_numpy(np.stack(seen).astype(np.float32))
    return Case(image=image, truth=None, group="g", placement=placement)


def in_plane(angle: float, one: float, two: float) -> Rigid:
    normal = np.cross(AFFINE[:3, 0], AFFINE[:3, 1])
    rotation = angle * normal / np.linalg.norm(normal)
    translation = AFFINE[:3, 0] * one + AFFINE[:3, 1] * two
    return Rigid(rotation_deg=tuple(rotation), translation_mm=tuple(translation))


def batch_of(case: Case, *, dims: int, patch: int, count: int = 4, **changes: object) -> dict[str, torch.Tensor]:
    samples = PairedSamples([case], recipe(dims=dims, patch=patch, **changes), length=count)
    found = [samples[n] for n in range(count)]
    return {key: torch.stack([sample[key] for sample in found]) for key in found[0]}


@settings(max_examples=25, deadline=None, phases=GENERATED)
@given(ANGLES, SHIFTS, SHIFTS, st.floats(0.8, 1.25), st.sampled_from([(44, 52, 3), (20, 40, 3)]))
def test_in_a_plane_the_carried_image_is_the_moved_one_under_any_crop_flip_and_turn(
    angle: float, one: float, two: float, gain: float, shape: tuple[int, int, int]
) -> None:
    case = moving(shape, [Rigid(), in_plane(angle, one, two)], [(1.0, 0.0), (gain, 0.3)])
    check(batch_of(case, dims=2, patch=32, count=6), least=0.2)


@settings(max_examples=10, deadline=None, phases=GENERATED)
@given(st.tuples(ANGLES, ANGLES, ANGLES), st.tuples(SHIFTS, SHIFTS, SHIFTS))
def test_in_space_the_carried_image_is_the_moved_one(
    rotation: tuple[float, float, float], translation: tuple[float, float, float]
) -> None:
    rigid = Rigid(rotation_deg=rotation, translation_mm=translation)
    case = moving((26, 30, 20), [rigid, Rigid(), in_plane(3, 1, 0)], [(1.1, 0.1), (1.0, 0.0), (0.9, 0.0)])
    check(batch_of(case, dims=3, patch=18, count=6), least=0.05)
    for part in held_out_slices([case], dims=3):
        check(batch_of(part[0], dims=3, patch=18, count=4), least=0.0)


def check(batch: dict[str, torch.Tensor], *, least: float) -> None:
    """Both ways of aligning make the (noiseless) input equal to the target wherever they say that they know it."""
    for align in ("prediction", "target"):
        output, target, noisy_input, valid = compared(batch["input"], batch, align)
        assert torch.equal(output, noisy_input)
        if valid is None:
            assert torch.equal(batch["input"], batch["target"])
            continue
        if align == "prediction":
            assert torch.equal(target, batch["target"])  # no noisy voxel is interpolated
        assert float(valid.mean()) >= least
        assert float(((output - target).abs() * valid).max()) < 0.15  # the rim of a patch, where curvature is not known
        assert float(((output - target).square() * valid).sum() / valid.sum().clamp_min(1)) < 3e-4


def test_a_block_of_slices_keeps_its_own_place() -> None:
    tilted = Rigid(rotation_deg=(3.0, 0.0, 5.0), translation_mm=(1.0, -1.5, 0.0))
    case = moving((40, 40, 11), [Rigid(), tilted], [(1, 0), (1, 0)])
    whole, part = case.placement, case.block(4, 11).block(2, 6).placement
    assert whole is not None
    assert part is not None
    np.testing.assert_array_equal(part.between(0, 1, slice_number=1), whole.between(0, 1, slice_number=7))
    here, there = np.array([11.0, 8.0, 1.0, 1.0]), np.array([11.0, 8.0, 7.0, 1.0])
    np.testing.assert_allclose(part.between(0, 1) @ here, whole.between(0, 1) @ there - [0, 0, 6], atol=1e-9)


def test_pairs_that_did_not_move_give_the_very_samples_and_losses_of_before() -> None:
    plain = noisy(3, (40, 40, 4))
    corrected = Placement(
        index_maps=np.stack([np.eye(4), np.eye(4), in_plane(2, 1, 1).index_map(AFFINE, (40, 40, 4))]),
        levels=np.array([(1.0, 0.0), (1.0, 0.0), (1.0, 0.1)]),
    )
    case = Case(image=plain.image, truth=None, group="g", placement=corrected)
    before, after = (PairedSamples([c], recipe(), length=24) for c in (plain, case))
    still = 0
    for n in range(24):
        one, two = before[n], after[n]
        assert set(one) == {"input", "target"}
        assert torch.equal(one["input"], two["input"])
        assert torch.equal(one["target"], two["target"])
        batch = {key: value[None] for key, value in two.items()}
        if compared(batch["input"], batch, "prediction")[3] is None:
            still += 1
    assert still == 8  # the two ordered pairs of the first two, of six
    alone = batch_of(plain, dims=2, patch=16)
    _, target, given_input, valid = compared(alone["input"] * 2, alone, "prediction")
    assert valid is None
    assert target is alone["target"]
    assert torch.equal(given_input, alone["input"])
    assert set(batch_of(case, dims=2, patch=16, align="off")) == {"input", "target"}


@pytest.mark.parametrize("shape", [(49, 53), (32, 33, 34)])
def test_the_spline_is_scipys_with_its_gradient(shape: tuple[int, ...]) -> None:
    dims = len(shape)
    rng = np.random.default_rng(3)
    image = rng.normal(size=shape)
    matrix = np.hstack([np.eye(dims) + rng.normal(scale=0.05, size=(dims, dims)), rng.normal(size=(dims, 1))])
    expected = ndimage.affine_transform(image, matrix[:, :dims], matrix[:, dims], order=3, mode="mirror")
    found = carried(torch.from_numpy(image)[None, None], torch.from_numpy(matrix)[None])
    inner = (slice(14, -14),) * dims  # what the ends do is gone by there
    np.testing.assert_allclose(found[0, 0].numpy()[inner], expected[inner], atol=1e-5)
    line = torch.arange(9.0, dtype=torch.float64)[None, None, :, None].expand(1, 1, 9, 7)
    moved = carried(line, torch.tensor([[[0.5, 0.0, 0.4], [0.0, 1.0, 0.0]]], dtype=torch.float64))
    torch.testing.assert_close(moved[0, 0], (0.5 * line + 0.4)[0, 0], atol=1e-12, rtol=0)
    small = torch.from_numpy(rng.normal(size=(1, 1, *(5,) * dims))).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: carried(x, torch.from_numpy(matrix)[None]), (small,), fast_mode=True)


def test_inverse_box_and_through_plane_motion() -> None:
    matrix = torch.tensor([[[0.0, -1.0, 9.0], [1.0, 0.0, 0.5]]])
    back = inverted(matrix)
    places = indices(matrix, (4, 5))
    again = torch.einsum("de,ije->ijd", back[0, :, :2], places[0]) + back[0, :, 2]
    torch.testing.assert_close(again, indices(torch.eye(2, 3)[None], (4, 5))[0], atol=1e-5, rtol=0)
    shifted = torch.tensor([[[1.0, 0.0, 1.5], [0.0, 1.0, 0.0]]])
    valid = valid_voxels(shifted, torch.tensor([[[1.0, 7.0], [0.0, 7.0]]]), (8, 8))
    assert valid[0, 0, :, 0].tolist() == [0, 1, 1, 1, 1, 1, 0, 0]
    assert through_plane_slices(in_plane(5, 1, 2).index_map(AFFINE, (40, 40, 5)), (40, 40, 5)) < 1e-9
    lifted = np.eye(4)
    lifted[2, 3] = -0.4
    assert through_plane_slices(lifted, (40, 40, 5)) == pytest.approx(0.4)
