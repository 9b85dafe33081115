"""Loading by reference, and files that appear whole or not at all."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

import numpy as np
import pytest

from medn2n.core.volume import Volume
from medn2n.errors import InputError, NothingToDo, TryLater, UsageError
from medn2n.formats.scan import load, load_series, save
from medn2n.formats.staged import Staged
from medn2n.stages.folder_to_catalogue import catalogue
from tests import build


def test_missing(tmp_path: Path) -> None:
    with pytest.raises(InputError) as refused:
        load(tmp_path / "nowhere")
    assert refused.value.code == "MISSING_FILE"


def test_nothing_to_do(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("hello")
    with pytest.raises(NothingToDo, match="FOREIGN_FILE"):
        load(tmp_path)


def test_modality_must_be_known(tmp_path: Path) -> None:
    with pytest.raises(UsageError):
        load(tmp_path, modality="PET")


def test_one_slice_file_is_a_volume(tmp_path: Path) -> None:
    paths = build.dicom_series(tmp_path)
    volume = load(paths[0])
    assert volume.voxels.shape == (10, 12, 1)
    assert volume.spacing_mm == pytest.approx((0.9, 0.7, 2.5))


def test_a_folder_with_one_nifti(tmp_path: Path) -> None:
    stored = build.nifti(tmp_path / "a.nii.gz")
    np.testing.assert_array_equal(load(tmp_path).voxels, stored)


def test_load_series_opens_its_own_files_only(tmp_path: Path) -> None:
    for n in range(2):
        build.dicom_series(tmp_path / "s", series_uid=f"2.25.{n + 7}", seed=n, prefix=f"{n}-")
    build.nifti(tmp_path / "a.nii.gz")
    for series in catalogue(tmp_path):
        volume = load_series(series, root=tmp_path)
        assert volume.voxels.shape == series.geometry.shape
        np.testing.assert_array_equal(volume.affine, series.geometry.affine)
    gone = catalogue(tmp_path).series[1]
    (tmp_path / gone.files[0]).unlink()
    with pytest.raises(InputError) as refused:
        load_series(gone, root=tmp_path)
    assert refused.value.code == "MISSING_FILE"


def test_save_needs_a_source(tmp_path: Path) -> None:
    with pytest.raises(UsageError):
        save(Volume(voxels=np.zeros((2, 2, 2), "f4"), affine=np.eye(4), unit="HU", modality="CT"), tmp_path)


def test_nifti_cannot_become_dicom(tmp_path: Path) -> None:
    build.nifti(tmp_path / "a.nii")
    with pytest.raises(UsageError):
        save(load(tmp_path / "a.nii"), tmp_path / "out", format="dicom")


def test_output_file_name(tmp_path: Path) -> None:
    build.nifti(tmp_path / "a.nii")
    (file,) = save(load(tmp_path / "a.nii"), tmp_path / "deep" / "b.nii.gz").files
    assert file == tmp_path / "deep" / "b.nii.gz"
    np.testing.assert_array_equal(load(file).voxels, load(tmp_path / "a.nii").voxels)
    with pytest.raises(UsageError, match="in the way"):
        save(load(tmp_path / "a.nii"), file)
    save(load(tmp_path / "a.nii"), file, overwrite=True)


def test_changed_source(tmp_path: Path) -> None:
    build.nifti(tmp_path / "a.nii")
    volume = load(tmp_path / "a.nii")
    build.nifti(tmp_path / "a.nii", shape=(3, 3, 3))
    with pytest.raises(InputError) as refused:
        save(volume, tmp_path / "out")
    assert refused.value.code == "CHANGED_FILE"


def test_staged_all_or_nothing(tmp_path: Path) -> None:
    with contextlib.suppress(RuntimeError), Staged() as staged:
        staged.write(tmp_path / "a", b"1")
        raise RuntimeError
    assert not list(tmp_path.iterdir())
    with Staged() as staged:
        staged.write(tmp_path / "a", b"1")
        staged.write(tmp_path / "b", b"2")
        assert not (tmp_path / "a").exists()
    assert sorted(os.listdir(tmp_path)) == ["a", "b"]


def test_a_full_disk_is_for_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(TryLater), Staged() as staged:
        staged.write(tmp_path / "a", b"1")
    assert not list(tmp_path.iterdir())
