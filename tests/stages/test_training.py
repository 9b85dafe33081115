"""One tiny Noise2Noise training from files to bundle; recipes; resuming; and bundles that were tampered with."""

from __future__ import annotations

import json
import logging
import pickle
import shutil
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

import medn2n
from medn2n import config
from medn2n.config import find_recipe, parse_recipe, read_recipe, recipes_folder, shipped_recipes
from medn2n.core.networks import build_network, parameter_count
from medn2n.core.samples import Case
from medn2n.errors import InputError, ModelError, UsageError
from medn2n.formats.bundle_dir import OPENVINO, WEIGHTS, find_bundle, read_bundle
from medn2n.formats.checkpoint import load_checkpoint
from medn2n.formats.manifest import Group, Manifest, PairCheck, file_sha256, read_manifest, verify_files, write_manifest
from medn2n.formats.model_weights import load_network
from medn2n.stages.samples_to_bundle import Trained, train
from medn2n.training import train_model
from tests.built_repeats import head, repeats

torch.set_num_threads(1)
SIGMA = 60.0


def recipe(**changes: object) -> config.Recipe:
    return parse_recipe(
        {
            "name": "tiny",
            "modality": "MR",
            "pairs": "repeats",
            "network": {"arguments": {"channels": 8, "levels": 2}},
            "scaling": {"kind": "percentile"},
            "samples": {"patch": 32, "batch": 8, "epoch": 80},
            "optimiser": {"steps": 160, "learning_rate": 4e-3, "ema": 0.9},
            "precision": "32-true",
            "validate_every": 80,
            **changes,
        }
    )


def few(**changes: object) -> config.Recipe:
    return recipe(samples={"patch": 16, "batch": 2, "epoch": 4}, validate_every=2, **changes)


def store(path: Path, voxels: np.ndarray) -> str:
    nibabel.save(nibabel.Nifti1Image(voxels.astype(np.float32), np.diag([-1.0, -1.0, 3.0, 1.0])), path)
    return path.name


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three heads, each scanned twice; the last is for validation. Truths lie beside them for the tests alone."""
    root = tmp_path_factory.mktemp("data")
    groups = []
    for n in range(3):
        truth = head((64, 64, 5), seed=n)
        names = [
            store(root / f"{n}-{r}.nii.gz", scan)
            for r, scan in enumerate(repeats(truth, SIGMA, n, blur=0.0, offset=80))
        ]
        np.save(root / f"truth-{n}.npy", truth + 80)
        groups.append(
            Group(
                group=f"g{n}",
                subject=f"s{n}",
                modality="MR",
                image=names,
                sha256=[file_sha256(root / name) for name in names],
                source="built",
                licence="none",
                check=PairCheck(verdict="fit"),
            )
        )
    write_manifest(Manifest(name="built", training=groups[:2], validation=groups[2:]), root / "manifest.json")
    return root


@pytest.fixture(scope="module")
def run(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    train_model(recipe(), data / "manifest.json", folder, device="cpu")
    return folder


def cases(n: int = 1) -> list[Case]:
    generator = torch.Generator().manual_seed(n)
    return [
        Case(image=torch.randn(2, 24, 24, 2, generator=generator), truth=None, group=f"g{index}") for index in range(n)
    ]


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


def weights(trained: Trained) -> dict[str, torch.Tensor]:
    return trained.network.state_dict()


def test_two_runs_of_one_seed_are_equal_and_another_seed_is_not(tmp_path: Path) -> None:
    one, two, other = (
        weights(train(cases(), [], few(seed=seed, optimiser={"steps": 4}), folder=tmp_path / str(n), device="cpu"))
        for n, seed in enumerate((0, 0, 1))
    )
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert not all(torch.equal(one[name], other[name]) for name in one)


def test_resume_goes_on_with_step_time_and_optimiser(tmp_path: Path) -> None:
    first = train(cases(), cases(2), few(optimiser={"steps": 4}), folder=tmp_path, device="cpu")
    network = build_network("unet", {"dims": 2, "channels": 8, "levels": 2}, residual=True)
    optimiser = torch.optim.Adam(network.parameters())
    load_checkpoint(tmp_path / "checkpoints" / "last.safetensors", network=network, optimiser=optimiser)
    assert {int(state["step"]) for state in optimiser.state.values()} == {4}
    again = train(cases(), cases(2), few(optimiser={"steps": 7}), folder=tmp_path, device="cpu", resume=True)
    assert again.progress.step == 7
    assert again.progress.seconds > first.progress.seconds
    assert [entry["step"] for entry in again.progress.history] == [2, 4, 6, 7]
    assert again.progress.history[:2] == first.progress.history
    finished = train(cases(), cases(2), few(optimiser={"steps": 7}), folder=tmp_path, device="cpu", resume=True)
    assert finished.progress.step == 7


def test_without_resume_a_run_starts_anew(tmp_path: Path) -> None:
    train(cases(), [], few(optimiser={"steps": 4}), folder=tmp_path, device="cpu")
    again = train(cases(), [], few(optimiser={"steps": 2}), folder=tmp_path, device="cpu")
    assert again.progress.step == 2


def test_a_checkpoint_of_another_recipe_is_refused(tmp_path: Path) -> None:
    train(cases(), [], few(optimiser={"steps": 2}), folder=tmp_path, device="cpu")
    other = few(network={"arguments": {"channels": 4, "levels": 2}})
    with pytest.raises(ModelError) as refused:
        train(cases(), [], other, folder=tmp_path, device="cpu", resume=True)
    assert refused.value.code == "CHECKPOINT"
    (tmp_path / "checkpoints" / "last.safetensors").write_bytes(b"not tensors")
    with pytest.raises(ModelError):
        train(cases(), [], few(), folder=tmp_path, device="cpu", resume=True)


def test_the_time_budget_stops_a_long_recipe_and_ramps_its_rate_down(tmp_path: Path) -> None:
    long = few(optimiser={"steps": 10_000_000, "ramp_down": 1.0})
    trained = train(cases(), [], long, folder=tmp_path, device="cpu", max_minutes=0.02)
    assert 0 < trained.progress.step < 10_000_000
    assert trained.progress.seconds >= 1.2
    assert trained.progress.history[-1]["rate"] < 2e-5


def test_training_may_start_from_another_model(tmp_path: Path, run: Path) -> None:
    start = load_file(run / "bundle" / WEIGHTS)
    frozen = few(optimiser={"steps": 1, "learning_rate": 1e-12})
    trained = train(cases(), [], frozen, folder=tmp_path, device="cpu", start_from=start)
    for name, value in weights(trained).items():
        torch.testing.assert_close(value, start[name])
    other = few(network={"arguments": {"channels": 4, "levels": 2}})
    with pytest.raises(ModelError) as refused:
        train(cases(), [], other, folder=tmp_path, device="cpu", start_from=start)
    assert refused.value.code == "OTHER_NETWORK"


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


@pytest.mark.parametrize("pairs", ["simulate", "repeats+simulate"])
def test_simulated_repeats_join_or_replace_the_real_ones(data: Path, pairs: str) -> None:
    from medn2n.stages.repeats_to_samples import load_cases

    section = {"snr": (10.0, 20.0), "draws": 2, "slices": 3, "repeats": 3}
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


def test_every_shipped_recipe_parses_and_its_network_builds() -> None:
    found = shipped_recipes()
    assert len(found) >= 5
    for path in recipes_folder().glob("*.yaml"):
        spec = found[path.stem].network
        network = build_network(spec.name, spec.build_arguments(), residual=spec.residual)
        with torch.no_grad():
            image = torch.rand(1, 1, *(32,) * spec.dims)
            assert network.eval()(image).shape == image.shape
        assert find_recipe(path.stem) == path


def test_settings_over_the_recipe_s(tmp_path: Path) -> None:
    path = recipes_folder() / "mr_repeats.yaml"
    changed = read_recipe(
        path, ["seed=7", "network.arguments.channels=8", "optimiser.steps=3", "samples={patch: 32, batch: 2, epoch: 4}"]
    )
    assert (changed.seed, changed.optimiser.steps, changed.samples.patch) == (7, 3, 32)
    assert changed.network.arguments["channels"] == 8
    assert changed.optimiser.learning_rate == read_recipe(path).optimiser.learning_rate


@pytest.mark.parametrize(
    "setting",
    [
        "seed",
        "no_such_key=1",
        "seed=text",
        "seed.deeper=1",
        "seed=[1",
        "samples.batch=0",
        "samples.epoch=1",
        "network.arguments.dims=3",
        "pairs=simulate",
        "objective=l3",
        "network.dims=4",
    ],
)
def test_wrong_settings_are_usage_errors(setting: str) -> None:
    with pytest.raises(UsageError):
        read_recipe(recipes_folder() / "mr_repeats.yaml", [setting])


@pytest.mark.parametrize("text", ["a: [", "- a\n- b\n", "name: x\n", "\x00"])
def test_wrong_recipes_are_usage_errors(tmp_path: Path, text: str) -> None:
    (tmp_path / "r.yaml").write_text(text)
    with pytest.raises(UsageError):
        read_recipe(tmp_path / "r.yaml")


def test_missing_recipes_name_those_that_ship(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="mr_repeats"):
        find_recipe("nonesuch")
    with pytest.raises(UsageError):
        read_recipe(tmp_path / "none.yaml")


def test_the_log_tells_steps_and_validation(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    logger = logging.getLogger("medn2n")
    before = logger.propagate
    logger.propagate = True
    try:
        with caplog.at_level(logging.INFO, logger="medn2n"):
            train(cases(), [], few(optimiser={"steps": 2}), folder=tmp_path, device="cpu")
    finally:
        logger.propagate = before
    assert "validation" in caplog.text
    assert "parameters" in caplog.text
