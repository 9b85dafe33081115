"""What training does with groups by the verdict of their check, and that it says so."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from medn2n.formats.manifest import Manifest, PairCheck, read_manifest
from medn2n.stages.repeats_to_samples import fill_cache
from tests.tiny_training import recipe


@pytest.mark.parametrize(
    ("verdict", "cases", "words"),
    [
        ("fit", 2, ""),
        ("unproven", 2, "1 of 2 groups of repeats are unproven, and trained on"),
        ("unfit", 1, "left out"),
    ],
)
def test_training_says_what_it_does_with_each_verdict(
    data: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, verdict: str, cases: int, words: str
) -> None:
    one, two = read_manifest(data / "manifest.json").training
    judged = one.model_copy(update={"check": PairCheck(verdict=verdict, reason="0.3 of the noise seems shared")})
    with caplog.at_level(logging.INFO, logger="medn2n"):
        files = fill_cache(Manifest(name="m", training=[judged, two]), data, recipe(), tmp_path)
    assert len(files.cases().training) == cases
    said = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert len(said) == bool(words)
    assert all(words in line and f"Group {one.group}: 0.3 of the noise seems shared" in line for line in said)
