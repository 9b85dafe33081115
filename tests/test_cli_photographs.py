"""Photographs on the command line: listed, left alone unless a model of photographs is named, then denoised in kind."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from medn2n.formats.manifest import read_manifest
from medn2n.formats.scan import load
from medn2n.training import train_model
from tests import build, built_photos
from tests.command_line import Call, denoise, files_below, statuses
from tests.tiny_training import few


@pytest.fixture(scope="session")
def photo_bundle(make_bundle) -> Path:
    return make_bundle("PHOTO")


@pytest.fixture
def mixed(tmp_path: Path) -> Path:
    """One CT and three photographs, one of which is transparent."""
    folder = tmp_path / "in"
    build.dicom_series(folder / "ct", slices=3, rows=40, columns=40)
    built_photos.png(folder / "a.png", built_photos.numbers("u1", 3, (40, 50)))
    built_photos.tiff(folder / "b.tif", built_photos.numbers("u2", 1, (33, 20)))
    built_photos.png(folder / "c.png", built_photos.numbers("u1", 4))
    return folder


def test_catalogue_lists_photographs(mixed: Path, call: Call) -> None:
    done = call("catalogue", mixed, "--json")
    found = json.loads(done.out)
    assert done.code == 0
    assert sorted((s["format"], s["modality"], s["shape"]) for s in found["series"]) == [
        ("dicom", "CT", [40, 40, 3]), ("photo", "PHOTO", [20, 33, 1]), ("photo", "PHOTO", [50, 40, 3]),
    ]  # fmt: skip
    assert [(item["status"], item["code"]) for item in found["passed_over"]] == [("passed", "PHOTO_ALPHA")]
    assert "PHOTO" in call("catalogue", mixed).out


def test_scans_are_denoised_and_photographs_beside_them_passed_over(
    mixed: Path, tmp_path: Path, call: Call, ct_bundle: Path
) -> None:
    done, record = denoise(call, mixed, tmp_path / "out", ct_bundle)
    assert done.code == 0
    assert statuses(record) == {"done": 1, "passed": 3}
    reasons = {item["code"]: item["reason"] for item in record["series"] if item["status"] == "passed"}
    assert "--model" in reasons["PHOTOGRAPH"]
    assert "alpha" in reasons["PHOTO_ALPHA"]
    assert not [name for name in files_below(tmp_path / "out") if name.endswith((".png", ".tif"))]


def test_photographs_alone_are_no_scans_for_auto(mixed: Path, tmp_path: Path, call: Call) -> None:
    done = call("denoise", mixed / "a.png", tmp_path / "out", "--device", "cpu")
    assert done.code == 4
    assert "passed" in done.out


def test_a_model_of_photographs_denoises_them_in_kind_and_no_scan(
    mixed: Path, tmp_path: Path, call: Call, photo_bundle: Path
) -> None:
    done, record = denoise(call, mixed, tmp_path / "out", photo_bundle)
    by_code = {item["code"]: item["status"] for item in record["series"]}
    assert by_code == {"": "done", "WRONG_MODEL": "refused", "PHOTO_ALPHA": "refused"}
    assert statuses(record)["done"] == 2
    assert done.code == 3
    for name in ("a.png", "b.tif"):
        before, after = built_photos.second_reader(mixed / name), built_photos.second_reader(tmp_path / "out" / name)
        assert (before.shape, before.dtype) == (after.shape, after.dtype)
        assert not np.array_equal(before, after)
    assert {item["unit"] for item in record["series"] if item["status"] == "done"} == {"grey level"}
    again, second = denoise(call, mixed, tmp_path / "out", photo_bundle)
    assert again.code == 3
    assert statuses(second)["already"] == 2
    _, copies = denoise(call, tmp_path / "out", tmp_path / "twice", photo_bundle)
    assert {item["code"] for item in copies["series"] if item["status"] == "passed"} >= {"OWN_OUTPUT"}


def test_black_areas_are_denoised_and_strength_zero_changes_nothing(
    tmp_path: Path, call: Call, photo_bundle: Path
) -> None:
    rows = built_photos.numbers("u1", 1, (40, 40))
    rows[10:30] = 0
    built_photos.png(tmp_path / "in.png", rows)
    denoise(call, tmp_path / "in.png", tmp_path / "out", photo_bundle, "--dtype", "float32")
    assert (load(tmp_path / "out" / "in.tiff").voxels[15:25, 15:25, 0] != 0).any()
    denoise(call, tmp_path / "in.png", tmp_path / "same", photo_bundle, "--strength", 0)
    np.testing.assert_array_equal(built_photos.second_reader(tmp_path / "same" / "in.png"), rows)


def test_a_model_learned_from_corrupted_photographs_denoises_them(tmp_path: Path, call: Call) -> None:
    for n in range(2):
        built_photos.png(tmp_path / "in" / f"{n}.png", built_photos.numbers("u1", 3, (24, 24), seed=n))
    simulated = tmp_path / "simulated"
    assert call("simulate", "corrupt", tmp_path / "in", "-o", simulated, "--kind", "gaussian").code == 0
    recipe = few(modality="PHOTO", scaling={"kind": "fixed", "offset": 127.5, "scale": 255.0}, optimiser={"steps": 4})
    bundle = train_model(recipe, simulated / "manifest.json", tmp_path / "run", device="cpu")
    assert bundle.info.modality == "PHOTO"
    done, record = denoise(call, tmp_path / "in", tmp_path / "out", tmp_path / "run")
    assert done.code == 0
    assert statuses(record) == {"done": 2}


@pytest.mark.parametrize("singles", [False, True])
def test_photographs_are_singles_and_no_repeats_are_looked_for_among_them(
    mixed: Path, tmp_path: Path, call: Call, singles: bool
) -> None:
    done = call("pair", mixed, "-o", tmp_path / "manifest.json", "--no-report", *(["--singles"] if singles else []))
    assert done.code == (0 if singles else 4)
    manifest = read_manifest(tmp_path / "manifest.json")
    groups = [*manifest.training, *manifest.validation, *manifest.test]
    assert sorted(group.modality for group in groups) == (["CT", "PHOTO", "PHOTO"] if singles else [])
    assert all(len(group.image) == 1 and group.check.verdict == "unchecked" for group in groups)


def test_evaluation_counts_photographs_against_white(tmp_path: Path, call: Call, photo_bundle: Path) -> None:
    built_photos.png(tmp_path / "a.png", np.full((48, 48), 100, np.uint8))
    simulated = tmp_path / "simulated"
    assert (
        call("simulate", "corrupt", tmp_path / "a.png", "-o", simulated, "--kind", "gaussian", "--sigma", 25).code == 0
    )
    done = call(
        "evaluate", simulated / "manifest.json", "-o", tmp_path / "out", "--model", photo_bundle, "--split", "training",
    )  # fmt: skip
    assert done.code == 5, done.err  # random weights: more error than before
    assert "limits failed in 1 of 1 scans (error)" in done.out
    result = json.loads((tmp_path / "out" / "results.json").read_text())
    noisy = next(score for score in result["scores"] if score["method"] == "noisy")
    assert noisy["modality"] == "PHOTO"
    assert noisy["psnr_db"] == pytest.approx(20.17, abs=0.3)  # 20·log10(255/25)
    assert noisy["rmse"] == pytest.approx(25 / 255, rel=0.05)
