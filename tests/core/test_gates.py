"""The limits of one denoised scan: each fault of a known size is failed by the gate that it is for."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy import ndimage

from medn2n.core.ct_numbers import RegionNumbers
from medn2n.core.error_gate import error_gates
from medn2n.core.gate_faults import FaultName, faulty_scan
from medn2n.core.gates import gates
from medn2n.core.limits import GATES, Gate, Limits, failed
from medn2n.core.scan_proof import scan_proof
from medn2n.core.volume import Volume

SHAPE = (160, 150, 3)


@pytest.fixture(scope="module")
def scan() -> tuple[Volume, Volume]:
    """A body of fat, muscle and bone in air with the noise of a soft kernel, and the same with a twentieth of it."""
    i, j = np.mgrid[: SHAPE[0], : SHAPE[1]]
    truth = np.full(SHAPE[:2], -1000.0)
    for half, value in (((72, 66), -100.0), ((62, 56), 50.0)):
        truth[((i - 80) / half[0]) ** 2 + ((j - 75) / half[1]) ** 2 < 1] = value
    truth[np.hypot(i - 80, j - 35) < 9] = 700
    rng = np.random.default_rng(0)
    organs = ndimage.gaussian_filter(rng.normal(size=SHAPE[:2]), 6)
    truth += np.where(truth == 50, 30 * np.sign(organs), 0)
    truth = ndimage.gaussian_filter(truth, 0.8)[..., None].repeat(SHAPE[2], axis=2)
    noise = ndimage.gaussian_filter(rng.normal(size=SHAPE), (0.8, 0.8, 0))
    noise *= 12 / noise.std()
    affine = np.diag([0.8, 0.8, 3, 1])

    def made(voxels: np.ndarray) -> Volume:
        return Volume(voxels=voxels.astype(np.float32), affine=affine, unit="HU", modality="CT")

    return made(truth + noise), made(truth + noise / 20)


def judged(before: Volume, after: Volume, **limits: Any) -> dict[str, Gate]:
    found = gates(scan_proof(before, after), replace(Limits(), **limits))
    assert tuple(gate.name for gate in found) == GATES
    return {gate.name: gate for gate in found}


def test_a_faithful_copy_and_the_scan_itself_pass(scan: tuple[Volume, Volume]) -> None:
    before, faithful = scan
    for after in (faithful, before):
        found = judged(before, after)
        assert failed(tuple(found.values())) == ()
        # A thin ring of fat says too little of its mean to tell 1.3 from 1.2 HU.
        assert {name for name, gate in found.items() if gate.passed} >= set(GATES) - {"numbers"}


@pytest.mark.parametrize(
    ("fault", "size", "gate"),
    [
        ("blur", 0.5, "sharpness"),
        ("blur", 1.0, "sharpness"),
        ("shift", 2.0, "numbers"),
        ("shift", -2.0, "numbers"),
        ("shift of half", 4.0, "numbers"),
        ("displaced", 0.5, "position"),
        ("lesion removed", 60.0, "spots"),
        ("lesion added", 60.0, "spots"),
        ("over-smoothed", 4.0, "weakening"),
        ("hallucinated", 1.0, "invention"),
        ("other noise", 1.0, "invention"),
    ],
)
def test_a_fault_fails_its_gate(scan: tuple[Volume, Volume], fault: FaultName, size: float, gate: str) -> None:
    built = faulty_scan(*scan, fault, size, np.random.default_rng(1))
    assert built is not None
    found = judged(built.before, built.after)[gate]
    assert found.passed is False
    assert found.excess > 1
    assert found.words.endswith("is allowed.")


def test_a_value_that_no_scan_has_fails_and_is_found(scan: tuple[Volume, Volume]) -> None:
    before, faithful = scan
    voxels = faithful.voxels.copy()
    voxels[tuple(np.argwhere((np.abs(voxels - 40) < 60) & (ndimage.uniform_filter(voxels, 9) > 0))[5000])] = 3e38
    found = judged(before, faithful.with_voxels(voxels))["spots"]
    assert found.passed is False
    assert 1 < found.excess < np.inf
    assert found.words.startswith("A spot of about")


def test_noise_that_grew_fails(scan: tuple[Volume, Volume]) -> None:
    before, _ = scan
    louder = before.voxels + np.random.default_rng(2).normal(0, 12, SHAPE).astype(np.float32)
    assert judged(before, before.with_voxels(louder))["noise"].passed is False


@pytest.mark.parametrize(("share", "passed"), [(0.2, False), (0.03, False), (0.01, True)])
def test_detail_made_up_of_noise_fails_unless_nobody_could_see_it(
    scan: tuple[Volume, Volume], share: float, passed: bool
) -> None:
    i, j = np.mgrid[: SHAPE[0], : SHAPE[1]]
    water = np.where(np.hypot(i - 80, j - 75) < 70, 0.0, -1000.0)[..., None].repeat(SHAPE[2], axis=2)
    noise = np.random.default_rng(0).normal(0, 12, SHAPE)
    before, after = (scan[0].with_voxels((water + part * noise).astype(np.float32)) for part in (1, -share))
    assert judged(before, after)["invention"].passed is passed


def test_limits_move_the_verdict_and_not_the_figure(scan: tuple[Volume, Volume]) -> None:
    before, faithful = scan
    strict, lax = (judged(before, faithful, spot=limit)["spots"] for limit in (0.5, 50.0))
    assert (strict.passed, lax.passed) == (False, True)
    assert strict.value == lax.value


def test_what_cannot_be_measured_is_no_failure() -> None:
    empty = Volume(voxels=np.full((32, 32, 1), -1000, np.float32), affine=np.eye(4), unit="HU", modality="CT")
    found = judged(empty, empty)
    assert failed(tuple(found.values())) == ()
    assert found["spots"].passed is None
    assert found["spots"].as_json()["limit"] is None


@pytest.mark.parametrize("background", [0.0, np.nan])
def test_a_mask_around_a_ct_is_no_tissue(background: float, scan: tuple[Volume, Volume]) -> None:
    """0 HU is water by its number; who masked it or left it without a number measured nothing there."""
    before, faithful = scan
    outside = before.voxels < -400
    masked = [one.with_voxels(np.where(outside, background, one.voxels)) for one in (before, faithful)]
    if not np.isfinite(background):
        masked = [replace(one, padding=outside) for one in masked]
    assert judged(*masked)["spots"].passed
    shifted = masked[1].with_voxels(np.where(outside, background, masked[1].voxels + 3))
    whole = judged(before, faithful.with_voxels(faithful.voxels + 3))["numbers"]
    found = judged(masked[0], shifted)["numbers"]
    assert (whole.passed, found.passed) == (False, False)
    assert found.value > 2


def test_a_mean_without_a_limit_is_not_judged(scan: tuple[Volume, Volume]) -> None:
    before, faithful = scan
    moved = before.with_voxels(faithful.voxels + np.float32(50))
    found = judged(before, moved, ct_number_hu={})["numbers"]
    assert (found.passed, found.words) == (None, "No limit is set for the mean of tissue.")


@pytest.mark.parametrize("sigma", [30.0, 60.0, 100.0])
def test_noise_that_goes_altogether_moves_no_mean_and_weakens_nothing(
    scan: tuple[Volume, Volume], sigma: float
) -> None:
    before, faithful = scan
    noise = before.voxels - faithful.voxels
    loud = before.with_voxels(faithful.voxels + sigma / 12 * noise)
    found = judged(loud, faithful)
    assert not {"numbers", "weakening"} & {gate.name for gate in failed(tuple(found.values()))}
    moved = faithful.voxels.copy()
    moved[: SHAPE[0] // 2] += 150  # soft tissue would be bone by the copy
    assert judged(loud, before.with_voxels(moved))["numbers"].passed is False


def test_a_mean_that_is_known_well_hides_none_that_may_have_moved(scan: tuple[Volume, Volume]) -> None:
    proof = scan_proof(*scan)
    (soft,) = (region for region in proof.regions if region.region == "soft tissue")
    soft = replace(soft, shift=1.1, shift_error=0.03, part=None)
    fat = replace(soft, region="fat", shift=3.0, shift_error=1.0)
    lung = replace(soft, region="lung", shift=-9.0, shift_error=2.0)

    def numbers(*regions: RegionNumbers) -> Gate:
        return gates(replace(proof, regions=regions), Limits())[0]

    assert numbers(soft).passed is True
    assert numbers(soft, fat).passed is None
    assert "fat moved by +3.00" in numbers(soft, fat).words
    assert numbers(soft, fat, lung).passed is False


def test_where_some_slices_stand_for_all_the_words_say_so(scan: tuple[Volume, Volume]) -> None:
    proof = scan_proof(*scan)
    for slices, words in (((3, 3), "Edges are"), ((3, 14), "Edges in 3 of 14 slices are")):
        assert gates(replace(proof, slices=slices), Limits())[1].words.startswith(words)
    assert proof.slices == (3, 3)


@pytest.mark.parametrize(("modality", "unit"), [("CT", 1.0), ("MR", 0.1)])
def test_a_scan_without_noise_is_not_failed_for_what_nobody_could_see(modality: str, unit: float) -> None:
    i, j = np.mgrid[: SHAPE[0], : SHAPE[1]]
    water = np.where(np.hypot(i - 80, j - 75) < 60, 40.0 if modality == "CT" else 100.0, 0.0)
    water -= 1000.0 * ((modality == "CT") & (water == 0))
    ripple = 0.1 * unit * np.sin(i) * np.sin(j) * (np.hypot(i - 60, j - 75) < 15)
    for truth in (ndimage.gaussian_filter(water, 1.0), np.full(SHAPE[:2], 40.0)):
        scan, copy = (
            Volume(
                voxels=np.repeat(one[..., None], 3, axis=2).astype(np.float32), affine=np.diag([0.8, 0.8, 3, 1]),
                unit="HU" if modality == "CT" else "a.u.", modality=modality,
            )
            for one in (truth, truth + ripple)
        )  # fmt: skip
        found = judged(scan, copy)
        assert failed(tuple(found.values())) == ()
        assert found["noise"].passed is None
        spot = copy.with_voxels(copy.voxels + 60 * unit * (np.hypot(i - 100, j - 75) < 5)[..., None].astype(np.float32))
        if found["spots"].passed is not None:
            assert judged(scan, spot)["spots"].passed is False


def test_of_two_estimates_of_the_error_the_one_that_is_known_better_decides() -> None:
    figures = {"share": 1.19, "share_three": 1.12, "residual_share": 0.0}
    wide = {"share": (0.83, 1.55), "residual_share": (0.0, 0.1)}
    three = wide | {"share_three": (1.04, 1.19)}
    for intervals, passed in ((wide, None), (three, False), (three | {"share": (0.9, 0.95)}, True)):
        found = error_gates(
            "CT", None, figures | {"share": np.mean(intervals["share"])}, intervals, proven=True, limits=Limits()
        )
        assert found[0].passed is passed


def test_a_photograph_is_held_against_no_limit() -> None:
    picture = Volume(
        voxels=np.random.default_rng(0).uniform(0, 255, (64, 64, 1)).astype(np.float32), affine=np.eye(4),
        unit="grey level", modality="PHOTO",
    )  # fmt: skip
    proof = scan_proof(picture, picture.with_voxels(picture.voxels / 2))
    assert gates(proof, Limits()) == ()
    assert proof.figures.noise_before > proof.figures.noise_after


def test_an_mr_scan_less_its_mean_is_judged_as_the_scan_itself() -> None:
    rng = np.random.default_rng(4)
    i, j = np.mgrid[: SHAPE[0], : SHAPE[1]]
    head = ((i - 80) / 70) ** 2 + ((j - 75) / 60) ** 2 < 1
    quiet = np.where(head, 100 + 20 * np.sign(ndimage.gaussian_filter(rng.normal(size=SHAPE[:2]), 8)), 0.0)
    quiet = ndimage.gaussian_filter(quiet, 0.7)[..., None].repeat(SHAPE[2], axis=2)
    noise = rng.normal(0, 5, (2, *SHAPE))
    noisy = np.hypot(quiet + noise[0], noise[1])

    def verdicts(voxels: np.ndarray, left: np.ndarray) -> dict[str, bool | None]:
        before, after = (
            Volume(voxels=one.astype(np.float32), affine=np.eye(4), unit="a.u.", modality="MR")
            for one in (voxels, left)
        )
        return {name: gate.passed for name, gate in judged(before, after).items()}

    after = quiet + 0.2 * (noisy - quiet)
    itself, centred = verdicts(noisy, after), verdicts((noisy - 60) / 50, (after - 60) / 50)
    assert itself == centred
    assert None not in {itself["numbers"], itself["spots"]}
    assert verdicts((noisy - 60) / 50, (1.05 * after - 60) / 50)["numbers"] is False
