"""One job of a batch system, also where its process dies or its file is nonsense."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from medn2n.errors import UsageError
from medn2n.hospital import worker
from tests import build


def job(folder: Path, **changes: object) -> Path:
    path = folder / "job.json"
    path.write_text(json.dumps({"schema": "medn2n.job/1", "input": "in", "output": "out", "options": []} | changes))
    return path


def result(folder: Path) -> dict:
    return json.loads((folder / "job.json.result.json").read_text())


def test_a_job_is_done_and_its_result_lies_beside_it(tmp_path: Path, ct_bundle: Path) -> None:
    build.dicom_series(tmp_path / "in", slices=2, rows=40, columns=40)
    path = job(tmp_path, options=["--model", str(ct_bundle), "--device", "cpu", "--threads", "1"])
    before = signal.getsignal(signal.SIGTERM)
    assert worker.run_one(path) == 0
    assert signal.getsignal(signal.SIGTERM) is before
    assert result(tmp_path) == {
        "schema": "medn2n.result/1",
        "exit_code": 0,
        "killed_by_signal": None,
        "series": {"done": 1},
    }
    assert len(list((tmp_path / "out").glob("*.dcm"))) == 2
    assert worker.run_one(path) == 0
    assert result(tmp_path)["series"] == {"already": 1}


def test_a_series_that_a_person_has_to_look_at_is_no_success_of_the_job(tmp_path: Path, ct_bundle: Path) -> None:
    """Whoever sends copies on tells it from the job's result, and from that of every later run."""
    build.dicom_series(tmp_path / "in", slices=2, rows=64, columns=64)
    (tmp_path / "limits.yaml").write_text("noise_left: 0.0001\n")
    limits = str(tmp_path / "limits.yaml")
    path = job(tmp_path, options=["--model", str(ct_bundle), "--device", "cpu", "--threads", "1", "--limits", limits])
    for _ in range(2):
        assert worker.run_one(path) == 5
        assert result(tmp_path)["exit_code"] == 5
        assert result(tmp_path)["series"] == {"review": 1}


def test_a_refused_call_is_the_job_s_exit_code(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    assert worker.run_one(job(tmp_path, output="in/side")) == 2
    assert result(tmp_path) == {"schema": "medn2n.result/1", "exit_code": 2, "killed_by_signal": None, "series": {}}


def as_child(monkeypatch: pytest.MonkeyPatch, code: str) -> None:
    """Let the child run `code` in place of medn2n."""
    whole = subprocess.Popen
    monkeypatch.setattr(
        worker.subprocess, "Popen", lambda command, **options: whole([command[0], "-c", code], **options)
    )


def test_a_child_that_is_killed_is_told_with_its_signal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    as_child(monkeypatch, "import os, signal; print('{', flush=True); os.kill(os.getpid(), signal.SIGKILL)")
    assert worker.run_one(job(tmp_path)) == 1
    assert result(tmp_path) == {
        "schema": "medn2n.result/1",
        "exit_code": 1,
        "killed_by_signal": int(signal.SIGKILL),
        "series": {},
    }


def test_output_that_is_no_record_counts_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    as_child(monkeypatch, "print('[1, 2]')")
    assert worker.run_one(job(tmp_path)) == 0
    assert result(tmp_path)["series"] == {}


def test_sigterm_reaches_the_child(tmp_path: Path) -> None:
    path = job(tmp_path)
    code = (
        "import subprocess, sys; from pathlib import Path; from medn2n.hospital import worker\n"
        "whole = subprocess.Popen\n"
        "child = 'import signal, sys, time\\n"
        "signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))\\n"
        'open("ready", "w").close()\\ntime.sleep(60)\'\n'
        "worker.subprocess.Popen = lambda command, **o: whole([command[0], '-c', child], **o)\n"
        f"sys.exit(worker.run_one(Path({str(path)!r})))"
    )
    process = subprocess.Popen([sys.executable, "-c", code], cwd=tmp_path)
    while not (tmp_path / "ready").exists():
        assert process.poll() is None
        time.sleep(0.02)
    process.terminate()
    assert process.wait() == 143
    assert result(tmp_path)["exit_code"] == 143


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "null", '{"schema": "medn2n.job/2", "input": "a", "output": "b"}', '{"input": "a"}',
             '{"schema": "medn2n.job/1", "input": "a", "output": "b", "shell": "rm"}', "\xff"]
)  # fmt: skip
def test_bad_job_files_are_usage_errors(tmp_path: Path, text: str) -> None:
    path = tmp_path / "job.json"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(UsageError) as refused:
        worker.run_one(path)
    assert refused.value.exit_code == 2
    assert not (tmp_path / "job.json.result.json").exists()


def test_a_missing_job_file_is_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="does not exist"):
        worker.run_one(tmp_path / "none.json")
