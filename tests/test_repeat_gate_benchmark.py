"""What two repeats catch of faults of known size: every fault is built on both copies alike, and counted."""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
import pytest
from typer.testing import CliRunner

from medn2n.benchmark_tables import repeat_gate_table
from medn2n.cli_groups import benchmark_app
from medn2n.core.gate_faults import REPEAT_SIZES
from medn2n.errors import UsageError
from medn2n.repeat_gate_benchmark import RepeatGateBenchmark, RepeatGateCase, benchmark_repeats
from medn2n.verbs import pair_scans
from tests.built_repeats import head, repeats

KINDS = [(fault, size) for fault, sizes in REPEAT_SIZES.items() for size in sizes]


def manifest_of(folder: Path, *, count: int, shared: float = 0.0) -> Path:
    """One object, scanned so often."""
    (folder / "scans").mkdir()
    stacked = np.stack(repeats(head((96, 96, 5)), 25, 0, count=count, shared=shared), axis=3)
    nibabel.save(nibabel.Nifti1Image(stacked, np.diag([1.0, 1, 3, 1])), folder / "scans" / "sub-0_bold.nii.gz")
    pair_scans(folder / "scans", folder / "manifest.json", modality="MR")
    return folder / "manifest.json"


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> RepeatGateBenchmark:
    return benchmark_repeats([manifest_of(tmp_path_factory.mktemp("repeats"), count=5)], seed=3)


def test_every_fault_is_built_on_pairs_that_share_no_scan(result: RepeatGateBenchmark) -> None:
    pairs = 2  # of five scans
    assert sorted((one.fault, one.size) for one in result.cases) == sorted(KINDS * pairs)
    assert result.unproven == 0


def test_what_both_copies_show_alike_fails_and_a_faithful_copy_does_not(result: RepeatGateBenchmark) -> None:
    failed: dict[tuple[str, float], list[tuple[bool, bool]]] = {}
    for one in result.cases:
        failed.setdefault((one.fault, one.size), []).append(one.failed)
    assert not any(any(one) for one in failed["none", 0] + failed["identity", 0] + failed["part strength", 0.5])
    assert all(anatomy for _, anatomy in failed["texture", 1] + failed["blur", 1])
    assert all(one.share == pytest.approx(1) for one in result.cases if one.fault == "identity")
    # Texture of the size of the noise adds its variance to both, and is what they have in common.
    added = {one.size: one.residual for one in result.cases if one.fault == "texture"}
    assert added[0.25] < added[0.5] < added[1] == pytest.approx(1, abs=0.3)


def test_the_table_counts_what_each_gate_fails() -> None:
    cases = tuple(
        RepeatGateCase(group="g", fault="texture", size=0.5, share=share, residual=low, failed=failed)
        for share, low, failed in ((0.5, 0.1, (False, False)), (1.5, 0.3, (True, True)), (0.7, 0.23, (False, True)))
    )
    counts, beyond = repeat_gate_table(RepeatGateBenchmark(cases=cases, unproven=4, seed=0)).split("\n\n")
    assert " ".join(counts.split()).endswith("texture 0.5 3 1 2 2 0.500 to 1.500 0.100 to 0.300")
    assert "texture 0.5 3 2 2 2 1 0 Groups" in " ".join(beyond.split())
    assert "unproven: 4" in beyond


def test_repeats_that_share_noise_are_judged_by_nothing(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no two repeats whose noise is proven independent"):
        benchmark_repeats([manifest_of(tmp_path, count=2, shared=0.9)])


def test_the_command_prints_the_table(tmp_path: Path) -> None:
    done = CliRunner().invoke(benchmark_app, ["repeats", str(manifest_of(tmp_path, count=2))])
    assert done.exit_code == 0, done.output
    assert done.output.startswith("fault")
    assert "texture" in done.output
