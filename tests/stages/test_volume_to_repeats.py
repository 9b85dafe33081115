"""`medn2n simulate`: repeats, truth, manifest and simulation.json, from the command line."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path

import nibabel
import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from medn2n.core.pair_check import check_pair
from medn2n.formats.manifest import read_manifest, verify_files
from tests.command_line import Call, files_below

CT = (72, 64, 3)


def stored(path: Path, voxels: np.ndarray, spacing: tuple[float, float, float] = (2.0, 2.0, 5.0)) -> Path:
    nibabel.save(nibabel.Nifti1Image(voxels.astype(np.float32), np.diag([*spacing, 1.0])), path)
    return path


@pytest.fixture
def ct(tmp_path: Path) -> Path:
    i, j, _ = np.indices(CT)
    body = ((i - 36) / 26) ** 2 + ((j - 32) / 20) ** 2 < 1
    noise = np.random.default_rng(0).normal(0, 12, CT)
    return stored(tmp_path / "scan.nii.gz", np.where(body, 40.0 + noise, -1000.0))


@pytest.fixture
def mr(tmp_path: Path) -> Path:
    i, j, _ = np.indices((64, 60, 3))
    return stored(tmp_path / "scan.nii.gz", np.where(np.hypot(i - 32, j - 30) < 22, 300.0, 0.0))


def simulated(call: Call, scan: Path, modality: str, *options: object) -> tuple[dict, list[dict]]:
    """One series of simulation.json, and the manifest's groups; everything that every simulation must be is checked."""
    out = scan.parent / "made"
    done = call("-q", "simulate", modality, scan, "-o", out, *options)
    assert done.code == 0, done.err
    manifest = read_manifest(out / "manifest.json")
    verify_files(manifest, out)
    record = json.loads((out / "simulation.json").read_text())
    assert record["schema"] == "medn2n.simulation/2"
    (series,) = record["series"]
    for figure in series["figures"]:
        assert figure["name"] in done.out
    for group in manifest.training:
        for name in [*group.image, group.truth]:
            assert nibabel.load(out / name).get_data_dtype() == np.float32
    return series, [group.model_dump() for group in manifest.training]


def voxels(scan: Path, name: str) -> np.ndarray:
    return np.asarray(nibabel.load(scan.parent / "made" / name).dataobj)


def test_what_was_not_measured_is_air(call: Call, mr: Path) -> None:
    image = nibabel.load(mr)
    signal = image.get_fdata()
    signal[:4] = np.nan
    stored(mr, signal)
    _, (group,) = simulated(call, mr, "mr", "--snr", 20)
    assert np.abs(voxels(mr, group["truth"])[:4]).max() < 1e-6
    assert all(np.isfinite(voxels(mr, name)).all() for name in group["image"])


def test_padding_is_no_tissue_to_measure_the_noise_in(call: Call, ct: Path) -> None:
    """A dose follows from the scan's own noise: from that of its tissue, not of its air."""
    scan = nibabel.load(ct).get_fdata()
    air = np.random.default_rng(1).normal(0, 4, scan.shape)
    scan += np.where(scan == -1000, air, 0)
    own = []
    for corner in (-1000, -3024):
        scan[:6, :6] = scan[-6:, -6:] = corner
        stored(ct, scan)
        series, _ = simulated(call, ct, "ct", "--dose", 0.25)
        own.append(series["settings"]["own_noise_hu"])
    assert own[1] == pytest.approx(own[0], rel=0.1)
    assert own[1] == pytest.approx(12, rel=0.25)


@pytest.mark.parametrize(
    "options",
    [
        [],
        ["--geometry", "fan", "--source-mm", 300],
        ["--split", "counts", "--realisations", 2],
        ["--split", "views", "--views", 240],
        ["--projector", "auto", "--kernel", "cosine", "--cutoff", 0.7, "--detector-mm", 1.5],
    ],
    ids=lambda options: " ".join(map(str, options)) or "plain",
)
def test_ct_repeats_come_with_the_truth_and_what_was_measured(call: Call, ct: Path, options: list) -> None:
    views = [] if "--views" in options else ["--views", 120]
    series, (group,) = simulated(call, ct, "ct", "--photons", 3e4, *views, *options)
    expected = 4 if "--realisations" in options else 2
    assert group["image"] == [f"{series['id']}/repeat-{n + 1}.nii.gz" for n in range(expected)]
    assert group["modality"] == "CT"
    figures = {figure["name"]: figure for figure in series["figures"]}
    level = figures["noise in the body"]
    assert level["measured"] == pytest.approx(level["expected"], rel=0.1)
    truth = voxels(ct, group["truth"])
    noise = np.stack([voxels(ct, name) for name in group["image"]]) - truth
    body = truth[..., 1] > -300
    assert float(noise[..., 1][:, body].std()) == pytest.approx(level["expected"], rel=0.15)
    assert float(truth[30:42, 26:38].mean()) == pytest.approx(40, abs=6)
    assert series["settings"]["photons"] == 3e4
    astra = "auto" in options and find_spec("astra") is not None
    assert series["settings"]["projector"] == ("astra" if astra else "own")
    assert ("streaks of fewer views" in figures) == ("views" in options)


def test_a_dose_follows_from_the_scan_s_own_noise(call: Call, ct: Path) -> None:
    series, _ = simulated(call, ct, "ct", "--dose", 0.25, "--views", 120, "--repeats", 4)
    own = series["settings"]["own_noise_hu"]
    assert own == pytest.approx(12, rel=0.15)
    level = next(figure for figure in series["figures"] if figure["name"] == "noise in the body")
    kept = series["settings"]["own_noise_kept_hu"]  # the second reconstruction took some of it
    assert 0 < kept < 0.5 * own  # of white noise, a soft kernel leaves little
    assert level["expected"] ** 2 + kept**2 == pytest.approx(4 * own**2, rel=0.04)
    assert level["measured"] == pytest.approx(level["expected"], rel=0.1)
    assert series["settings"]["dose"] == 0.25


def test_repeats_of_a_noisy_scan_are_no_proven_pair(call: Call, ct: Path) -> None:
    """Little added to much: what the scan has of its own is in all repeats alike, and the manifest says so."""
    voxels_of = np.asarray(nibabel.load(ct).dataobj)
    noise = gaussian_filter(np.random.default_rng(1).normal(size=CT), (1.2, 1.2, 0))
    stored(ct, np.where(voxels_of > -500, 40 + 12 * noise / noise.std(), -1000.0))
    for dose, verdict in ((0.8, "unproven"), (0.1, "fit")):
        series, (group,) = simulated(call, ct, "ct", "--dose", dose, "--views", 120, "--repeats", 2)
        shared = next(one for one in series["figures"] if one["name"] == "correlation of repeats by it")["measured"]
        assert (shared > 0.1) == (verdict == "unproven")
        assert group["check"]["verdict"] == verdict
        assert group["check"]["figures"]["shared_noise"] == pytest.approx(shared)


def test_repeats_that_surely_share_noise_are_unfit_as_the_pair_check_says_too(call: Call, tmp_path: Path) -> None:
    i, j, _ = np.indices((112, 108, 2))
    noise = gaussian_filter(np.random.default_rng(1).normal(size=i.shape), (1.2, 1.2, 0))
    body = np.hypot(i - 56, j - 54) < 50
    ct = stored(tmp_path / "scan.nii.gz", np.where(body, 40 + 12 * noise / noise.std(), -1000.0))
    _, (group,) = simulated(call, ct, "ct", "--photons", 1e6, "--views", 60, "--repeats", 2)
    said = check_pair(*(voxels(ct, name) for name in group["image"]), turn=False)
    assert (said.verdict, said.code) == ("unfit", "SHARED_NOISE")
    assert group["check"]["verdict"] == "unfit"
    assert group["check"]["reason"].endswith(said.reason)


@pytest.mark.parametrize("modality", ["ct", "mr"])
def test_the_same_seed_gives_the_same_files(call: Call, ct: Path, modality: str) -> None:
    options = ["--views", 60] if modality == "ct" else []
    if modality == "mr":
        stored(ct, nibabel.load(ct).get_fdata() + 1000)
    hashes = []
    for seed in (1, 1, 2):
        series, (group,) = simulated(call, ct, modality, *options, "--seed", seed)
        assert series["seed"][0] == seed
        hashes.append(group["sha256"])
    assert hashes[0] == hashes[1] != hashes[2]


@pytest.mark.parametrize("options", [[], ["--coils", 4, "--averages", 2], ["--zero-fill", 0.7]], ids=str)
def test_mr_magnitudes(call: Call, mr: Path, options: list) -> None:
    series, (group,) = simulated(call, mr, "mr", "--snr", 10, "--repeats", 3, *options)
    assert series["settings"]["sigma"] == pytest.approx(30)
    assert min(voxels(mr, name).min() for name in group["image"]) >= 0
    assert len(group["image"]) == 3
    for figure in series["figures"]:
        if figure["name"].startswith("noise in"):
            assert figure["measured"] == pytest.approx(figure["expected"], rel=0.1)


def test_complex_mr_is_a_group_for_each_part(call: Call, mr: Path) -> None:
    series, groups = simulated(call, mr, "mr", "--image", "complex")
    assert [group["group"] for group in groups] == [f"{series['id']}-imaginary", f"{series['id']}-real"]
    assert len({group["subject"] for group in groups}) == 1
    files = files_below(mr.parent / "made")
    for part in ("real", "imaginary"):
        assert {f"{series['id']}/repeat-{n}-{part}.nii.gz" for n in (1, 2)} < set(files)
    assert np.hypot(*(voxels(mr, group["truth"]) for group in groups))[32, 30, 1] == pytest.approx(300, rel=1e-3)


def test_undersampled_mr_has_no_noise_unless_asked(call: Call, mr: Path) -> None:
    series, (group,) = simulated(call, mr, "mr", "--undersample", "bspec")
    assert series["settings"]["sigma"] == 0
    np.testing.assert_allclose(voxels(mr, group["truth"])[32, 30], 300, rtol=1e-4)
    error = series["figures"][0]
    assert error["measured"] == pytest.approx(error["expected"], rel=0.3)


@pytest.mark.parametrize(("views", "warned"), [(32, True), (400, False)])
def test_streaks_of_too_few_views_are_told(call: Call, ct: Path, views: int, warned: bool) -> None:
    done = call("simulate", "ct", ct, "-o", ct.parent / "made", "--split", "views", "--views", views)
    assert done.code == 0
    assert ("Give more --views" in done.err) == warned


def test_json_for_programs(call: Call, mr: Path) -> None:
    done = call("-q", "simulate", "mr", mr, "-o", mr.parent / "made", "--json")
    (series,) = json.loads(done.out)
    assert {"id", "seed", "shape", "settings", "figures"} == set(series)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["ct", "--photons", 1e4, "--dose", 0.5], "contradict"),
        (["ct", "--geometry", "cone"], "geometry: expected one of parallel, fan, found 'cone'."),
        (["ct", "--split", "views", "--repeats", 5], "multiple of the 5 repeats, found 492."),
        (["ct", "--projector", "cuda"], "expected one of own, astra"),
        (["ct", "--dose", 1.0], "dose"),
        (["mr", "--image", "phase"], "found 'phase'."),
        (["mr", "--undersample", "bspec", "--coils", 2], "one coil"),
    ],
)
def test_what_cannot_be_is_one_sentence(call: Call, ct: Path, options: list, said: str) -> None:
    done = call("-q", "simulate", options[0], ct, "-o", ct.parent / "made", *options[1:])
    assert done.code == 2
    assert said in done.err
    assert len(done.err.strip().splitlines()) == 1


def test_a_scan_that_does_not_fit_the_settings_is_refused(call: Call, ct: Path) -> None:
    done = call("-q", "simulate", "ct", ct, "-o", ct.parent / "made", "--geometry", "fan", "--source-mm", 40)
    assert done.code == 3
    assert "the 72 from the axis to the field's edge, found 40." in done.err


def test_a_scan_without_noise_has_no_dose(call: Call, tmp_path: Path) -> None:
    flat = np.full((40, 40, 2), 40.0)
    flat[:4] = -1000
    scan = stored(tmp_path / "flat.nii.gz", flat)
    done = call("-q", "simulate", "ct", scan, "-o", tmp_path / "made", "--dose", 0.5, "--views", 30)
    assert done.code == 3
    assert "Give photons instead" in done.err
