"""The training run itself: seeds, resuming, the time budget, other models to start from, and its log."""

from __future__ import annotations

import logging
from pathlib import Path

import lightning
import pytest
import torch
from safetensors.torch import load_file

from medn2n.core.networks import build_network
from medn2n.errors import ModelError, TrainingDiverged
from medn2n.formats.bundle_dir import WEIGHTS
from medn2n.formats.checkpoint import load_checkpoint
from medn2n.stages.samples_to_bundle import Trained, train
from tests.tiny_training import cases, few


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
    last = trained.progress.history[-1]
    left, warm = max(0.0, 1 - last["seconds"] / 1.2), min(1.0, last["step"] / 100)
    assert last["rate"] == pytest.approx(long.optimiser.learning_rate * left * warm, abs=1e-12)


def test_a_gradient_that_is_no_number_ends_the_training_in_one_sentence(tmp_path: Path) -> None:
    (case,) = cases()
    case.image[:] = float("inf")
    with pytest.raises(TrainingDiverged, match="Step 1 had a gradient that is no number"):
        train([case], [], few(), folder=tmp_path, device="cpu")


def test_a_processor_without_bfloat16_trains_in_32_bits_whoever_asks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    fabric = lightning.Fabric

    def made(**options: object) -> lightning.Fabric:
        asked.append(options["precision"])
        return fabric(**options)

    monkeypatch.setattr(lightning, "Fabric", made)
    for able in (True, False):
        monkeypatch.setattr("medn2n.core.precision._has_bfloat16", lambda able=able: able)
        train(cases(), [], few(optimiser={"steps": 1}, precision="bf16-mixed"), folder=tmp_path, device="cpu")
    assert asked == ["bf16-mixed", "32-true"]


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
