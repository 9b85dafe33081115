"""The file of limits: what it may say, and one sentence where it says something else."""

import re
from importlib.resources import files
from pathlib import Path
from typing import get_args

import pytest
import yaml

from medn2n.core.ct_numbers import REGIONS_HU
from medn2n.core.limits import Limits
from medn2n.errors import UsageError
from medn2n.formats.gate_limits import Region, read_limits


def test_no_file_and_an_empty_one_give_the_defaults(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("")
    assert read_limits(None) == Limits()
    assert read_limits(tmp_path / "a.yaml") == Limits()


def test_each_key_counts(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("blur: 0.5\nscope: false\nct_number_hu: {fat: 2, air: null}\n")
    found = read_limits(tmp_path / "a.yaml")
    assert (found.blur, found.scope, dict(found.ct_number_hu)) == (
        0.5, False, {"fat": 2.0, "lung": 3.0, "soft tissue": 1.2},
    )  # fmt: skip
    assert found.spot == Limits().spot
    (tmp_path / "a.json").write_text('{"spot": 12}')
    assert read_limits(tmp_path / "a.json").spot == 12


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("blurr: 1", "blurr"),
        ("blur: soft", "blur"),
        ("blur: true", "blur"),
        ("spot: -1", "spot"),
        ("ct_number_hu: {soft_tissue: 1}", "ct_number_hu.soft_tissue"),
        ("ct_number_hu: {fat: 0}", "ct_number_hu.fat"),
        ("ct_number_hu: {fat: -5}", "ct_number_hu.fat"),
        ("spot: .inf", "spot"),
        ("{", "neither YAML"),
    ],
)
def test_another_file_is_refused_in_one_sentence(text: str, word: str, tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(text)
    with pytest.raises(UsageError, match=word):
        read_limits(tmp_path / "a.yaml")


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="does not exist"):
        read_limits(tmp_path / "none.yaml")


def test_the_tissues_are_those_that_are_measured() -> None:
    assert set(get_args(Region)) == set(REGIONS_HU)


def test_the_page_of_the_gates_shows_every_limit_as_it_is(tmp_path: Path) -> None:
    page = (files("medn2n") / "docs" / "gates.md").read_text(encoding="utf-8")
    shown = re.search(r"```yaml\n(.*?)```", page, re.S)
    assert shown
    (tmp_path / "a.yaml").write_text(shown.group(1))
    assert read_limits(tmp_path / "a.yaml") == Limits()
    assert set(yaml.safe_load(shown.group(1))) == set(Limits.__dataclass_fields__)
