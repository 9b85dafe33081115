"""`evaluate` on a CT phantom with repeats and on a scan alone: lesions, detection, spectra reach files, gates and
page."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

from medn2n.core.volume import Volume
from medn2n.formats.manifest import Group, Manifest, PairCheck
from medn2n.stages.scans_to_report import evaluate
from medn2n.tables import evaluation_table

REPEATS = 8


def phantom(seed: int) -> Volume:
    """Two slices of water in air with noise of 15 HU."""
    noise = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=(160, 160, 2)), (0.6, 0.6, 0))
    i, j = np.indices((160, 160)) - 79.5
    water = np.where(np.hypot(i, j) < 74, 30.0, -1000.0)[..., None]
    voxels = (water + 15 * noise / noise.std()).astype(np.float32)
    return Volume(voxels=voxels, affine=np.diag([-0.9, -0.9, 3.0, 1.0]), unit="HU", modality="CT")


def load(reference: str, *, root: Path, modality: str) -> Volume:
    return phantom(int(reference))


def smoothed(volume: Volume) -> Volume:
    return volume.with_voxels(ndimage.gaussian_filter(volume.voxels, (0.7, 0.7, 0)))


def blind(volume: Volume) -> Volume:
    return volume.with_voxels(ndimage.median_filter(volume.voxels, (11, 11, 1)))


@pytest.fixture(scope="module")
def output(tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("evaluated")

    def group(name: str, images: range) -> Group:
        return Group(group=name, subject=name, modality="CT", image=[str(n) for n in images],
                     check=PairCheck(verdict="fit"))  # fmt: skip

    manifest = Manifest(name="m", test=[group("phantom", range(REPEATS)), group("alone", range(50, 51))])
    models = {"soft": smoothed, "blind": blind}
    result = evaluate(manifest, output, denoisers=models, baselines=[], output=output, split="test", load=load)
    assert "lesion_contrast" not in evaluation_table(result)
    return output


def test_every_figure_reaches_the_files_and_the_gates_tell_the_methods_apart(output: Path) -> None:
    data = json.loads((output / "results.json").read_text(), parse_constant=pytest.fail)
    by = {(one["group"], one["method"]): one for one in data["scores"]}
    soft, lost, noisy = (by["phantom", name] for name in ("soft", "blind", "noisy"))
    assert soft["lesion_count"] >= 1
    assert soft["lesion_contrast"] > 0.9 > lost["lesion_contrast"]
    assert noisy["lesion_contrast"] == pytest.approx(1, abs=1e-3)
    assert soft["auc_before"] == pytest.approx(0.8, abs=0.06)
    assert lost["auc_change"] < -0.05
    assert soft["interval_95"]["auc_change"][0] <= soft["auc_change"] <= soft["interval_95"]["auc_change"][1]
    assert soft["grain_after"] < soft["grain_before"]
    low, high = soft["interval_95"]["body_psnr_db_estimated"]
    assert low < soft["body_psnr_db_estimated"] < high
    assert soft["share_three"] == pytest.approx(soft["share"], rel=0.1)
    gates = {
        name: {gate["name"]: gate["passed"] for gate in by["phantom", name]["gates"]} for name in ("soft", "blind")
    }
    assert gates["soft"]["lesions"]
    assert gates["soft"]["detectability"] is not False
    assert gates["blind"]["detectability"] is False
    alone = {gate["name"]: gate for gate in by["alone", "soft"]["gates"]}
    assert alone["detectability"]["passed"] is None
    assert "too little even area" in alone["detectability"]["words"]
    frequency, power = soft["curves"]["noise_power_after"]
    assert len(frequency) == len(power) > 5
    with (output / "results.csv").open(newline="") as file:
        rows = {(row["group"], row["method"]): row for row in csv.DictReader(file)}
    assert float(rows["phantom", "soft"]["lesion_contrast"]) == pytest.approx(soft["lesion_contrast"])


def test_the_page_says_it_in_plain_words_and_figures(output: Path) -> None:
    page = (output / "report.html").read_text()
    for words in (
        "Model soft, CT with repeats: noise down", "CT with repeats: are lesions kept?", "of their contrast, 0 of",
        "CT with repeats: is a faint disc still found?", "CT alone: is a faint disc still found?",
        "Not measured: too little even area", "CT with repeats: how coarse is the noise that is left?",
        "CT with repeats: was anything but noise removed?", "Uncertainty: Model soft on scan phantom",
        "Detectability", "noise power (HU²·mm²)",
    ):  # fmt: skip
        assert words in page, words
    assert page.count('class="curve curve-1"') >= 3


def test_it_is_the_same_every_time(output: Path, tmp_path: Path) -> None:
    group = Group(group="alone", subject="alone", modality="CT", image=["50"], check=PairCheck(verdict="fit"))
    manifest = Manifest(name="m", test=[group])
    again = evaluate(manifest, tmp_path, denoisers={"soft": smoothed}, baselines=[], output=tmp_path, load=load)
    data = json.loads((output / "results.json").read_text())
    before = next(one for one in data["scores"] if (one["group"], one["method"]) == ("alone", "soft"))
    after = next(one for one in again.scores if one.method == "soft")
    assert after.figures["lesion_contrast"] == before["lesion_contrast"]
