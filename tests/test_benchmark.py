"""`medn2n benchmark catalogue`: the table is complete; how fast anything is, no test asserts."""

from __future__ import annotations

import json
import re
import shutil
import sys
from pathlib import Path

import pytest

from medn2n.benchmark import benchmark_catalogue
from medn2n.core.pair_faults import FAULTS
from medn2n.errors import GateFailed
from medn2n.formats.dicom_tree import write_tree
from medn2n.stages.folder_to_catalogue import catalogue
from tests.command_line import Call

TOOLS = ["medn2n catalogue", "medn2n catalogue, 256×256 pixels", "pydicom.dcmread(stop_before_pixels=True)"]


def _has_dcm2niix() -> bool:
    return Path(sys.executable).with_name("dcm2niix").is_file() or shutil.which("dcm2niix") is not None


def test_table(call: Call) -> None:
    done = call("benchmark", "catalogue", "--files", 60, "--rounds", 1)
    assert done.code == 0
    lines = done.out.splitlines()
    assert lines[0].split()[:2] == ["tool", "files/s"]
    assert [line.startswith(tool) for line, tool in zip(lines[2:5], TOOLS, strict=True)] == [True] * 3
    assert lines[5].startswith("dcm2niix -n -1")
    assert lines[6].startswith("60 DICOM files; ")
    assert "cores" in lines[6]


@pytest.mark.skipif(not _has_dcm2niix(), reason="dcm2niix is not installed")
def test_json(call: Call) -> None:
    done = call("benchmark", "catalogue", "--files", 30, "--rounds", 2, "--json")
    values = json.loads(done.out)
    assert values["files"] == 30
    assert [tool["tool"] for tool in values["tools"]] == [*TOOLS, "dcm2niix -n -1"]
    for tool in values["tools"]:
        assert tool["installed"]
        assert len(tool["files_per_second"]) == 2
        assert min(tool["files_per_second"]) > 0
    assert values["tools"][2]["times_pydicom"] == 1


def test_without_dcm2niix(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from medn2n.benchmark_tables import benchmark_json, benchmark_table

    (tmp_path / "python").symlink_to(sys.executable)
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    monkeypatch.setenv("PYTHONPATH", ":".join(path for path in sys.path if path))
    result = benchmark_catalogue(5, 1)
    assert benchmark_table(result).splitlines()[5].split() == ["dcm2niix", "-n", "-1", "not", "installed"]
    assert benchmark_json(result)["tools"][3]["installed"] is False


def test_a_tool_that_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("medn2n.benchmark._PYDICOM", "raise SystemExit(1)")
    with pytest.raises(GateFailed):
        benchmark_catalogue(3, 1)


def test_the_tree_is_a_catalogue_of_ct_and_mr(tmp_path: Path) -> None:
    paths = write_tree(tmp_path / "a", 450)
    found = catalogue(tmp_path / "a")
    assert sorted(path for series in found for path in series.files) == sorted(
        path.relative_to(tmp_path / "a").as_posix() for path in paths
    )
    assert [(series.modality, len(series.files)) for series in found] == [
        ("CT", 100), ("MR", 100), ("CT", 100), ("MR", 100), ("CT", 50),
    ]  # fmt: skip
    assert not found.passed_over
    again = write_tree(tmp_path / "b", 450)
    assert [path.read_bytes() for path in again] == [path.read_bytes() for path in paths]


def test_pairs_with_built_faults(call: Call) -> None:
    done = call("benchmark", "pairs", "--cases", 1)
    assert done.code == 0
    first, strata = done.out.split("\n\n")
    assert first.split()[:2] == ["built", "fault"]
    rows = {re.split(r"  +", line)[0]: line for line in first.splitlines()[2:]}
    assert set(FAULTS) <= set(rows)
    assert "100.0 %" in rows["identical"]
    assert strata.splitlines()[-1].startswith("Objects: 5 phantom, 2 digital, 0 scan; ")


def test_samples_beside_monai(call: Call) -> None:
    done = call("benchmark", "samples", "--groups", 1, "--rounds", 1, "--seconds", 0.05)
    assert done.code == 0, done.err
    rows = [re.split(r"  +", line) for line in done.out.splitlines()]
    assert [row[0] for row in rows[2:7]] == [
        "medn2n, 2D", "medn2n, 2.5D, 5 slices", "medn2n, 3D", "MONAI CacheDataset, 2D", "MONAI CacheDataset, 3D",
    ]  # fmt: skip
    assert all(float(row[1]) > 0 for row in rows[2:7])
    assert rows[7][0].startswith("A set of 0.0 GB")
