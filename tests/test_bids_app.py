"""The BIDS App, called as schedulers call it: participants apart, at once, again; then the group."""

from __future__ import annotations

import csv
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests import built_bids
from tests.command_line import NO_LIMITS, Outcome, files_below

ROOT = Path(__file__).parent.parent
APP = ROOT / "pipelines" / "bids_app"


def start(*arguments: object) -> subprocess.Popen[str]:
    command = [sys.executable, str(APP / "run.py"), *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def app(*arguments: object) -> Outcome:
    job = start(*arguments)
    out, err = job.communicate()
    return Outcome(job.returncode, out, err)


def table(output: Path) -> list[dict[str, str]]:
    with (output / "logs" / "group_noise.tsv").open(newline="") as file:
        return list(csv.DictReader(file, delimiter="\t"))


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("app") / "raw"
    built_bids.dataset(folder)
    return folder


@pytest.fixture(scope="module")
def out(raw: Path, mr_bundle: Path) -> Path:
    """The derivative that two jobs filled at the same time."""
    options = ("--skip_bids_validation", "--limits", NO_LIMITS, "--model", mr_bundle, "--device", "cpu", "--threads", 1)
    folder = raw.parent / "out"
    jobs = [start(raw, folder, "participant", "--participant_label", label, *options) for label in ("01", "sub-02")]
    for job in jobs:
        _, err = job.communicate()
        assert job.returncode == 0, err
    return folder


def test_two_jobs_at_once_fill_one_valid_dataset(out: Path) -> None:
    assert [name for name in files_below(out) if name.endswith(".nii.gz")] == built_bids.DENOISED
    assert {"sub-01/medn2n.json", "sub-02/medn2n.json"} <= {*files_below(out)}
    assert built_bids.faults(out) == []


def test_the_group_level_tells_the_noise_of_every_image(raw: Path, out: Path) -> None:
    done = app(raw, out, "group")
    assert done.code == 0
    assert "11 images of 2 participants" in done.out
    rows = table(out)
    assert sorted(row["filename"] for row in rows) == built_bids.DENOISED
    record = json.loads((out / "sub-01" / "medn2n.json").read_text())
    denoised = [item for item in record["series"] if item["outputs"]]
    noise = {item["outputs"][0]: (item["noise_before"], item["noise_after"]) for item in denoised}
    assert len(noise) == 9
    for row in rows:
        assert row["status"] in ("done", "already")
        assert row["session_id"] == ("n/a" if row["participant_id"] == "sub-01" else row["filename"].split("/")[1])
        before, after = float(row["noise_before"]), float(row["noise_after"])
        assert (before, after) == noise.get(row["filename"], (before, after))
        assert float(row["noise_left"]) == pytest.approx(after / before, abs=1e-4)
    described = json.loads((out / "logs" / "group_noise.json").read_text())
    assert set(described) == set(rows[0])
    assert built_bids.faults(out) == []


def test_a_session_and_a_valid_dataset_are_asked_for(raw: Path, tmp_path: Path, mr_bundle: Path) -> None:
    done = app(raw, tmp_path / "out", "participant", "--session_label", "b", "--model", mr_bundle, "--strength", 0.5)
    assert done.code == 0, done.err
    images = [name for name in files_below(tmp_path / "out") if name.endswith(".nii.gz")]
    assert images == ["sub-02/ses-b/anat/sub-02_ses-b_desc-denoised_T1w.nii.gz"]
    assert built_bids.faults(tmp_path / "out") == []
    assert app(raw, tmp_path / "out", "group").code == 0
    assert [row["participant_id"] for row in table(tmp_path / "out")] == ["sub-02"]


def test_a_participant_without_images_does_not_count(tmp_path: Path, mr_bundle: Path) -> None:
    raw = tmp_path / "raw"
    built_bids.dataset(raw)
    built_bids.text(raw / "sub-03" / "beh" / "sub-03_task-x_beh.tsv", "trial\n1\n")
    options = ("--skip_bids_validation", "--limits", NO_LIMITS, "--model", mr_bundle, "--no-report")
    assert app(raw, tmp_path / "out", "participant", "--participant_label", "03", *options).code == 4
    assert app(raw, tmp_path / "out", "participant", "--participant_label", "03", "02", *options).code == 0
    assert built_bids.faults(tmp_path / "out") == []


def test_a_dataset_that_is_not_valid_is_not_touched(tmp_path: Path) -> None:
    built_bids.image(tmp_path / "raw" / "sub-01" / "anat" / "sub-01_T1w.nii.gz")
    assert "no dataset_description.json" in app(tmp_path / "raw", tmp_path / "out", "participant").err
    built_bids.text(tmp_path / "raw" / "dataset_description.json", '{"Name": "x", "BIDSVersion": "1.10.0"}')
    built_bids.text(tmp_path / "raw" / "sub-01" / "anat" / "sub-01_T1w.txt", "in the way")
    done = app(tmp_path / "raw", tmp_path / "out", "participant")
    assert done.code == 2
    assert "not a valid BIDS dataset" in done.err
    assert not (tmp_path / "out").exists()


def test_wrong_calls_end_with_2_and_nothing_to_tell_with_4(raw: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    out, skip = tmp_path / "out", "--skip_bids_validation"
    assert app(raw, out, "participant", skip, "--participant_label", "09").code == 2
    assert app(raw, out, "participant", skip, "--session_label", "z").code == 2
    assert app(raw, out, "everything").code == 2
    assert app(raw, out, "participant", skip, "--participant_label", "02", "--no-such-option").code == 2
    assert app(raw, out, "group").code == 4
    assert files_below(out) == []


def test_the_container_recipe_names_what_is_here() -> None:
    recipe = (APP / "Dockerfile").read_text(encoding="utf-8")
    (entry,) = re.findall(r'ENTRYPOINT \["python", "/medn2n/(.+)"\]', recipe)
    assert (ROOT / entry).is_file()
    assert "bids-validator-deno" in recipe
