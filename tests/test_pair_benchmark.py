"""The benchmark of the pair check: faults go to objects that can show them, and the table counts what was found."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from medn2n.benchmark_tables import pair_benchmark_table
from medn2n.core.pair_faults import FAULTS, faulty_pair
from medn2n.pair_benchmark import Case, Object, PairBenchmark, built_objects, one_case

CASE = Case(
    fault="none", kind="phantom", slices=6, snr=20.0, grain="white", stored="floats", flat_voxels=9000.0,
    mean_error=0.005, verdict="fit", code="FIT",
)  # fmt: skip


def test_each_fault_is_built_on_an_object_that_shows_it() -> None:
    disc = built_objects()[0]
    thin = Object(voxels=disc.voxels[:, :, :1], kind="scan")
    for number in range(3):
        assert one_case([thin, disc], 0, ("little shared", number)).kind == "phantom"
    assert one_case([thin, disc], 0, ("none", 0)).slices == 1


@pytest.mark.parametrize("fault", ["none", "gain", "offset", "little shared", "identical"])
def test_phantoms_are_judged_right(fault: str) -> None:
    objects = built_objects()
    for number in range(2):
        case = one_case(objects, 1, (fault, number))  # type: ignore[arg-type]
        assert (case.code == "FIT") == (fault == "none"), case


def test_what_an_archive_stores() -> None:
    quiet = built_objects()[1].voxels
    stored = {}
    for seed in range(12):
        pair = faulty_pair(quiet, quiet, "none", np.random.default_rng(seed))
        stored[pair.stored] = pair
        assert 0 < pair.flat_voxels < quiet.size
    assert float(stored["floor"].first.min()) == -1000
    whole = stored["whole numbers"].first
    np.testing.assert_array_equal(whole, np.round(whole))
    assert (stored["floats"].first != np.round(stored["floats"].first)).any()


def test_the_table_counts_alarms_unproven_and_missed_apart() -> None:
    cases = [
        CASE,
        replace(CASE, verdict="unproven", code="UNPROVEN_INDEPENDENCE"),
        replace(CASE, fault="offset", verdict="correctable", code="INTENSITY"),
        replace(CASE, fault="offset", verdict="unproven", code="INTENSITY"),
        replace(CASE, fault="offset", mean_error=0.02),
        replace(CASE, fault="shared noise", verdict="unfit", code="SHARED_NOISE"),
        replace(CASE, fault="shared noise", flat_voxels=100.0),
    ]
    table = pair_benchmark_table(PairBenchmark(cases=tuple(cases), objects=(("phantom", 1),), seed=3))
    none = next(line for line in table.splitlines() if line.startswith("none"))
    assert none.split()[1:8] == ["2", "0.0", "%", "50.0", "%", "50.0", "%"]
    assert "66.7 %" in next(line for line in table.splitlines() if line.startswith("offset "))
    assert "100.0 %" in next(line for line in table.splitlines() if line.startswith("offset, where any test can"))
    assert "100.0 %" in next(line for line in table.splitlines() if line.startswith("shared noise, ≥ 5000 flat"))
    assert "seed 3" in table
    assert len(set(FAULTS)) == 10
