"""A training that was interrupted: what goes on with it, what is refused, and that nothing of it is lost unasked."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch

from medn2n.errors import UsageError
from medn2n.formats.checkpoint import unfinished_step
from medn2n.stages.samples_to_bundle import train
from medn2n.training import train_model
from tests.tiny_training import cases, few

DROPOUT = {
    "name": "UNet",
    "arguments": {"in_channels": 1, "out_channels": 1, "channels": [4, 8], "strides": [2], "dropout": 0.3},
}


@pytest.fixture
def half(data: Path, tmp_path: Path) -> Path:
    """A run whose first part ended after a step."""
    train_model(few(optimiser={"steps": 4}), data / "manifest.json", tmp_path / "run", device="cpu", part_minutes=1e-9)
    return tmp_path / "run"


def test_an_unfinished_training_is_not_begun_anew(data: Path, half: Path) -> None:
    last = half / "checkpoints" / "last.safetensors"
    before = last.read_bytes()
    with pytest.raises(UsageError, match="stopped at step 1, before its end"):
        train_model(few(optimiser={"steps": 4}), data / "manifest.json", half, device="cpu")
    assert last.read_bytes() == before
    done = train_model(few(optimiser={"steps": 4}), data / "manifest.json", half, device="cpu", resume=True)
    assert done.info.figures["steps"] == 4
    assert unfinished_step(last) is None
    train_model(few(optimiser={"steps": 2}), data / "manifest.json", half, device="cpu")  # a finished one is


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"seed": 7}, "seed"),
        ({"objective": "l1"}, "objective"),
        ({"scaling": {"kind": "percentile", "percentile": 50}}, "scaling.percentile"),
    ],
)
def test_other_settings_do_not_go_on_with_it(data: Path, half: Path, changes: dict[str, object], named: str) -> None:
    recipe = few(**({"optimiser": {"steps": 6}} | changes))
    with pytest.raises(UsageError, match=f"--resume: {named} is another"):
        train_model(recipe, data / "manifest.json", half, device="cpu", resume=True)
    longer = few(optimiser={"steps": 6}).model_copy(update={"description": "longer", "validate_every": 3})
    assert train_model(longer, data / "manifest.json", half, device="cpu", resume=True).info.figures["steps"] == 6


def test_other_scans_do_not_either(data: Path, half: Path, tmp_path: Path) -> None:
    shutil.copytree(data, tmp_path / "others")
    manifest = tmp_path / "others" / "manifest.json"
    manifest.write_text(manifest.read_text().replace("built", "other"))
    with pytest.raises(UsageError, match="manifest is another"):
        train_model(few(optimiser={"steps": 4}), manifest, half, device="cpu", resume=True)


def test_a_network_with_dropout_draws_alike_in_parts_and_in_one_go(tmp_path: Path) -> None:
    recipe = few(optimiser={"steps": 3}, network=DROPOUT)
    whole = train(cases(), [], recipe, folder=tmp_path / "whole", device="cpu")
    for _ in range(3):
        parts = train(cases(), [], recipe, folder=tmp_path / "parts", device="cpu", part_minutes=1e-9, resume=True)
    assert parts.progress.step == 3
    for name, weight in whole.network.state_dict().items():
        torch.testing.assert_close(parts.network.state_dict()[name], weight, rtol=0, atol=0)
