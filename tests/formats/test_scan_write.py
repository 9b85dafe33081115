"""Where a scan is written: mirrored paths, nobody's files replaced, nothing left after a failure, DICOM to NIfTI."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from medn2n.errors import InputError, UsageError
from medn2n.formats.scan import load, planned_files, save
from tests.build import dicom_series


def test_output_rules(tmp_path: Path) -> None:
    dicom_series(tmp_path / "in" / "study" / "series")
    volume = load(tmp_path / "in" / "study")
    with pytest.raises(UsageError):
        save(volume, tmp_path / "out", dtype="float32")
    with pytest.raises(UsageError, match="own source"):
        save(volume, tmp_path / "in" / "study", overwrite=True)
    with pytest.raises(UsageError, match="file name"):
        save(volume, tmp_path / "one.dcm")
    written = save(volume, tmp_path / "out", relative_to=tmp_path / "in")
    assert written.files == planned_files(volume, tmp_path / "out", relative_to=tmp_path / "in")
    assert {file.parent for file in written.files} == {tmp_path / "out" / "study" / "series"}
    save(volume, tmp_path / "out", relative_to=tmp_path / "in")  # medn2n's own files may be replaced
    written.files[2].write_bytes(b"somebody else's")
    with pytest.raises(UsageError, match="in the way"):
        save(volume, tmp_path / "out", relative_to=tmp_path / "in")
    save(volume, tmp_path / "out", relative_to=tmp_path / "in", overwrite=True)


def test_nothing_is_left_after_a_failure(tmp_path: Path) -> None:
    dicom_series(tmp_path / "in")
    volume = load(tmp_path / "in")
    bad = volume.voxels.copy()
    bad[3, 3, 4] = np.nan
    with pytest.raises(InputError):
        save(volume.with_voxels(bad), tmp_path / "out")
    assert not [path for path in (tmp_path / "out").rglob("*") if path.is_file()]


def test_to_nifti(tmp_path: Path) -> None:
    import nibabel as nib

    dicom_series(tmp_path / "in", tilt_mm=0.8)
    volume = load(tmp_path / "in")
    (file,) = save(volume, tmp_path / "out", format="nifti").files
    image = nib.load(file)
    assert file.name.endswith(".nii.gz")
    assert image.get_data_dtype() == np.int16
    np.testing.assert_array_equal(np.asarray(image.dataobj), volume.voxels)
    np.testing.assert_allclose(image.affine, volume.affine, atol=1e-5)
    dicom_series(tmp_path / "uneven", slices=4, steps_mm=[1.1, 4.2, 7.4])
    with pytest.raises(InputError) as refused:
        save(load(tmp_path / "uneven"), tmp_path / "out", format="nifti")
    assert refused.value.code == "UNEVEN_SPACING"
