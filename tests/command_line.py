"""`medn2n …` as other programs call it, and what they see of it: exit code, output, files, statuses."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

NO_LIMITS = Path(__file__).parent / "no_limits.yaml"


@dataclass(frozen=True)
class Outcome:
    code: int
    out: str
    err: str

    @property
    def said(self) -> str:
        return self.out + self.err


def command(*arguments: object, **environment: str) -> Outcome:
    """`medn2n …` in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-m", "medn2n.cli", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
    )
    return Outcome(done.returncode, done.stdout, done.stderr)


Call = Callable[..., Outcome]


def files_below(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def denoise(call: Call, scans: Path, output: Path, bundle: Path, *more: object) -> tuple[Outcome, dict]:
    """With the limits of `NO_LIMITS`, unless `more` names others."""
    limits = () if "--limits" in more else ("--limits", NO_LIMITS)
    done = call("denoise", scans, output, "--model", bundle, "--device", "cpu", "--threads", 1, *limits, *more)
    record = output / "medn2n.json"
    return done, json.loads(record.read_text()) if record.is_file() else {}


def statuses(record: dict) -> dict[str, int]:
    counts: dict[str, int] = {}
    for series in record["series"]:
        counts[series["status"]] = counts.get(series["status"], 0) + 1
    return counts


def one_line(text: str) -> bool:
    return len(text.strip().splitlines()) == 1 and "Traceback" not in text
