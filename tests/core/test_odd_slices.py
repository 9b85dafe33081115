"""A fault in one slice of a large scan, of which few slices are measured: it is found wherever it lies."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from scipy import ndimage

from medn2n.core.gates import gates
from medn2n.core.limits import Gate, Limits
from medn2n.core.odd_slices import odd_edges, odd_means
from medn2n.core.scan_proof import scan_proof
from medn2n.core.spread_slices import spread_slices
from medn2n.core.volume import Volume

SHAPE = (160, 150, 64)
Pair = tuple[np.ndarray, np.ndarray]
Change = Callable[[np.ndarray], np.ndarray]


@pytest.fixture(scope="module")
def ct() -> Pair:
    """A body of fat, muscle and lungs in air, with the noise of a soft kernel, and the same with a twentieth of it."""
    i, j = np.mgrid[: SHAPE[0], : SHAPE[1]]
    truth = np.full(SHAPE[:2], -1000.0)
    for half, value in (((78, 73), -100.0), ((52, 48), 50.0)):
        truth[((i - 80) / half[0]) ** 2 + ((j - 75) / half[1]) ** 2 < 1] = value
    truth[np.minimum(np.hypot(i - 80, j - 50), np.hypot(i - 80, j - 100)) < 20] = -800
    return _noisy(truth, 12.0)


@pytest.fixture(scope="module")
def mr() -> Pair:
    i, j = np.mgrid[: SHAPE[0], : SHAPE[1]]
    head = ((i - 80) / 70) ** 2 + ((j - 75) / 60) ** 2 < 1
    parts = 400 + 100 * (np.hypot(i - 80, j - 75) < 45) + 100 * (np.hypot(i - 80, j - 75) < 25)
    return _noisy(np.where(head, parts, 20.0), 10.0)


def _noisy(truth: np.ndarray, level: float) -> Pair:
    truth = ndimage.gaussian_filter(truth, 0.8)[..., None]
    noise = ndimage.gaussian_filter(np.random.default_rng(0).normal(size=SHAPE), (0.8, 0.8, 0))
    noise *= level / noise.std()
    return (truth + noise).astype(np.float32), (truth + noise / 20).astype(np.float32)


def judged(before: np.ndarray, after: np.ndarray, modality: str) -> dict[str, Gate]:
    unit = "HU" if modality == "CT" else "a.u."
    first, second = (
        Volume(voxels=one, affine=np.diag([0.8, 0.8, 1, 1]), unit=unit, modality=modality) for one in (before, after)
    )
    return {gate.name: gate for gate in gates(scan_proof(first, second), Limits())}


def _with(after: np.ndarray, k: int, change: Change) -> np.ndarray:
    changed = after.copy()
    changed[..., k] = change(after[..., k])
    return changed


def _tissue(low: float, high: float, shift: float) -> Change:
    return lambda image: image + shift * ((image > low) & (image < high)).astype(np.float32)


UNSAMPLED = next(k for k in range(20, SHAPE[2]) if k not in spread_slices(SHAPE))
FAULTS: list[tuple[str, Change, str]] = [
    ("ct", lambda image: ndimage.gaussian_filter(image, 1), "sharpness"),
    ("ct", lambda image: np.roll(image, 1, axis=1), "position"),
    ("ct", _tissue(-900, -700, 20), "numbers"),
    ("ct", _tissue(-140, -60, 5), "numbers"),
    ("ct", _tissue(-1100, -950, 8), "numbers"),
    ("ct", _tissue(0, 100, 4), "numbers"),
    ("mr", lambda image: ndimage.gaussian_filter(image, 1), "sharpness"),
    ("mr", lambda image: np.roll(image, 1, axis=0), "position"),
    ("mr", lambda image: 1.05 * image, "numbers"),
]


@pytest.mark.parametrize("k", [0, UNSAMPLED])
@pytest.mark.parametrize(("modality", "change", "gate"), FAULTS)
def test_a_fault_in_one_slice_fails_its_gate_which_names_it(
    request: pytest.FixtureRequest, modality: str, change: Change, gate: str, k: int
) -> None:
    before, faithful = request.getfixturevalue(modality)
    found = judged(before, _with(faithful, k, change), modality.upper())[gate]
    assert found.passed is False
    assert f"in slice {k} " in found.words


@pytest.mark.parametrize("modality", ["ct", "mr"])
def test_a_faithful_copy_passes_in_every_slice(request: pytest.FixtureRequest, modality: str) -> None:
    before, faithful = request.getfixturevalue(modality)
    found = judged(before, faithful, modality.upper())
    assert not [gate.words for gate in found.values() if gate.passed is False]
    for name in ("sharpness", "position"):
        assert found[name].words.endswith("is allowed, and no slice or quarter is surely beyond that.")


def test_what_the_whole_scan_does_is_told_of_the_whole(ct: Pair) -> None:
    before, faithful = ct
    blurred = judged(before, ndimage.gaussian_filter(faithful, (1, 1, 0)), "CT")["sharpness"]
    assert blurred.passed is False
    assert f"in {len(spread_slices(SHAPE))} of {SHAPE[2]} slices" in blurred.words


def test_slices_without_edges_or_numbers_are_left_out(ct: Pair) -> None:
    before, faithful = ct
    flat = np.zeros(SHAPE, np.float32)
    assert len(odd_edges(flat, flat)) == 0
    assert len(odd_edges(before[..., :1], faithful[..., :1])) == 0
    wild = _with(faithful, 3, lambda image: np.full_like(image, np.nan))
    assert 3 not in odd_edges(before, wild)
    assert len(odd_means(flat, flat, None, np.arange(3), [(10.0, 20.0)])) == 0
    padding = np.zeros(SHAPE, bool)
    padding[..., 5] = True
    moved = _with(faithful, 5, lambda image: image + 50)
    assert 5 in odd_means(before, moved, None, np.arange(9), [(0.0, 100.0)])
    assert 5 not in odd_means(before, moved, padding, np.arange(9), [(0.0, 100.0)])


def test_where_most_slices_changed_the_others_are_not_the_odd_ones(ct: Pair) -> None:
    before, faithful = ct
    for share in (0.4, 0.6):
        count = round(share * SHAPE[2])
        assert odd_edges(before, _blurred(faithful, count)).min() < count


def _blurred(after: np.ndarray, count: int) -> np.ndarray:
    changed = after.copy()
    changed[..., :count] = ndimage.gaussian_filter(after[..., :count], (1, 1, 0))
    return changed


@pytest.mark.parametrize(("modality", "air", "unit"), [("ct", -1000.0, 12.0), ("mr", 20.0, 8.0)])
def test_slices_of_air_are_not_the_odd_ones(
    request: pytest.FixtureRequest, modality: str, air: float, unit: float
) -> None:
    before, faithful = (one.copy() for one in request.getfixturevalue(modality))
    noise = np.random.default_rng(3).normal(0, unit, (*SHAPE[:2], 4))
    before[..., :4] = air + noise
    faithful[..., :4] = air + ndimage.gaussian_filter(noise, (1, 1, 0))
    assert odd_edges(before, faithful).min() > 3
    assert not [gate.words for gate in judged(before, faithful, modality.upper()).values() if gate.passed is False]
    blurred = _with(faithful, 30, lambda image: ndimage.gaussian_filter(image, 0.7))
    assert "in slice 30 " in judged(before, blurred, modality.upper())["sharpness"].words


def test_an_empty_slice_is_borne_and_a_body_in_it_found(mr: Pair) -> None:
    before, faithful = (one.copy() for one in mr)
    shown = faithful[..., 1].copy()
    before[..., 0] = faithful[..., 0] = 0
    assert not [gate.words for gate in judged(before, faithful, "MR").values() if gate.passed is False]
    dust = _with(faithful, 0, lambda image: image + 1e-3 * (np.hypot(*(np.mgrid[: SHAPE[0], : SHAPE[1]] - 70)) < 2))
    assert not [gate.words for gate in judged(before, dust, "MR").values() if gate.passed is False]
    assert judged(before, _with(faithful, 0, lambda _: shown), "MR")["spots"].passed is False


def test_the_rim_of_padding_hides_no_slice(ct: Pair) -> None:
    before, faithful = (one.copy() for one in ct)
    outside = np.hypot(*(np.mgrid[: SHAPE[0], : SHAPE[1]] - 77)) > 77
    before[outside] = faithful[outside] = -3024
    padding = np.broadcast_to(outside[..., None], SHAPE)
    blurred = _with(faithful, UNSAMPLED, lambda image: np.where(outside, image, ndimage.gaussian_filter(image, 1)))
    assert UNSAMPLED in odd_edges(before, blurred, padding)
    for missing in (-3024.0, np.nan):
        before = np.where(outside[..., None], np.float32(missing), before)
        scan, copy = (
            Volume(
                voxels=one, affine=np.diag([0.8, 0.8, 1, 1]), unit="HU", modality="CT",
                padding=None if np.isnan(missing) else np.array(padding),
            )
            for one in (before, faithful)
        )  # fmt: skip
        assert not [gate.words for gate in gates(scan_proof(scan, copy), Limits()) if gate.passed is False]


def test_edges_in_too_few_places_are_told_as_such(mr: Pair) -> None:
    scan, copy = (one[92:116, 63:87, :1] for one in mr)
    found = judged(scan, copy, "MR")
    assert (found["sharpness"].passed, found["sharpness"].why) == (None, "too few edges")
    assert "inf" not in found["sharpness"].words


@pytest.mark.parametrize("shape", [(3, 200, 9), (64, 1, 5), (1, 1, 1), (2, 64, 3)])
@pytest.mark.parametrize("modality", ["CT", "MR"])
def test_images_of_few_pixels_are_borne(shape: tuple[int, ...], modality: str) -> None:
    scan = np.random.default_rng(0).normal(100, 10, shape).astype(np.float32)
    assert not [gate.words for gate in judged(scan, scan, modality).values() if gate.passed is False]


@pytest.mark.parametrize("modality", ["ct", "mr"])
def test_a_quarter_that_was_blurred_or_moved_is_named(request: pytest.FixtureRequest, modality: str) -> None:
    before, faithful = request.getfixturevalue(modality)
    for change, gate in ((lambda x: ndimage.gaussian_filter(x, (1, 1, 0)), "sharpness"), (_rolled, "position")):
        copy = faithful.copy()
        copy[80:, 75:] = change(faithful)[80:, 75:]
        found = judged(before, copy, modality.upper())[gate]
        assert found.passed is False
        assert "in the quarter of the body from (" in found.words


def _rolled(voxels: np.ndarray) -> np.ndarray:
    return np.roll(voxels, 1, axis=0)
