"""What noise may feign: no invention, no blur, no fault of one slice; and what it does not."""

import numpy as np
import pytest
from scipy import ndimage

from medn2n.core.gates import gates
from medn2n.core.limits import Gate, Limits
from medn2n.core.scan_proof import scan_proof
from medn2n.core.volume import Volume


def judged(before: Volume, after: Volume) -> dict[str, Gate]:
    return {gate.name: gate for gate in gates(scan_proof(before, after), Limits())}


def test_noise_that_hides_fine_texture_makes_no_invention_of_a_perfect_copy() -> None:
    """In the flattest blocks of the noisy scan, noise and texture cancel: there they are alike, with the other sign, by
    a quarter."""
    rng = np.random.default_rng(2)
    i, j, _ = np.mgrid[:120, :120, :4]
    body = np.hypot(i - 60, j - 60) < 50
    texture = ndimage.gaussian_filter(rng.normal(size=body.shape), (1, 1, 0))
    texture /= texture.std()
    truth = body * (400 + 25 * texture)
    before, after, made_up = (
        Volume(voxels=np.abs(one).astype(np.float32), affine=np.eye(4), unit="", modality="MR")
        for one in (truth + rng.normal(0, 25, body.shape), truth, truth + body * 12 * texture[::-1])
    )
    assert scan_proof(before, after).invented == 0
    assert judged(before, after)["invention"].passed
    assert not judged(before, made_up)["invention"].passed


def test_edges_that_are_hardly_steeper_than_noise_prove_no_blur() -> None:
    """What is left of the noise is like what was, by which a crop of soft tissue seems softer."""
    rng = np.random.default_rng(0)
    organs = ndimage.gaussian_filter(rng.normal(size=(160, 160)), 8)
    truth = ndimage.gaussian_filter(np.where(organs > 0, 50.0, -60.0), 1)[..., None].repeat(4, axis=2)
    noise = ndimage.gaussian_filter(rng.normal(size=truth.shape), (0.8, 0.8, 0))
    noise *= 20 / noise.std()
    before, after, blurred = (
        Volume(voxels=one.astype(np.float32), affine=np.diag([0.8, 0.8, 3, 1]), unit="HU", modality="CT")
        for one in (truth + noise, truth + noise / 14, ndimage.gaussian_filter(truth + noise / 14, (1, 1, 0)))
    )
    assert judged(before, after)["sharpness"].passed is not False
    assert judged(before, blurred)["sharpness"].passed is False


def discs(slices: int, left: float, *, harder: float = 0.0) -> tuple[Volume, Volume]:
    """Faint discs in noise that is nearly as steep, and a copy with `left` of that noise and edges that much harder."""
    rng = np.random.default_rng(1)
    i, j = np.mgrid[:256, :256]
    truth = np.zeros((256, 256))
    for _ in range(60):
        at, radius = rng.integers(0, 256, 2), rng.integers(8, 30)
        truth[(i - at[0]) ** 2 + (j - at[1]) ** 2 < radius**2] = rng.choice([-30, 30])
    truth = ndimage.gaussian_filter(truth, 0.8)[..., None] + 20
    noise = ndimage.gaussian_filter(rng.normal(size=(256, 256, slices)), (0.7, 0.7, 0))
    noise *= 10 / noise.std()
    hard = harder * (truth - ndimage.gaussian_filter(truth, (1, 1, 0)))
    before, after = (
        Volume(voxels=one.astype(np.float32), affine=np.diag([0.8, 0.8, 3, 1]), unit="HU", modality="CT")
        for one in (truth + noise, truth + left * noise + hard)
    )
    return before, after


@pytest.mark.parametrize("slices", [1, 12])
def test_a_slice_that_is_as_soft_as_the_others_is_told_by_the_whole(slices: int) -> None:
    assert judged(*discs(slices, 0.4))["sharpness"].passed is None


def test_noise_feigns_no_harder_edges() -> None:
    assert judged(*discs(1, 0.0, harder=0.5))["sharpness"].passed is False


@pytest.mark.parametrize("place", [7, 21])
def test_a_copy_without_a_number_in_even_tissue_fails(place: int) -> None:
    rng = np.random.default_rng(0)
    i, j, _ = np.mgrid[:96, :96, :40]
    truth = np.where(np.hypot(i - 48, j - 48) < 40, 40.0, -1000.0)
    copy = truth.copy()
    copy[48, 60, place] = np.nan
    before, after = (
        Volume(voxels=one.astype(np.float32), affine=np.diag([0.8, 0.8, 3, 1]), unit="HU", modality="CT")
        for one in (truth + rng.normal(0, 10, truth.shape), copy)
    )
    assert judged(before, after)["spots"].passed is False
