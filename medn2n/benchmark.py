"""`medn2n benchmark`: how fast a catalogue is, beside pydicom and dcm2niix on the same files of the same machine.

Each tool runs in a process of its own, in turns, after every file was read once. Python's start and imports are not
counted; dcm2niix, which has next to none, is timed whole while it lists the series of the tree (`-n -1`), writing none.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from statistics import median

import medn2n
from medn2n.errors import GateFailed
from medn2n.formats.dicom_tree import write_tree

SMALL, LARGE = 16, 256  # pixels each way

_TIMED = """
import json, os, sys, time
{imports}
root, started = sys.argv[1], time.perf_counter()
{work}
seconds, peak = time.perf_counter() - started, None
if os.path.exists("/proc/self/status"):
    with open("/proc/self/status") as status:
        peak = next((int(line.split()[1]) / 1000 for line in status if line.startswith("VmHWM")), None)
print(json.dumps([count, seconds, peak]))
"""
_CATALOGUE = _TIMED.format(
    imports="from medn2n.stages.folder_to_catalogue import catalogue",
    work="count = sum(len(series.files) for series in catalogue(root))",
)
_PYDICOM = _TIMED.format(
    imports="import pydicom",
    work="""count = 0
for folder, _, names in os.walk(root):
    for name in names:
        pydicom.dcmread(os.path.join(folder, name), stop_before_pixels=True)
        count += 1""",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """One tool. files_per_second: of each round, () where the tool is not installed. peak_mb: the most memory that it
    held in any round; None where the system does not tell."""

    tool: str
    files_per_second: tuple[float, ...] = ()
    peak_mb: float | None = None

    @property
    def usual(self) -> float:
        """Files per second of the round in the middle."""
        return median(self.files_per_second)


@dataclass(frozen=True, slots=True, kw_only=True)
class CatalogueBenchmark:
    """What was measured on `files` files. timings: medn2n, medn2n with 256 times as many pixels, pydicom, dcm2niix."""

    files: int
    timings: tuple[Timing, ...]
    machine: str

    def times_pydicom(self, timing: Timing) -> float:
        """How many times as fast as pydicom in one process."""
        return timing.usual / next(other for other in self.timings if other.tool.startswith("pydicom")).usual


def benchmark_catalogue(files: int = 20_000, rounds: int = 3) -> CatalogueBenchmark:
    """Build trees of `files` files in a temporary folder and catalogue them `rounds` times with each tool in turn.

    GateFailed where a tool ends with an error or does not see every file.
    """
    with tempfile.TemporaryDirectory(prefix="medn2n-") as folder:
        trees = {matrix: Path(folder) / f"pixels{matrix}" for matrix in (SMALL, LARGE)}
        for matrix, tree in trees.items():
            for path in write_tree(tree, files, matrix=matrix):
                path.read_bytes()  # so that no tool finds the disk's cache colder than another
        runs: dict[str, Callable[[], tuple[float, float | None]] | None] = {
            "medn2n catalogue": lambda: _python(_CATALOGUE, trees[SMALL], files),
            f"medn2n catalogue, {LARGE}×{LARGE} pixels": lambda: _python(_CATALOGUE, trees[LARGE], files),
            "pydicom.dcmread(stop_before_pixels=True)": lambda: _python(_PYDICOM, trees[SMALL], files),
            "dcm2niix -n -1": _dcm2niix_on(trees[SMALL], Path(folder)),
        }
        measured: dict[str, list[tuple[float, float | None]]] = {tool: [] for tool in runs}
        for _ in range(rounds):
            for tool, run in runs.items():
                if run is not None:
                    measured[tool].append(run())
    return CatalogueBenchmark(
        files=files,
        timings=tuple(
            Timing(
                tool=tool,
                files_per_second=tuple(files / seconds for seconds, _ in results),
                peak_mb=max((peak for _, peak in results if peak is not None), default=None),
            )
            for tool, results in measured.items()
        ),
        machine=_machine(),
    )


def _python(code: str, tree: Path, files: int) -> tuple[float, float | None]:
    """(seconds, peak memory in MB) that a program tells of itself."""
    path = os.pathsep.join([str(Path(medn2n.__file__).parent.parent), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, "-c", code, str(tree)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": path.rstrip(os.pathsep)},
    )
    if done.returncode:
        raise GateFailed("A program that was to be timed ended with an error.")
    count, seconds, peak = json.loads(done.stdout.splitlines()[-1])
    if count != files:
        raise GateFailed(f"A program that was to be timed saw {count} of {files} files.")
    return float(seconds), None if peak is None else float(peak)


def _dcm2niix_on(tree: Path, output: Path) -> Callable[[], tuple[float, float | None]] | None:
    """A run of dcm2niix; None where it is not installed (`pip install dcm2niix`)."""
    beside = Path(sys.executable).with_name("dcm2niix")
    program = str(beside) if beside.is_file() else shutil.which("dcm2niix")
    if program is None:
        return None

    def run() -> tuple[float, float | None]:
        started = time.perf_counter()
        command = [program, "-n", "-1", "-d", "9", "-o", str(output), str(tree)]
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
            peak = None
            while process.poll() is None:
                peak = _peak_mb(process.pid) or peak
                time.sleep(0.005)
        if process.returncode:
            raise GateFailed("dcm2niix ended with an error on the built tree.")
        return time.perf_counter() - started, peak

    return run


def _peak_mb(pid: int) -> float | None:
    """The most memory that a running process has held so far; None where the system does not tell."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines()
    except (OSError, ValueError):
        return None
    return next((int(line.split()[1]) / 1000 for line in lines if line.startswith("VmHWM")), None)


def _machine() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        model = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "")
    except OSError:
        model = ""
    programs = f"Python {platform.python_version()}, pydicom {version('pydicom')}"
    return f"{os.cpu_count()} cores, {model or platform.processor() or platform.machine()}, {programs}"
