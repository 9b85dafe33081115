"""The data manifests: what comes with pip is there and unchanged; cards are valid, and their commands exist."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import nibabel
import pytest

from medn2n.errors import UsageError
from medn2n.formats.manifest import data_root, read_manifest, verify_files
from medn2n.formats.scan import load
from tests.command_line import Call
from tests.dataset_card import DatasetCard, read_card

ROOT = Path(__file__).parent.parent.parent
MANIFESTS = ROOT / "data_manifests"
CARDS = sorted((MANIFESTS / "cards").glob("*.json"))
README = (MANIFESTS / "README.md").read_text(encoding="utf-8")


def test_the_scans_that_come_with_pip_are_those_of_the_manifest(monkeypatch: pytest.MonkeyPatch) -> None:
    path = MANIFESTS / "pip_data.json"
    manifest = read_manifest(path)
    monkeypatch.delenv("MEDN2N_PIP_DATA", raising=False)
    with pytest.raises(UsageError, match="MEDN2N_PIP_DATA"):
        data_root(manifest, path)
    site = Path(nibabel.__file__).parent.parent
    monkeypatch.setenv("MEDN2N_PIP_DATA", str(site))
    verify_files(manifest, data_root(manifest, path))
    for group in [*manifest.training, *manifest.test]:
        for reference in group.image:
            volume = load(reference, root=site, modality=group.modality if "nii" in reference else "")
            assert volume.modality == group.modality
            assert volume.voxels.ndim == 3


def test_the_command_of_the_readme_prints_that_folder() -> None:
    (code,) = re.findall(r'MEDN2N_PIP_DATA=\$\(python -c "([^"]*)"\)', README)
    printed: list[str] = []
    exec(code, {"print": lambda value: printed.append(str(value))})
    assert printed == [str(Path(nibabel.__file__).parent.parent)]


def test_cards_are_valid_and_listed() -> None:
    cards = [read_card(path) for path in CARDS]
    assert [card.name for card in cards] == [path.stem for path in CARDS]
    assert {"m4raw", "ixi", "fastmri", "ldct-and-projection-data"} <= {card.name for card in cards}
    for card in cards:
        assert f"cards/{card.name}.json" in README
        assert any(command.startswith("medn2n pair ") for command in card.commands)


@pytest.mark.parametrize("path", CARDS, ids=lambda path: path.stem)
def test_commands_of_a_card_exist(call: Call, path: Path) -> None:
    recipes = {recipe.stem for recipe in (ROOT / "configs").glob("*.yaml")}
    for command in read_card(path).commands:
        words = shlex.split(command)
        assert words[0] == "medn2n"
        verb = words[1:3] if words[1] == "simulate" else words[1:2]
        shown = re.sub(r"\x1b\[[0-9;]*m", "", call(*verb, "--help").out)
        for option in (word for word in words if re.match(r"--?[a-z]", word)):
            assert option in shown, command
        if verb == ["train"]:
            assert words[2] in recipes


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"url": "http://x"}, "url"),
        ({"repeats": "maybe"}, "repeats"),
        ({"commands": []}, "commands"),
        ({"extra": 1}, "extra"),
        ({"schema": "medn2n.dataset/2"}, "schema"),
    ],
)
def test_a_card_with_a_fault_is_refused(tmp_path: Path, change: dict[str, object], says: str) -> None:
    data = json.loads(CARDS[0].read_text(encoding="utf-8")) | change
    (tmp_path / "card.json").write_text(json.dumps(data))
    with pytest.raises(UsageError, match=says):
        read_card(tmp_path / "card.json")


def test_a_card_that_is_no_json_is_refused(tmp_path: Path) -> None:
    (tmp_path / "card.json").write_text("{")
    with pytest.raises(UsageError, match="not JSON"):
        read_card(tmp_path / "card.json")
    assert DatasetCard.model_fields["licence"].is_required()
