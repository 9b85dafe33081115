"""`evaluate` on repeats whose truth is known: the error estimated from repeats beside the true one, and its gate."""

from __future__ import annotations

import csv
import html
import json
from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

from medn2n.core.limits import Gate, failed
from medn2n.core.scores import Evaluation, Score
from medn2n.core.volume import Volume
from medn2n.errors import InputError
from medn2n.formats.manifest import Group, Manifest, PairCheck
from medn2n.stages.scans_to_report import evaluate

SHAPE = (160, 160, 3)
SIGMA = 20.0
AFFINE = np.diag([-0.9, -0.9, 3.0, 1.0])


def truth(modality: str) -> np.ndarray:
    i, j, k = np.indices(SHAPE)
    body = np.hypot(i - 79.5, j - 79.5) < 70
    organ = 40.0 * np.sin(i / 5) * np.sin(j / 7 + k)
    return np.where(body, 40.0 + organ, -1000.0) if modality == "CT" else np.where(body, 500.0 + organ, 100.0)


def load(reference: str, *, root: Path, modality: str) -> Volume:
    """ "truth", or the repeat of that number."""
    voxels = truth(modality)
    if reference != "truth":
        voxels = voxels + np.random.default_rng(int(reference)).normal(0, SIGMA, SHAPE)
    return Volume(
        voxels=voxels.astype(np.float32), affine=AFFINE, unit="HU" if modality == "CT" else "a.u.", modality=modality
    )


def group(name: str, images: int, *, modality: str = "MR", verdict: str = "fit", **more: str) -> Group:
    return Group(
        group=name, subject=name, modality=modality, image=[str(n) for n in range(images)],
        check=PairCheck(verdict=verdict), **more,
    )  # fmt: skip


def halved(one: Volume) -> Volume:
    """Half of the noise."""
    return one.with_voxels(((one.voxels + truth(one.modality)) / 2).astype(np.float32))


def soft(one: Volume) -> Volume:
    """Noise that is coarser, and edges as they were."""
    noise = ndimage.gaussian_filter(one.voxels - truth(one.modality), (1, 1, 0))
    return one.with_voxels((truth(one.modality) + noise).astype(np.float32))


def same(one: Volume) -> Volume:
    return one


def harmful(one: Volume) -> Volume:
    """The same waves everywhere, 25 units strong, of which no scan holds any, and half of the noise."""
    waves = 25 * np.sqrt(2) * np.sin(np.arange(SHAPE[0]) / 1.5)[:, None, None]
    return one.with_voxels((halved(one).voxels + waves).astype(np.float32))


METHODS = {"halved": halved, "soft": soft, "same": same, "harmful": harmful}


def judged(output: Path, *groups: Group, **options: object) -> Evaluation:
    options = {"denoisers": METHODS} | options
    return evaluate(
        Manifest(name="m", test=[*groups]), output, baselines=[], output=output, split="test", load=load, **options,
    )  # fmt: skip


@pytest.fixture(scope="module")
def output(tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("error")
    judged(
        output,
        group("ct", 2, modality="CT", truth="truth"),
        group("mr", 3, truth="truth"),
        group("bare", 2),
        denoisers={"halved": halved, "soft": soft},
    )
    return output


def scores(output: Path) -> dict[tuple[str, str], dict]:
    data = json.loads((output / "results.json").read_text(), parse_constant=pytest.fail)
    return {(one["group"], one["method"]): one for one in data["scores"]}


def test_the_estimate_without_truth_agrees_with_the_true_psnr(output: Path) -> None:
    narrow = 0
    for (name, method), one in scores(output).items():
        if name == "bare":
            continue
        low, high = one["interval_95"]["body_psnr_db_estimated"]
        apart = abs(one["body_psnr_db_estimated"] - one["body_psnr_db_true"])
        assert apart <= max(0.1, high - low), (name, method)
        if (high - low) / 2 <= 0.1:
            assert apart <= 0.1, (name, method)
            narrow += 1
        for estimate, true in (("share", "share_true"), ("body_rmse_estimated", "body_rmse_true")):
            low, high = one["interval_95"][estimate]
            assert one[estimate] == pytest.approx(one[true], abs=high - low + 1e-6), (name, method)
    assert narrow >= 4


def test_one_name_is_one_definition(output: Path) -> None:
    """Over the body nothing is clipped, and a truth beside the repeats changes nothing of what they say."""
    by = scores(output)
    beside, bare = by["mr", "halved"], by["bare", "halved"]
    ct = by["ct", "halved"]
    assert ct["body_psnr_db_true"] == pytest.approx(20 * np.log10(400 / (SIGMA / 2)), abs=0.05)
    assert ct["psnr_db"] > ct["body_psnr_db_true"] + 1  # air is clipped away by the window
    assert beside["share_true"] == pytest.approx(0.25, abs=1e-3)
    for name in ("body_psnr_db_estimated", "body_rmse_estimated", "share"):
        assert beside[name] == bare[name]
    assert not {"psnr_db", "rmse", "body_psnr_db_true", "share_true"} & bare.keys()
    assert beside["share_three"] == pytest.approx(0.25, abs=0.02)
    with (output / "results.csv").open(newline="") as file:
        row = next(one for one in csv.DictReader(file) if (one["group"], one["method"]) == ("ct", "halved"))
    assert float(row["body_psnr_db_true"]) == pytest.approx(float(row["body_psnr_db_estimated"]), abs=0.1)


def test_the_page_shows_both_side_by_side_and_says_what_they_are(output: Path) -> None:
    page = (output / "report.html").read_text()
    for words in (
        "CT: error over the body, true and estimated", "PSNR (body, dB), true",
        "PSNR (body, dB), estimated from repeats",
        "Error left, true", "PSNR (−160…240 HU, dB)", "RMSE, all voxels (HU)", "nothing clipped",
        "RMSE (body), estimated (rel.)",
    ):  # fmt: skip
        assert words in page, words


def error_of(score: Score) -> Gate:
    return next(gate for gate in score.gates if gate.name == "error")


def test_more_error_than_the_noisy_scan_has_fails(tmp_path: Path) -> None:
    result = judged(tmp_path, group("truth", 1, truth="truth"), group("repeats", 2), group("alone", 1))
    by = {(one.group, one.method): error_of(one) for one in result.scores}
    for name in ("truth", "repeats"):
        assert [by[name, method].passed for method in METHODS] == [True, True, True, False]
    assert by["truth", "harmful"].value == pytest.approx(0.25 + (25 / SIGMA) ** 2, rel=0.02)
    assert "is 183 % of the noisy scan's over the body" in by["truth", "harmful"].words
    assert "estimated from repeats, is 18" in by["repeats", "harmful"].words
    assert {by["alone", method].passed for method in METHODS} == {None}
    assert result.beyond_limits
    page = (tmp_path / "report.html").read_text()
    assert html.escape(by["truth", "harmful"].words) in page


def test_error_that_grew_around_the_body_alone_fails_too(tmp_path: Path) -> None:
    def outside(one: Volume) -> Volume:
        i, j, _ = np.indices(SHAPE)
        return one.with_voxels(np.where(np.hypot(i - 79.5, j - 79.5) > 75, 50, halved(one).voxels).astype(np.float32))

    (score,) = judged(tmp_path, group("g", 1, truth="truth"), denoisers={"outside": outside}).scores[1:]
    assert score.figures["share_true"] == pytest.approx(0.25, abs=0.01)
    assert error_of(score) in failed(score.gates)


def test_repeats_that_may_share_noise_or_show_another_mean_tell_no_error(tmp_path: Path) -> None:
    unproven, lettered = group("g", 2, verdict="unproven"), group("l", 2, truth="truth", objective="l1")
    result = judged(tmp_path, unproven, lettered, denoisers={"harmful": harmful})
    by = {one.group: one for one in result.scores if one.method == "harmful"}
    assert error_of(by["g"]).passed is None
    assert "independent" in error_of(by["g"]).words
    assert "share" in by["g"].figures
    assert error_of(by["l"]).passed is False
    assert "share" not in by["l"].figures
    assert "share_true" in by["l"].figures


def test_beside_a_truth_one_copy_is_enough(tmp_path: Path) -> None:
    def of(reference: str, *, root: Path, modality: str) -> Volume:
        if root.name != "copies":
            return load(reference, root=root, modality=modality)
        if reference != "0":
            raise InputError("MISSING_FILE", "no such file")
        return halved(load(reference, root=root, modality=modality))

    (tmp_path / "copies").mkdir()
    (tmp_path / "copies" / "0").touch()
    manifest = Manifest(name="m", test=[group("g", 2, truth="truth")])
    result = evaluate(
        manifest, tmp_path, denoisers={}, copies={"vendor": tmp_path / "copies"}, baselines=[], output=tmp_path,
        split="test", load=of,
    )  # fmt: skip
    figures = {one.method: one.figures for one in result.scores}
    assert figures["vendor"]["share_true"] == pytest.approx(0.25, abs=0.01)
    assert "share" not in figures["vendor"]
    assert "share" in figures["noisy"]


def test_a_texture_made_up_in_all_repeats_fails_though_the_error_falls(tmp_path: Path) -> None:
    """Of 0.6 times the noise: the error left is 0.61 of the noisy scan's, and more than half of that comes back."""
    grain = ndimage.gaussian_filter(np.random.default_rng(9).normal(size=SHAPE), (1, 1, 0))
    grain *= 0.6 * SIGMA / grain.std()

    def textured(one: Volume) -> Volume:
        return one.with_voxels((halved(one).voxels + grain).astype(np.float32))

    methods = {"halved": halved, "same": same, "textured": textured}
    result = judged(tmp_path, group("g", 2), group("u", 2, verdict="unproven"), denoisers=methods)
    by = {(one.group, one.method): one for one in result.scores}
    found = {key: next(gate for gate in one.gates if gate.name == "anatomy") for key, one in by.items()}
    assert [found["g", method].passed for method in methods] == [True, True, False]
    assert found["g", "textured"].value == pytest.approx(0.36, abs=0.03)
    assert error_of(by["g", "textured"]).passed
    low, high = by["g", "textured"].intervals["residual_share"]
    assert 0.3 < low < by["g", "textured"].figures["residual_share"] < high < 0.42
    assert found["u", "textured"].passed is None
    assert result.beyond_limits
