"""Built faults have the size that they claim, and the check finds them."""

from __future__ import annotations

import numpy as np
import pytest

from medn2n.core.pair_check import check_pair
from medn2n.core.pair_faults import FAULTS, GAIN, OFFSET_SIGMAS, Fault, faulty_pair
from tests.built_repeats import head

QUIET = (head((160, 160, 6)) - 1000).astype(np.float32)
OTHER = (head((128, 144, 6), seed=9) - 1000).astype(np.float32)


def _pair(fault: Fault, seed: int = 0, quiet: np.ndarray = QUIET):  # type: ignore[no-untyped-def]
    return faulty_pair(quiet, OTHER, fault, np.random.default_rng(seed))


def test_faults_differ_from_the_sound_pair_by_the_fault_alone() -> None:
    sound = _pair("none")
    sigma = float((sound.first - QUIET).std())
    for fault in FAULTS:
        pair = _pair(fault)
        assert pair.snr == sound.snr
        assert pair.grain == sound.grain
        np.testing.assert_array_equal(pair.first, sound.first)
    moved = _pair("offset").second - sound.second
    assert abs(float(moved.mean())) == pytest.approx(OFFSET_SIGMAS * sigma, rel=0.02)
    ratio = (_pair("gain").second + 1000) / (sound.second + 1000)
    assert abs(float(np.median(ratio)) - 1) == pytest.approx(GAIN, rel=1e-3)
    noise_two = _pair("shared noise").second - QUIET
    assert np.corrcoef((sound.first - QUIET).ravel(), noise_two.ravel())[0, 1] == pytest.approx(0.2, abs=0.01)
    np.testing.assert_allclose(_pair("identical").second, sound.first, atol=1e-3)


@pytest.mark.parametrize("fault", [fault for fault in FAULTS if fault not in ("none", "little shared")])
def test_the_check_finds_each_fault(fault: Fault) -> None:
    found = [check_pair(pair.first, pair.second).verdict != "fit" for pair in (_pair(fault, seed) for seed in range(4))]
    assert all(found)


def test_no_alarm_without_a_fault() -> None:
    for quiet in (QUIET, (QUIET + 1000).astype(np.float32)):
        for seed in range(4):
            pair = _pair("none", seed, quiet)
            result = check_pair(pair.first, pair.second)
            assert result.code in ("FIT", "UNPROVEN_INDEPENDENCE"), result.reason
