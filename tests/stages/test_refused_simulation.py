"""`medn2n simulate` on a folder in which one scan cannot be simulated from: the others are, and the call says so."""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
import pytest

import medn2n
from medn2n.formats.manifest import read_manifest, verify_files
from tests import built_photos
from tests.command_line import Call

GOOD = np.pad(np.random.default_rng(0).normal(300, 5, (24, 24, 2)), ((4, 4), (4, 4), (0, 0))).clip(0)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two MR scans, without signal the first; and a file that is none."""
    (tmp_path / "in").mkdir()
    for name, voxels in {"a.nii.gz": 0 * GOOD, "b.nii.gz": GOOD}.items():
        image = nibabel.Nifti1Image(voxels.astype(np.float32), np.diag([1.0, 1.0, 2.0, 1.0]))
        nibabel.save(image, tmp_path / "in" / name)
    return tmp_path / "in"


@pytest.mark.parametrize("options", [[], ["--json"]])
def test_one_refused_scan_costs_the_others_nothing(call: Call, folder: Path, options: list[str]) -> None:
    out = folder.parent / "out"
    done = call("-q", "simulate", "mr", folder, "-o", out, *options)
    assert done.code == 3
    (line,) = done.err.strip().splitlines()
    assert line.startswith("refused f-")
    assert "NO_SIGNAL: no voxel is above 0" in line
    manifest = read_manifest(out / "manifest.json")
    verify_files(manifest, out)
    assert len(manifest.training) == 1
    assert manifest.training[0].group in done.out


def test_what_is_no_scan_is_told_too(call: Call, folder: Path) -> None:
    (folder / "a.nii.gz").write_bytes(b"no scan")
    done = call("-q", "simulate", "mr", folder, "-o", folder.parent / "out")
    assert done.code == 3
    assert done.err.startswith("refused f-")
    assert len(read_manifest(folder.parent / "out" / "manifest.json").training) == 1


def test_repeats_of_a_scan_that_is_refused_now_are_not_left(call: Call, folder: Path) -> None:
    for name, edge in {"a.nii.gz": 1.0, "b.nii.gz": 4.0}.items():
        image = nibabel.Nifti1Image((GOOD - 1000).astype(np.float32), np.diag([edge, edge, 2.0, 1.0]))
        nibabel.save(image, folder / name)
    out = folder.parent / "out"
    asked = ["-q", "simulate", "ct", folder, "-o", out, "--views", 16, "--geometry", "fan"]
    assert call(*asked).code == 0
    assert len({path.parent.name for path in out.glob("*/repeat-1.nii.gz")}) == 2
    done = call(*asked, "--source-mm", 40)
    assert done.code == 3
    assert "source_mm: expected more than the 64 from the axis" in done.err
    left = {path.parent.name for path in out.glob("*/*.nii.gz")}
    assert left == {group.group for group in read_manifest(out / "manifest.json").training}


def test_corrupted_copies_too(call: Call, folder: Path) -> None:
    (folder / "a.nii.gz").write_bytes(b"no scan")
    out = folder.parent / "out"
    done = call("-q", "simulate", "corrupt", folder, "-o", out, "--kind", "gaussian", "--modality", "mr")
    assert done.code == 3
    assert done.err.startswith("refused f-")
    assert len(read_manifest(out / "manifest.json").training) == 1


def test_where_all_are_refused_there_is_one_sentence(call: Call, folder: Path) -> None:
    (folder / "b.nii.gz").unlink()
    done = call("-q", "simulate", "mr", folder, "-o", folder.parent / "out")
    assert done.code == 3
    assert len(done.err.strip().splitlines()) == 1
    assert "no voxel is above 0" in done.err
    assert not (folder.parent / "out").exists()


@pytest.mark.parametrize("verb", ["simulate", "pair"])
def test_where_nothing_else_is_there_the_reason_is_told(call: Call, folder: Path, verb: str) -> None:
    for scan in folder.iterdir():
        scan.write_bytes(b"no scan")
    out = folder.parent / "out"
    asked = ["simulate", "mr", folder, "-o", out] if verb == "simulate" else ["pair", folder, "-o", out / "pairs.json"]
    done = call("-q", *asked)
    assert done.code == 3
    assert "NIfTI" in done.err
    assert not out.exists()


def test_a_damaged_picture_is_refused_where_pictures_are_asked_for(call: Call, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    built_photos.png(tmp_path / "in" / "whole.png", built_photos.numbers("u1", 1, (24, 24)))
    (tmp_path / "in" / "cut.png").write_bytes((tmp_path / "in" / "whole.png").read_bytes()[:60])
    done = call("-q", "simulate", "corrupt", tmp_path / "in", "-o", tmp_path / "out", "--kind", "gaussian")
    assert done.code == 3
    assert "PHOTO_TRUNCATED" in done.err
    assert len(read_manifest(tmp_path / "out" / "manifest.json").training) == 1
    done = call("-q", "simulate", "corrupt", tmp_path / "in" / "cut.png", "-o", tmp_path / "o", "--kind", "gaussian")
    assert done.code == 3
    assert "ends early" in done.err


def test_what_has_no_number_inside_the_object_is_no_air(call: Call, folder: Path) -> None:
    holed, cut = GOOD.copy(), GOOD.copy()
    holed[16, 16, 0], cut[:9, :9] = np.inf, np.nan
    for name, voxels in {"a.nii.gz": holed, "b.nii.gz": cut}.items():
        nibabel.save(nibabel.Nifti1Image(voxels.astype(np.float32), np.eye(4)), folder / name)
    done = call("-q", "simulate", "mr", folder, "-o", folder.parent / "out")
    assert done.code == 3
    assert "HOLES: 1 voxels have no number" in done.err
    assert len(read_manifest(folder.parent / "out" / "manifest.json").training) == 1


def test_numbers_that_are_no_hu_are_refused(call: Call, folder: Path) -> None:
    image = nibabel.Nifti1Image((GOOD - 1000).clip(-1000) + 1e6 * (GOOD > 310), np.eye(4))
    nibabel.save(image, folder / "c.nii.gz")
    done = call("-q", "simulate", "ct", folder / "c.nii.gz", "-o", folder.parent / "out", "--views", 16)
    assert done.code == 3
    assert "expected at most 100000" in done.err


def test_scans_of_one_name_have_draws_of_their_own_and_do_not_take_each_other_s_place(
    call: Call, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    noise = []
    for n in (1, 2):
        place = folder.parent / f"patient{n}"
        place.mkdir()
        nibabel.save(nibabel.Nifti1Image((GOOD + n).astype(np.float32), np.eye(4)), place / "t1.nii.gz")
        out = folder.parent / f"out{n}"
        simulate = ["-q", "simulate", "corrupt", place / "t1.nii.gz", "--kind", "gaussian", "--modality", "mr", "-o"]
        monkeypatch.setenv("MEDN2N_SITE_KEY", f"site {n}")
        assert call(*simulate, out).code == 0
        (group,) = read_manifest(out / "manifest.json").training
        first, truth = (medn2n.load(out / name, modality="MR").voxels for name in (group.image[0], str(group.truth)))
        noise.append((first - truth).ravel())
    assert abs(np.corrcoef(*noise)[0, 1]) < 0.1
    monkeypatch.delenv("MEDN2N_SITE_KEY")
    assert call(*simulate, folder.parent / "again").code == 0  # the draws are the same without a site's key
    (group,) = read_manifest(folder.parent / "again" / "manifest.json").training
    first, truth = (
        medn2n.load(folder.parent / "again" / name, modality="MR").voxels for name in (group.image[0], str(group.truth))
    )
    np.testing.assert_array_equal((first - truth).ravel(), noise[1])
    other = ["-q", "simulate", "corrupt", folder.parent / "patient1" / "t1.nii.gz", "--kind", "gaussian"]
    done = call(*other, "--modality", "mr", "-o", folder.parent / "again")
    assert done.code == 2
    assert "repeats of another scan" in done.err
