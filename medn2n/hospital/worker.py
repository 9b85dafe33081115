"""One job of a batch system: a study denoised in a child process that may crash without taking the caller along.

A job is a JSON file {"schema": "medn2n.job/1", "input": …, "output": …, "options": ["--model", "ct", …]};
relative paths start from the job's folder. The outcome is written beside it as JOB.result.json, whole or not at all.
Running a job again goes on where it stopped, since finished series are recognised.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from medn2n.errors import UsageError
from medn2n.formats.manifest import write_json
from medn2n.log import keyed_id, logger

CRASHED = 1


class Job(BaseModel):
    """What a job file says. options: further arguments of `medn2n denoise`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    schema_: Literal["medn2n.job/1"] = Field(alias="schema")
    input: str
    output: str
    options: list[str] = Field(default_factory=list)


def run_one(path: Path) -> int:
    """Run the job and return the exit code of `medn2n denoise`, 1 where its process crashed (out of memory, say).
    UsageError where the job file is missing or wrong. SIGTERM reaches the child, which ends with 143, resumable."""
    job = _read(path)
    home = path.resolve().parent
    arguments = ["denoise", str(home / job.input), str(home / job.output), "--json", *job.options]
    logger.info("job %s: started", keyed_id(str(path.resolve()), "j"))
    child = subprocess.Popen([sys.executable, "-m", "medn2n.cli", *arguments], stdout=subprocess.PIPE, text=True)
    before = signal.signal(signal.SIGTERM, lambda *_: child.terminate())
    try:
        printed, _ = child.communicate()
    except BaseException:
        child.terminate()
        child.wait()
        raise
    finally:
        signal.signal(signal.SIGTERM, before)
    code = child.returncode if child.returncode >= 0 else CRASHED
    write_json(_result(code, child.returncode, printed), path.with_name(path.name + ".result.json"))
    logger.info("job %s: exit code %d", keyed_id(str(path.resolve()), "j"), code)
    return code


def _read(path: Path) -> Job:
    try:
        return Job.model_validate(json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        raise UsageError("The job file does not exist.") from None
    except (ValueError, ValidationError) as error:
        raise UsageError(
            f'The job file is not valid ({type(error).__name__}): expected JSON with "schema": "medn2n.job/1", '
            '"input", "output" and, if wanted, "options".'
        ) from None


def _result(code: int, returncode: int, printed: str) -> dict[str, Any]:
    try:
        counts: dict[str, int] = {}
        for series in json.loads(printed)["series"]:
            counts[series["status"]] = counts.get(series["status"], 0) + 1
    except (ValueError, KeyError, TypeError):
        counts = {}
    crashed = -returncode if returncode < 0 else None
    return {"schema": "medn2n.result/1", "exit_code": code, "killed_by_signal": crashed, "series": counts}
