"""Readers that are not medn2n's agree with it on voxels and place, and see copies where they see sources."""

from __future__ import annotations

import os
import subprocess
import zipfile
from pathlib import Path

import dcm2niix
import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813

from medn2n.core.provenance import Provenance
from medn2n.formats.dicom_write import DicomOptions
from medn2n.formats.scan import load, save
from tests import build
from tests.build import SeriesPlan

MODEL = Provenance(model="ct", model_sha256="ab" * 32, parameters={"strength": 1.0})
DATA = os.environ.get("MEDN2N_DATA", "")
OBLIQUE = (0.8, 0.6, 0, -0.36, 0.48, 0.8)
PLANS = {
    "ct": SeriesPlan(),
    "oblique": SeriesPlan(orientation=OBLIQUE),
    "unsigned 12 bits": SeriesPlan(signed=False, bits_stored=12),
    "mr slopes": SeriesPlan(modality="MR", slopes=[0.31, 1, 1.7, 2, 2.5, 3], intercept=0.125),
    "tilt": SeriesPlan(tilt_mm=0.9),
    "uneven": SeriesPlan(steps_mm=[1.14, 4.22, 7.38, 4.22, 1.14]),
}
ARCHIVES = (
    "d2n_generic_compressed_j2k_001",
    "d2n_generic_compressed_jpeg_001",
    "d2n_generic_compressed_jpegls_001",
    "d2n_generic_compressed_rle_001",
    "d2n_hitachi_anatomical_001",
    "d2n_generic_anatomical_002_non_isotropic",
    "d2n_siemens_multiframe_anatomical_001",
    "d2n_hyperfine_anatomical_001",
    "philips_skullphantom_gantrytilt-18.5_6slices_dicom",
)


def _converted(folder: Path, out: Path) -> list[tuple[np.ndarray, np.ndarray]]:
    """(voxels, affine) of each NIfTI that dcm2niix makes of a folder, in the order of its file names."""
    out.mkdir()
    subprocess.run(
        [dcm2niix.bin, "-f", "%s_%d", "-m", "n", "-o", str(out), str(folder)], capture_output=True, check=False
    )
    images = [nib.load(path) for path in sorted(out.glob("*.nii"))]  # type: ignore[attr-defined]
    return [(np.asarray(image.dataobj), image.affine) for image in images]


def _itk(folder: Path) -> sitk.Image:
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(folder)))
    return reader.Execute()


@pytest.mark.parametrize("name", PLANS)
@pytest.mark.parametrize("syntax", ["explicit", "rle"])
def test_dcm2niix_sees_the_same_in_source_and_copy(tmp_path: Path, name: str, syntax: str) -> None:
    build.dicom_series(tmp_path / "in", PLANS[name])
    save(load(tmp_path / "in"), tmp_path / "out", provenance=MODEL, dicom=DicomOptions(syntax=syntax))  # type: ignore[arg-type]
    before, after = (_converted(tmp_path / folder, tmp_path / f"nii-{folder}") for folder in ("in", "out"))
    assert len(before) == len(after) > 0
    for (voxels, affine), (others, other) in zip(before, after, strict=True):
        np.testing.assert_array_equal(voxels, others)
        np.testing.assert_array_equal(affine, other)


@pytest.mark.parametrize("name", ["ct", "oblique", "unsigned 12 bits"])
def test_dcm2niix_places_voxels_where_medn2n_does(tmp_path: Path, name: str) -> None:
    build.dicom_series(tmp_path / "in", PLANS[name])
    volume = load(tmp_path / "in")
    ((voxels, affine),) = _converted(tmp_path / "in", tmp_path / "nii")
    _same_in_space(volume.voxels, volume.affine, voxels, affine)


def _same_in_space(voxels: np.ndarray, affine: np.ndarray, others: np.ndarray, other: np.ndarray) -> None:
    """The same values at the same places, whatever the order in which each stores its axes."""
    assert sorted(voxels.shape) == sorted(others.shape)
    index = np.indices(voxels.shape).reshape(3, -1)
    place = affine[:3, :3] @ index + affine[:3, 3:]
    there = np.linalg.inv(other) @ np.vstack([place, np.ones(place.shape[1])])
    nearest = np.rint(there[:3]).astype(int)
    assert np.abs(there[:3] - nearest).max() < 1e-3
    np.testing.assert_allclose(others[tuple(nearest)], voxels.reshape(-1), rtol=1e-5, atol=1e-3)


@pytest.mark.parametrize("name", ["ct", "oblique", "unsigned 12 bits", "mr slopes"])
def test_simpleitk_sees_the_same_in_source_and_copy(tmp_path: Path, name: str) -> None:
    build.dicom_series(tmp_path / "in", PLANS[name])
    volume = load(tmp_path / "in")
    save(volume, tmp_path / "out", provenance=MODEL)
    before, after = _itk(tmp_path / "in"), _itk(tmp_path / "out")
    np.testing.assert_array_equal(sitk.GetArrayViewFromImage(before), sitk.GetArrayViewFromImage(after))
    for part in ("GetOrigin", "GetSpacing", "GetDirection"):
        assert getattr(before, part)() == getattr(after, part)()
    if name != "mr slopes":  # SimpleITK scales every slice by the first one's slope
        np.testing.assert_allclose(sitk.GetArrayViewFromImage(after).transpose(2, 1, 0), volume.voxels, atol=1e-3)


@pytest.mark.skipif(not DATA, reason="MEDN2N_DATA is not set")
@pytest.mark.parametrize("name", ARCHIVES)
def test_dcm2niix_on_real_series(tmp_path: Path, name: str) -> None:
    with zipfile.ZipFile(Path(DATA) / "awkward" / f"{name}.zip") as file:
        file.extractall(tmp_path / "in")
    save(load(tmp_path / "in"), tmp_path / "out", provenance=MODEL)
    before, after = (_converted(tmp_path / folder, tmp_path / f"nii-{folder}") for folder in ("in", "out"))
    assert len(before) == len(after) > 0
    for (voxels, affine), (others, other) in zip(before, after, strict=True):
        np.testing.assert_array_equal(voxels, others)
        np.testing.assert_array_equal(affine, other)
    volume = load(tmp_path / "in")
    if "tilt" not in name:  # of a tilted stack dcm2niix makes a second, resampled image and shears the first
        _same_in_space(volume.voxels, volume.affine, *before[0])
