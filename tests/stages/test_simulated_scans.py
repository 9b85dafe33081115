"""Which scans `medn2n simulate` takes, in which order of axes, and what it leaves in OUTPUT."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel
import numpy as np
import pytest

from medn2n.formats.manifest import read_manifest
from tests import build
from tests.command_line import Call, Outcome, files_below

QUICK = ("--views", 60)
MM = np.array([-2.0, -2.0, 4.0])


def ct_voxels(shape: tuple[int, int, int] = (56, 48, 12)) -> np.ndarray:
    """A body in air, with its own noise and a rod beside the middle."""
    i, j, _ = np.indices(shape)
    noise = np.random.default_rng(0).normal(0, 3, shape)
    body = ((i - 28) / 22) ** 2 + ((j - 24) / 18) ** 2 < 1
    return np.where(body, 40 + 300 * (np.hypot(i - 34, j - 24) < 4) + noise, -1000.0)


def stored(path: Path, voxels: np.ndarray, affine: np.ndarray | None = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    affine = np.diag([*MM, 1.0]) if affine is None else affine
    nibabel.save(nibabel.Nifti1Image(voxels.astype(np.float32), affine), path)
    return path


def made(call: Call, scan: Path, *options: object, modality: str = "ct", name: str = "made") -> Path:
    out = scan.parent / name
    done = call("-q", "simulate", modality, scan, "-o", out, *(QUICK if modality == "ct" else ()), *options)
    assert done.code == 0, done.err
    return out


def refused(done: Outcome, code: int, said: str) -> None:
    assert (done.code, len(done.err.strip().splitlines())) == (code, 1), done.err
    assert said in done.err


def images(out: Path) -> dict[str, nibabel.Nifti1Image]:
    (group,) = read_manifest(out / "manifest.json").training
    return {Path(name).name: nibabel.load(out / name) for name in [*group.image, str(group.truth)]}


@pytest.mark.parametrize("order", [(2, 0, 1), (1, 2, 0), (0, 2, 1)])
def test_a_scan_with_other_axes_is_measured_in_axial_slices(call: Call, tmp_path: Path, order: tuple) -> None:
    axial = images(made(call, stored(tmp_path / "a" / "scan.nii.gz", ct_voxels())))
    affine = np.diag([*MM, 1.0])[:, [*order, 3]]
    turned = images(made(call, stored(tmp_path / "b" / "scan.nii.gz", ct_voxels().transpose(order), affine)))
    for name, image in axial.items():
        np.testing.assert_array_equal(turned[name].affine, affine)
        found = turned[name].get_fdata().transpose(np.argsort(order))
        if order != (1, 2, 0):  # in which rows and columns change places, and so the views of a draw
            np.testing.assert_array_equal(found, image.get_fdata())
        assert float((found - image.get_fdata())[20:36, 16:32].mean()) == pytest.approx(0, abs=2)
    noise = [one["repeat-1.nii.gz"].get_fdata() - one["truth.nii.gz"].get_fdata() for one in (axial, turned)]
    assert noise[1].std() == pytest.approx(noise[0].std(), rel=0.05)
    record = json.loads((tmp_path / "b" / "made" / "simulation.json").read_text())
    assert record["series"][0]["settings"]["slices_along"] == "IJK"[order.index(2)]


def test_oblique_slices_and_oblong_pixels_are_refused(call: Call, tmp_path: Path) -> None:
    turn = np.eye(4)
    turn[1:3, 1:3] = [[np.cos(0.75), -np.sin(0.75)], [np.sin(0.75), np.cos(0.75)]]
    scan = stored(tmp_path / "scan.nii.gz", ct_voxels(), turn @ np.diag([*MM, 1.0]))
    refused(call("-q", "simulate", "ct", scan, "-o", tmp_path / "made", *QUICK), 3, "43° off the axial plane")
    stored(scan, ct_voxels(), np.diag([2.0, 2.1, 4.0, 1.0]))
    refused(call("-q", "simulate", "ct", scan, "-o", tmp_path / "made", *QUICK), 3, "2 × 2.1 mm, expected squares")
    stored(scan, ct_voxels()[:6])
    refused(call("-q", "simulate", "ct", scan, "-o", tmp_path / "made", *QUICK), 3, "6 × 48 voxels")
    assert not (tmp_path / "made").exists()


def test_a_tilted_gantry_is_axial(call: Call, tmp_path: Path) -> None:
    affine = np.diag([*MM, 1.0])
    affine[:3, 1] = -2 * np.array([0, np.cos(0.5), np.sin(0.5)])  # 29°
    made(call, stored(tmp_path / "scan.nii.gz", ct_voxels(), affine))


def test_tissue_in_the_corners_is_measured(call: Call, tmp_path: Path) -> None:
    scan = stored(tmp_path / "scan.nii.gz", 20 + np.random.default_rng(0).normal(0, 20, (40, 40, 2)))
    found = images(made(call, scan, "--repeats", 3))
    assert min(float(image.get_fdata().min()) for image in found.values()) > -700
    (group,) = read_manifest(tmp_path / "made" / "manifest.json").training
    noise = [found[f"repeat-{n}.nii.gz"].get_fdata() - found["truth.nii.gz"].get_fdata() for n in (1, 2, 3)]
    assert group.noise_sigma[0] == pytest.approx(float(np.std(noise)), rel=0.02)
    assert np.std(noise, axis=0).min() > 0


@pytest.mark.parametrize("verb", [("ct", *QUICK), ("corrupt", "--kind", "gaussian")])
def test_uneven_slices_are_refused_as_nifti_cannot_say_them(call: Call, tmp_path: Path, verb: tuple) -> None:
    build.dicom_series(tmp_path / "in", steps_mm=[5, 5, 2, 2, 2.5], rows=40, columns=40)
    done = call("-q", "simulate", verb[0], tmp_path / "in", "-o", tmp_path / "out", *verb[1:])
    refused(done, 3, "slices lie unevenly, which NIfTI cannot say.")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("verb", ["mr", "corrupt"])
@pytest.mark.parametrize("place", ["same", "same/below", "same/../same", "file.nii.gz"])
def test_output_is_never_taken_for_input(call: Call, tmp_path: Path, verb: str, place: str) -> None:
    stored(tmp_path / "same" / "sub-1_T1w.nii.gz", np.maximum(ct_voxels(), 0))
    more = ("--kind", "gaussian") if verb == "corrupt" else ()
    done = call("-q", "simulate", verb, tmp_path / "same", "-o", tmp_path / place, *more)
    refused(done, 2, "OUTPUT is a file." if place == "file.nii.gz" else "OUTPUT is INPUT or lies inside it.")
    assert files_below(tmp_path) == ["same/sub-1_T1w.nii.gz"]


def test_a_derivative_may_lie_in_its_bids_dataset(call: Call, tmp_path: Path) -> None:
    stored(tmp_path / "sub-01" / "anat" / "sub-01_T1w.nii.gz", np.maximum(ct_voxels(), 0))
    (tmp_path / "dataset_description.json").write_text('{"Name": "x", "BIDSVersion": "1.9.0", "DatasetType": "raw"}')
    done = call("-q", "simulate", "mr", tmp_path, "-o", tmp_path / "derivatives" / "made")
    assert done.code == 0, done.err


def test_fewer_repeats_leave_no_earlier_ones(call: Call, tmp_path: Path) -> None:
    scan = stored(tmp_path / "sub-1_T1w.nii.gz", np.maximum(ct_voxels(), 0))
    out = made(call, scan, "--repeats", 5, "--image", "complex", modality="mr")
    assert len(files_below(out)) == 12 + 2
    (folder,) = [path for path in out.iterdir() if path.is_dir()]
    (folder / "notes.txt").write_text("mine")
    made(call, scan, "--repeats", 2, modality="mr")
    names = {"repeat-1.nii.gz", "repeat-2.nii.gz", "truth.nii.gz", "notes.txt"}
    assert {path.name for path in folder.iterdir()} == names
    for kind, left in (("bernoulli", names | {"valid-1.nii.gz", "valid-2.nii.gz"}), ("gaussian", names)):
        done = call("-q", "simulate", "corrupt", scan, "-o", out, "--kind", kind, "--modality", "mr")
        assert done.code == 0, done.err
        assert {path.name for path in folder.iterdir()} == left


def test_repeats_of_other_scans_are_in_the_way(call: Call, tmp_path: Path) -> None:
    out = made(call, stored(tmp_path / "sub-1_T1w.nii.gz", np.maximum(ct_voxels(), 0)), modality="mr")
    before = files_below(out)
    other = stored(tmp_path / "sub-2_T1w.nii.gz", np.maximum(ct_voxels(), 0))
    for verb in (("mr",), ("corrupt", "--kind", "gaussian")):
        done = call("-q", "simulate", verb[0], other, "-o", out, *verb[1:])
        refused(done, 2, "OUTPUT holds repeats of 1 other series")
    assert files_below(out) == before


@pytest.mark.parametrize(("modality", "scale"), [("ct", (1, 1000)), ("mr", (1, 0))])
def test_an_unlabelled_scan_of_the_other_modality_is_refused(
    call: Call, tmp_path: Path, modality: str, scale: tuple
) -> None:
    scan = stored(tmp_path / "scan.nii.gz", np.maximum(scale[0] * ct_voxels() + scale[1], scale[1] - 1000))
    done = call("-q", "simulate", modality, scan, "-o", tmp_path / "made")
    refused(done, 3, "the file does not say whether it is CT or MR, and its lowest value is")
    said = tmp_path / f"sub-1_{'ct' if modality == 'ct' else 'T1w'}.nii.gz"
    scan.rename(said)
    made(call, said, modality=modality)


def test_small_undershoots_of_a_resampled_mr_are_no_hu(call: Call, tmp_path: Path) -> None:
    made(call, stored(tmp_path / "scan.nii.gz", ct_voxels().clip(-20, 500)), modality="mr")


def test_a_scan_without_signal_is_refused(call: Call, tmp_path: Path) -> None:
    scan = stored(tmp_path / "sub-1_T1w.nii.gz", np.zeros((20, 20, 2)))
    refused(call("-q", "simulate", "mr", scan, "-o", tmp_path / "made"), 3, "there is no signal to measure")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["mr", "--snr", "inf"], "--snr"),
        (["mr", "--snr", "nan"], "--snr"),
        (["mr", "--seed", "-1"], "--seed"),
        (["ct", "--photons", "1e19"], "--photons"),
        (["ct", "--electronic", "inf"], "--electronic"),
        (["ct", "--source-mm", "inf", "--geometry", "fan"], "source_mm: expected a finite number, found inf."),
        (["corrupt", "--kind", "bernoulli", "--p", "1"], "expected 0 ≤ low ≤ high ≤ 0.99, found 1, 1."),
        (["corrupt", "--kind", "text", "--p", "0.2,1"], "expected 0 ≤ low ≤ high ≤ 0.99, found 0.2, 1."),
        (["corrupt", "--kind", "gaussian", "--black", "0", "--white", "inf"], "--black must lie below --white"),
    ],
)
def test_settings_have_limits(call: Call, tmp_path: Path, options: list[str], said: str) -> None:
    scan = stored(tmp_path / "scan.nii.gz", ct_voxels())
    done = call("-q", "simulate", options[0], scan, "-o", tmp_path / "made", *options[1:])
    assert done.code == 2
    assert said in done.err
    assert not (tmp_path / "made").exists()


def test_counts_have_a_truth_that_their_mean_is_the_mean_of(call: Call, tmp_path: Path) -> None:
    voxels = np.random.default_rng(0).normal(-1000, 40, (60, 60, 2))
    scan = stored(tmp_path / "scan.nii.gz", voxels)
    options = ("--kind", "poisson", "--chi", 30, "--modality", "ct", "--repeats", 6)
    done = call("simulate", "corrupt", scan, "-o", tmp_path / "made", *options)
    assert done.code == 0, done.err
    assert " % of the voxels lie below black (-1000)" in done.err
    (group,) = read_manifest(tmp_path / "made" / "manifest.json").training
    assert group.check.figures["below_black"] == pytest.approx(0.5, abs=0.02)
    found = images(tmp_path / "made")
    truth = found.pop("truth.nii.gz").get_fdata()
    np.testing.assert_allclose(truth, np.maximum(voxels, -1000), atol=1e-3)
    off = np.mean([image.get_fdata() - truth for image in found.values()])
    assert abs(off) < 4 * group.noise_sigma[0] / np.sqrt(6 * truth.size)
    low = call("simulate", "corrupt", scan, "-o", tmp_path / "made", *options, "--black", -2000, "--white", 1000)
    assert "below black" not in low.err
    np.testing.assert_allclose(images(tmp_path / "made")["truth.nii.gz"].get_fdata(), voxels, atol=1e-3)
