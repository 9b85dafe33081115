"""The page for physicists names codes and options that exist, and ships with the package."""

from __future__ import annotations

import re
from importlib.resources import files
from pathlib import Path

import medn2n
from tests.command_line import Call

TEXT = (files("medn2n") / "docs" / "which_two_scans.md").read_text(encoding="utf-8")
CORE = Path(medn2n.__file__).parent / "core"
CHECK = "".join(path.read_text(encoding="utf-8") for path in sorted(CORE.glob("pair_*.py")))


def test_every_verdict_that_it_names_is_one_of_the_check() -> None:
    named = set(re.findall(r"`([A-Z_]{5,})`", TEXT))
    assert len(named) >= 8
    assert {code for code in named if f'"{code}"' not in CHECK} == set()


def test_its_tables_add_up() -> None:
    rows = re.findall(r"^\| (\d+) \| (\d+) \| 1 .*\| ([\d.]+) \|$", TEXT, re.MULTILINE)
    assert len(rows) == 5
    for scans, pairs, left in rows:
        assert int(pairs) == int(scans) * (int(scans) - 1)
        assert float(left) == round((int(scans) - 1) ** -0.5, 2)
    budgets = re.findall(r"\| (\d+) × (\d+) \|", TEXT)
    assert len(budgets) == 4
    assert {int(subjects) * int(repeats) for subjects, repeats in budgets} == {60}


def test_its_options_exist(call: Call) -> None:
    shown = re.sub(r"\x1b\[[0-9;]*m", "", call("pair", "--help").out)
    for option in set(re.findall(r"--[a-z][a-z-]+", TEXT)):
        assert option in shown, option
