"""Scans decoded once: into the run's cache, or into one file from which a bare node trains."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch

import medn2n
from medn2n.config import Recipe
from medn2n.errors import UsageError
from medn2n.formats.bundle_dir import OPENVINO, WEIGHTS, read_bundle
from medn2n.formats.case_cache import read_cases
from medn2n.formats.manifest import read_manifest, write_manifest
from medn2n.formats.prepared_file import read_prepared
from medn2n.preparation import prepare_file, prepare_scans
from medn2n.recipes import recipes_folder
from medn2n.training import train_model
from tests.command_line import Call
from tests.tiny_training import few

SIMULATED = {"pairs": "repeats+simulate", "simulate_mr": {"draws": 1, "slices": 2, "digital": 1}}


def weights(folder: Path) -> bytes:
    return (read_bundle(folder).folder / WEIGHTS).read_bytes()


@pytest.mark.parametrize("settings", [{}, {"network": {"neighbours": 1, "arguments": {"channels": 4, "levels": 1}}}])
def test_a_prepared_file_trains_to_the_very_same_model(data: Path, tmp_path: Path, settings: dict[str, object]) -> None:
    recipe = few(optimiser={"steps": 4}, **settings)
    train_model(recipe, data / "manifest.json", tmp_path / "one", device="cpu")
    prepare_file(recipe, data / "manifest.json", tmp_path / "cache.safetensors")
    assert [path.name for path in tmp_path.iterdir() if path.name != "one"] == ["cache.safetensors"]
    train_model(recipe, tmp_path / "cache.safetensors", tmp_path / "two", device="cpu")
    assert weights(tmp_path / "one") == weights(tmp_path / "two")
    first, second = (read_bundle(tmp_path / run).info for run in ("one", "two"))
    assert first.manifest_sha256 == second.manifest_sha256
    assert first.scope == second.scope
    cards = [(tmp_path / run / "bundle" / "docs" / "README.md").read_text() for run in ("one", "two")]
    assert "| built | s0 | none |" in cards[1]
    assert [line for line in cards[0].splitlines() if "minutes" not in line] == [
        line for line in cards[1].splitlines() if "minutes" not in line
    ]


def test_a_network_that_sees_neighbours_denoises_a_scan(data: Path, tmp_path: Path) -> None:
    recipe = few(network={"neighbours": 2, "arguments": {"channels": 4, "levels": 1}}, optimiser={"steps": 6})
    bundle = train_model(recipe, data / "manifest.json", tmp_path, device="cpu")
    assert OPENVINO in bundle.info.sha256
    described = json.loads((bundle.folder / "configs" / "metadata.json").read_text())["network_data_format"]["inputs"]
    assert described["image"]["num_channels"] == 5
    assert described["image"]["channel_def"]["2"] == "image"
    volume = medn2n.load(data / "2-0.nii.gz", modality="MR")
    fast = medn2n.Denoiser.load(tmp_path, device="cpu", threads=1)
    (bundle.folder / OPENVINO).unlink()
    (bundle.folder / OPENVINO).with_suffix(".bin").unlink()
    metadata = bundle.folder / "configs" / "metadata.json"
    known = json.loads(metadata.read_text())
    known["medn2n"]["sha256"] = {WEIGHTS: known["medn2n"]["sha256"][WEIGHTS]}
    metadata.write_text(json.dumps(known))
    slow = medn2n.Denoiser.load(tmp_path, device="cpu", threads=1)
    assert (fast.engine.name, slow.engine.name) == ("openvino", "torch")
    np.testing.assert_allclose(fast(volume).voxels, slow(volume).voxels, atol=0.05)
    # By hand: the middle slice between its two neighbours on either side, as it is and mirrored.
    network = slow.engine._network  # type: ignore[attr-defined]
    scale = float(np.percentile(volume.voxels[volume.voxels != 0], 99))
    channels = torch.from_numpy(volume.voxels[:, :, :5].transpose(2, 0, 1)[None] / np.float32(scale))
    with torch.inference_mode():
        both = (network(channels) + network(channels.flip(2)).flip(2)) / 2
    np.testing.assert_allclose(slow(volume).voxels[:, :, 2], both[0, 0].numpy() * scale, atol=0.05)
    # The first slice's missing neighbours are itself again.
    channels = channels[:, [0, 0, 0, 1, 2]]
    with torch.inference_mode():
        both = (network(channels) + network(channels.flip(2)).flip(2)) / 2
    np.testing.assert_allclose(slow(volume).voxels[:, :, 0], both[0, 0].numpy() * scale, atol=0.05)


def decoded(recipe: Recipe, manifest: Path, cache: Path) -> dict[str, float]:
    """File in the cache → when it was written."""
    prepare_scans(recipe, manifest, cache)
    return {path.name: path.stat().st_mtime_ns for path in cache.iterdir()}


def test_only_what_changed_is_decoded_again(data: Path, tmp_path: Path) -> None:
    shutil.copytree(data, tmp_path / "data")
    manifest, cache = tmp_path / "data" / "manifest.json", tmp_path / "cache"
    recipe = few(**SIMULATED)
    first = decoded(recipe, manifest, cache)
    assert len(first) == 4  # three groups, and the digital objects
    assert decoded(recipe.model_copy(update={"objective": "l2", "name": "other"}), manifest, cache) == first
    # Renamed files hold the same scans.
    known = read_manifest(manifest)
    for path in list((tmp_path / "data").glob("*.nii.gz")):
        path.rename(path.with_name(f"renamed-{path.name}"))
    renamed = [
        group.model_copy(update={"image": [f"renamed-{name}" for name in group.image]}) for group in known.training
    ]
    write_manifest(known.model_copy(update={"training": renamed, "validation": []}), manifest)
    assert decoded(recipe, manifest, cache) == first
    # Another seed of the simulation, another scan, another correction: new files.
    again = decoded(few(**SIMULATED, seed=1), manifest, cache)
    assert first.items() < again.items()
    assert len(again) == 4 + 3
    scaled = decoded(few(scaling={"kind": "fixed", "scale": 500.0}), manifest, cache)
    assert len(scaled) == 7 + 2


def test_a_prepared_file_says_when_it_was_made_for_another_recipe(data: Path, tmp_path: Path) -> None:
    prepare_file(few(), data / "manifest.json", tmp_path / "cache")
    info, cases = read_prepared(tmp_path / "cache")
    assert info.cases == (2, 1, 0)
    assert len(cases.training) == 2
    assert "nii" not in (tmp_path / "cache").read_bytes()[:4000].decode(errors="replace")  # no file name travels
    for setting, name in (
        ({"scaling": {"kind": "fixed"}}, "scaling"),
        ({"network": {"dims": 3}}, "dims"),
        (SIMULATED, "pairs"),
    ):
        with pytest.raises(UsageError, match=name):
            train_model(few(**setting), tmp_path / "cache", tmp_path / "run", device="cpu")
    assert not (tmp_path / "run").exists()


def test_nothing_else_is_overwritten_and_nothing_is_left_of_a_failure(data: Path, tmp_path: Path) -> None:
    (tmp_path / "notes").write_text("mine")
    with pytest.raises(UsageError, match="no prepared file"):
        prepare_file(few(), data / "manifest.json", tmp_path / "notes")
    with pytest.raises(UsageError):
        prepare_file(few(), tmp_path / "none.json", tmp_path / "cache")
    assert [path.name for path in tmp_path.iterdir()] == ["notes"]


def test_the_command_prepares_and_trains(call: Call, data: Path, tmp_path: Path) -> None:
    quick = ["--set", "samples={patch: 16, batch: 2, epoch: 4}", "--set", "optimiser.steps=2", "--device", "cpu"]
    small = ["--set", "network.arguments={channels: 4, levels: 1}", *quick]
    done = call("train", "mr_repeats", "--data", data / "manifest.json", "--prepare", tmp_path / "cache", *small)
    assert done.code == 0, done.err
    done = call("train", "mr_repeats", "--data", tmp_path / "cache", "-o", tmp_path / "run", *small)
    assert done.code == 0, done.err
    assert (tmp_path / "run" / "bundle" / WEIGHTS).is_file()
    done = call("train", "mr_repeats", "--data", data / "manifest.json")
    assert done.code == 2
    assert "--prepare" in done.err


BARE = """
import sys
from importlib.machinery import PathFinder
ABSENT = {"nibabel", "pydicom", "SimpleITK", "highdicom", "scipy", "skimage", "openvino", "matplotlib", "typer", "rich",
          "click", "PIL", "pylibjpeg", "astra", "imageio", "pandas", "pillow", "scikit-image"}
class Installed:
    find_distributions = staticmethod(
        lambda *where: (d for d in PathFinder.find_distributions(*where) if d.metadata["Name"] not in ABSENT)
    )
    find_spec = staticmethod(
        lambda name, *where: None if name.split(".")[0] in ABSENT else PathFinder.find_spec(name, *where)
    )
sys.meta_path[:] = [Installed if finder is PathFinder else finder for finder in sys.meta_path]
import runpy
sys.argv[1:] = CALL
runpy.run_module("medn2n.training", run_name="__main__")
"""


def bare(*call: object) -> subprocess.CompletedProcess[str]:
    """`python -m medn2n.training …` where nothing is installed but what the module says."""
    code = BARE.replace("CALL", repr([str(part) for part in call]))
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)


def test_a_bare_node_trains_resumes_and_its_model_is_used_at_home(data: Path, tmp_path: Path) -> None:
    recipe = few(optimiser={"steps": 2})
    prepare_file(recipe, data / "manifest.json", tmp_path / "cache")
    done = bare(tmp_path / "cache", "-o", tmp_path / "run", "--device", "cpu")
    assert done.returncode == 0, done.stderr
    assert "validation share" in done.stdout
    assert "OpenVINO is not installed here" in done.stderr
    assert bare(tmp_path / "cache", "-o", tmp_path / "run", "--device", "cpu", "--resume").returncode == 0
    denoiser = medn2n.Denoiser.load(tmp_path / "run", device="cpu", threads=1)
    assert denoiser.engine.name == "torch"
    volume = medn2n.load(data / "2-0.nii.gz", modality="MR")
    assert denoiser(volume).voxels.shape == volume.voxels.shape
    # At home the same call with --resume adds the engine's file, and trains no further.
    bundle = train_model(recipe, tmp_path / "cache", tmp_path / "run", resume=True, device="cpu")
    assert OPENVINO in bundle.info.sha256
    assert bundle.info.figures["steps"] == 2
    (tmp_path / "cache").write_bytes((tmp_path / "cache").read_bytes()[:-1])
    refused = bare(tmp_path / "cache", "-o", tmp_path / "run2")
    assert refused.returncode == 3
    assert "not whole" in refused.stderr
    assert not (tmp_path / "run2").exists()


def test_a_run_in_parts_ends_where_one_in_one_piece_does(data: Path, tmp_path: Path) -> None:
    recipe = few(optimiser={"steps": 6})
    train_model(recipe, data / "manifest.json", tmp_path / "whole", device="cpu")
    for part in range(1, 7):  # so short a part that each takes one step
        bundle = train_model(
            recipe, data / "manifest.json", tmp_path / "parts", device="cpu", resume=True, part_minutes=1e-9
        )
        assert bundle.info.figures["steps"] == part
    histories = [json.loads((tmp_path / run / "log" / "history.json").read_text()) for run in ("whole", "parts")]
    assert [entry["step"] for entry in histories[1]] == [1, 2, 3, 4, 5, 6]
    ends = {entry["step"]: entry["validation"] for entry in histories[1]}
    assert [ends[entry["step"]] for entry in histories[0]] == pytest.approx(
        [entry["validation"] for entry in histories[0]], rel=1e-3
    )


def test_the_command_takes_the_recipe_s_budget(call: Call, data: Path, tmp_path: Path) -> None:
    own = tmp_path / "own.yaml"
    text = (recipes_folder() / "mr_repeats.yaml").read_text()
    quick = (
        "[optimiser.steps=2, 'network.arguments={channels: 4, levels: 1}', 'samples={patch: 16, batch: 2, epoch: 4}']"
    )
    own.write_text(f"{text}budgets: {{cpu: {{minutes: 1, settings: {quick}}}}}\n")
    done = call(
        "train", own, "--data", data / "manifest.json", "-o", tmp_path / "run", "--budget", "cpu", "--device", "cpu"
    )
    assert done.code == 0, done.err
    assert read_bundle(tmp_path / "run").info.figures["steps"] == 2


def test_the_run_s_own_cache_is_memory_mapped(data: Path, tmp_path: Path) -> None:
    train_model(few(optimiser={"steps": 1}), data / "manifest.json", tmp_path, device="cpu")
    files = sorted((tmp_path / "cache").iterdir())
    assert len(files) == 3
    image = nibabel.load(data / "0-0.nii.gz")
    assert {tuple(read_cases(path)[0].image.shape) for path in files} == {(2, *image.shape)}
