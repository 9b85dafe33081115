"""One tiny Noise2Noise training from files to bundle, and bundles that were tampered with."""

from __future__ import annotations

import json
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

import medn2n
from medn2n.core.networks import build_network, parameter_count
from medn2n.errors import InputError, ModelError
from medn2n.formats.bundle_dir import OPENVINO, WEIGHTS, find_bundle, read_bundle
from medn2n.formats.manifest import file_sha256, read_manifest, verify_files
from medn2n.formats.model_card import model_card
from medn2n.formats.model_weights import load_network
from medn2n.preparation import prepare_scans
from medn2n.training import train_model
from tests.tiny_training import few, recipe, store


def test_noise2noise_lowers_the_true_error_without_a_clean_image(data: Path, run: Path) -> None:
    bundle = read_bundle(run)
    history = json.loads((run / "log" / "history.json").read_text())
    assert [entry["step"] for entry in history] == [80, 160]
    assert bundle.info.figures["validation_share"] < 0.85
    assert bundle.info.figures["steps"] == 160
    denoiser = medn2n.Denoiser.load(run, device="cpu", threads=1)
    volume = medn2n.load(data / "2-0.nii.gz", modality="MR")
    truth = np.load(data / "truth-2.npy")
    before, after = (np.mean((image.voxels - truth) ** 2) for image in (volume, denoiser(volume)))
    assert after < 0.7 * before


def test_a_run_folder_holds_bundle_log_and_checkpoints(run: Path, data: Path) -> None:
    bundle = read_bundle(run)
    assert bundle.folder == run / "bundle"
    assert set(bundle.info.sha256) == {WEIGHTS, OPENVINO, "models/model.bin"}
    assert bundle.info.sha256[WEIGHTS] == bundle.sha256 == file_sha256(bundle.folder / WEIGHTS)
    assert json.loads((run / "log" / "recipe.json").read_text())["name"] == "tiny"
    metadata = json.loads((bundle.folder / "configs" / "metadata.json").read_text())
    assert {"monai_version", "network_data_format", "medn2n"} <= set(metadata)
    assert (bundle.folder / "configs" / "inference.json").is_file()
    card = (bundle.folder / "docs" / "README.md").read_text()
    assert "no training target was clean" in card
    assert "| built | s0 | none |" in card
    low, high = bundle.info.scope.noise_share
    assert 0.05 < low <= high < 0.5
    assert bundle.info.manifest_sha256 != "0" * 64
    assert not [path for path in run.rglob("*") if path.suffix == ".tmp"]
    assert parameter_count(load_network(bundle)) == bundle.info.figures["parameters"]


def test_a_card_says_what_was_learned_and_which_step_was_kept(run: Path) -> None:
    info = read_bundle(run).info
    assert "(0.5 would be no error at all)" in model_card(info, [])
    clean = model_card(info.model_copy(update={"recipe": info.recipe | {"targets": "clean", "keep": "last"}}), [])
    assert "this is not Noise2Noise" in clean
    assert "the clean image, as a share" in clean
    assert "(0 would be no error at all)" in clean
    assert "the last was kept" in clean
    assert "above" not in clean
    returning = info.model_copy(update={"recipe": info.recipe | {"returned": {"share": 0.25, "mm": 1.0}}})
    assert "scales above 1 mm (sigma of a Gaussian, in plane), the scan gets a share of 0.25 back" in model_card(
        returning, []
    )


def test_the_bundle_s_two_files_are_one_network(run: Path, data: Path) -> None:
    from medn2n.engines.torch_engine import TorchEngine

    bundle = read_bundle(run)
    fast = medn2n.Denoiser.load(run, device="cpu", threads=1)
    assert fast.engine.name == "openvino"
    slow = medn2n.Denoiser(bundle, TorchEngine(load_network(bundle), device="cpu"))
    volume = medn2n.load(data / "2-1.nii.gz", modality="MR")
    np.testing.assert_allclose(fast(volume).voxels, slow(volume).voxels, atol=0.05)


def test_a_monai_bundle_reader_builds_the_same_network(run: Path) -> None:
    inference = json.loads((run / "bundle" / "configs" / "inference.json").read_text())["network_def"]
    assert inference.pop("_target_") == "medn2n.core.networks.build_network"
    network = build_network(**inference)
    network.load_state_dict(load_file(run / "bundle" / WEIGHTS))


def test_checkpoints_are_safetensors_and_no_pickle(run: Path) -> None:
    for name in ("last", "best"):
        path = run / "checkpoints" / f"{name}.safetensors"
        with safe_open(path, framework="pt") as file:
            progress = json.loads(file.metadata()["progress"])
            prefixes = {key.split(".")[0] for key in file.keys()}  # noqa: SIM118
        assert progress["step"] in (80, 160)
        assert prefixes == {"network", "average", "optimiser"}
        with pytest.raises((pickle.UnpicklingError, EOFError, ValueError, KeyError, IndexError)):
            pickle.loads(path.read_bytes())


def test_a_three_dimensional_network_of_monai_trains_and_leaves_no_openvino_file(data: Path, tmp_path: Path) -> None:
    network = {"name": "BasicUNet", "dims": 3, "arguments": {"features": [4] * 6, "norm": None}}
    network["arguments"] |= {"in_channels": 1, "out_channels": 1}
    (tmp_path / "bundle" / "models").mkdir(parents=True)
    (tmp_path / "bundle" / OPENVINO).write_text("an earlier run's")
    bundle = train_model(few(network=network, optimiser={"steps": 1}), data / "manifest.json", tmp_path, device="cpu")
    assert set(bundle.info.sha256) == {WEIGHTS}
    assert not (bundle.folder / OPENVINO).exists()
    volume = medn2n.load(data / "0-0.nii.gz", modality="MR")
    denoiser = medn2n.Denoiser.load(tmp_path, device="cpu")
    assert denoiser.engine.name == "torch"
    assert denoiser(volume).voxels.shape == volume.voxels.shape


def test_changed_or_missing_scans_stop_the_training(data: Path, tmp_path: Path) -> None:
    moved = tmp_path / "data"
    shutil.copytree(data, moved)
    manifest = read_manifest(moved / "manifest.json")
    verify_files(manifest, moved)
    store(moved / "1-1.nii.gz", np.zeros((64, 64, 5)))
    with pytest.raises(InputError) as refused:
        train_model(recipe(), moved / "manifest.json", tmp_path / "run", device="cpu")
    assert refused.value.code == "CHANGED_FILE"
    (moved / "0-0.nii.gz").unlink()
    with pytest.raises(InputError) as refused:
        verify_files(manifest, moved)
    assert refused.value.code == "MISSING_FILE"
    assert not (tmp_path / "run" / "bundle").exists()


def test_unknown_models_are_named_errors(tmp_path: Path) -> None:
    for model in ("nonesuch", tmp_path, tmp_path / "nowhere"):
        with pytest.raises(ModelError) as refused:
            find_bundle(model)
        assert refused.value.code == "UNKNOWN_MODEL"


@pytest.mark.parametrize(
    "damage", ["weights", "openvino", "bin", "missing", "metadata", "unlisted", "no-weights", "other-network"]
)
def test_a_damaged_bundle_is_refused(run: Path, tmp_path: Path, damage: str) -> None:
    bundle = tmp_path / "bundle"
    shutil.copytree(run / "bundle", bundle)
    metadata = bundle / "configs" / "metadata.json"
    data = json.loads(metadata.read_text())
    files = {"weights": WEIGHTS, "openvino": OPENVINO, "bin": "models/model.bin"}
    if damage in files:
        changed = bytearray((bundle / files[damage]).read_bytes())
        changed[-3] ^= 1
        (bundle / files[damage]).write_bytes(changed)
    elif damage == "missing":
        (bundle / WEIGHTS).unlink()
    elif damage == "metadata":
        metadata.write_text("{")
    elif damage == "unlisted":
        data["medn2n"]["sha256"]["../run.json"] = "0"
    elif damage == "no-weights":
        del data["medn2n"]["sha256"][WEIGHTS]
    else:
        save_file({"a": torch.zeros(1)}, bundle / WEIGHTS)
        data["medn2n"]["sha256"][WEIGHTS] = file_sha256(bundle / WEIGHTS)
        (bundle / OPENVINO).unlink()
        data["medn2n"]["sha256"] = {WEIGHTS: file_sha256(bundle / WEIGHTS)}
    if damage not in ("metadata",):
        metadata.write_text(json.dumps(data))
    with pytest.raises(ModelError) as refused:
        medn2n.Denoiser.load(bundle, device="cpu")
    assert refused.value.code == "DAMAGED_MODEL"


def test_an_engine_file_that_metadata_does_not_vouch_for_is_not_run(run: Path, tmp_path: Path) -> None:
    bundle = tmp_path / "bundle"
    shutil.copytree(run / "bundle", bundle)
    metadata = bundle / "configs" / "metadata.json"
    data = json.loads(metadata.read_text())
    data["medn2n"]["sha256"] = {WEIGHTS: data["medn2n"]["sha256"][WEIGHTS]}
    metadata.write_text(json.dumps(data))
    assert medn2n.Denoiser.load(bundle, device="cpu").engine.name == "torch"


def test_scans_to_simulate_from_are_quietened_by_the_network_alone(data: Path, run: Path, tmp_path: Path) -> None:
    settings = {"pairs": "simulate", "simulate_mr": {"draws": 1, "slices": 1, "snr": (1.0, 20.0)}}
    singles = json.loads((data / "manifest.json").read_text()) | {"root": str(data)}
    for group in singles["training"] + singles["validation"]:
        group |= {"image": group["image"][:1], "sha256": group["sha256"][:1]}
    (tmp_path / "singles.json").write_text(json.dumps(singles))
    found = {}
    for name, share in (("none", None), ("alone", 0.0), ("returning", 0.9)):
        base = tmp_path / f"base-{name}"
        shutil.copytree(run / "bundle", base)
        described = base / "configs" / "metadata.json"
        metadata = json.loads(described.read_text())
        metadata["medn2n"]["recipe"]["returned"] = {"share": share or 0.0, "mm": 1.0}
        described.write_text(json.dumps(metadata))
        chosen = few(base_model="" if share is None else str(base), **settings)
        files, _ = prepare_scans(chosen, tmp_path / "singles.json", tmp_path / name, device="cpu")
        found[name] = files.cases().training[0].image
    assert torch.equal(found["returning"], found["alone"])
    assert not torch.equal(found["none"], found["alone"])
