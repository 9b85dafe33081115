"""`medn2n simulate` on a folder in which one scan cannot be simulated from: the others are, and the call says so."""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
import pytest

from medn2n.formats.manifest import read_manifest, verify_files
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
    first = nibabel.load(folder / "b.nii.gz")
    nibabel.save(first, folder / "a.nii.gz")
    out = folder.parent / "out"
    assert call("-q", "simulate", "mr", folder, "-o", out).code == 0
    before = {path.parent.name for path in out.glob("*/repeat-1.nii.gz")}
    nibabel.save(nibabel.Nifti1Image(0 * first.get_fdata(dtype=np.float32), first.affine), folder / "a.nii.gz")
    assert call("-q", "simulate", "mr", folder, "-o", out).code == 3
    left = {path.parent.name for path in out.glob("*/*.nii.gz")}
    assert len(before) == 2
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
