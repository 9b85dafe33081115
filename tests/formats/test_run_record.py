"""The record of a denoise run: what counts as done earlier, and records that other versions wrote."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from medn2n.batch import exit_code
from medn2n.formats.run_record import NAME, RunRecord, SeriesRecord, fingerprint, read_record, write_record

DONE = SeriesRecord(
    id="s-1",
    status="done",
    files=["a.dcm"],
    outputs=["a.dcm"],
    model="ct",
    model_sha256="1",
    parameters={"strength": 1.0, "dtype": "same"},
    source_fingerprint="2",
)


def test_there_and_back(tmp_path: Path) -> None:
    write_record(RunRecord(series=[DONE]), tmp_path)
    assert read_record(tmp_path) == {"s-1": DONE}
    assert DONE.same_result(read_record(tmp_path)["s-1"])
    assert [path.name for path in tmp_path.iterdir()] == [NAME]


@pytest.mark.parametrize(
    "changes",
    [
        {"source_fingerprint": "3"},
        {"model_sha256": "3"},
        {"parameters": {"strength": 0.5, "dtype": "same"}},
    ],
)
def test_what_makes_another_result(changes: dict) -> None:
    assert not DONE.same_result(replace(DONE, **changes))


@pytest.mark.parametrize("changes", [{"status": "failed"}, {"status": "passed"}, {"outputs": []}])
def test_only_a_finished_series_counts(changes: dict) -> None:
    assert not replace(DONE, **changes).same_result(DONE)


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"schema": "medn2n.run/9", "series": []}', '{"schema": "medn2n.run/1", "series": [{}]}']
)
def test_a_record_that_is_not_understood_counts_for_nothing(tmp_path: Path, text: str) -> None:
    (tmp_path / NAME).write_text(text)
    assert read_record(tmp_path) == {}
    assert read_record(tmp_path / "nowhere") == {}


def test_fingerprint_follows_contents_and_order_not_names(tmp_path: Path) -> None:
    names = [tmp_path / name for name in ("a", "b", "c")]
    for path, text in zip(names, ("1", "2", "1"), strict=True):
        path.write_text(text)
    assert fingerprint(names[:2]) == fingerprint([names[2], names[1]])
    assert fingerprint(names[:2]) != fingerprint(names[1::-1])
    assert len(json.dumps(fingerprint([]))) == 66


@pytest.mark.parametrize(
    ("statuses", "code"),
    [
        (["done", "passed"], 0),
        (["already"], 0),
        (["done", "refused"], 3),
        (["done", "failed", "review"], 3),
        (["done", "review"], 5),
        (["passed"], 4),
        ([], 4),
    ],
)
def test_exit_codes(statuses: list, code: int) -> None:
    assert exit_code([replace(DONE, status=status, code="") for status in statuses]) == code
