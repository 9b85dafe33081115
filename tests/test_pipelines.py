"""The journeys run from top to bottom, as a person would run them, on scans built here."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import nibabel
import numpy as np
import pytest
import yaml
from scipy.ndimage import gaussian_filter

from medn2n.formats.bundle_dir import read_bundle, shipped_models
from medn2n.recipes import find_recipe
from tests import build, built_photos
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
    scripts = [
        path for path in PIPELINES.glob("*.py") if "sys.argv" in (said := path.read_text()) or "argparse" in said
    ]
    assert [path.stem for path in scripts if f'journey("{path.stem}"' not in text] == []
    assert {path.stem for path in PIPELINES.glob("*.py")} - {path.stem for path in scripts} == {"paper_rows"}


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


def test_reproduce_the_paper_and_its_table(tmp_path: Path) -> None:
    pytest.importorskip("bm3d")
    for n in range(5):
        built_photos.png(tmp_path / "photos" / f"{n}.png", smooth(n, (48, 40)))
    (tmp_path / "heads").mkdir()
    for subject in ("anna", "bert"):
        head_of = np.stack([smooth(n, (60, 300)) for n in range(2)], axis=2).astype(np.float32)
        nibabel.save(nibabel.Nifti1Image(head_of, np.eye(4)), tmp_path / "heads" / f"{subject}_t1.nii.gz")
    small = ["--channels", 3, "--batch", 2, "--patch", 32, "--test-pictures", 2, "--set", "samples.epoch=4"]
    budget = ["--steps", 2, "--seeds", 1, "--jobs", 1, "--device", "cpu", "--rows", "gaussian,mri"]
    call = [tmp_path / "photos", "-o", tmp_path / "out", "--mr", tmp_path / "heads", *small, *budget]
    said = journey("reproduce_paper", *call)
    lines = [line.split("|")[1:4] for line in said.splitlines() if line.startswith("| ")]
    trained = [[row.strip(), run.strip()] for row, run, seeds in lines[1:] if seeds.strip()]
    pairs = [[row, run] for row in ("gaussian", "mri") for run in ("clean", "noisy")]
    others = [["gaussian", run] for run in ("noisy, NAFNet", "noisy, autoencoder of articles")]
    assert [one for one in trained if one not in others] == pairs
    assert [one for one in trained if one in others] == others
    one = json.loads((tmp_path / "out" / "gaussian" / "noisy-seed0.json").read_text())
    judged = json.loads((tmp_path / "out" / "gaussian" / "judged.json").read_text())
    assert (one["steps"], one["seed"], len(one["psnr_of_each"])) == (2, 0, 2)
    # Noise of 25 grey levels; two steps change next to nothing; BM3D helps.
    assert judged["input"] == pytest.approx(20 * np.log10(255 / 25), abs=0.4)
    assert one["psnr"] == pytest.approx(judged["input"], abs=0.3)
    assert one["psnr_mirrored"] == pytest.approx(one["psnr"], abs=0.3)
    assert judged["BM3D"] > judged["input"] + 5
    photos = json.loads((tmp_path / "out" / "photos.json").read_text())
    kept = [group["sha256"] for group in photos["test"]]
    assert (
        kept == sorted(group["sha256"] for split in ("training", "validation", "test") for group in photos[split])[:2]
    )
    slices = json.loads((tmp_path / "out" / "slices.json").read_text())
    assert {Path(group["image"][0]).name[:4] for group in slices["test"]} == {"bert"}
    assert {Path(group["image"][0]).name[:4] for group in slices["training"] + slices["validation"]} == {"anna"}
    # What is stored is not done again: a result that was changed stays so, and shows in the table.
    (tmp_path / "out" / "gaussian" / "noisy-seed0.json").write_text(json.dumps(one | {"psnr": 99.0}))
    assert journey("paper_table", tmp_path / "out") != said
    assert (tmp_path / "out" / "plot.png").stat().st_size > 1000
    # A network that learned nothing yet leaves marks as they are, and the picture around them too.
    network = tmp_path / "out" / "gaussian" / "noisy-seed0"
    said = journey("unseen_marks", network, tmp_path / "out" / "photos.json", "-o", tmp_path / "marks")
    assert said == (tmp_path / "marks" / "marks.md").read_text()
    assert len(said.splitlines()) == 8
    for line in said.splitlines()[2:]:
        inside, outside, likeness = line.split("|")[3:6]
        before, after = map(float, inside.split(" → "))
        assert after == pytest.approx(before, abs=0.3)
        assert float(outside) > 35
        assert float(likeness.split(" → ")[0]) < 0.99
    assert (tmp_path / "marks" / "marks.png").stat().st_size > 1000


def test_a_mark_taken_off_counts_inside_and_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(PIPELINES)
    module = import_module("unseen_marks")
    clean = smooth(0, (120, 100)).astype(float)
    for mark in module.MARKS:
        cover = mark.coverage(clean.shape)
        assert cover.shape == clean.shape
        assert cover.min() >= 0
        assert 0.9 < cover.max() <= 1
        figures, shown = module.judged(mark, clean, lambda _: clean)
        assert figures[1] == figures[2] == 80
        assert figures[4] == pytest.approx(1)
        error = mark.strength * cover * (255 * mark.shade - clean)
        there = mark.strength * cover > 0.02
        assert figures[0] == pytest.approx(-10 * np.log10(np.mean((error[there] / 255) ** 2)))
        assert shown[0] == pytest.approx(clean + error)
        assert np.array_equal(shown[2], clean)
        kept, _ = module.judged(mark, clean, lambda marked: marked)
        assert kept[0] == kept[1]
        assert kept[2] > 50  # what is under 0.02 of a mark counts as outside
        assert kept[3] == kept[4]


def test_workers_end_with_the_journey(tmp_path: Path) -> None:
    """Killed, it leaves no run behind that would go on beside the one that repeats it."""
    script = tmp_path / "killed.py"
    script.write_text(
        "import multiprocessing, os, time\n"
        "from concurrent.futures import ProcessPoolExecutor\n"
        "from reproduce_paper import begin_worker\n"
        "if __name__ == '__main__':\n"
        "    spawn = multiprocessing.get_context('spawn')\n"
        "    pool = ProcessPoolExecutor(1, spawn, begin_worker, ('cpu',))\n"
        "    pool.submit(os.getpid).result()\n"
        "    pool.submit(time.sleep, 3600)\n"
        "    os.kill(os.getpid(), 9)\n"
    )
    environment = os.environ | {"PYTHONPATH": str(PIPELINES)}
    # The pipe of the output closes when the last of them has ended: `run` comes back only then.
    command = [sys.executable, script]
    killed = subprocess.run(command, env=environment, stdout=subprocess.PIPE, check=False, timeout=600)
    assert killed.returncode == -9


def test_counts_lose_their_noise_and_keep_their_mean(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("bm3d")
    monkeypatch.syspath_prepend(PIPELINES)
    rows = import_module("paper_rows")
    counts = np.random.default_rng(0).poisson(2.0, (48, 48)) / 30 * 255  # 17 grey levels
    answer = rows.classical(rows.ROWS["poisson"], counts)
    assert answer.mean() == pytest.approx(counts.mean(), rel=0.02)
    assert answer.std() < counts.std() / 4


def test_what_impulses_teach_is_the_median_and_the_mean_of_such_targets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(PIPELINES)
    clean = np.array([5.0, 60, 100, 180, 250])
    generator = np.random.default_rng(0)
    hit = generator.random((200_000, 5)) < 0.7
    targets = np.where(hit, generator.uniform(0, 255, hit.shape), clean)
    learned = import_module("paper_rows").learned_from_impulses(clean, 0.7)
    assert learned["L1 at best"] == pytest.approx(np.median(targets, axis=0), abs=1.5)
    assert learned["L2 at best"] == pytest.approx(targets.mean(axis=0), abs=1)


def smooth(seed: int, size: tuple[int, int]) -> np.ndarray:
    """A picture of 0 to 255 whose structure is larger than noise."""
    made = np.random.default_rng(seed).normal(size=size).cumsum(axis=0).cumsum(axis=1)
    return np.rint(255 * (made - made.min()) / np.ptp(made)).astype(np.uint8)


@pytest.mark.skipif("ct" not in shipped_models(), reason="no CT model ships with this checkout")
def test_denoise_folder(tmp_path: Path) -> None:
    paths = build.dicom_series(tmp_path / "in" / "ct", slices=2, rows=64, columns=64)
    said = journey("denoise_folder", tmp_path / "in", tmp_path / "out")
    assert "2 files" in said
    assert (tmp_path / "out" / "ct" / paths[0].name).is_file()


@pytest.mark.skipif("ct" not in shipped_models(), reason="no CT model ships with this checkout")
def test_phantom_physics(tmp_path: Path) -> None:
    i, j = np.indices((176, 176))
    water = np.where(np.hypot(i - 87.5, j - 87.5) < 80, 1000.0, 0.0)
    noise = np.random.default_rng(0).normal(size=(10, 176, 176))
    noise = 30 * gaussian_filter(noise, (0, 0.6, 0.6)) / gaussian_filter(noise, (0, 0.6, 0.6)).std()
    np.savez(tmp_path / "repeats.npz", hu=gaussian_filter(water, 0.8) + noise)
    call = [tmp_path, tmp_path / "out", "--offset", 1000, "--insert", 87.5, 87.5, "--radius-mm", 80, "--strength", 0]
    said = journey("phantom_physics", *call)
    assert "10 repeats; disc of 3 mm" in said
    stored = json.loads((tmp_path / "out" / "physics.json").read_text())
    before, same = stored["before"], stored["ct, strength 0"]
    assert before["noise"] == pytest.approx(30, rel=0.05)
    # A Gaussian of 0.8 mm halves the transfer at √(ln 2 / 2) / (π · 0.8).
    assert before["ttf50_per_mm"][0] == pytest.approx(np.sqrt(np.log(2) / 2) / (np.pi * 0.8), rel=0.06)
    assert before["auc"][0] == pytest.approx(0.8, abs=0.06)
    assert same["noise"] == pytest.approx(before["noise"], rel=1e-4)
    assert same["auc_change"][0] == pytest.approx(0, abs=0.003)


def test_common_mark(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    coverage = np.zeros((48, 56))
    coverage[12:30, 20:34] = 0.6
    noise = rng.normal(size=(3, 30, 48, 56))
    fields = sum(gaussian_filter(one, (0, sigma, sigma)) * sigma for one, sigma in zip(noise, (8, 3, 1), strict=True))
    truths = np.clip(128 + 50 * fields / fields.std(), 0, 255)
    for n, truth in enumerate(truths):
        marked = np.round((1 - coverage) * truth + coverage * 255).astype(np.uint8)
        built_photos.png(tmp_path / "marked" / f"{n:02}.png", marked)
    recipe = yaml.safe_load(find_recipe("watermark").read_text(encoding="utf-8"))
    recipe |= {"validate_every": 5, "precision": "32-true", "budgets": {"cpu": {"minutes": 1, "settings": []}}}
    recipe["samples"] |= {"patch": 32, "batch": 2, "epoch": 8}
    recipe["network"]["arguments"] = {"channels": 4, "levels": 2}
    (tmp_path / "watermark").write_text(yaml.safe_dump(recipe))
    said = journey("common_mark", tmp_path / "marked", tmp_path / "out", 0.02, home=tmp_path)
    assert "covers up to 0.6" in said
    mark = built_photos.second_reader(tmp_path / "out" / "mark.png")
    assert mark.shape == pytest.approx((18, 14), abs=2)
    without = built_photos.second_reader(tmp_path / "out" / "unmarked" / "00000.png")
    assert np.abs(without[14:28, 22:32] - truths[0][14:28, 22:32]).mean() < 12  # of 76 that the mark adds
    learned = read_bundle(tmp_path / "out" / "run").info.recipe["corrupt"]
    assert learned["strength"] == pytest.approx([0.42, 0.78], abs=0.1)
    assert learned["shade"][1] == 1
    assert len(list((tmp_path / "out" / "cleaned").glob("*.png"))) == 30
