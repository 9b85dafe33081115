"""Methods over time: scored against a frame that they saw they look better than they are; left out, they do not."""

from __future__ import annotations

import numpy as np
import pytest

from medn2n.core.repeat_error import error_from_repeats
from medn2n.core.series_error import leave_one_out

FRAMES, SIGMA = 6, 10.0


def mean_of_all(frames: np.ndarray) -> np.ndarray:
    return np.broadcast_to(frames.mean(axis=3, keepdims=True), frames.shape).copy()


def series(generator: np.random.Generator) -> np.ndarray:
    i, j, _ = np.indices((36, 36, 2))
    return (100 * np.sin(i / 7) * np.cos(j / 5))[..., None] + generator.normal(0, SIGMA, (36, 36, 2, FRAMES))


def test_a_mean_of_all_frames_looks_too_good_unless_the_target_is_left_out() -> None:
    true = SIGMA**2 / (FRAMES - 1)
    found, covered = [], 0
    for seed in range(120):
        frames = series(np.random.default_rng(seed))
        error = leave_one_out(frames, mean_of_all)
        found.append(error.mse)
        covered += error.mse_interval[0] <= true <= error.mse_interval[1]
    assert np.mean(found) == pytest.approx(true, rel=0.03)
    assert covered >= 107  # 95 % of 120, less three standard errors
    seen = mean_of_all(frames)
    naive = error_from_repeats(frames[..., 0], frames[..., 1], seen[..., 0], seen[..., 1])
    assert naive.mse_interval[1] < 0


def test_pairs_masks_and_what_is_refused() -> None:
    frames = series(np.random.default_rng(1))
    mask = np.zeros(frames.shape[:3], dtype=bool)
    mask[:18] = True
    frames[18:, :, :, ::2] += 1000  # outside the mask the frames differ, which must not count
    calls = []

    def counted(part: np.ndarray) -> np.ndarray:
        calls.append(part.shape[3])
        return mean_of_all(part)

    some = leave_one_out(frames, counted, mask=mask, pairs=2)
    assert calls == [FRAMES - 1] * 4
    assert some.mse == pytest.approx(SIGMA**2 / (FRAMES - 1), rel=0.5)
    assert leave_one_out(frames, lambda part: part, mask=mask).share == pytest.approx(1)
    with pytest.raises(ValueError, match="three frames"):
        leave_one_out(frames[..., :2], mean_of_all)
    with pytest.raises(ValueError, match="turned shape"):
        leave_one_out(frames, lambda part: part[..., :1])
