"""The journeys run from top to bottom, as a person would run them, on scans built here."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import nibabel
import numpy as np
import pytest
import yaml

from medn2n.formats.bundle_dir import shipped_models
from medn2n.recipes import find_recipe
from tests import build
from tests.built_repeats import head, repeats

PIPELINES = Path(__file__).parent.parent / "pipelines"


def journey(name: str, *arguments: object, home: Path | None = None) -> str:
    """What a script prints, run in the folder `home`."""
    done = subprocess.run(
        [sys.executable, PIPELINES / f"{name}.py", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        cwd=home,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def scans(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One head, scanned three times in a row: a 4D file."""
    folder = tmp_path_factory.mktemp("scans")
    frames = np.stack(repeats(head((64, 64, 10)), 40, 0, count=3), axis=3)
    nibabel.save(nibabel.Nifti1Image(frames, np.diag([2.0, 2.0, 3.0, 1.0])), folder / "head_bold.nii.gz")
    return folder


def test_every_journey_has_a_test() -> None:
    text = Path(__file__).read_text(encoding="utf-8")
    assert [path.stem for path in PIPELINES.glob("*.py") if f'journey("{path.stem}"' not in text] == []


def test_train_on_your_repeats_and_feed_monai(scans: Path, tmp_path: Path) -> None:
    # A recipe of that name in the folder comes before the one that ships: the same, with a network that learns less.
    recipe = yaml.safe_load(find_recipe("mr_repeats").read_text(encoding="utf-8"))
    recipe |= {"samples": {"patch": 32, "batch": 4, "epoch": 40}, "validate_every": 10}
    recipe["network"]["arguments"] = {"channels": 8, "levels": 3}
    (tmp_path / "mr_repeats").write_text(yaml.safe_dump(recipe))
    journey("train_on_your_repeats", scans, tmp_path, 0.02, home=tmp_path)
    assert (tmp_path / "run" / "bundle" / "configs" / "metadata.json").is_file()
    assert (tmp_path / "evaluation" / "report.html").is_file()
    before, after = (nibabel.load(folder / "head_bold.nii.gz") for folder in (scans, tmp_path / "denoised"))
    assert before.shape == after.shape
    assert np.array_equal(before.affine, after.affine)
    said = journey("noise_pairs_for_monai", tmp_path / "manifest.json")
    assert "(1, 1, 48, 48, 8): noise" in said
    noise = float(said.strip().splitlines()[0].rsplit(" ", 1)[1])
    assert 30 < noise < 50


@pytest.mark.skipif("ct" not in shipped_models(), reason="no CT model ships with this checkout")
def test_denoise_folder(tmp_path: Path) -> None:
    paths = build.dicom_series(tmp_path / "in" / "ct", slices=2, rows=64, columns=64)
    said = journey("denoise_folder", tmp_path / "in", tmp_path / "out")
    assert "2 files" in said
    assert (tmp_path / "out" / "ct" / paths[0].name).is_file()
