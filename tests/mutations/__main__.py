"""Run many cases in child processes that may crash, and print what came of them."""

from __future__ import annotations

import argparse
import json
import os
import resource
import selectors
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

HANGS_AFTER = 30.0  # seconds of wall time without a word, on a busy machine


@dataclass
class Tally:
    """What all cases came to."""

    cases: int = 0
    outcomes: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    slowest: tuple[float, str] = (0.0, "")
    peak_kb: int = 0
    failures: list[str] = field(default_factory=list)

    def add(self, line: dict[str, Any]) -> None:
        """One finished case."""
        self.cases += 1
        self.outcomes[line["sample"]][line["outcome"]] += 1
        self.slowest = max(self.slowest, (line["seconds"], f"case {line['number']} ({line['sample']})"))
        self.peak_kb = max(self.peak_kb, line["peak_kb"])
        if line["outcome"].startswith("FAILED"):
            self.failures.append(f"case {line['number']} {line['sample']}, {line['operator']}: {line['outcome']}")

    def crashed(self, number: int, how: str) -> None:
        """A case that took its process along."""
        self.cases += 1
        self.outcomes["(crashed)"][how] += 1
        self.failures.append(f"case {number}: {how}")

    def table(self) -> str:
        """For people."""
        total: Counter[str] = sum(self.outcomes.values(), Counter())
        lines = [f"{name:42} {count:7}" for name, count in total.most_common()]
        lines += [f"cases {self.cases}, failures {len(self.failures)}, slowest {self.slowest[0]:.2f} s "
                  f"in {self.slowest[1]}, peak memory {self.peak_kb / 1e3:.0f} MB"]  # fmt: skip
        return "\n".join([*lines, *self.failures[:200]])


def work(arguments: argparse.Namespace) -> None:
    """The child: cases first, first + step, …, one line of JSON before and one after each."""
    from tests.mutations.check import Case, Checker, case_of, cuts
    from tests.mutations.corpus import corpus

    answers, said = os.fdopen(os.dup(1), "w"), tempfile.TemporaryFile()  # noqa: SIM115
    os.dup2(said.fileno(), 1)
    os.dup2(said.fileno(), 2)
    samples = corpus()
    with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as folder:
        checker = Checker(samples, Path(folder))
        now = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
        resource.setrlimit(resource.RLIMIT_AS, (now + (1 << 30), now + (1 << 30)))
        systematic = list(cuts(samples))
        for number in range(arguments.first, arguments.count, arguments.step):
            print(json.dumps({"begin": number}), file=answers, flush=True)
            if number < len(systematic):
                sample, length = systematic[number]
                case = Case(sample=sample, operator="cut", data=sample.files[sample.damaged][:length])
            else:
                case = case_of(samples, arguments.seed, number)
            outcome, seconds, peak_kb = checker.timed(case)
            if os.fstat(said.fileno()).st_size:
                outcome = f"FAILED said {_taken(said)} after {outcome}"
            print(json.dumps({"number": number, "sample": case.sample.name, "operator": case.operator,
                  "outcome": outcome, "seconds": seconds, "peak_kb": peak_kb}), file=answers, flush=True)  # fmt: skip


def _taken(said: IO[bytes]) -> str:
    """The beginning of what was printed, taken away."""
    said.seek(0)
    text = said.read(300).decode("latin-1")
    said.seek(0)
    said.truncate()
    return repr(text)


def run(count: int, seed: int = 0, jobs: int = 2) -> Tally:
    """`count` cases over `jobs` child processes; a child that dies or hangs is a failure, and goes on after it."""
    tally, waiting = Tally(), selectors.DefaultSelector()
    for first in range(min(jobs, count)):
        _start(waiting, first, count, seed, jobs)
    while waiting.get_map():
        for key, _ in waiting.select(timeout=1.0):
            child, state = key.data
            line = child.stdout.readline()
            if line:
                said = json.loads(line)
                state["at"], state["since"] = said.get("begin", state["at"]), time.monotonic()
                state["busy"] = "begin" in said
                if "outcome" in said:
                    tally.add(said)
                continue
            waiting.unregister(child.stdout)
            child.stdout.close()
            code = child.wait()
            if code or state["busy"]:
                if not state["busy"]:
                    raise RuntimeError("a child stopped between two cases")
                tally.crashed(state["at"], f"FAILED killed by signal {-code}" if code < 0 else f"FAILED exit {code}")
                _start(waiting, state["at"] + jobs, count, seed, jobs)
        for key in list(waiting.get_map().values()):
            child, state = key.data
            if state["busy"] and time.monotonic() - state["since"] > HANGS_AFTER:
                child.kill()
    return tally


def _start(waiting: selectors.BaseSelector, first: int, count: int, seed: int, step: int) -> None:
    if first >= count:
        return
    call = [sys.executable, "-m", "tests.mutations", "--first", first, "--step", step, "--count", count, "--seed", seed]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1",
                   "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS": "1"}  # fmt: skip
    child = subprocess.Popen(
        [str(word) for word in call], stdout=subprocess.PIPE, text=True, bufsize=1, env=environment,
        cwd=Path(__file__).parents[2],
    )  # fmt: skip
    waiting.register(child.stdout, selectors.EVENT_READ, (child, {"at": -1, "since": time.monotonic(), "busy": False}))


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutations", description=__doc__)
    parser.add_argument("--count", type=int, default=3000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--first", type=int, default=None, help="(child) first case")
    parser.add_argument("--step", type=int, default=1, help="(child) from one case to the next")
    arguments = parser.parse_args()
    if arguments.first is not None:
        work(arguments)
        return
    tally = run(arguments.count, arguments.seed, arguments.jobs)
    print(tally.table())
    sys.exit(bool(tally.failures))


if __name__ == "__main__":
    main()
