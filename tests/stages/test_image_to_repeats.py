"""`medn2n simulate corrupt`: independent float copies, the truth, and a manifest that MONAI and training read."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from monai.data import load_decathlon_datalist
from monai.transforms import LoadImaged

from medn2n.config import parse_recipe
from medn2n.core.corruption import Gaussian, corrupt
from medn2n.errors import InputError
from medn2n.formats.manifest import Group, read_manifest, verify_files
from medn2n.formats.monai_reader import ScanReader
from medn2n.formats.scan import load
from medn2n.stages.repeats_to_samples import check_objective, load_cases
from tests import build, built_photos
from tests.command_line import Call


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    (folder / "more").mkdir(parents=True)
    built_photos.png(folder / "grey.png", built_photos.numbers("u1", 1, (40, 50)))
    built_photos.tiff(folder / "more" / "colour.tif", built_photos.numbers("u2", 3, (30, 20)))
    return folder


def groups(output: Path) -> list[Group]:
    manifest = read_manifest(output / "manifest.json")
    verify_files(manifest, output)
    return list(manifest.training)


def test_photographs(photos: Path, tmp_path: Path, call: Call) -> None:
    out = tmp_path / "out"
    done = call("simulate", "corrupt", photos, "-o", out, "--kind", "gaussian", "--sigma", "25", "--repeats", 3)
    assert done.code == 0, done.err
    found = groups(out)
    assert sorted(load(out / str(group.truth)).voxels.shape for group in found) == [(20, 30, 3), (50, 40, 1)]
    for group in found:
        truth = load(out / str(group.truth)).voxels.astype(np.float64)
        noise = [load(out / name).voxels - truth for name in group.image]
        assert [float(one.std()) for one in noise] == pytest.approx([25] * 3, rel=0.06)
        assert group.noise_sigma == pytest.approx([np.sqrt(np.mean(one**2)) for one in noise], rel=1e-5)
        assert group.check.figures["sigma_2"] == 25
        assert abs(np.corrcoef(noise[0].ravel(), noise[1].ravel())[0, 1]) < 0.08
        copies = np.stack([load(out / name).voxels for name in group.image])
        assert copies.min() < 0
        assert copies.max() > 255  # never clipped
        assert (group.modality, len(group.image)) == ("PHOTO", 3)
    truths = {load(out / str(group.truth)).voxels.shape[2]: group for group in found}
    np.testing.assert_array_equal(
        load(out / str(truths[1].truth)).voxels[:, :, 0].T, built_photos.numbers("u1", 1, (40, 50))
    )
    datalist = load_decathlon_datalist(str(out / "manifest.json"), data_list_key="training", base_dir=str(out))
    stacked = LoadImaged("image", reader=ScanReader(modality="PHOTO"), image_only=True)(datalist[0])["image"]
    assert stacked.shape[0] == 3


def test_another_file_beside_it_and_a_repeated_call_change_nothing(photos: Path, tmp_path: Path, call: Call) -> None:
    for name in ("one", "two"):
        assert call("simulate", "corrupt", photos, "-o", tmp_path / name, "--kind", "text").code == 0
    (photos / "grey.png").unlink()
    assert call("simulate", "corrupt", photos, "-o", tmp_path / "three", "--kind", "text").code == 0
    one, two, three = ({g.group: g.sha256 for g in groups(tmp_path / name)} for name in ("one", "two", "three"))
    assert one == two
    assert len(three) == 1
    assert three.items() <= one.items()
    assert call("simulate", "corrupt", photos, "-o", tmp_path / "four", "--kind", "text", "--seed", 1).code == 0
    assert groups(tmp_path / "four")[0].sha256 != groups(tmp_path / "three")[0].sha256


def test_bernoulli_masks_lie_beside(photos: Path, tmp_path: Path, call: Call) -> None:
    assert (
        call("simulate", "corrupt", photos, "-o", tmp_path / "out", "--kind", "bernoulli", "--p", "0.3,0.6").code == 0
    )
    for group in groups(tmp_path / "out"):
        truth = load(tmp_path / "out" / str(group.truth)).voxels
        assert not group.noise_sigma
        assert (group.objective, "paper_bernoulli" in group.check.reason) == ("masked_l2", True)
        for n, name in enumerate(group.image, start=1):
            kept = load(tmp_path / "out" / group.group / f"valid-{n}.tiff").voxels
            assert 0.3 < 1 - kept.mean() < 0.65
            np.testing.assert_allclose(load(tmp_path / "out" / name).voxels, truth * kept, rtol=1e-6)


def test_scans_have_their_own_levels_and_slices_their_own_draws(tmp_path: Path, call: Call) -> None:
    build.dicom_series(tmp_path / "in" / "ct", rows=40, columns=30)
    build.nifti(tmp_path / "in" / "sub-1_T1w.nii.gz", shape=(30, 20, 4), dtype=np.uint8)
    assert (
        call("simulate", "corrupt", tmp_path / "in", "-o", tmp_path / "out", "--kind", "impulse", "--p", "0.5").code
        == 0
    )
    found = {group.modality: group for group in groups(tmp_path / "out")}
    for modality, limits in (("CT", (-1000.0, 1000.0)), ("MR", (0.0, 255.0))):
        group = found[modality]
        volume, truth = load(tmp_path / "out" / group.image[0]), load(tmp_path / "out" / str(group.truth))
        np.testing.assert_allclose(volume.affine, truth.affine)
        replaced = volume.voxels != truth.voxels
        assert replaced.mean() == pytest.approx(0.5, abs=0.05)
        assert not np.array_equal(replaced[..., 0], replaced[..., 1])
        new = volume.voxels[replaced]
        assert limits[0] <= new.min() < limits[0] + 0.02 * (limits[1] - limits[0])
        assert limits[1] - 0.02 * (limits[1] - limits[0]) < new.max() <= limits[1] + 1


def test_sigma_in_the_scan_s_own_unit(tmp_path: Path, call: Call) -> None:
    build.dicom_series(tmp_path / "ct", rows=40, columns=30)
    done = call(
        "simulate", "corrupt", tmp_path / "ct", "-o", tmp_path / "out", "--kind", "gaussian", "--sigma", 40,
        "--black", 0, "--white", 255, "--repeats", 1,
    )  # fmt: skip
    assert done.code == 0
    assert groups(tmp_path / "out")[0].noise_sigma == pytest.approx([40], rel=0.05)


def test_a_given_mark_is_laid_on(photos: Path, tmp_path: Path, call: Call) -> None:
    built_photos.png(tmp_path / "mark.png", np.full((8, 8), 255, np.uint8))
    done = call(
        "simulate", "corrupt", photos / "grey.png", "-o", tmp_path / "out", "--kind", "watermark", "--mark",
        tmp_path / "mark.png", "--strength", 1, "--shade", 1, "--size", 0.5,
    )  # fmt: skip
    assert done.code == 0, done.err
    (group,) = groups(tmp_path / "out")
    assert float((load(tmp_path / "out" / group.image[0]).voxels == 255).mean()) > 0.03


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--kind", "gaussian", "--chi", 3], "chi: corrupt kind gaussian takes sigma only"),
        (["--kind", "gaussian", "--sigma", "a,b"], "one number"),
        (["--kind", "gaussian", "--sigma", "9,3"], "low ≤ high"),
        (["--kind", "gaussian", "--black", 3], "go together"),
        (["--kind", "gaussian", "--black", 3, "--white", 3], "below"),
        (["--kind", "blur"], "blur"),
        (["--kind", "watermark", "--mark", "none.png"], "does not exist"),
    ],
)
def test_what_means_nothing_is_a_usage_error(
    photos: Path, tmp_path: Path, call: Call, options: list, said: str
) -> None:
    done = call("simulate", "corrupt", photos, "-o", tmp_path / "out", *options)
    assert done.code == 2
    assert said in done.err
    assert not (tmp_path / "out").exists()


def test_a_scan_of_unknown_kind_needs_its_modality(tmp_path: Path, call: Call) -> None:
    build.nifti(tmp_path / "a.nii.gz", shape=(16, 16, 3))
    refused = call("simulate", "corrupt", tmp_path / "a.nii.gz", "-o", tmp_path / "out", "--kind", "gaussian")
    assert refused.code == 2
    assert "--modality" in refused.err
    arguments = ("simulate", "corrupt", tmp_path / "a.nii.gz", "-o", tmp_path / "out", "--kind", "gaussian")
    assert call(*arguments, "--modality", "mr").code == 0
    (tmp_path / "empty").mkdir()
    assert call("simulate", "corrupt", tmp_path / "empty", "-o", tmp_path / "out", "--kind", "gaussian").code == 4


def test_a_draw_is_that_of_the_library() -> None:
    """What the command writes can be made in a script too."""
    image = np.full((5, 4, 3), 100.0)
    first = corrupt(image, Gaussian(sigma=(3, 3)), np.random.default_rng(7), colour=True)
    again = corrupt(image, Gaussian(sigma=(3, 3)), np.random.default_rng(7), colour=True)
    np.testing.assert_array_equal(first.image, again.image)


@pytest.mark.parametrize(
    ("kind", "objective", "refused"),
    [("text", "l2", True), ("text", "l1", False), ("watermark", "annealed_l0", False), ("impulse", "l1", True),
     ("bernoulli", "masked_l2", True), ("gaussian", "l2", False)],
)  # fmt: skip
def test_repeats_whose_mean_is_not_the_picture_ask_for_their_objective(
    kind: str, objective: str, refused: bool, photos: Path, tmp_path: Path, call: Call
) -> None:
    out = tmp_path / "out"
    assert call("simulate", "corrupt", photos, "-o", out, "--kind", kind).code == 0
    grey = [group for group in groups(out) if load(out / group.image[0]).voxels.shape[2] == 1]
    made = parse_recipe(
        {"name": "t", "modality": "PHOTO", "pairs": "repeats", "objective": objective,
         "scaling": {"kind": "fixed", "offset": 127.5, "scale": 255.0}, "samples": {"patch": 32}}
    )  # fmt: skip
    assert len(load_cases(grey, out, made)) == 1
    if not refused:
        check_objective(grey[0], made)
        return
    with pytest.raises(InputError, match=f"Group .*{kind}") as found:
        check_objective(grey[0], made)
    assert found.value.code == "OTHER_OBJECTIVE"


def test_decoded_repeats_are_refused_to_another_objective_too(photos: Path, tmp_path: Path, call: Call) -> None:
    """Neither RUN/cache nor a prepared file lets an objective pass that would learn something else."""
    data, recipe = tmp_path / "out" / "manifest.json", tmp_path / "text.yaml"
    assert call("simulate", "corrupt", photos, "-o", data.parent, "--kind", "text").code == 0
    recipe.write_text(
        "{name: t, modality: PHOTO, pairs: repeats, objective: l1, optimiser: {steps: 2}, "
        "scaling: {kind: fixed, offset: 127.5, scale: 255.0}, samples: {patch: 16, batch: 2, epoch: 4}, "
        "network: {arguments: {channels: 4, levels: 1}}}"
    )
    prepared = tmp_path / "prepared.safetensors"
    assert call("train", recipe, "--data", data, "--prepare", prepared).code == 0
    assert call("train", recipe, "--data", data, "-o", tmp_path / "run", "--device", "cpu").code == 0
    for place in (data, prepared):
        refused = call(
            "train", recipe, "--data", place, "-o", tmp_path / "run", "--device", "cpu", "--set", "objective=l2"
        )
        assert refused.code == (3 if place == data else 2)
        assert "Set objective=l1" in refused.err


def test_repeats_of_impulses_have_one_probability(tmp_path: Path, call: Call) -> None:
    (tmp_path / "in").mkdir()
    build.nifti(tmp_path / "in" / "sub-1_T1w.nii.gz", shape=(30, 20, 4), dtype=np.uint8)
    assert call("simulate", "corrupt", tmp_path / "in", "-o", tmp_path / "out", "--kind", "impulse").code == 0
    (group,) = groups(tmp_path / "out")
    assert group.check.figures["p_1"] == pytest.approx(group.check.figures["p_2"])
