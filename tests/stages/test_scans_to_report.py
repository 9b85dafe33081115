"""`evaluate` on small scans whose truth is known, through NIfTI files."""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path

import nibabel
import numpy as np
import pytest

from medn2n.core.classical import FILTERS
from medn2n.core.evaluation import single_scan_figures
from medn2n.core.packaged_filters import BASELINES
from medn2n.core.volume import Volume
from medn2n.errors import InputError, UsageError
from medn2n.formats.manifest import Group, Manifest, PairCheck
from medn2n.stages.scans_to_report import (
    DenoisedSeries,
    denoise_report,
    evaluate,
    slice_pairs,
)
from medn2n.tables import evaluation_table

SHAPE = (64, 64, 3)


def truth(modality: str) -> np.ndarray:
    i, j, k = np.indices(SHAPE)
    body = (i - 32) ** 2 + (j - 32) ** 2 < 26**2
    organ = (i - 26) ** 2 + (j - 36 - k) ** 2 < 9**2
    values = np.where(body, 40.0, -1000.0) + np.where(organ, 60.0, 0.0)
    return values if modality == "CT" else np.where(body, 600.0, 20.0) + np.where(organ, 200.0, 0.0)


def load(reference: str, *, root: Path, modality: str) -> Volume:
    image = nibabel.load(root / reference)
    return Volume(
        voxels=np.asarray(image.dataobj, dtype=np.float32),
        affine=np.asarray(image.affine),
        unit="HU" if modality == "CT" else "a.u.",
        modality=modality,
    )


def store(root: Path, name: str, voxels: np.ndarray) -> str:
    nibabel.save(nibabel.Nifti1Image(voxels.astype(np.float32), np.diag([-1.0, -1.0, 2.0, 1.0])), root / name)
    return name


@pytest.fixture
def groups(tmp_path: Path) -> dict[str, Group]:
    """CT with truth, MR repeats, MR repeats that a check refused, a lone MR scan: each of its own subject."""
    generator = np.random.default_rng(0)
    found = {}
    for name, modality, count in (
        ("ct-1", "CT", 1),
        ("ct-2", "CT", 1),
        ("mr-1", "MR", 2),
        ("mr-2", "MR", 2),
        ("mr-3", "MR", 1),
        ("mr-4", "MR", 2),
    ):
        clean = truth(modality)
        images = [
            store(tmp_path, f"{name}-{number}.nii", clean + generator.normal(0, 30, SHAPE)) for number in range(count)
        ]
        found[name] = Group(
            group=name,
            subject=f"p-{name}",
            modality=modality,  # type: ignore[arg-type]
            image=images,
            truth=store(tmp_path, f"{name}-truth.nii", clean) if modality == "CT" else None,
            check=PairCheck(verdict="unfit" if name == "mr-4" else "fit"),
        )
    return found


def perfect(volume: Volume) -> Volume:
    return volume.with_voxels(truth(volume.modality).astype(np.float32))


def test_every_method_is_scored_on_every_group_by_what_the_group_offers(
    tmp_path: Path, groups: dict[str, Group]
) -> None:
    manifest = Manifest(
        name="m",
        training=[groups["ct-1"], groups["mr-1"]],
        validation=[groups[name] for name in ("ct-2", "mr-2", "mr-3", "mr-4")],
    )
    lines: list[str] = []
    result = evaluate(
        manifest,
        tmp_path,
        denoisers={"oracle": perfect},
        baselines=["gaussian", "tv"],
        output=tmp_path / "out",
        load=load,
        progress=lines.append,
    )
    assert result.split == "validation"
    asked = {(score.group, score.question) for score in result.scores}
    assert asked == {("ct-2", "truth"), ("mr-2", "repeats"), ("mr-3", "single"), ("mr-4", "single")}
    by = {(score.group, score.method): score for score in result.scores}
    assert len(by) == 4 * 4
    assert by["ct-2", "oracle"].figures["psnr_db"] == np.inf
    assert by["ct-2", "tv"].figures["psnr_db"] > by["ct-2", "noisy"].figures["psnr_db"] + 5
    assert by["mr-2", "noisy"].figures["share"] == pytest.approx(1)
    assert by["mr-2", "oracle"].figures["share"] == pytest.approx(0, abs=0.05)
    low, high = by["mr-2", "oracle"].intervals["share"]
    assert low < 0.02
    assert high > -0.02
    assert 0 < by["mr-2", "gaussian"].figures["share"] < 1
    assert by["mr-3", "oracle"].figures["noise_left"] < 0.2
    assert {key: one.chosen_on for key, one in result.tuning.items()} == {
        "CT": "another split",
        "MR": "another split",
    }
    assert len(lines) == 4

    data = json.loads((tmp_path / "out" / "results.json").read_text(), parse_constant=pytest.fail)
    assert data["schema"] == "medn2n.evaluation/1"
    assert len(data["scores"]) == 16
    with (tmp_path / "out" / "results.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["method"] for row in rows} == {"noisy", "gaussian", "tv", "oracle"}
    assert result.report == str(tmp_path / "out" / "report.html")
    page = (tmp_path / "out" / "report.html").read_text()
    assert "Model oracle" in page
    assert str(tmp_path) not in page
    assert ".nii" not in page


def test_without_another_split_the_first_scan_tunes_and_the_result_says_so(
    tmp_path: Path, groups: dict[str, Group]
) -> None:
    manifest = Manifest(name="m", test=[groups["ct-1"], groups["mr-3"]])
    result = evaluate(manifest, tmp_path, denoisers={}, baselines=["median"], output=tmp_path / "out", load=load)
    assert result.split == "test"
    assert result.tuning["CT"].chosen_on == "the first scan evaluated"
    assert result.tuning["MR"].chosen_on == "default"
    assert result.tuning["MR"].strengths == {"median": FILTERS["median"].default}


def test_a_scan_that_cannot_be_loaded_tunes_nothing_and_costs_nothing(tmp_path: Path, groups: dict[str, Group]) -> None:
    other = {"group": "other", "subject": "p-other"}
    lost = groups["ct-1"].model_copy(update=other | {"image": ["nowhere.nii.gz"], "truth": "nowhere.nii.gz"})
    there = groups["ct-1"].model_copy(update=other)
    manifest = Manifest(name="m", training=[lost, there], test=[groups["ct-1"]])

    def strict(reference: str, *, root: Path, modality: str) -> Volume:
        if "nowhere" in reference:
            raise InputError("MISSING_FILE", "no such file")
        return load(reference, root=root, modality=modality)

    result = evaluate(
        manifest, tmp_path, denoisers={}, baselines=["median"], output=tmp_path / "out", split="test", load=strict
    )
    assert result.tuning["CT"].chosen_on == "another split"
    assert len(result.scores) == 2


def test_what_cannot_be_evaluated_is_refused_before_anything_is_written(
    tmp_path: Path, groups: dict[str, Group]
) -> None:
    out = tmp_path / "out"
    manifest = Manifest(name="m", test=[groups["ct-1"]])
    with pytest.raises(UsageError, match="Unknown baseline bm5d"):
        evaluate(manifest, tmp_path, denoisers={}, baselines=["bm5d"], output=out, load=load)
    with pytest.raises(UsageError, match="may not be named"):
        evaluate(manifest, tmp_path, denoisers={"tv": perfect}, baselines=["tv"], output=out, load=load)
    with pytest.raises(UsageError, match="names no scans"):
        evaluate(Manifest(name="m"), tmp_path, denoisers={}, baselines=[], output=out, load=load)
    other = store(tmp_path, "other.nii", np.zeros((8, 8, 2)))
    unlike = groups["mr-1"].model_copy(update={"image": [groups["mr-1"].image[0], other]})
    with pytest.raises(InputError, match="3D scans of one shape"):
        evaluate(Manifest(name="m", test=[unlike]), tmp_path, denoisers={}, baselines=[], output=out, load=load)
    assert not out.exists()


def test_a_baseline_that_is_not_installed_is_refused_by_name_and_all_takes_the_others(
    tmp_path: Path, groups: dict[str, Group], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only the filters that need no package are there."""
    monkeypatch.setattr("importlib.util.find_spec", lambda _package: None)
    manifest = Manifest(name="m", training=[groups["ct-1"]], test=[groups["ct-2"]])
    with pytest.raises(UsageError, match=r"bm3d \(BM3D\) needs .* pip install 'medn2n\[baselines\]'"):
        evaluate(manifest, tmp_path, denoisers={}, baselines=["tv", "bm3d"], output=tmp_path / "no", load=load)
    assert not (tmp_path / "no").exists()
    out = tmp_path / "out"
    result = evaluate(manifest, tmp_path, denoisers={}, baselines=["all"], output=out, split="test", load=load)
    assert set(result.tuning["CT"].strengths) == set(FILTERS)
    assert result.left_out == ("bm3d", "bm4d", "mppca", "anlm")
    assert json.loads((out / "results.json").read_text())["left_out"] == list(result.left_out)
    assert "Left out because they are not installed: BM3D, BM4D, MP-PCA" in (out / "report.html").read_text()
    assert "Not installed, left out: bm3d, bm4d" in evaluation_table(result)


def test_a_filter_of_all_repeats_at_once_is_scored_without_the_repeat_that_scores_it(tmp_path: Path) -> None:
    pytest.importorskip("dipy")
    generator, signal = np.random.default_rng(0), truth("MR")[8:40, 8:40, :6] + 200
    names = [store(tmp_path, f"{n}.nii", signal + generator.normal(0, 20, signal.shape)) for n in range(8)]
    together = Group(group="g", subject="p", modality="MR", image=names, check=PairCheck(verdict="fit"))
    manifest = Manifest(name="m", test=[together])
    out = tmp_path / "out"
    result = evaluate(manifest, tmp_path, denoisers={}, baselines=["mppca"], output=out, split="test", load=load)
    by = {score.method: score for score in result.scores}
    assert list(by) == ["noisy", "mppca", "mppca-together"]
    seven = np.stack([np.asarray(nibabel.load(tmp_path / name).dataobj) for name in names[:7]], axis=-1)
    left = BASELINES["mppca"](seven, 3, 0.0) - signal[..., None]
    share, (low, high) = (getattr(by["mppca-together"], what)["share"] for what in ("figures", "intervals"))
    assert share == pytest.approx(np.mean(left[signal > 300] ** 2) / 20**2, abs=0.02)
    assert low < share < high < 0.2
    assert share < by["mppca"].figures["share"]
    told = {"share", "body_rmse_estimated", "body_psnr_db_estimated"}
    assert set(by["mppca-together"].figures) == told == set(by["mppca-together"].intervals)
    assert not by["mppca-together"].gates
    assert "MP-PCA, all repeats at once" in (out / "report.html").read_text()
    assert "mppca-together" in evaluation_table(result)
    few = Manifest(name="m", test=[together.model_copy(update={"image": names[:5]})])
    result = evaluate(few, tmp_path, denoisers={}, baselines=["mppca"], output=out, split="test", load=load)
    assert [score.method for score in result.scores] == ["noisy", "mppca"]
    named = {"mppca-together": perfect}
    with pytest.raises(UsageError, match="may not be named"):
        evaluate(few, tmp_path, denoisers=named, baselines=["mppca"], output=out, split="test", load=load)


def test_windows_tissues_patients_numbers_and_costs_reach_the_files_and_the_page(
    tmp_path: Path, groups: dict[str, Group]
) -> None:
    same = groups["ct-2"].model_copy(update={"subject": groups["ct-1"].subject})
    manifest = Manifest(name="m", test=[groups["ct-1"], same, groups["mr-2"]])
    out = tmp_path / "out"
    result = evaluate(manifest, tmp_path, denoisers={"oracle": perfect}, baselines=["tv"], output=out, load=load)
    data = json.loads((out / "results.json").read_text())
    by = {(one["modality"], one["method"]): one for one in data["summary"]}
    noisy, tv = by["CT", "noisy"], by["CT", "tv"]
    assert tv["mean"]["psnr_db/abdomen"] > noisy["mean"]["psnr_db/abdomen"] + 3
    assert tv["worst"]["psnr_db/abdomen"] <= tv["mean"]["psnr_db/abdomen"]
    assert noisy["mean"]["rmse/soft tissue/inside"] == pytest.approx(30, rel=0.1)
    assert abs(by["CT", "oracle"]["mean"]["ct_number_shift/soft tissue"]) < 3
    assert by["MR", "oracle"]["mean"]["signal_share/bright"] == pytest.approx(1, abs=0.02)
    assert noisy["mean"]["ct_number_shift/air"] == 0
    patients = {(one["subject"], one["method"]): one for one in data["patients"]}
    assert patients["p-ct-1", "tv"]["groups"] == 2
    assert patients["p-ct-1", "tv"]["mean"]["rmse"] == pytest.approx(tv["mean"]["rmse"])
    with (out / "results.csv").open(newline="") as file:
        row = next(one for one in csv.DictReader(file) if (one["group"], one["method"]) == ("ct-1", "tv"))
    assert float(row["rmse/soft tissue/edge"]) > 0
    page = (out / "report.html").read_text()
    for words in ("Chest: level -600, width 1500 HU", "Soft tissue: -30 to 150 HU", "CT numbers kept", "signal kept",
                  "Each patient", "MB / scan"):  # fmt: skip
        assert words in page, words
    assert [one.peak_bytes is None for one in result.scores] == [sys.platform != "linux"] * len(result.scores)


def test_padding_passes_through_a_classical_filter(tmp_path: Path, groups: dict[str, Group]) -> None:
    def padded(reference: str, *, root: Path, modality: str) -> Volume:
        volume = load(reference, root=root, modality=modality)
        voxels, padding = volume.voxels.copy(), np.zeros(SHAPE, dtype=bool)
        padding[:4] = True
        voxels[padding] = -3024
        return Volume(voxels=voxels, affine=volume.affine, unit="HU", modality="CT", padding=padding)

    manifest = Manifest(name="m", training=[groups["ct-1"]], test=[groups["ct-2"]])
    result = evaluate(
        manifest,
        tmp_path,
        denoisers={},
        baselines=["gaussian"],
        output=tmp_path / "out",
        split="test",
        load=padded,
    )
    figures = {score.method: score.figures for score in result.scores}
    assert figures["gaussian"]["rmse"] < figures["noisy"]["rmse"]
    assert abs(figures["gaussian"]["bias"]) < 5


def test_a_denoise_run_leaves_its_page(tmp_path: Path, groups: dict[str, Group]) -> None:
    before = load(groups["ct-1"].image[0], root=tmp_path, modality="CT")
    after = perfect(before)
    entry = DenoisedSeries(
        id="s-1",
        status="done",
        model="ct",
        modality="CT",
        unit="HU",
        figures=single_scan_figures(before, after),
        pairs=slice_pairs(before, after, number=3),
    )
    path = denoise_report([entry], tmp_path / "out")
    assert path.name == "report.html"
    assert path.stat().st_size < 1_000_000
