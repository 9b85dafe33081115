"""`evaluate` on groups whose scans cannot be compared: each is refused by name, the others are judged."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import nibabel
import numpy as np
import pytest

from medn2n.core.volume import Volume
from medn2n.formats.manifest import Manifest
from medn2n.stages.scans_to_report import evaluate
from tests.command_line import Call
from tests.stages.test_evaluated_error import AFFINE, SHAPE, group, halved
from tests.stages.test_evaluated_error import load as repeat


def load(reference: str, *, root: Path, modality: str) -> Volume:
    """A repeat, or with a word before its number one that is not fit."""
    fault, _, number = reference.rpartition(" ")
    one = repeat(number or reference, root=root, modality=modality)
    if fault == "elsewhere":
        return replace(one, affine=AFFINE + np.eye(4, k=3) * 20)
    if fault == "nothing":
        return one.with_voxels(np.full_like(one.voxels, np.nan))
    if fault == "around":  # numbers outside of the body only
        i, j, _ = np.indices(SHAPE) - 79
        return one.with_voxels(np.where(np.hypot(i, j) < 75, np.float32(np.nan), one.voxels))
    return one


@pytest.mark.parametrize(
    ("images", "code", "said"),
    [
        (["0", "0"], "SAME_DATA", "found one image twice"),
        (["0", "1", "1"], "SAME_DATA", "found one image twice"),
        (["0", "elsewhere 1"], "OTHER_GRID", "in one place and of one spacing"),
        (["0", "nothing 1"], "NO_VOXELS", "that all of its scans measured"),
        (["0", "around 1"], "NO_VOXELS", "voxels of the body"),
    ],
)
@pytest.mark.parametrize("beside", ["repeats", "truth"])
def test_a_group_is_refused_by_name_and_the_others_are_judged(
    tmp_path: Path, images: list[str], code: str, said: str, beside: str
) -> None:
    bad = group("bad", 2).model_copy(update={"image": images})
    if beside == "truth" and code != "SAME_DATA":
        bad = bad.model_copy(update={"image": images[1:], "truth": images[0]})
    elif beside == "truth":
        bad = bad.model_copy(update={"truth": "truth"})
    result = evaluate(
        Manifest(name="m", test=[bad, group("good", 2)]), tmp_path, denoisers={"halved": halved}, baselines=[],
        output=tmp_path, split="test", load=load,
    )  # fmt: skip
    (refused,) = result.refused
    assert (refused.group, refused.method, refused.code) == ("bad", "", code)
    assert said in refused.reason
    assert {score.group for score in result.scores} == {"good"}
    assert f"bad ({code})" in (tmp_path / "report.html").read_text()


@pytest.fixture
def manifest(call: Call, tmp_path: Path) -> Path:
    """Of two stored repeats, with their sha256."""
    folder = tmp_path / "scans" / "sub-01" / "anat"
    folder.mkdir(parents=True)
    for number in (1, 2):
        voxels = repeat(str(number), root=tmp_path, modality="MR").voxels
        nibabel.save(nibabel.Nifti1Image(voxels, AFFINE), folder / f"sub-01_run-{number}_T1w.nii.gz")
    call("pair", tmp_path / "scans", "-o", tmp_path / "m.json", "--no-report")
    return tmp_path / "m.json"


def test_scans_that_are_not_those_of_the_manifest_are_refused(call: Call, tmp_path: Path, manifest: Path) -> None:
    ours = ["evaluate", manifest, "-o", tmp_path / "out", "--baseline", "gaussian"]
    assert call(*ours).code == 0
    one, other = sorted((tmp_path / "scans").rglob("*.nii.gz"))
    one.write_bytes(other.read_bytes())
    done = call(*ours)
    assert done.code == 3
    assert "The file is not the one the manifest was made from" in done.err


def test_an_output_that_is_a_file_is_said_before_the_work(call: Call, tmp_path: Path, manifest: Path) -> None:
    (tmp_path / "file").write_text("mine")
    done = call("evaluate", manifest, "-o", tmp_path / "file", "--baseline", "gaussian")
    assert (done.code, (tmp_path / "file").read_text()) == (2, "mine")
    assert "expected a folder" in done.err
    assert "Evaluated" not in done.err + done.out


def test_models_of_one_name_are_told_apart_and_one_given_twice_is_refused(
    call: Call, tmp_path: Path, manifest: Path, mr_bundle: Path
) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "bundle").symlink_to(mr_bundle)
        (tmp_path / name / "run").mkdir()
        (tmp_path / name / "run" / "bundle").symlink_to(mr_bundle)
    runs = [tmp_path / name / "run" for name in ("a", "b")]
    done = call("evaluate", manifest, "-o", tmp_path / "out", "--model", runs[0], "--model", runs[1])
    assert done.code in (0, 5), done.err
    with (tmp_path / "out" / "results.csv").open() as lines:
        assert {row["method"] for row in csv.DictReader(lines)} == {"noisy", "a/run", "b/run"}
    assert json.loads((tmp_path / "out" / "results.json").read_text())["models"] == ["a/run", "b/run"]
    done = call("evaluate", manifest, "-o", tmp_path / "twice", "--model", runs[0], "--model", runs[0])
    assert done.code == 2
    assert "found one twice" in done.err
