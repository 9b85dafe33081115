"""Slow drift of a series: found where it is, with an interval that holds the truth, and not where it is not."""

from __future__ import annotations

import numpy as np
import pytest

from medn2n.core.drift import level_drift, tissue_levels
from tests.built_repeats import head, repeats


def test_a_straight_drift_is_found_exactly() -> None:
    drift = level_drift([100, 101, 102, 103, 104], [0, 1, 2, 3, 4])
    assert drift is not None
    assert drift.per_frame == pytest.approx(1.0)
    assert drift.total == pytest.approx(4.0)
    assert drift.total_percent == pytest.approx(100 * 4 / 102)
    assert drift.figures(2.0)["drift_total_sigmas"] == pytest.approx(2.0)
    assert "drift_total_sigmas" not in drift.figures(0.0)


def test_frames_that_are_missing_count_as_time() -> None:
    drift = level_drift([100, 101, 104, 109, 110], [0, 1, 4, 9, 10])
    assert drift is not None
    assert (drift.per_frame, drift.total) == (pytest.approx(1.0), pytest.approx(10.0))


@pytest.mark.parametrize("slope", [0.0, 0.02])
@pytest.mark.parametrize("wander", [0.0, 0.5])
def test_the_interval_holds_the_truth(slope: float, wander: float) -> None:
    """95 % intervals of 400 series of 40 frames, whose fluctuation is white or correlated from frame to frame."""
    rng, held = np.random.default_rng(1), 0
    for _ in range(400):
        steps = rng.standard_normal(90)
        for n in range(1, 90):
            steps[n] += wander * steps[n - 1]
        drift = level_drift(500 + slope * np.arange(40) + steps[50:], np.arange(40))
        assert drift is not None
        held += drift.low <= slope <= drift.high
    assert held >= 350  # 95 % of 400 is 380; correlated residuals of short series tell less than they should


def test_too_few_frames_say_nothing() -> None:
    assert level_drift([1, 2, 3], [0, 1, 2]) is None
    assert level_drift([0, 0, 0, 0], [0, 1, 2, 3]) is None


def test_levels_are_those_of_tissue() -> None:
    image = head((64, 64, 4), seed=2)
    frames = [frame * (1 + 0.002 * t) for t, frame in enumerate(repeats(image, 10.0, seed=3, count=20, offset=0.0))]
    drift = level_drift(tissue_levels(np.stack(frames, axis=3), range(20)), range(20))
    assert drift is not None
    assert drift.total_percent == pytest.approx(100 * 0.002 * 19 / (1 + 0.019), rel=0.1)
    assert drift.total_percent_low > 0
