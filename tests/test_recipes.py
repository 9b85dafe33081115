"""Recipes: those that ship, settings over them, and wrong ones."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch

from medn2n.core.networks import build_network
from medn2n.errors import UsageError
from medn2n.recipes import find_recipe, read_budget, read_recipe, recipes_folder, shipped_recipes
from medn2n.training import train_model
from tests import built_photos
from tests.built_repeats import head, repeats


def test_every_shipped_recipe_parses_and_its_network_builds() -> None:
    found = shipped_recipes()
    assert len(found) >= 5
    for path in recipes_folder().glob("*.yaml"):
        spec = found[path.stem].network
        network = build_network(spec.name, spec.build_arguments(), residual=spec.residual)
        with torch.no_grad():
            image = torch.rand(1, spec.channels, *(32,) * spec.dims)
            assert network.eval()(image).shape == image[:, :1].shape
        assert find_recipe(path.stem) == path


@pytest.fixture(scope="module")
def scans(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A manifest of two groups for each modality: two photographs, and a head scanned twice as CT and as MR."""
    folder = tmp_path_factory.mktemp("scans")
    files: dict[str, list[list[str]]] = {"PHOTO": [], "CT": [], "MR": []}
    for n in range(2):
        files["PHOTO"].append(
            [built_photos.png(folder / f"p{n}.png", built_photos.numbers(size=(64, 64), seed=n)).name]
        )
        for modality, level in (("CT", -1000.0), ("MR", 0.0)):
            names = [f"{modality}{n}{r}.nii" for r in range(2)]
            for name, frame in zip(names, repeats(head((64, 64, 6)), 40, n, count=2), strict=True):
                image = nibabel.Nifti1Image((frame + level).astype(np.float32), np.diag([2.0, 2.0, 3.0, 1.0]))
                nibabel.save(image, folder / name)
            files[modality].append(names)
    for modality, groups in files.items():
        listed = [
            {"group": f"g{n}", "subject": f"s{n}", "modality": modality, "image": names, "check": {"verdict": "fit"}}
            for n, names in enumerate(groups)
        ]
        text = {"schema": "medn2n.manifest/1", "name": modality, "training": listed}
        (folder / f"{modality}.json").write_text(json.dumps(text))
    return {modality: folder / f"{modality}.json" for modality in files}


SMALL_NETWORK = {
    "unet": "{channels: 3, levels: 2}",
    "tanh_autoencoder": "{}",
    "nafnet": "{}",
    "BasicUNet": "{in_channels: 1, out_channels: 1, features: [4, 4, 4, 4, 4, 4]}",
}


@pytest.mark.parametrize("name", sorted(path.stem for path in recipes_folder().glob("*.yaml")))
def test_every_shipped_recipe_trains(name: str, scans: dict[str, Path], tmp_path: Path) -> None:
    """A few steps of what ships, with a smaller network, smaller patches and fewer simulated slices."""
    recipe = shipped_recipes()[name]
    over = ["samples.patch=32", "samples.batch=2", "samples.epoch=4", "optimiser.steps=2", "validate_every=1"]
    over += [f"network.arguments={SMALL_NETWORK[recipe.network.name]}", 'base_model=""']
    if "simulate" in recipe.pairs:
        section = f"simulate_{recipe.modality.lower()}"
        over += [f"{section}.{key}={value}" for key, value in (("draws", 1), ("slices", 1), ("digital", 0))]
        over += [f"{section}.views=48"] if recipe.modality == "CT" else []
    made = train_model(read_recipe(find_recipe(name), over), scans[recipe.modality], tmp_path, device="cpu")
    assert made.info.figures["steps"] == 2
    assert 0 < made.info.figures["validation_share"] < 100


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
        "network={dims: 3, neighbours: 1}",
        "samples.tissue=1.1",
        "returned.share=1",
        "seed=-1",
        "optimiser.betas=[0.9,1.0]",
        "simulate_ct={kernels: [foo]}",
        "simulate_ct={kernels: []}",
        "simulate_ct={views: 0}",
        "simulate_ct={electronic_sigma: -1}",
        "simulate_ct={slab_mm: .nan}",
        "simulate_ct={noise_hu: [0, 90]}",
        "simulate_ct={noise_hu: [90, 10]}",
        "simulate_ct={cutoff: [0, 0]}",
        "simulate_ct={noise_cutoff: [0.3, 2]}",
        "simulate_mr={snr: [0, 10]}",
        "simulate_mr={snr: [50, 5]}",
        "simulate_mr={zero_fill: [0.5, 2]}",
    ],
)
def test_wrong_settings_are_usage_errors(setting: str) -> None:
    with pytest.raises(UsageError):
        read_recipe(recipes_folder() / "mr_repeats.yaml", [setting])


def test_a_photograph_gets_nothing_back_that_is_told_in_millimetres() -> None:
    with pytest.raises(UsageError, match="millimetres"):
        read_recipe(recipes_folder() / "paper_gaussian.yaml", ["returned.share=0.2"])


def test_every_shipped_recipe_has_a_budget_for_two_cores_and_for_a_gpu() -> None:
    for path in recipes_folder().glob("*.yaml"):
        for name in ("cpu", "gpu"):
            budget = read_budget(path, name)
            assert 0 < budget.minutes <= 30
            assert read_recipe(path, budget.settings).name == read_recipe(path).name


@pytest.mark.parametrize("path", sorted(recipes_folder().glob("paper_*.yaml")), ids=lambda path: path.stem)
def test_the_paper_s_experiments_are_made_smaller_for_two_cores(path: Path) -> None:
    small, large = (read_recipe(path, read_budget(path, name).settings) for name in ("cpu", "gpu"))
    assert small.network.arguments["channels"] == 24
    assert large.network.arguments["channels"] == 48
    assert small.samples.batch < large.samples.batch


def test_a_recipe_s_own_budget(tmp_path: Path) -> None:
    text = (recipes_folder() / "mr_repeats.yaml").read_text()
    own = tmp_path / "own.yaml"
    own.write_text(text + "budgets: {cpu: {minutes: 3, settings: [samples.batch=2]}}\n")
    assert read_recipe(own, read_budget(own, "cpu").settings).samples.batch == 2
    assert (read_budget(own, "cpu").minutes, read_budget(own, "gpu").minutes) == (3, 20)
    for wrong in ("budgets: {tpu: {minutes: 3}}", "budgets: {cpu: {hours: 3}}", "budgets: [1]"):
        own.write_text(f"{text}{wrong}\n")
        with pytest.raises(UsageError, match="budgets"):
            read_budget(own, "cpu")


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


def test_a_blind_spot_s_neighbours_lie_in_the_patch() -> None:
    with pytest.raises(UsageError, match="radius"):
        read_recipe(
            recipes_folder() / "single_scan.yaml", ["pairs=blind_spot", "samples.patch=64", "blind_spot.radius=32"]
        )
