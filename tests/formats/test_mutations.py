"""A few thousand damaged scans: `python -m tests.mutations --count 100000` runs more of the same."""

from __future__ import annotations

from tests.mutations.__main__ import run


def test_damaged_scans_are_refused_or_read_rightly() -> None:
    tally = run(3000, seed=20)
    assert tally.failures == [], tally.table()
    assert tally.cases == 3000
    loaded = sum(outcomes["loaded"] for outcomes in tally.outcomes.values())
    assert 300 < loaded < 2000  # the harness itself works: some damage does no harm, most of it does
    assert tally.peak_kb < 1_000_000


def test_a_crash_and_a_wrong_shape_would_be_seen() -> None:
    from pathlib import Path
    from tempfile import TemporaryDirectory

    from tests.mutations.__main__ import Tally
    from tests.mutations.check import Case, Checker
    from tests.mutations.corpus import corpus

    tally = Tally()
    tally.crashed(7, "FAILED killed by signal 11")
    assert "killed by signal 11" in tally.table()
    samples = [sample for sample in corpus() if sample.name == "nifti a.nii"]
    with TemporaryDirectory() as folder:
        checker = Checker(samples, Path(folder))
        sound = checker._sound["nifti a.nii"]
        checker._sound["nifti a.nii"] = [(facts, voxels + 1) for facts, voxels in sound]
        (sample,) = samples
        case = Case(sample=sample, operator="none", data=sample.files["a.nii"])
        outcome, _, _ = checker.timed(case)
    assert outcome == "FAILED AssertionError"
