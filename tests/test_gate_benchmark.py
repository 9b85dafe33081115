"""What the gates catch of faults of known size: the counting, on figures that are known, and the whole on one scan."""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from medn2n.benchmark_tables import gate_benchmark_table
from medn2n.core.limits import GATES, TRIAL_GATES
from medn2n.gate_benchmark import (
    MULTIPLES,
    GateCase,
    area_under_roc,
    benchmark_gates,
    chosen_limits,
    held_out_rates,
    roc_points,
)

NOTHING = dict.fromkeys(GATES + TRIAL_GATES, float("nan"))


def case(scan: int, fault: str, size: float, **excess: float) -> GateCase:
    return GateCase(scan=f"s{scan}", modality="CT", fault=fault, size=size, excess=NOTHING | excess)  # type: ignore[arg-type]


def test_a_limit_lies_in_the_middle_between_faithful_copies_and_the_least_fault() -> None:
    cases = [case(n, "none", 0, sharpness=0.2 * n) for n in range(3)]  # up to 0.4
    cases += [case(n, "blur", 0.5, sharpness=1.0 + n) for n in range(3)]
    cases += [case(n, "blur", 0.25, sharpness=0.1) for n in range(3)]  # no fault that must be caught
    assert chosen_limits(cases) == {"sharpness": pytest.approx(0.7)}


def test_where_no_limit_tells_them_apart_the_fewest_are_wrong() -> None:
    cases = [case(n, "none", 0, spots=value) for n, value in enumerate((0.1, 0.2, 0.3, 2.0))]
    cases += [case(n, "lesion added", 40, spots=value) for n, value in enumerate((1.0, 1.2, 1.4, 3.0))]
    assert chosen_limits(cases) == {"spots": pytest.approx(0.65)}  # one faithful copy fails, no fault passes


def test_rates_are_those_of_scans_that_the_limit_did_not_see() -> None:
    generator = np.random.default_rng(0)
    apart = [case(n, "none", 0, numbers=0.1 * generator.random()) for n in range(12)]
    apart += [case(n, "shift", 2, numbers=5 + generator.random()) for n in range(12)]
    rates = held_out_rates(apart)
    assert rates == {("none", 0): 0.0, ("shift", 2): 1.0}
    alike = [case(n, fault, size, numbers=generator.random()) for n in range(40) for fault, size in rates]
    rates = held_out_rates(alike)
    # Chosen and judged on the same scans, a limit would seem to tell them apart; on others it cannot.
    assert rates["shift", 2] - rates["none", 0] == pytest.approx(0, abs=0.15)
    assert np.isnan(held_out_rates(alike[:4])["none", 0])


def test_the_area_under_the_roc_counts_pairs() -> None:
    cases = [case(n, "none", 0, spots=value) for n, value in enumerate((1.0, 2.0, float("nan")))]
    cases += [case(n, "lesion added", 40, spots=value) for n, value in enumerate((1.0, 3.0))]
    assert area_under_roc(cases, "spots", "lesion added", 40) == pytest.approx((0.5 + 0 + 1 + 1) / 4)
    assert np.isnan(area_under_roc(cases, "numbers", "lesion added", 40))


def test_points_of_the_roc_are_shares_beyond_multiples_of_the_limit() -> None:
    cases = [case(n, "none", 0, weakening=value) for n, value in enumerate((0.1, 0.6, float("nan")))]
    cases += [case(n, "over-smoothed", 4, weakening=value) for n, value in enumerate((0.9, 5.0))]
    found = {multiple: (false, true) for multiple, false, true in roc_points(cases, "weakening")}
    assert tuple(found) == MULTIPLES
    assert (found[0.25], found[0.75], found[1.0], found[3.0]) == ((0.5, 1), (0, 1), (0, 0.5), (0, 0.5))
    assert roc_points(cases, "spots") == []


def test_every_fault_is_built_on_a_scan_and_counted(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    i, j, _ = np.mgrid[:160, :160, :3]
    body = np.where((i - 80) ** 2 + (j - 80) ** 2 < 65**2, 40.0, -1000.0)
    body += np.where((i - 60) ** 2 + (j - 90) ** 2 < 20**2, 60.0, 0.0)
    noise = gaussian_filter(rng.normal(size=body.shape), (0.8, 0.8, 0))
    scan = nibabel.Nifti1Image((body + 15 * noise / noise.std()).astype(np.float32), np.diag([-0.8, -0.8, 3.0, 1.0]))
    nibabel.save(scan, tmp_path / "scan.nii")
    result = benchmark_gates(tmp_path, modality="CT")
    blurred = next(one for one in result.cases if (one.fault, one.size) == ("blur", 1.0))
    itself = next(one for one in result.cases if one.fault == "identity")
    assert blurred.failed
    assert all(one.failed for one in result.cases if one.fault == "blur of a slice")
    assert all(one.failed for one in result.cases if one.fault == "quarter displaced")
    crops = {one.size: one.failed for one in result.cases if one.fault == "a crop of it"}
    assert crops == {96: False, 128: False}  # of 160 pixels
    assert not itself.failed
    dulled = next(one for one in result.cases if (one.fault, one.size) == ("over-smoothed", 4.0))
    assert itself.excess["lesions"] == pytest.approx(0.5)  # of the limit: a lesion is left as it is
    assert dulled.excess["lesions"] > itself.excess["lesions"]
    assert np.isnan([one.excess["lesions"] for one in result.cases if one.fault == "lesion added"]).all()
    assert {one.change for one in result.scopes if one.outside} >= {"noisier", "pixels twice as large"}
    lines = gate_benchmark_table(result).splitlines()
    assert "held out %" in lines[0]
    assert sum(line.startswith(("none", "blur", "shift")) for line in lines) == 14
