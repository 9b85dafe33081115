"""The benchmark of the error told from repeats: scenes follow from the seed, the table counts what intervals hold."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from typer.testing import CliRunner

from medn2n import error_benchmark
from medn2n.benchmark_tables import error_benchmark_table
from medn2n.cli_groups import benchmark_app
from medn2n.core.error_trials import NOISES, ErrorTrial
from medn2n.core.repeat_error import RepeatError
from medn2n.error_benchmark import ErrorBenchmark, one_scene

FOUND = RepeatError(mse=4.0, mse_interval=(3.99, 4.01), noisy_mse=8.0, share=0.5, share_interval=(0.4, 0.6))
TRIAL = ErrorTrial(
    noise="white", estimator="two repeats", method="median", side=64, snr=5.0, masked=False,
    true_mse=4.0, true_share=0.5, found=FOUND, data_range=100.0,
)  # fmt: skip


@pytest.fixture
def few_objects(monkeypatch: pytest.MonkeyPatch) -> dict[tuple[int, int, int], list[np.ndarray]]:
    i, j, _ = np.indices((64, 64, 4))
    body = np.where(np.hypot(i - 32, j - 32) < 24, 100.0, 0.0).astype(np.float32)
    objects = {shape: [body, body * 10 - 1000] for shape in error_benchmark.SHAPES}
    monkeypatch.setattr(error_benchmark, "known_objects", lambda: objects)
    return objects


def test_a_scene_follows_from_seed_noise_and_number(few_objects: dict[tuple[int, int, int], list[np.ndarray]]) -> None:
    one, again, other = (one_scene(few_objects, 1, ("Rician", number)) for number in (3, 3, 4))
    assert one == again
    assert one != other
    result = error_benchmark.benchmark_error(trials=2, seed=1, processes=1)
    assert len(result.trials) == 2 * 2 * len(NOISES)
    assert {trial.noise for trial in result.trials} == set(NOISES)


def test_known_objects_of_each_shape_hold_magnitudes_and_hu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(error_benchmark, "SHAPES", ((64, 64, 2),))
    objects = error_benchmark.known_objects()[(64, 64, 2)]
    assert {item.shape for item in objects} == {(64, 64, 2)}
    assert any(item.min() >= 0 for item in objects)
    assert any(item.min() < -500 for item in objects)


def test_the_table_counts_what_intervals_hold() -> None:
    trials = [
        TRIAL,
        replace(TRIAL, true_mse=4.2),
        replace(TRIAL, method="none", true_share=0.7),
        replace(TRIAL, noise="Rician", found=replace(FOUND, mse_interval=(-1.0, 9.0))),
    ]
    table = error_benchmark_table(ErrorBenchmark(trials=tuple(trials), seed=7))
    white = next(line for line in table.splitlines() if line.startswith("white, two repeats")).split()
    assert white[3:9] == ["3", "66.7", "66.7", "100.0", "3", "66.7"]
    rician = next(line for line in table.splitlines() if line.startswith("Rician, two repeats")).split()
    assert rician[3:8] == ["1", "100.0", "100.0", "100.0", "0"]
    assert "none, two repeats" in table
    assert "Seed 7" in table


def test_the_command_prints_the_table(
    few_objects: dict[tuple[int, int, int], list[np.ndarray]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(error_benchmark.os, "cpu_count", lambda: 1)
    done = CliRunner().invoke(benchmark_app, ["error", "--trials", "1", "--seed", "2"])
    assert done.exit_code == 0, done.output
    assert "coloured, three repeats" in done.output
