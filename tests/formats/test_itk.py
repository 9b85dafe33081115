"""NRRD and MetaImage: place as ITK says it, numbers to the bit, dictionary kept."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813

from medn2n.errors import InputError
from medn2n.formats.scan import load, save

DIRECTION = (0.8, -0.36, 0.48, 0.6, 0.48, -0.64, 0, 0.8, 0.6)


def _write(path: Path, dtype: str = "i2", *, compress: bool = True, keys: dict[str, str] | None = None) -> np.ndarray:
    stored = (np.random.default_rng(0).random((4, 6, 5)) * 200).astype(dtype)
    image = sitk.GetImageFromArray(stored)
    image.SetSpacing((0.7, 0.9, 2.5))
    image.SetOrigin((-10.5, 20.25, 7))
    image.SetDirection(DIRECTION)
    for key, value in (keys or {}).items():
        image.SetMetaData(key, value)
    sitk.WriteImage(image, str(path), useCompression=compress)
    return stored


@pytest.mark.parametrize("name", ["a.nrrd", "a.mha", "a.mhd", "a.nhdr"])
@pytest.mark.parametrize("dtype", ["u1", "i1", "i2", "u2", "i4", "f4", "f8"])
def test_identity(tmp_path: Path, name: str, dtype: str) -> None:
    (tmp_path / "in").mkdir()
    stored = _write(tmp_path / "in" / name, dtype, keys={"site": "B", "0008|0060": "CT", "note": "é = ü"})
    volume = load(tmp_path / "in" / name)
    np.testing.assert_array_equal(volume.voxels, stored.T.astype("f4"))
    written = save(volume, tmp_path / "out")
    assert written.files[0].name.startswith("a.")
    one, two = sitk.ReadImage(str(tmp_path / "in" / name)), sitk.ReadImage(str(tmp_path / "out" / name))
    np.testing.assert_array_equal(sitk.GetArrayFromImage(one), sitk.GetArrayFromImage(two))
    assert one.GetPixelID() == two.GetPixelID()
    for getter in ("GetSpacing", "GetOrigin", "GetDirection"):
        np.testing.assert_allclose(getattr(one, getter)(), getattr(two, getter)(), atol=1e-9)
    assert {k: one.GetMetaData(k) for k in one.GetMetaDataKeys()} == {
        k: two.GetMetaData(k) for k in two.GetMetaDataKeys()
    }
    assert not list((tmp_path / "out").glob(".medn2n*"))


def test_place_is_ras(tmp_path: Path) -> None:
    _write(tmp_path / "a.nrrd")
    volume = load(tmp_path / "a.nrrd")
    image = sitk.ReadImage(str(tmp_path / "a.nrrd"))
    lps = np.array(image.TransformIndexToPhysicalPoint((2, 3, 1)))
    np.testing.assert_allclose((volume.affine @ [2, 3, 1, 1])[:3], lps * [-1, -1, 1], atol=1e-9)


def test_to_nifti(tmp_path: Path) -> None:
    _write(tmp_path / "a.nrrd")
    volume = load(tmp_path / "a.nrrd")
    (file,) = save(volume, tmp_path / "out", format="nifti").files
    back = load(file)
    assert file.name == "a.nii.gz"
    np.testing.assert_array_equal(back.voxels, volume.voxels)
    np.testing.assert_allclose(back.affine, volume.affine, atol=1e-5)


def test_float32(tmp_path: Path) -> None:
    _write(tmp_path / "a.mha")
    volume = load(tmp_path / "a.mha")
    wanted = volume.voxels + np.float32(0.25)
    (file,) = save(volume.with_voxels(wanted), tmp_path / "out", dtype="float32").files
    np.testing.assert_array_equal(load(file).voxels, wanted)


def test_modality_of_metaimage(tmp_path: Path) -> None:
    _write(tmp_path / "a.mha", compress=False)
    data = (tmp_path / "a.mha").read_bytes()
    (tmp_path / "a.mha").write_bytes(data.replace(b"ElementType", b"Modality = MET_MOD_CT\nElementType"))
    assert load(tmp_path / "a.mha").modality in ("CT", "")
    assert load(tmp_path / "a.mha", modality="CT").unit == "HU"


@pytest.mark.parametrize("name", ["a.nrrd", "a.mha"])
@pytest.mark.parametrize("compress", [True, False])
def test_truncated(tmp_path: Path, name: str, compress: bool) -> None:
    _write(tmp_path / name, compress=compress)
    data = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(data[:-100])
    with pytest.raises(InputError) as refused:
        load(tmp_path / name)
    assert refused.value.code in ("TRUNCATED", "UNREADABLE")
    assert str(tmp_path) not in str(refused.value)


def test_colour_is_refused(tmp_path: Path) -> None:
    sitk.WriteImage(sitk.GetImageFromArray(np.zeros((3, 4, 5, 3), "u1"), isVector=True), str(tmp_path / "a.mha"))
    with pytest.raises(InputError) as refused:
        load(tmp_path / "a.mha")
    assert refused.value.code == "UNSUPPORTED_DTYPE"


def test_not_an_image(tmp_path: Path) -> None:
    (tmp_path / "a.nrrd").write_text("no header here")
    with pytest.raises(InputError):
        load(tmp_path / "a.nrrd")


def test_two_axes(tmp_path: Path) -> None:
    sitk.WriteImage(sitk.GetImageFromArray(np.arange(12, dtype="i2").reshape(3, 4)), str(tmp_path / "a.mha"))
    volume = load(tmp_path / "a.mha")
    assert volume.voxels.shape == (4, 3, 1)
    (file,) = save(volume, tmp_path / "out").files
    assert sitk.ReadImage(str(file)).GetSize() == (4, 3)


def test_four_axes_and_one_frame(tmp_path: Path) -> None:
    data = np.arange(3 * 2 * 4 * 5, dtype="i2").reshape(3, 2, 4, 5)
    sitk.WriteImage(sitk.GetImageFromArray(data, isVector=False), str(tmp_path / "a.nrrd"))
    volume = load(tmp_path / "a.nrrd")
    assert volume.voxels.shape == (5, 4, 2, 3)
    (file,) = save(volume, tmp_path / "out").files
    np.testing.assert_array_equal(sitk.GetArrayFromImage(sitk.ReadImage(str(file))), data)
    frame = load(f"{tmp_path}/a.nrrd#frame=1")
    (file,) = save(frame, tmp_path / "out").files
    assert file.name == "a_frame1.nrrd"
    np.testing.assert_array_equal(sitk.GetArrayFromImage(sitk.ReadImage(str(file))), data[1])
    with pytest.raises(InputError):
        load(f"{tmp_path}/a.nrrd#frame=3")
