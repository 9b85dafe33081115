"""Samples → model bundle: one training run on Lightning Fabric, read from top to bottom: setup, fit, validate.

The best model is the one whose averaged weights have the smallest error against an independent noisy repeat on
held-out pairs: E|f(a) − b|² = E|f(a) − truth|² + σ², and σ² is the same for every model, so the noisy target ranks
models as the truth would (Lehtinen 2018, eq. 4).
"""

from __future__ import annotations

import logging
import math
import multiprocessing
import os
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import lightning
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from medn2n.config import Network, Recipe
from medn2n.core.carrying import compared
from medn2n.core.cases import Case
from medn2n.core.networks import build_network, parameter_count
from medn2n.core.objectives import shares_left
from medn2n.core.optimisers import build_optimiser
from medn2n.core.precision import precision_on
from medn2n.core.samples import PairedSamples
from medn2n.core.step_loss import finished, step_loss
from medn2n.errors import ModelError, TrainingDiverged
from medn2n.formats.checkpoint import load_checkpoint, save_checkpoint
from medn2n.log import logger

REMEDY = "Lower optimiser.learning_rate, or look for scans whose scale is wrong."
VALIDATION_STREAM = 1  # a random stream of its own, the same patches at every validation
VALIDATION_SAMPLES_A_GROUP = 8


@dataclass(slots=True, kw_only=True)
class Progress:
    """Where a run stands; all of it goes into the checkpoint. validation: share of the noisy input's own squared
    difference to the target that is left (1 = as noisy as the input, ½ = no error at all). finished: whether its steps
    or minutes were used up."""

    step: int = 0
    seconds: float = 0.0
    best_validation: float = math.inf
    best_step: int = 0
    finished: bool = False
    history: list[dict[str, float]] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Trained:
    """network: the best averaged weights, on the CPU, float32, in evaluation mode."""

    network: nn.Module
    progress: Progress
    parameters: int


@dataclass(slots=True, kw_only=True, eq=False)
class _Run:
    fabric: lightning.Fabric
    recipe: Recipe
    network: nn.Module
    average: nn.Module
    optimiser: torch.optim.Optimizer
    samples: PairedSamples
    loader: Any
    held_out: list[dict[str, Tensor]]
    progress: Progress
    checkpoints: Path
    max_minutes: float | None = None
    part_minutes: float | None = None


def train(
    training: list[Case],
    validation: list[Case],
    recipe: Recipe,
    *,
    folder: Path,
    device: str = "auto",
    max_minutes: float | None = None,
    part_minutes: float | None = None,
    resume: bool = False,
    start_from: dict[str, Tensor] | None = None,
) -> Trained:
    """Train to the recipe's number of steps or to the time budget, whichever comes first.

    part_minutes: this call ends after that time, at a checkpoint; the next one, with resume, goes on.
    folder: gets checkpoints/last.safetensors and checkpoints/best.safetensors. resume: go on from the last one, with
    the optimiser's state and the time already spent. start_from: weights of another model of the same network.
    """
    run = _setup(training, validation, recipe, folder=folder, device=device)
    run.max_minutes, run.part_minutes = max_minutes, part_minutes
    if start_from is not None:
        _start_from(run, start_from)
    if resume:
        _resume(run)
    else:
        for stale in run.checkpoints.glob("*.safetensors"):
            stale.unlink()  # another run's best model must not pass for this one's
    _fit(run)
    best = run.checkpoints / "best.safetensors"
    if not best.exists():
        raise TrainingDiverged(
            f"The validation figure was never a number in {run.progress.step} steps: the training diverged. {REMEDY}"
        )
    network = build_network(recipe.network.name, recipe.network.build_arguments(), residual=recipe.network.residual)
    load_checkpoint(best, average=network)
    return Trained(network=network.eval(), progress=run.progress, parameters=parameter_count(network))


def _setup(training: list[Case], validation: list[Case], recipe: Recipe, *, folder: Path, device: str) -> _Run:
    logging.getLogger("lightning.fabric").setLevel(logging.ERROR)  # it announces its precision plugin
    fabric = lightning.Fabric(accelerator=device, devices=1, precision=precision_on(device, recipe.precision))
    fabric.seed_everything(recipe.seed, verbose=False)
    network, average = _networks(recipe.network, fabric.device)
    optimiser = build_optimiser(recipe.optimiser, network)
    logger.info("network %s: %d parameters", recipe.network.name, parameter_count(network))
    module, optimiser = fabric.setup(network, optimiser)
    samples = PairedSamples(training, recipe, length=recipe.samples.epoch)
    checkpoints = folder / "checkpoints"
    checkpoints.mkdir(parents=True, exist_ok=True)
    return _Run(
        fabric=fabric,
        recipe=recipe,
        network=module,
        average=average,
        optimiser=optimiser,
        samples=samples,
        loader=fabric.setup_dataloaders(_loader(samples, recipe, fabric.device)),
        held_out=_held_out_batches(validation or training, recipe),
        progress=Progress(),
        checkpoints=checkpoints,
    )


def _networks(spec: Network, device: torch.device) -> tuple[nn.Module, nn.Module]:
    """The network that learns, and the one that its weights are averaged into, equal at first."""
    network = build_network(spec.name, spec.build_arguments(), residual=spec.residual)
    average = build_network(spec.name, spec.build_arguments(), residual=spec.residual)
    average.load_state_dict(network.state_dict())
    average.requires_grad_(False).eval().to(device)
    if spec.dims == 2:
        network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        average = average.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return network, average


def _loader(samples: PairedSamples, recipe: Recipe, device: torch.device) -> Any:
    # A GPU outruns the making of patches in this process; on a CPU, workers would take the cores that train.
    workers = min(6, os.cpu_count() or 1) if device.type == "cuda" else 0
    # Forked workers share the memory-mapped scans; others would each be sent a copy.
    forks = workers > 0 and "fork" in multiprocessing.get_all_start_methods()
    return DataLoader(
        samples,
        batch_size=recipe.samples.batch,
        num_workers=workers,
        drop_last=True,
        pin_memory=workers > 0,
        multiprocessing_context="fork" if forks else None,
    )


def _start_from(run: _Run, weights: dict[str, Tensor]) -> None:
    try:
        run.network.load_state_dict(weights)
        run.average.load_state_dict(weights)
    except RuntimeError:
        raise ModelError(
            "OTHER_NETWORK",
            "The model to start from has another network than the recipe. Use its recipe's network section.",
        ) from None


def _resume(run: _Run) -> None:
    last = run.checkpoints / "last.safetensors"
    if last.exists():
        progress = load_checkpoint(last, network=run.network, average=run.average, optimiser=run.optimiser)
        run.progress = Progress(**progress)
        logger.info("resumed at step %d", run.progress.step)


def _held_out_batches(cases: list[Case], recipe: Recipe) -> list[dict[str, Tensor]]:
    groups = len({case.group for case in cases})
    length = VALIDATION_SAMPLES_A_GROUP * groups
    samples = PairedSamples(cases, recipe, length=length, stream=VALIDATION_STREAM)
    return list(DataLoader(samples, batch_size=recipe.samples.batch))


def _fit(run: _Run) -> None:
    """Epochs of steps until the steps or the minutes are used up; validation and a checkpoint on the way."""
    recipe, progress = run.recipe, run.progress
    began = time.monotonic()
    started, losses = began - progress.seconds, []
    part_ends = began + 60 * run.part_minutes if run.part_minutes else math.inf
    done = _share_done(run) >= 1.0
    while not done:
        run.samples.start_at(progress.step * recipe.samples.batch)
        for batch in run.loader:
            progress.seconds = time.monotonic() - started
            _set_rate(run)
            losses.append(_step(run, batch))
            progress.step += 1
            done = _share_done(run) >= 1.0 or time.monotonic() >= part_ends
            if progress.step % recipe.validate_every == 0 or done:
                _validate_and_save(run, float(torch.stack(losses).mean()))
                losses.clear()
            if done:
                break


def _step(run: _Run, batch: dict[str, Tensor]) -> Tensor:
    run.network.train()
    torch.manual_seed(run.recipe.seed * 2**24 + run.progress.step)  # dropout's draws: a resumed run has the same ones
    loss = step_loss(run.network, batch, run.recipe, share_done=_share_done(run))
    run.fabric.backward(loss)
    try:
        run.fabric.clip_gradients(run.network, run.optimiser, max_norm=run.recipe.optimiser.gradient_clip)
    except RuntimeError as error:
        if "non-finite" not in str(error):
            raise
        raise TrainingDiverged(f"Step {run.progress.step + 1} had a gradient that is no number. {REMEDY}") from None
    run.optimiser.step()
    run.optimiser.zero_grad(set_to_none=True)
    _follow(run)
    return loss.detach()


def _follow(run: _Run) -> None:
    """Exponential moving average of the weights; short at first, so that the start is forgotten."""
    decay = min(run.recipe.optimiser.ema, (1 + run.progress.step) / (10 + run.progress.step))
    with torch.no_grad():
        slow = [parameter.detach() for parameter in run.average.parameters()]
        fast = [parameter.detach() for parameter in run.network.parameters()]
        torch._foreach_lerp_(slow, fast, 1.0 - decay)  # one launch for all of them
        for kept, current in zip(run.average.buffers(), run.network.buffers(), strict=True):
            kept.copy_(current)


def _share_done(run: _Run) -> float:
    by_steps = run.progress.step / run.recipe.optimiser.steps
    by_time = run.progress.seconds / 60.0 / run.max_minutes if run.max_minutes else 0.0
    return max(by_steps, by_time)


def _set_rate(run: _Run) -> None:
    optimiser = run.recipe.optimiser
    factor = min(1.0, max(0.0, 1.0 - _share_done(run)) / max(optimiser.ramp_down, 1e-9))
    warm = min(1.0, (run.progress.step + 1) / 100)
    for group in run.optimiser.param_groups:
        group["lr"] = optimiser.learning_rate * factor * warm


def _validate(run: _Run) -> float:
    """mean |f(input) − target|² over mean |input − target|², averaged over the held-out patches; of repeats that
    moved, both are carried to the target as in training."""
    shares = []
    with torch.no_grad(), run.fabric.autocast():
        for batch in run.held_out:
            there = {key: value.to(run.fabric.device) for key, value in batch.items()}
            output = finished(run.average(there["input"]).float(), there)
            shares.append(shares_left(*compared(output, there, run.recipe.align)))
    return float(torch.cat(shares).mean())


def _validate_and_save(run: _Run, loss: float) -> None:
    progress = run.progress
    progress.finished = _share_done(run) >= 1.0
    validation = _validate(run)
    rate = run.optimiser.param_groups[0]["lr"]
    progress.history.append(
        {"step": progress.step, "seconds": progress.seconds, "loss": loss, "validation": validation, "rate": rate}
    )
    better = math.isfinite(validation) and (run.recipe.keep == "last" or validation < progress.best_validation)
    if better:
        progress.best_validation, progress.best_step = validation, progress.step
    logger.info(
        "step %6d  %6.1f min  loss %.4f  validation %.4f%s",
        progress.step, progress.seconds / 60, loss, validation, "  best" if better else "",
    )  # fmt: skip
    for name in ("last", "best") if better else ("last",):
        save_checkpoint(
            run.checkpoints / f"{name}.safetensors",
            network=run.network,
            average=run.average,
            optimiser=run.optimiser,
            progress=progress,
        )
