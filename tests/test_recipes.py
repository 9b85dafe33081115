"""Recipes: those that ship, settings over them, and wrong ones."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from medn2n.core.networks import build_network
from medn2n.errors import UsageError
from medn2n.recipes import find_recipe, read_budget, read_recipe, recipes_folder, shipped_recipes


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
    ],
)
def test_wrong_settings_are_usage_errors(setting: str) -> None:
    with pytest.raises(UsageError):
        read_recipe(recipes_folder() / "mr_repeats.yaml", [setting])


def test_every_shipped_recipe_has_a_budget_for_two_cores_and_for_a_gpu() -> None:
    for path in recipes_folder().glob("*.yaml"):
        for name in ("cpu", "gpu"):
            budget = read_budget(path, name)
            assert 0 < budget.minutes <= 30
            assert read_recipe(path, budget.settings).name == read_recipe(path).name


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
