"""Damage that once went unseen, a case each: a wrong shape or scaling, a damaged stream taken for sound, a crash."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
from pydicom import dcmread

from medn2n.errors import InputError
from medn2n.formats.scan import load, save
from medn2n.stages.folder_to_catalogue import catalogue
from tests import build


def refusal(path: Path) -> str:
    with pytest.raises(InputError) as refused:
        load(path)
    return refused.value.code


def replaced(path: Path, old: bytes, new: bytes) -> None:
    data = path.read_bytes()
    assert data.count(old) == 1
    path.write_bytes(data.replace(old, new))


@pytest.mark.parametrize(
    ("old", "new", "code"),
    [
        (b"\x28\0\x52\x10DS\x06\0-1024 ", b"\x28\0\x52\x10DS\x06\0-     ", "BAD_SCALING"),
        (b"\x28\0\x52\x10DS\x06\0-1024 ", b"\x28\0\x52\x10DS\x06\x000\\1024", "BAD_SCALING"),
        (b"\x28\0\x52\x10DS\x06\0-1024 ", b"\x28\0\x52\x10US\x06\0-1024 ", "BAD_SCALING"),
        (b"\x28\0\x53\x10DS", b"\x28\0\x52\x10DS", "NOT_DICOM"),
        (b"\x28\0\x51\x10DS", b"\xe0\x7f\x10\0DS", "TRUNCATED"),
        (b"\x28\0\x10\0US\x02\0\x0c\0", b"\x28\0\x10\0SS\x02\0\xff\xff", "TRUNCATED"),
        (b"\x28\0\x04\0CS", b"\x28\0\x05\0CS", "UNSUPPORTED_PIXELS"),
    ],
    ids=["no number", "two", "binary", "twice", "pixels early", "negative", "neither grey nor colour"],
)  # fmt: skip
def test_damaged_dicom_headers(tmp_path: Path, old: bytes, new: bytes, code: str) -> None:
    (path,) = build.dicom_series(tmp_path, slices=1, intercept=-1024)
    dataset = dcmread(path)
    dataset.RescaleIntercept, dataset.RescaleSlope = "-1024", "2"
    dataset.save_as(path)
    replaced(path, old, new)
    assert refusal(path) == code


def test_a_header_cut_short_is_not_passed_over(tmp_path: Path) -> None:
    (path,) = build.dicom_series(tmp_path, slices=1)
    path.write_bytes(path.read_bytes()[:700])
    assert [(item.status, item.code) for item in catalogue(tmp_path).passed_over] == [("refused", "TRUNCATED")]


def test_a_file_is_one_volume_or_none(tmp_path: Path) -> None:
    """One frame of six whose echo time is lost is not a volume of its own, since files are written back whole."""
    build.enhanced_mr(tmp_path / "e.dcm", slices=3, times=2)
    data = (tmp_path / "e.dcm").read_bytes()
    at = data.index(b"\x18\0\x82\x90FD")
    (tmp_path / "e.dcm").write_bytes(data[: at + 4] + b"FL" + data[at + 6 :])
    found = catalogue(tmp_path)
    assert not found.series
    assert [item.code for item in found.passed_over] == ["DUPLICATE_SLICES"]


def test_a_header_that_no_copy_can_take_over(tmp_path: Path) -> None:
    (path,) = build.dicom_series(tmp_path / "in", slices=1)
    replaced(path, b"\x20\0\x10\0SH", b"\x20\0\x10\0S!")
    with pytest.raises(InputError) as refused:
        save(load(tmp_path / "in"), tmp_path / "out")
    assert refused.value.code == "UNREADABLE"


@pytest.mark.parametrize(
    ("version", "field", "value", "code"),
    [
        (2, "dim", [2**63 - 1, 5, 6, 4, 1, 1, 1, 1], "UNREADABLE"), (1, "dim", [0, 5, 6, 4, 1, 1, 1, 1], "UNREADABLE"),
        (1, "dim", [3, 5, -6, 4, 1, 1, 1, 1], "UNSUPPORTED_SHAPE"), (1, "vox_offset", np.nan, "UNREADABLE"),
        (1, "vox_offset", 3e38, "UNREADABLE"), (2, "vox_offset", 2**62, "UNREADABLE"),
        (1, "srow_x", 3e38, "BAD_GEOMETRY"),
        (1, "scl_slope", 3e38, "BAD_SCALING"),
    ],
)  # fmt: skip
def test_damaged_nifti_headers(tmp_path: Path, version: int, field: str, value: object, code: str) -> None:
    build.nifti(tmp_path / "a.nii", version=version)
    data = (tmp_path / "a.nii").read_bytes()
    header = {1: nib.Nifti1Header, 2: nib.Nifti2Header}[version](data[: {1: 348, 2: 540}[version]])
    header[field] = value
    (tmp_path / "a.nii").write_bytes(bytes(header.binaryblock) + data[len(header.binaryblock) :])
    assert refusal(tmp_path / "a.nii") == code


@pytest.mark.parametrize("name", ["a.mha", "a.nrrd"])
def test_damaged_streams_are_not_taken_for_voxels(tmp_path: Path, name: str) -> None:
    """ITK's own reader loads the damaged .mha with a word on stdout."""
    voxels = np.random.default_rng(0).integers(0, 99, (9, 9, 9)).astype("i2")
    sitk.WriteImage(sitk.GetImageFromArray(voxels), str(tmp_path / name), useCompression=True)
    data = bytearray((tmp_path / name).read_bytes())
    data[-200] ^= 0xFF
    (tmp_path / name).write_bytes(data)
    assert refusal(tmp_path / name) == "TRUNCATED"


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"NDims = 3", b"NDims = 255"), (b"DimSize = 4 3 2", b"DimSize = 4 3"), (b"ElementType", b"\xffntType"),
        (b"Offset = 0 0 0", b"Offset = 0 0 nan"), (b"ElementSpacing = 1 1 1", b"ElementSpacing = 1 -1 1"),
        (b"CompressedData = False", b"CompressedData = perhaps"),
    ],
)  # fmt: skip
def test_damaged_metaimage_headers_say_nothing(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], old: bytes, new: bytes
) -> None:
    sitk.WriteImage(sitk.GetImageFromArray(np.arange(24, dtype="i2").reshape(2, 3, 4)), str(tmp_path / "a.mha"))
    replaced(tmp_path / "a.mha", old, new)
    capfd.readouterr()
    assert refusal(tmp_path / "a.mha") in ("UNREADABLE", "UNSUPPORTED_DTYPE", "BAD_GEOMETRY")
    assert capfd.readouterr() == ("", "")
