"""`medn2n denoise` as other programs read it: the files, medn2n.json, statuses, the same call again."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel
import numpy as np
import pydicom
import pytest

from tests import build
from tests.command_line import Call, denoise, files_below, statuses


def test_a_folder_of_dicom_in_a_folder_of_dicom_out(call: Call, tmp_path: Path, ct_bundle: Path) -> None:
    paths = build.dicom_series(tmp_path / "in" / "study" / "ct", rows=40, columns=36)
    done, _ = denoise(call, tmp_path / "in", tmp_path / "out", ct_bundle)
    assert done.code == 0
    assert files_below(tmp_path / "out") == sorted(
        ["medn2n.json", "report.html", *(f"study/ct/{path.name}" for path in paths)]
    )
    folders = (tmp_path / "in", tmp_path / "out")
    before, after = (pydicom.dcmread(folder / "study" / "ct" / paths[0].name) for folder in folders)
    assert before.PatientName == after.PatientName
    assert before.StudyInstanceUID == after.StudyInstanceUID
    assert before.SeriesInstanceUID != after.SeriesInstanceUID
    assert before.ImagePositionPatient == after.ImagePositionPatient
    assert not np.array_equal(before.pixel_array, after.pixel_array)
    assert "1 done" in done.out
    assert "not a medical device" in done.out


def test_medn2n_json_has_its_schema(call: Call, tmp_path: Path, ct_bundle: Path) -> None:
    build.dicom_series(tmp_path / "in", rows=40, columns=36)
    done, record = denoise(call, tmp_path / "in", tmp_path / "out", ct_bundle, "--json", "--strength", 0.5)
    assert json.loads(done.out) == record
    assert set(record) == {"schema", "medn2n_version", "notice", "series"}
    assert record["schema"] == "medn2n.run/1"
    (series,) = record["series"]
    assert set(series) == {
        "id", "status", "files", "code", "reason", "modality", "model", "model_sha256", "parameters",
        "source_fingerprint", "outputs", "noise_before", "noise_after", "mean_shift", "unit", "gates", "clipped_voxels",
        "voxels", "seconds",
    }  # fmt: skip
    assert (series["status"], series["modality"], series["model"], series["unit"]) == ("done", "CT", "tiny-ct", "HU")
    assert series["parameters"]["strength"] == 0.5
    assert series["voxels"] == 40 * 36 * 6
    assert len(series["files"]) == len(series["outputs"]) == 6
    assert not any(name.startswith("/") for name in [*series["files"], *series["outputs"]])
    assert len(series["model_sha256"]) == len(series["source_fingerprint"]) == 64


def test_the_same_call_again_finds_it_done_and_another_strength_does_not(
    call: Call, tmp_path: Path, ct_bundle: Path
) -> None:
    build.dicom_series(tmp_path / "in", rows=40, columns=36)
    done, record = denoise(call, tmp_path / "in", tmp_path / "out", ct_bundle)
    still_open = record["series"][0]["reason"]
    assert still_open.startswith("Not measured: ")  # so small a scan is
    assert still_open in done.out
    assert still_open in (tmp_path / "out/report.html").read_text()
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").glob("*.dcm")}
    for _ in range(2):
        done, record = denoise(call, tmp_path / "in", tmp_path / "out", ct_bundle)
        assert (done.code, statuses(record)) == (0, {"already": 1})
        assert record["series"][0]["reason"] == f"Made earlier by the same model and parameters. {still_open}"
    assert before == {path: path.stat().st_mtime_ns for path in (tmp_path / "out").glob("*.dcm")}
    done, record = denoise(call, tmp_path / "in", tmp_path / "out", ct_bundle, "--strength", 0.5)
    assert (done.code, statuses(record)) == (0, {"done": 1})
    next(iter(before)).unlink()
    done, record = denoise(call, tmp_path / "in", tmp_path / "out", ct_bundle, "--strength", 0.5)
    assert (done.code, statuses(record)) == (0, {"done": 1})
    assert len(list((tmp_path / "out").glob("*.dcm"))) == 6


WRITTEN_NOW = ("InstanceCreationDate", "InstanceCreationTime", "SeriesDate", "SeriesTime", "ContentDate", "ContentTime")


def test_the_same_call_elsewhere_gives_the_same_files_but_for_the_time(
    call: Call, tmp_path: Path, ct_bundle: Path
) -> None:
    build.dicom_series(tmp_path / "in", rows=40, columns=36)
    for name in ("one", "two"):
        denoise(call, tmp_path / "in", tmp_path / name, ct_bundle)
    for path in (tmp_path / "one").glob("*.dcm"):
        first, second = pydicom.dcmread(path), pydicom.dcmread(tmp_path / "two" / path.name)
        for keyword in WRITTEN_NOW:
            delattr(first, keyword)
            delattr(second, keyword)
        assert first == second
        assert first.file_meta == second.file_meta


def test_nifti_takes_its_modality_from_the_model_named_or_the_option(
    call: Call, tmp_path: Path, mr_bundle: Path
) -> None:
    (tmp_path / "in").mkdir()
    build.nifti(tmp_path / "in" / "a.nii.gz")
    done, record = denoise(call, tmp_path / "in", tmp_path / "out", mr_bundle)
    assert (done.code, record["series"][0]["modality"]) == (0, "MR")
    assert (tmp_path / "out" / "a.nii.gz").is_file()
    done = call("denoise", tmp_path / "in", tmp_path / "auto")
    assert done.code == 3
    assert "--modality" in done.said


def test_a_masked_scan_with_nan_outside_is_denoised_inside(call: Call, tmp_path: Path, mr_bundle: Path) -> None:
    voxels = np.random.default_rng(0).normal(100, 10, (40, 40, 3)).astype(np.float32)
    voxels[:10] = np.nan
    (tmp_path / "in").mkdir()
    nibabel.save(nibabel.Nifti1Image(voxels, np.eye(4)), tmp_path / "in" / "a.nii")
    done, record = denoise(call, tmp_path / "in", tmp_path / "out", mr_bundle)
    assert (done.code, statuses(record)) == (0, {"done": 1})
    written = np.asarray(nibabel.load(tmp_path / "out" / "a.nii").dataobj)
    assert np.array_equal(np.isnan(written), np.isnan(voxels))
    assert "NaN" not in (tmp_path / "out" / "medn2n.json").read_text()


def test_relative_paths_mean_the_same(
    call: Call, tmp_path: Path, ct_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build.dicom_series(tmp_path / "in", rows=40, columns=36)
    (tmp_path / "mr").mkdir()
    build.nifti(tmp_path / "mr" / "a.nii")
    monkeypatch.chdir(tmp_path)
    for scans, count in (("in", 6), ("in/slice001.dcm", 1), ("mr/a.nii", 1)):
        output = Path("out") / scans.replace("/", "-").replace(".", "-")
        done, record = denoise(call, Path(scans), output, ct_bundle)
        assert (done.code, statuses(record)) == (0, {"done": 1})
        assert len(record["series"][0]["outputs"]) == count
        assert all((output / name).is_file() for name in record["series"][0]["outputs"])


def test_dry_run_writes_nothing(call: Call, tmp_path: Path, ct_bundle: Path) -> None:
    build.dicom_series(tmp_path / "in")
    done, _ = denoise(call, tmp_path / "in", tmp_path / "out", ct_bundle, "--dry-run")
    assert done.code == 0
    assert "would be denoised" in done.out
    assert not (tmp_path / "out").exists()


def test_no_report(call: Call, tmp_path: Path, ct_bundle: Path) -> None:
    build.dicom_series(tmp_path / "in")
    denoise(call, tmp_path / "in", tmp_path / "out", ct_bundle, "--no-report")
    assert not (tmp_path / "out" / "report.html").exists()


def test_dicom_options_reach_the_copy_and_other_ones_make_another(call: Call, tmp_path: Path, ct_bundle: Path) -> None:
    build.dicom_series(tmp_path / "in", slices=1)
    options = ["--equipment", "full", "--keep-private", "ACME PRIVATE"]
    _, record = denoise(call, tmp_path / "in", tmp_path / "out", ct_bundle, *options)
    copy = pydicom.dcmread(tmp_path / "out" / record["series"][0]["outputs"][0])
    assert copy.private_block(0x0019, "ACME PRIVATE")[0x01].value == "noise of the original"
    assert copy.ContributingEquipmentSequence[0].SoftwareVersions.startswith("medn2n")
    assert statuses(denoise(call, tmp_path / "in", tmp_path / "out", ct_bundle, *options)[1]) == {"already": 1}
    assert statuses(denoise(call, tmp_path / "in", tmp_path / "out", ct_bundle)[1]) == {"done": 1}


def test_a_copy_in_which_many_voxels_were_clipped_is_for_review(call: Call, tmp_path: Path, ct_bundle: Path) -> None:
    plan = build.SeriesPlan(slices=2, rows=32, columns=32, signed=False, bits_stored=11)  # its numbers reach 2047
    for path in build.dicom_series(tmp_path / "in", plan):
        dataset = pydicom.dcmread(path)
        dataset.PixelData = (dataset.pixel_array % 48 + 2000).astype("uint16").tobytes()
        dataset.save_as(path)
    for _ in range(2):  # a repeated call does not take the doubt away
        done, record = denoise(call, tmp_path / "in", tmp_path / "out", ct_bundle)
        assert done.code == 5
        (series,) = record["series"]
        assert (series["status"], series["code"]) == ("review", "CLIPPED")
        assert series["clipped_voxels"] > 1e-4 * series["voxels"]


def test_other_limits_judge_a_copy_anew(call: Call, tmp_path: Path, ct_bundle: Path) -> None:
    build.dicom_series(tmp_path / "in", rows=40, columns=36)
    (tmp_path / "strict.yaml").write_text("noise_left: 1.0e-9\nscope: false\n")
    strict = ("--limits", tmp_path / "strict.yaml")
    found = []
    for limits in ((), (), strict, strict, ()):
        done, record = denoise(call, tmp_path / "in", tmp_path / "out", ct_bundle, *limits)
        found.append((done.code, record["series"][0]["status"]))
    review = (5, "review")
    assert found == [(0, "done"), (0, "already"), review, review, (0, "done")]
    assert record["series"][0]["parameters"]["limits"]["scope"] is False
