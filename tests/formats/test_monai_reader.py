"""The same loading inside MONAI: right affine, right axes, and a refusal that no other reader overrules."""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
import pytest
from monai.data import MetaTensor
from monai.transforms import Compose, EnsureChannelFirstd, LoadImage, LoadImaged

from medn2n.errors import InputError
from medn2n.formats.monai_reader import ScanReader
from medn2n.formats.scan import load
from tests import build

# monai 1.6 says at every LoadImage that a reader nobody asked for lacks its decoder
pytestmark = pytest.mark.filterwarnings("ignore:.*nvImageCodec.*:UserWarning")


def _load(reference: object, **options: object) -> MetaTensor:
    return LoadImaged("image", reader=ScanReader(**options))({"image": reference})["image"]  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", ["folder", "reference", "nifti", "frame"])
def test_affine_and_voxels(tmp_path: Path, kind: str) -> None:
    build.dicom_series(tmp_path / "s", orientation=(0.8, 0.6, 0, -0.36, 0.48, 0.8))
    build.nifti(tmp_path / "a.nii.gz")
    build.nifti(tmp_path / "b.nii.gz", shape=(4, 3, 5, 6))
    reference = {"folder": "s", "reference": "s#series=2.25.2001", "nifti": "a.nii.gz", "frame": "b.nii.gz#frame=4"}
    tensor = _load(reference[kind], root=tmp_path)
    volume = load(reference[kind], root=tmp_path)
    np.testing.assert_array_equal(tensor.numpy(), volume.voxels)
    np.testing.assert_allclose(tensor.affine.numpy(), volume.affine, atol=1e-6)
    np.testing.assert_allclose(tensor.meta["original_affine"], volume.affine, atol=1e-6)
    assert tuple(tensor.meta["spatial_shape"]) == volume.voxels.shape
    assert str(tensor.meta["space"]) == "RAS"


def test_what_was_not_measured_is_air_where_that_is_asked(tmp_path: Path) -> None:
    voxels = np.full((6, 6, 4), 40, np.float32)
    voxels[0], voxels[5, 5] = -3024, np.nan
    nibabel.save(nibabel.Nifti1Image(voxels, np.eye(4)), tmp_path / "a.nii")
    stored, filled = (_load("a.nii", root=tmp_path, modality="CT", fill=fill).numpy() for fill in (False, True))
    np.testing.assert_array_equal(stored, voxels)
    np.testing.assert_array_equal(filled, np.where(voxels == 40, 40, -1000))


def test_channel_first(tmp_path: Path) -> None:
    build.nifti(tmp_path / "a.nii", shape=(4, 3, 5, 6))
    build.nifti(tmp_path / "b.nii", shape=(4, 3, 5))
    both = Compose([LoadImaged(["a", "b"], reader=ScanReader(tmp_path)), EnsureChannelFirstd(["a", "b"])])
    sample = both({"a": "a.nii", "b": "b.nii"})
    assert tuple(sample["a"].shape) == (6, 4, 3, 5)
    assert tuple(sample["b"].shape) == (1, 4, 3, 5)


def test_repeats_stack(tmp_path: Path) -> None:
    one, two = (build.nifti(tmp_path / f"{n}.nii", seed=n) for n in (1, 2))
    tensor = LoadImage(reader=ScanReader(tmp_path), ensure_channel_first=True)(["1.nii", "2.nii"])
    np.testing.assert_array_equal(tensor.numpy(), np.stack([one, two]).astype("f4"))


def test_other_grids_are_refused(tmp_path: Path) -> None:
    build.nifti(tmp_path / "1.nii")
    build.nifti(tmp_path / "2.nii", shape=(5, 6, 7))
    build.nifti(tmp_path / "3.nii", shape=(5, 6, 7, 2))
    reader = ScanReader(tmp_path)
    for names in (["1.nii", "2.nii"], ["3.nii", "3.nii"]):
        with pytest.raises(InputError) as refused:
            LoadImage(reader=reader)(names)
        assert refused.value.code == "DIFFERENT_GRIDS"


def test_a_missing_slice_stays_refused(tmp_path: Path) -> None:
    build.dicom_series(tmp_path, drop=(3,))
    with pytest.raises(InputError) as refused:
        LoadImage(reader=ScanReader())(str(tmp_path))
    assert refused.value.code == "MISSING_SLICES"


def test_names_say_nothing() -> None:
    assert ScanReader().verify_suffix("IM000001")
