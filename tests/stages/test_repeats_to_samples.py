"""Scans of a manifest become training cases: which groups are used, and repeats simulated from single scans."""

from __future__ import annotations

import shutil
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch

from medn2n.core.samples import PairedSamples
from medn2n.errors import InputError
from medn2n.formats.manifest import Group, Manifest, PairCheck, read_manifest
from tests.tiny_training import recipe, store


@pytest.mark.parametrize("pairs", ["simulate", "repeats+simulate"])
def test_simulated_repeats_join_or_replace_the_real_ones(data: Path, pairs: str) -> None:
    from medn2n.stages.repeats_to_samples import load_cases

    section = {"snr": (1.0, 20.0), "draws": 2, "slices": 3, "repeats": 3}
    made = load_cases(read_manifest(data / "manifest.json").training, data, recipe(pairs=pairs, simulate_mr=section))
    simulated = [case for case in made if case.truth is not None]
    assert len(simulated) == 2 * 3 * 2
    assert {tuple(case.image.shape) for case in simulated} == {(3, 64, 64, 1)}
    assert len(made) - len(simulated) == (2 if "repeats" in pairs else 0)
    again = load_cases(
        read_manifest(data / "manifest.json").training[1:], data, recipe(pairs=pairs, simulate_mr=section)
    )
    assert torch.equal(again[-1].image, made[-1].image)  # other groups change nothing


def test_groups_that_a_check_refused_and_other_modalities_are_left_out(data: Path) -> None:
    from medn2n.stages.repeats_to_samples import load_cases

    one, two = read_manifest(data / "manifest.json").training
    bad = one.model_copy(update={"check": PairCheck(verdict="unfit", reason="moved")})
    ct = two.model_copy(update={"modality": "CT"})
    assert load_cases([bad, ct], data, recipe()) == []
    (case,) = load_cases([two], data, recipe())
    assert case.image.shape == (2, 64, 64, 5)
    means = [nibabel.load(data / name).get_fdata() for name in two.image]
    scale = np.percentile(np.mean(means, axis=0), 99)
    np.testing.assert_allclose(case.image[0], means[0] / scale, rtol=1e-3)


def test_a_4d_file_needs_a_frame(tmp_path: Path) -> None:
    from medn2n.stages.repeats_to_samples import load_cases

    store(tmp_path / "a.nii", np.ones((20, 20, 2, 3)))
    group = Group(group="g", subject="s", modality="MR", image=["a.nii"])
    simulate = recipe(pairs="simulate", simulate_mr={"draws": 1, "slices": 1})
    with pytest.raises(InputError) as refused:
        load_cases([group], tmp_path, simulate)
    assert refused.value.code == "NEEDS_A_FRAME"
    frame = group.model_copy(update={"image": ["a.nii#frame=1"]})
    assert len(load_cases([frame], tmp_path, simulate)) == 1


def test_repeats_with_a_truth_train_with_clean_targets_in_a_cache_of_their_own(data: Path, tmp_path: Path) -> None:
    """As `medn2n simulate` writes them: the truth beside the repeats, named by the manifest."""
    from medn2n.stages.repeats_to_samples import fill_cache

    (one, _), clean = read_manifest(data / "manifest.json").training, recipe(targets="clean")
    for name in one.image:
        shutil.copy(data / name, tmp_path)
    truth = tmp_path / store(tmp_path / "truth.nii.gz", np.load(data / "truth-0.npy"))
    group = one.model_copy(update={"truth": truth.name})
    manifest = Manifest(name="m", training=[group])
    noisy = fill_cache(manifest, tmp_path, recipe(), tmp_path / "cache")
    files = fill_cache(manifest, tmp_path, clean, tmp_path / "cache")
    assert noisy.cases().training[0].truth is None
    (case,) = files.cases().training
    scale = np.percentile(np.mean([nibabel.load(data / name).get_fdata() for name in one.image], axis=0), 99)
    np.testing.assert_allclose(case.truth[0], np.load(data / "truth-0.npy") / scale, rtol=1e-3)
    sample = PairedSamples([case], clean, length=1)[0]
    assert float((sample["input"] - sample["target"]).std()) == pytest.approx(60 / scale, rel=0.1)  # not √2 of it
    store(truth, np.load(data / "truth-0.npy") + 1)
    assert fill_cache(manifest, tmp_path, clean, tmp_path / "cache").training != files.training
    truth.unlink()
    with pytest.raises(InputError, match="Group g0: its truth") as refused:
        fill_cache(manifest, tmp_path, clean, tmp_path / "cache")
    assert refused.value.code == "MISSING_FILE"


def test_a_ct_is_simulated_in_axial_slices_whatever_the_order_of_its_axes(tmp_path: Path) -> None:
    from medn2n.stages.repeats_to_samples import load_cases

    i, j, _ = np.indices((48, 40, 4))
    voxels = np.where(np.hypot(i - 24, j - 20) < 16, 40.0, -1000.0).transpose(2, 0, 1)
    group = Group(group="g", subject="s", modality="CT", image=["a.nii"])
    simulate = recipe(
        modality="CT", pairs="simulate", scaling={"kind": "fixed", "scale": 1000.0},
        simulate_ct={"draws": 1, "slices": 2, "views": 60, "slab_mm": 1.0},
    )  # fmt: skip
    for steps, shape in (((3.0, 1.0, 1.0), (48, 40)), ((3.0, 1.0, 1.5), None)):
        affine = np.diag([*steps, 1.0])[[1, 2, 0, 3]]  # the first axis of the file runs along the body
        nibabel.save(nibabel.Nifti1Image(voxels.astype(np.float32), affine), tmp_path / "a.nii")
        if shape is None:
            with pytest.raises(InputError, match=r"Group g: the pixels of an axial slice measure 1 × 1\.5 mm"):
                load_cases([group], tmp_path, simulate)
        else:
            assert {tuple(case.image.shape[1:3]) for case in load_cases([group], tmp_path, simulate)} == {shape}


@pytest.mark.parametrize("modality", ["MR", "CT"])
def test_slices_whose_own_noise_would_show_in_what_is_added_are_left_out(
    tmp_path: Path, modality: str, caplog: pytest.LogCaptureFixture
) -> None:
    from medn2n.stages.repeats_to_samples import load_cases

    steps = 10.0 * np.random.default_rng(0).normal(size=(64, 64, 2)) * (1.0, 8.0)  # the second slice's own: 80
    store(tmp_path / "a.nii", 400.0 + steps)
    group = Group(group="g", subject="s", modality=modality, image=["a.nii"])
    section = {
        "MR": {"simulate_mr": {"snr": (5.0, 80.0), "draws": 3, "slices": 2}},  # at most 80 is added
        "CT": {"simulate_ct": {"noise_hu": (5.0, 80.0), "draws": 3, "slices": 2, "views": 60, "slab_mm": 1.0}},
    }[modality]
    scaling = {"kind": "fixed", "scale": 1.0}
    made = load_cases([group], tmp_path, recipe(modality=modality, pairs="simulate", scaling=scaling, **section))
    assert len(made) == 3
    assert "group g: 1 of 2 slices are left out" in caplog.text
    added = [float(case.image.std(0).square().mean().sqrt()) for case in made]
    assert min(added) > 0.7 * 30 / (2 if modality == "MR" else 1)  # of a uniform body the whole slice is
