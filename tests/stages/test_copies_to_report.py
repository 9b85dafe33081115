"""Copies that were denoised elsewhere: `evaluate` judges them as a method, though it cannot run it."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path

import nibabel
import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from medn2n.cli import main
from medn2n.core.limits import failed
from medn2n.core.scores import Evaluation
from medn2n.core.volume import Volume
from medn2n.errors import InputError, UsageError
from medn2n.formats.evaluation_case import CopiesFolder
from medn2n.formats.manifest import Correction, Group, Manifest, PairCheck
from medn2n.stages.scans_to_report import evaluate
from medn2n.tables import evaluation_table
from medn2n.verbs import evaluate_models

SHAPE = (96, 96, 4)
AFFINE = np.diag([-0.9, -0.9, 3.0, 1.0])


def body() -> np.ndarray:
    i, j, k = np.indices(SHAPE)
    inside = (i - 48) ** 2 + (j - 48) ** 2 < 40**2
    organ = (i - 40) ** 2 + (j - 52 - k) ** 2 < 14**2
    return np.where(inside, 40.0, -1000.0) + np.where(organ, 60.0, 0.0)


def store(path: Path, voxels: np.ndarray, affine: np.ndarray = AFFINE) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(voxels.astype(np.float32), affine), path)


@pytest.fixture
def scans(tmp_path: Path) -> Manifest:
    """A scan with its truth and two repeats of another patient, the second with another gain, in scans/."""
    rng = np.random.default_rng(0)
    store(tmp_path / "scans/truth.nii", body())
    store(tmp_path / "scans/a/one.nii", body() + rng.normal(0, 20, SHAPE))
    store(tmp_path / "scans/b/one.nii", body() + rng.normal(0, 20, SHAPE))
    store(tmp_path / "scans/b/two.nii", 1.25 * (body() + rng.normal(0, 20, SHAPE)))
    corrections = [Correction(), Correction(gain=1.25)]
    return Manifest(
        name="m",
        test=[
            Group(group="g-a", subject="p-a", modality="CT", image=["a/one.nii"], truth="truth.nii"),
            Group(group="g-b", subject="p-b", modality="CT", image=["b/one.nii", "b/two.nii"],
                  corrections=corrections, check=PairCheck(verdict="fit")),
        ],
    )  # fmt: skip


def smoothed(voxels: np.ndarray) -> np.ndarray:
    return gaussian_filter(np.asarray(voxels, np.float32), (1, 1, 0))


def copied(tmp_path: Path, folder: str) -> Path:
    """Copies by `smoothed`, as another program would have written them."""
    for name in ("a/one.nii", "b/one.nii", "b/two.nii"):
        store(tmp_path / folder / name, smoothed(nibabel.load(tmp_path / "scans" / name).get_fdata()))
    return tmp_path / folder


def judged(manifest: Manifest, tmp_path: Path, **options: object) -> Evaluation:
    return evaluate(
        manifest, tmp_path / "scans", denoisers={}, baselines=[], output=tmp_path / "out", **options,  # type: ignore[arg-type]
    )  # fmt: skip


def test_copies_score_as_the_method_that_made_them(scans: Manifest, tmp_path: Path) -> None:
    def method(volume: Volume) -> Volume:
        return volume.with_voxels(smoothed(volume.voxels))

    result = evaluate(
        scans, tmp_path / "scans", denoisers={"run": method}, copies={"vendor": copied(tmp_path, "copies")},
        baselines=[], output=tmp_path / "out",
    )  # fmt: skip
    run, vendor = ({s.group: s for s in result.scores if s.method == name} for name in ("run", "vendor"))
    assert set(run) == set(vendor) == {"g-a", "g-b"}
    for group, score in vendor.items():
        expected = {k: v for k, v in run[group].figures.items() if not k.startswith(("lesion", "auc"))}
        assert score.figures.keys() == expected.keys()
        assert score.figures == pytest.approx(expected, rel=1e-3, abs=1e-3)
        assert math.isnan(score.seconds)
        unasked = [gate for gate in score.gates if gate.name in ("lesions", "detectability")]
        assert len(unasked) == 2
        assert all(gate.passed is None and "elsewhere" in gate.words for gate in unasked)
    assert {gate.name for gate in failed(vendor["g-a"].gates)} >= {"sharpness"}
    assert "vendor" in (tmp_path / "out/report.html").read_text()
    assert "nan" not in evaluation_table(result)
    assert "vendor: limits failed in 2 of 2 scans (" in evaluation_table(result)
    stored = json.loads((tmp_path / "out/results.json").read_text())
    assert all(one["seconds"] is None for one in stored["scores"] if one["method"] == "vendor")
    rows = csv.DictReader((tmp_path / "out/results.csv").read_text().splitlines())
    assert [row["seconds"] for row in rows if row["method"] == "vendor"] == ["", ""]


def test_a_copy_that_is_missing_or_lies_elsewhere_is_refused(scans: Manifest, tmp_path: Path) -> None:
    folder = copied(tmp_path, "copies")
    store(folder / "b/two.nii", body(), np.diag([-0.9, -0.9, 2.5, 1.0]))
    result = judged(scans, tmp_path, copies={"vendor": folder})
    (moved,) = result.refused  # which costs the other group nothing
    assert (moved.group, moved.method, moved.code) == ("g-b", "vendor", "COPY_DIFFERS")
    assert "g-b, scan 2" in moved.reason
    assert "elsewhere" in moved.reason
    assert {score.group for score in result.scores if score.method == "vendor"} == {"g-a"}
    store(folder / "b/two.nii", body()[..., :3])
    assert "found (96, 96, 3)" in judged(scans, tmp_path, copies={"vendor": folder}).refused[0].reason
    holed = smoothed(nibabel.load(tmp_path / "scans/b/two.nii").get_fdata())
    holed[40, 40:42, 1] = np.nan
    store(folder / "b/two.nii", holed)
    assert "found 2 without (NaN)" in judged(scans, tmp_path, copies={"vendor": folder}).refused[0].reason
    (folder / "a/one.nii").unlink()
    (tmp_path / "out/results.json").unlink()
    with pytest.raises(InputError, match=r"g-a, scan 1: .*MISSING_FILE") as missing:
        judged(scans, tmp_path, copies={"vendor": folder})
    assert missing.value.code == "COPY_MISSING"
    assert not (tmp_path / "out/results.json").exists()
    with pytest.raises(UsageError, match="may not be named"):
        judged(scans, tmp_path, copies={"noisy": folder})


def test_the_manifest_may_start_above_the_copied_folder(scans: Manifest, tmp_path: Path) -> None:
    above = scans.model_copy(
        update={
            "test": [
                group.model_copy(update={"image": [f"scans/{name}" for name in group.image], "truth": None})
                for group in scans.test
            ]
        }
    )
    found = CopiesFolder.of(copied(tmp_path, "copies"), above.test)
    assert found.reference("scans/b/two.nii#frame=1") == "b/two.nii#frame=1"
    assert found.reference("scans/b#series=1.2&part=2") == "b#part=2"
    nowhere = CopiesFolder.of(tmp_path / "nowhere", above.test)
    assert nowhere.reference("scans/b/two.nii") == "scans/b/two.nii"
    absolute = [above.test[0].model_copy(update={"image": [str(tmp_path / "scans/a/one.nii")]})]
    assert CopiesFolder.of(tmp_path / "copies", absolute).reference(absolute[0].image[0]) == "a/one.nii"


def test_a_bad_copy_costs_the_other_methods_nothing(scans: Manifest, tmp_path: Path) -> None:
    bad, good = copied(tmp_path, "bad"), copied(tmp_path, "good")
    store(bad / "b/one.nii", np.full(SHAPE, np.nan))
    (bad / "a/one.nii").unlink()
    result = judged(scans, tmp_path, copies={"bad": bad, "good": good})
    assert [(one.group, one.method, one.code) for one in result.refused] == [
        ("g-a", "bad", "COPY_MISSING"), ("g-b", "bad", "COPY_DIFFERS"),
    ]  # fmt: skip
    assert {(one.group, one.method) for one in result.scores} == {
        (group, method) for group in ("g-a", "g-b") for method in ("noisy", "good")
    }
    assert result.beyond_limits
    stored = json.loads((tmp_path / "out/results.json").read_text())
    assert [(one["group"], one["method"], one["code"]) for one in stored["refused"]][1] == (
        "g-b",
        "bad",
        "COPY_DIFFERS",
    )
    assert stored["refused"][1]["reason"].startswith("Group g-b, scan 1: expected a copy with a number")
    page = (tmp_path / "out/report.html").read_text()
    assert "Model bad was refused on 2 of 2 scans: Group g-a, scan 1: its copy" in page
    assert "Model good: limits failed in 2 of 2 scans" in page
    assert "Not judged: bad on g-b (COPY_DIFFERS): Group g-b, scan 1:" in evaluation_table(result)


def test_a_method_with_fewer_scans_is_not_the_best(scans: Manifest, tmp_path: Path) -> None:
    other = scans.test[0].model_copy(update={"group": "g-c", "image": ["c/one.nii"]})
    two = scans.model_copy(update={"test": [scans.test[0], other]})
    store(tmp_path / "scans/c/one.nii", body() + np.random.default_rng(1).normal(0, 20, SHAPE))
    better, worse = tmp_path / "better", copied(tmp_path, "worse")
    store(better / "a/one.nii", body())
    store(worse / "c/one.nii", smoothed(nibabel.load(tmp_path / "scans/c/one.nii").get_fdata()))
    result = judged(two, tmp_path, copies={"better": better, "worse": worse})
    page = (tmp_path / "out/report.html").read_text()
    assert [one.groups for one in result.summaries] == [2, 1, 2]
    assert "Model better (1 of 2 scans)" in page
    assert "against the truth (2 scans): Model worse reaches" in page


def test_refused_wins_over_review_and_both_are_told(
    scans: Manifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from medn2n.formats.manifest import write_manifest

    bad, good = copied(tmp_path, "bad"), copied(tmp_path, "good")
    (bad / "a/one.nii").unlink()
    write_manifest(scans, tmp_path / "scans/m.json")
    codes = []
    for chosen in ({"good": good}, {"bad": bad, "good": good}):
        copies = [f"--copies={name}={folder}" for name, folder in chosen.items()]
        call = ["medn2n", "evaluate", str(tmp_path / "scans/m.json"), *copies, "-o", str(tmp_path / "out")]
        monkeypatch.setattr("sys.argv", call)
        with pytest.raises(SystemExit) as done:
            main()
        codes.append(done.value.code)
    assert codes == [5, 3]
    assert "good: limits failed in 2 of 2 scans" in capsys.readouterr().out
    scores = json.loads((tmp_path / "out/results.json").read_text())["scores"]
    assert any(gate["passed"] is False for one in scores if one["method"] == "good" for gate in one["gates"])


@pytest.mark.parametrize(("outside", "written"), [(-3024.0, 0.0), (np.nan, 0.0), (-3024.0, -1024.0)])
def test_a_copy_that_rewrote_the_padding_is_refused(
    outside: float, written: float, scans: Manifest, tmp_path: Path
) -> None:
    corner = np.zeros(SHAPE, bool)
    corner[:12, :12] = True
    name = "scans/a/one.nii"
    scan = nibabel.load(tmp_path / name).get_fdata()
    store(tmp_path / name, np.where(corner, outside, scan))
    kept, rewritten = tmp_path / "kept", tmp_path / "rewritten"
    store(kept / "a/one.nii", np.where(corner, outside + 0.1, smoothed(scan)))  # as another scaling rounds
    store(rewritten / "a/one.nii", np.where(corner, written, smoothed(scan)))
    alone = scans.model_copy(update={"test": scans.test[:1]})
    result = judged(alone, tmp_path, copies={"kept": kept, "rewritten": rewritten})
    (refusal,) = result.refused
    assert (refusal.method, refusal.code) == ("rewritten", "COPY_DIFFERS")
    assert f"found 576 of its 576 voxels changed ({outside:g} to {written:g} in the first)" in refusal.reason


@pytest.mark.parametrize("named", ["vendor", "=copies", "vendor=nowhere"])
def test_copies_are_named_and_their_folder_exists(named: str, scans: Manifest, tmp_path: Path) -> None:
    from medn2n.formats.manifest import write_manifest

    copied(tmp_path, "copies")
    write_manifest(scans, tmp_path / "m.json")
    with pytest.raises(UsageError, match="expected NAME=FOLDER"):
        evaluate_models(tmp_path / "m.json", tmp_path / "out", models=[], baselines=[], copies=[named])
