"""The page of `medn2n pair`: figures and pictures of groups and of what was refused, ids, no names, no network."""

from __future__ import annotations

import re
from pathlib import Path

import nibabel
import numpy as np
import pytest
from scipy import ndimage

from medn2n.core.repeat_groups import Decision
from medn2n.formats.manifest import read_manifest
from medn2n.stages import repeats_to_page
from medn2n.stages.catalogue_to_repeats import find_repeats
from medn2n.stages.folder_to_catalogue import catalogue
from tests.built_repeats import head, repeats
from tests.command_line import Call

SHAPE = (64, 64, 4)


def write(path: Path, voxels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(voxels.astype(np.float32), np.diag([2.0, 2.0, 4.0, 1.0])), path)


@pytest.fixture
def scans(tmp_path: Path) -> Path:
    """A series that drifts, with a frame that no motion explains; a pair of files; a decoy that shares its noise."""
    folder = tmp_path / "Doe_John_19700101"
    frames = [frame * (1 + 0.002 * t) for t, frame in enumerate(repeats(head(SHAPE, seed=1), 15.0, seed=5, count=8))]
    stretched = ndimage.zoom(head(SHAPE, seed=1), (1.06, 1, 1), order=3)[2:66]
    frames[5] = repeats(stretched, 15.0, seed=99)[0]
    write(folder / "bold.nii.gz", np.stack(frames, axis=3))
    for name, scan in zip(("one", "two"), repeats(head(SHAPE, seed=2), 15.0, seed=6), strict=True):
        write(folder / f"{name}.nii.gz", scan)
    for name, scan in zip(("raw", "twice"), repeats(head(SHAPE, seed=503), 15.0, seed=7, shared=0.6), strict=True):
        write(folder / f"{name}.nii.gz", scan)
    return folder


def test_the_page_lies_beside_the_manifest(call: Call, scans: Path, tmp_path: Path) -> None:
    done = call("pair", scans, "-o", tmp_path / "found.json", "--modality", "mr")
    assert done.code == 0, done.said
    manifest = read_manifest(tmp_path / "found.json")
    page = (tmp_path / "found.html").read_text(encoding="utf-8")
    for group in [*manifest.training, *manifest.validation]:
        assert f"Group {group.group}</h2>" in page
    assert "2 groups of repeats found, 9 scans in all" in page
    assert "Slow drift" in page
    assert "volume 6: " in page
    assert 'class="chip good">fit<' in page
    assert 'class="chip bad">unfit<' in page
    assert "Refused on their voxels" in page
    assert "fatal for blind-spot" in page
    refused = page.count("<h3>")
    assert refused >= 2
    assert page.count("data:image/png;base64,") == 4 * (6 + 2 + refused)  # six frames of the series, two slices
    assert len(page) < 20_000_000
    for name in ("Doe", "John", "1970", "bold", "nii", "twice", str(tmp_path)):
        assert name not in re.sub(r"base64,[^\"]*", "", page)
    assert not re.search(r"(?:src|href)=\"(?!data:|#)", page)


def test_the_drift_is_in_the_manifest(call: Call, scans: Path, tmp_path: Path) -> None:
    call("pair", scans, "-o", tmp_path / "found.json", "--modality", "mr")
    manifest = read_manifest(tmp_path / "found.json")
    series, pair = sorted([*manifest.training, *manifest.validation], key=lambda group: -len(group.image))
    figures = series.check.figures
    assert figures["drift_frames"] == 8
    assert figures["drift_total_percent_low"] < 1.4 < figures["drift_total_percent_high"]
    assert abs(figures["drift_total_sigmas"]) > 0.1
    assert abs(figures["turn_degrees"]) < 1
    assert not [name for name in pair.check.figures if name.startswith("drift")]


def test_the_page_can_be_left_out_or_made_alone(call: Call, scans: Path, tmp_path: Path) -> None:
    assert call("pair", scans, "-o", tmp_path / "a.json", "--modality", "mr", "--no-report").code == 0
    assert call("pair", scans, "--dry-run", "--modality", "mr").code == 0
    assert not list(tmp_path.glob("*.html"))
    assert call("pair", scans, "--dry-run", "--modality", "mr", "--page", tmp_path / "dry.html").code == 0
    assert "no manifest was written" in (tmp_path / "dry.html").read_text(encoding="utf-8")
    assert sorted(path.name for path in tmp_path.glob("*.json")) == ["a.json"]
    assert call("pair", scans, "--dry-run", "--page", tmp_path / "x.html", "--no-report").code == 2


def test_nothing_found_gives_a_page_that_says_so(call: Call, tmp_path: Path) -> None:
    write(tmp_path / "in" / "one.nii.gz", repeats(head(SHAPE), 15.0, seed=1)[0])
    done = call("pair", tmp_path / "in", "--dry-run", "--modality", "mr", "--page", tmp_path / "dry.html")
    assert done.code == 4
    assert "No repeats were found." in (tmp_path / "dry.html").read_text(encoding="utf-8")


def test_pictures_are_bounded(scans: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Many groups: each one picture at first, none beyond the limit; the lines stay."""
    monkeypatch.setattr(repeats_to_page, "MOST_GROUPS", 3)
    monkeypatch.setattr(repeats_to_page, "GROUP_FRAMES", 3)
    monkeypatch.setattr(repeats_to_page, "MOST_REFUSED", 1)
    found = catalogue(scans, modality="MR")
    manifest, decisions = find_repeats(found, scans, name="built", modality="MR")
    series = next(one for one in decisions if one.group and len(one.compared) > 1)
    more: list[Decision] = [*decisions, *([series] * 4)]
    path = tmp_path / "page.html"
    repeats_to_page.write_repeats_page(path, manifest, more, found, scans, modality="MR")
    page = path.read_text(encoding="utf-8")
    assert page.count("data:image/png;base64,") == 4 * (3 + 1)
    assert "3 more groups have their lines" in page
    assert re.search(r"\d more pairs? failed likewise", page)


def test_a_file_that_went_away_costs_its_pictures_only(scans: Path, tmp_path: Path) -> None:
    found = catalogue(scans, modality="MR")
    manifest, decisions = find_repeats(found, scans, name="built", modality="MR")
    (scans / "two.nii.gz").unlink()
    repeats_to_page.write_repeats_page(tmp_path / "page.html", manifest, decisions, found, scans, modality="MR")
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "1 more group has its line" in page
    pair = next(one for one in decisions if one.group and len(one.compared) == 1)
    assert pair.group in page
