"""Training under a mark whose picture the recipe names: from a manifest, and from a prepared file."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch

from medn2n.config import Recipe
from medn2n.core.cases import Case
from medn2n.core.samples import PairedSamples
from medn2n.errors import InputError, UsageError
from medn2n.formats.bundle_dir import WEIGHTS
from medn2n.formats.case_cache import read_extra
from medn2n.formats.prepared_file import read_prepared
from medn2n.preparation import prepare_file, recipe_mark
from medn2n.recipes import find_recipe, read_recipe
from medn2n.training import train_model
from tests import built_photos
from tests.command_line import Call
from tests.tiny_training import few

PHOTO = {
    "modality": "PHOTO", "pairs": "corrupt", "objective": "l1",
    "scaling": {"kind": "fixed", "offset": 127.5, "scale": 255.0},
}  # fmt: skip


@pytest.fixture
def manifest(tmp_path: Path, call: Call) -> Path:
    for n in range(3):
        built_photos.png(tmp_path / "photos" / f"{n}.png", built_photos.numbers("u1", 1, (40, 44), seed=n))
    mark = np.zeros((9, 13), np.uint8)
    mark[2:7, 3:10] = 200
    built_photos.png(tmp_path / "mark.png", mark)
    made = call("pair", tmp_path / "photos", "--singles", "-o", tmp_path / "photos.json", "--no-report")
    assert made.code == 0, made.err
    return tmp_path / "photos.json"


def marked(mark: Path, **changes: object) -> Recipe:
    section = {"kind": "watermark", "mark": str(mark), "strength": 0.5, "shade": 1}
    return few(**PHOTO, corrupt=section, optimiser={"steps": 3}, **changes)


def weights(run: Path) -> bytes:
    return (run / "bundle" / WEIGHTS).read_bytes()


def test_a_mark_is_trained_on_and_travels_in_a_prepared_file(manifest: Path, tmp_path: Path) -> None:
    recipe = marked(tmp_path / "mark.png")
    train_model(recipe, manifest, tmp_path / "one", device="cpu")
    prepare_file(recipe, manifest, tmp_path / "cache")
    mark = recipe_mark(recipe)
    assert mark is not None
    assert mark.shape == (13, 9)  # I along the columns
    (tmp_path / "mark.png").unlink()
    train_model(None, tmp_path / "cache", tmp_path / "two", device="cpu")
    assert weights(tmp_path / "one") == weights(tmp_path / "two")
    _, cases = read_prepared(tmp_path / "cache")
    assert all(torch.equal(case.mark, mark) for case in [*cases.training, *cases.validation])
    with pytest.raises(UsageError, match=r"corrupt\.mark differs"):
        train_model(marked(tmp_path / "other.png"), tmp_path / "cache", tmp_path / "four", device="cpu")


def test_samples_lie_under_the_given_mark_and_nothing_else() -> None:
    flat = Case(image=torch.full((1, 60, 60, 1), -0.5), truth=None, group="g", mark=torch.ones(10, 6))
    samples = PairedSamples([flat], marked(Path("m"), seed=1), length=200)
    values = torch.stack([samples[n][key] for n in range(60) for key in ("input", "target")])
    free = (values == -0.5).flatten(1).all(dim=1)
    assert 0.2 < float(free.float().mean()) < 0.5  # a third has none
    single = (values - 0.0).abs() < 1e-6  # half of white over black
    double = (values - 0.25).abs() < 1e-6
    inside = (single | double).flatten(1).sum(dim=1)
    assert float((values.flatten(1) > -0.499).sum(dim=1).max()) <= 2 * 1.25**2 * 60 * 1.1
    assert float(inside[~free].float().mean()) > 20


def test_the_recipe_s_note_for_lettering_in_ct_holds() -> None:
    notes = find_recipe("watermark").read_text(encoding="utf-8").split("Lettering burned into CT")[1].split("(MR")[0]
    settings = [quoted or plain for quoted, plain in re.findall(r'--set (?:"([^"]+)"|(\S+))', notes)]
    recipe = read_recipe(find_recipe("watermark"), settings)
    assert recipe.modality == "CT"
    air = Case(image=torch.full((1, 128, 128, 3), -1.0), truth=None, group="g")
    samples = PairedSamples([air], recipe, length=64)
    values = torch.stack([samples[n]["input"] for n in range(16)])
    assert 0.6 < float(values.max()) < 1.0001  # 0.8 of the way from −1000 to 1000 HU, or all of it
    assert float(values.min()) == -1.0
    assert 0.03 < float((values > 0).float().mean()) < 0.4


@pytest.mark.parametrize(("name", "why"), [("none.png", "no such file"), ("black.png", "a black one")])
def test_a_mark_that_is_not_there_is_told_before_anything_is_decoded(
    manifest: Path, tmp_path: Path, name: str, why: str
) -> None:
    built_photos.png(tmp_path / "black.png", np.zeros((8, 8), np.uint8))
    recipe = marked(tmp_path / name)
    with pytest.raises(UsageError, match=why) as refused:
        train_model(recipe, manifest, tmp_path / "run", device="cpu")
    assert str(tmp_path) not in str(refused.value)
    with pytest.raises(UsageError, match=why):
        prepare_file(recipe, manifest, tmp_path / "cache")
    assert not (tmp_path / "run").exists()
    assert not (tmp_path / "cache").exists()


def test_a_damaged_mark_in_a_prepared_file_is_told(manifest: Path, tmp_path: Path) -> None:
    prepare_file(marked(tmp_path / "mark.png"), manifest, tmp_path / "cache")
    kept = json.loads(read_extra(tmp_path / "cache")["medn2n"])["mark"]["coverage"]
    whole = (tmp_path / "cache").read_bytes()
    (tmp_path / "cache").write_bytes(whole.replace(kept.encode(), kept[:-8].encode() + b" " * 8))
    with pytest.raises(InputError, match="Make it again"):
        read_prepared(tmp_path / "cache")
