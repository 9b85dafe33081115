"""Every command and every line of Python in the README runs, in order, in one folder of built scans."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from tests import built_bids
from tests.build import dicom_series

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
BASH = re.findall(r"```bash\n(.*?)```", README, flags=re.S)
PYTHON = re.findall(r"```python\n(.*?)```", README, flags=re.S)
INSTALL = [block.strip() for block in BASH if ".venv" in block]
COMMANDS = [line for block in BASH if ".venv" not in block for line in block.strip().splitlines()]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """scans/head.nii.gz: a head measured three times; scans/ct: a CT series; dataset: BIDS."""
    folder = tmp_path_factory.mktemp("readme")
    generator = np.random.default_rng(0)
    x, y = np.mgrid[-1:1:64j, -1:1:64j]
    head = np.where(x**2 + y**2 < 0.7, 600.0 + 150 * np.sin(5 * x) * np.cos(4 * y), 0.0)
    volume = np.repeat(head[:, :, None], 12, axis=2)
    repeats = np.stack([np.abs(volume + generator.normal(0, 40, volume.shape)) for _ in range(3)], axis=3)
    (folder / "scans").mkdir()
    nib.save(nib.Nifti1Image(repeats.astype(np.int16), np.diag([2.0, 2.0, 3.0, 1.0])), folder / "scans" / "head.nii.gz")
    dicom_series(folder / "scans" / "ct", slices=3, rows=64, columns=64, spacing=(0.8, 0.8))
    built_bids.dataset(folder / "dataset")
    return folder


def run(command: str, home: Path) -> str:
    """Run as a person would in that folder, with less training time and the fast filters."""
    command = command.replace("--data manifest.json -o run", "--data manifest.json -o run --set validate_every=5")
    command = command.replace("--prepare", "--set validate_every=2 --set network.arguments.channels=8 --prepare")
    command = command.replace("--max-minutes 30", "--max-minutes 0.05")
    command = command.replace("--baseline all", "--baseline tv")  # block matching takes minutes
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["sh", "-c", command], cwd=home, env={**os.environ, "PATH": path}, capture_output=True, text=True, check=False
    )
    # A model that was trained for seconds may fail a limit: the copies are there, for review.
    allowed = (0, 5) if command.startswith(("medn2n denoise", "medn2n evaluate")) else (0,)
    assert done.returncode in allowed, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def test_commands_run_in_order(home: Path) -> None:
    assert len(COMMANDS) >= 9
    for command in COMMANDS:
        run(command, home)
    assert (home / "denoised" / "report.html").is_file()
    assert (home / "denoised" / "head.nii.gz").is_file()
    assert len(list((home / "denoised" / "ct").glob("*"))) == 3
    assert (home / "evaluation" / "report.html").is_file()
    for derivative in (home / "dataset" / "derivatives" / "medn2n", home / "one-participant"):
        assert built_bids.faults(derivative) == []
        assert (derivative / "sub-01" / "anat" / "sub-01_desc-denoised_T1w.nii.gz").is_file()


def test_python_runs(home: Path) -> None:
    for block in PYTHON:
        done = subprocess.run([sys.executable, "-c", block], cwd=home, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    assert len(list((home / "from-python").rglob("*.dcm"))) == 3


def test_the_two_commands_are_complete() -> None:
    main_job, tests = INSTALL
    assert main_job.endswith(".venv/bin/medn2n demo")
    assert tests.endswith(".venv/bin/pytest")
    # CI runs the second in these very words, line by line.
    ci = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    for step in tests.split(" && "):
        assert step.replace("install ", "install --quiet ") in ci or step in ci


def test_demo_runs(tmp_path: Path) -> None:
    """The chain of the first command, with seconds of training instead of minutes."""
    out = run(f"medn2n demo -o '{tmp_path / 'demo'}' --minutes 0.15 2>&1", tmp_path)
    assert "the networks learned too little to judge them" in out
    for label in ("noisy input", "Total variation", "U-Net, clean targets", "U-Net, Noise2Noise"):
        assert label in out
    assert (tmp_path / "demo" / "demo.html").stat().st_size > 50_000
    assert len(list((tmp_path / "demo" / "denoised" / "dicom").glob("*.dcm"))) == 2
