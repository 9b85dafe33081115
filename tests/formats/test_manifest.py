"""The manifest: the same bytes for the same scans, no subject in two splits, every file checked."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from monai.data import load_decathlon_datalist
from pydantic import ValidationError

from medn2n.errors import InputError, UsageError
from medn2n.formats import manifest as module
from medn2n.formats.manifest import (
    Group,
    Manifest,
    data_root,
    file_sha256,
    manifest_hash,
    read_manifest,
    verify_files,
    write_json,
    write_manifest,
)


def group(name: str, **changes: object) -> Group:
    return Group.model_validate(
        {"group": name, "subject": f"p-{name}", "modality": "MR", "image": [f"{name}-1.nii", f"{name}-2.nii"]} | changes
    )


def test_there_and_back_in_one_order(tmp_path: Path) -> None:
    groups = [group("b"), group("a", truth="t.nii", noise_sigma=[1.0, 2.0])]
    for name, order in (("one", groups), ("two", groups[::-1])):
        write_manifest(Manifest(name="m", training=order), tmp_path / f"{name}.json")
    assert (tmp_path / "one.json").read_bytes() == (tmp_path / "two.json").read_bytes()
    assert read_manifest(tmp_path / "one.json").training == groups[::-1]
    assert manifest_hash(Manifest(name="m")) != manifest_hash(Manifest(name="n"))


def test_corrections_are_read_strictly_and_absent_ones_change_no_byte(tmp_path: Path) -> None:
    moved = {"gain": 1.1, "offset": -2.0, "rotation_deg": [0.0, 0.0, 1.5], "translation_mm": [0.5, 0.0, 0.0]}
    made = group("a", corrections=[{}, moved])
    assert made.unmoved == [0]
    assert made.corrections[1].moved
    assert not made.corrections[0].moved
    write_manifest(Manifest(name="m", training=[made, group("b")]), tmp_path / "m.json")
    assert read_manifest(tmp_path / "m.json").training == [made, group("b")]
    assert "corrections" not in json.loads((tmp_path / "m.json").read_text())["training"][1]
    with_some, without = Manifest(name="m", training=[made]), Manifest(name="m", training=[group("a")])
    assert manifest_hash(with_some) != manifest_hash(without)


@pytest.mark.parametrize(
    "corrections",
    [
        [{}],
        [{"gain": 1.1}, {"gain": 1.2}],
        [{}, {"gain": 0.0}],
        [{}, {"gain": -1.0}],
        [{}, {"offset": float("nan")}],
        [{}, {"rotation_deg": [1.0, 2.0]}],
        [{}, {"rotation_deg": [0.0, 0.0, 400.0]}],
        [{}, {"translation_mm": [0.0, float("inf"), 0.0]}],
        [{}, {"shear": 1.0}],
    ],
)
def test_corrections_that_make_no_sense_are_refused(corrections: list[object]) -> None:
    with pytest.raises(ValidationError):
        group("a", corrections=corrections)


def test_monai_reads_it_as_a_datalist(tmp_path: Path) -> None:
    write_manifest(Manifest(name="m", training=[group("a")]), tmp_path / "m.json")
    (item,) = load_decathlon_datalist(
        tmp_path / "m.json", is_segmentation=False, data_list_key="training", base_dir=tmp_path
    )
    assert item["image"] == [str(tmp_path / "a-1.nii"), str(tmp_path / "a-2.nii")]


def test_a_subject_is_in_one_split(tmp_path: Path) -> None:
    data = {"schema": "medn2n.manifest/1", "name": "m", "training": [group("a").model_dump()]}
    data["test"] = [group("b", subject="p-a").model_dump()]
    (tmp_path / "m.json").write_text(json.dumps(data))
    with pytest.raises(UsageError, match="p-a is in both training and test"):
        read_manifest(tmp_path / "m.json")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{", "not JSON"),
        ("[]", "not valid"),
        ('{"name": "m", "schema": "medn2n.manifest/9"}', "schema"),
        ('{"name": "m", "extra": 1}', "extra"),
        ('{"name": "m", "training": [{"group": "g"}]}', "training.0"),
        (
            '{"name":"m","test":[{"group":"g","subject":"s","modality":"MR","image":["a"],"sha256":["1","2"]}]}',
            "1 images but 2",
        ),
    ],
)
def test_wrong_files_are_usage_errors_that_name_the_place(tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / "m.json").write_text(text)
    with pytest.raises(UsageError, match=says):
        read_manifest(tmp_path / "m.json")
    with pytest.raises(UsageError, match="does not exist"):
        read_manifest(tmp_path / "none.json")


def test_data_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "m.json"
    assert data_root(Manifest(name="m"), path) == tmp_path
    assert data_root(Manifest(name="m", root="scans"), path) == tmp_path / "scans"
    named = Manifest(name="m", root="$MEDN2N_TEST_ROOT")
    with pytest.raises(UsageError, match="MEDN2N_TEST_ROOT"):
        data_root(named, path)
    monkeypatch.setenv("MEDN2N_TEST_ROOT", "/else/where")
    assert data_root(named, path) == Path("/else/where")


def test_a_file_that_many_groups_name_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.nii").write_text("x")
    digest, read = file_sha256(tmp_path / "a.nii"), []
    monkeypatch.setattr(module, "file_sha256", lambda path: read.append(path) or digest)
    frames = [f"a.nii#frame={n}" for n in range(50)]
    verify_files(Manifest(name="m", test=[group("g", image=frames, sha256=[digest] * 50)]), tmp_path)
    assert len(read) == 1


def test_changed_and_missing_files(tmp_path: Path) -> None:
    (tmp_path / "g-1.nii").write_text("x")
    (tmp_path / "g-2.nii").write_text("y")
    sums = [file_sha256(tmp_path / f"g-{n}.nii") for n in (1, 2)]
    good = Manifest(name="m", test=[group("g", sha256=sums)])
    verify_files(good, tmp_path)
    (tmp_path / "g-2.nii").write_text("z")
    with pytest.raises(InputError, match="scan 2 of 2") as refused:
        verify_files(good, tmp_path)
    assert refused.value.code == "CHANGED_FILE"
    (tmp_path / "g-1.nii").unlink()
    with pytest.raises(InputError, match="scan 1 of 2") as refused:
        verify_files(good, tmp_path)
    assert refused.value.code == "MISSING_FILE"


def test_a_folder_s_hash_is_of_its_files_not_their_names(tmp_path: Path) -> None:
    for folder, names in (("one", "ab"), ("two", "xy")):
        (tmp_path / folder).mkdir()
        for text, name in zip("12", names, strict=True):
            (tmp_path / folder / name).write_text(text)
    assert file_sha256(tmp_path / "one") == file_sha256(tmp_path / "two")
    (tmp_path / "two" / "z").write_text("3")
    assert file_sha256(tmp_path / "one") != file_sha256(tmp_path / "two")


def test_json_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    with pytest.raises(TypeError):
        write_json({"a": object()}, tmp_path / "deep" / "x.json")
    assert list((tmp_path / "deep").iterdir()) == []
