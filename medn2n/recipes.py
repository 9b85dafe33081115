"""Recipes on disk: YAML, settings over it, and those that ship."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from medn2n.config import Recipe, parse_recipe
from medn2n.errors import UsageError


class Budget(BaseModel):
    """How long to train on some hardware, and what to set for it ("key=value", as --set has it)."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    minutes: float = Field(gt=0)
    settings: list[str] = Field(default_factory=list)


BUDGETS = {"cpu": Budget(minutes=15), "gpu": Budget(minutes=20)}  # two cores; one GPU


def read_recipe(path: Path, overrides: list[str] | None = None) -> Recipe:
    """Parse and validate a YAML recipe; `overrides` are "a.b=value" with the value in YAML. UsageError otherwise."""
    data = _mapping(path)
    data.pop("budgets", None)
    for override in overrides or []:
        _apply(data, override)
    return parse_recipe(data)


def read_budget(path: Path, name: str) -> Budget:
    """The recipe's own budget of that name ("cpu": two cores, "gpu": one GPU), or the usual one. UsageError where the
    recipe's section `budgets` is wrong."""
    section = _mapping(path).get("budgets") or {}
    try:
        own = {key: Budget.model_validate(value) for key, value in section.items()}
    except (ValidationError, AttributeError):
        own = {"": BUDGETS["cpu"]}
    if not set(own) <= set(BUDGETS):
        raise UsageError(
            "The recipe is not valid: budgets: expected cpu and gpu, each with minutes and a list of settings."
        )
    return own.get(name, BUDGETS[name])


def _mapping(path: Path) -> dict[str, Any]:
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UsageError("The recipe does not exist. `medn2n config list` shows those that ship.") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UsageError(f"The recipe is not YAML: {error}.") from None
    if not isinstance(data, dict):
        raise UsageError(f"The recipe should be a mapping of settings, found {type(data).__name__}.")
    return data


def _apply(data: dict[str, Any], override: str) -> None:
    key, mark, value = override.partition("=")
    if not mark:
        raise UsageError(f"--set expects key=value, found {override!r}.")
    *parents, last = key.split(".")
    for parent in parents:
        data = data.setdefault(parent, {})
        if not isinstance(data, dict):
            raise UsageError(f"--set {key}: {parent} is not a section.")
    try:
        data[last] = yaml.safe_load(value)
    except yaml.YAMLError:
        raise UsageError(f"--set {key}: the value is not YAML, found {value!r}.") from None


def recipes_folder() -> Path:
    """Where the shipped recipes lie: inside the wheel, or in the checkout when installed in place."""
    inside = Path(__file__).parent / "_configs"
    return inside if inside.is_dir() else Path(__file__).parent.parent / "configs"


def shipped_recipes() -> dict[str, Recipe]:
    """Name → recipe of all that ship."""
    return {path.stem: read_recipe(path) for path in sorted(recipes_folder().glob("*.yaml"))}


def find_recipe(name: str) -> Path:
    """The file of a recipe given by path or by a shipped name. UsageError names those that ship."""
    shipped = recipes_folder() / f"{name}.yaml"
    if Path(name).is_file():
        return Path(name)
    if "/" not in name and shipped.is_file():
        return shipped
    names = ", ".join(path.stem for path in sorted(recipes_folder().glob("*.yaml")))
    raise UsageError(f"The recipe does not exist: expected a YAML file or one of {names}.")
