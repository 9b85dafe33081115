"""Damaged and odd DICOM files: each is refused by name, or read as the standard says."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom import dcmread
from pydicom.dataset import Dataset, FileDataset
from pydicom.sequence import Sequence
from pydicom.uid import JPEG2000Lossless, RLELossless

from medn2n.errors import InputError, NothingToDo
from medn2n.formats.dicom_elements import encode_file, plain
from medn2n.formats.scan import load, load_series, save
from medn2n.stages.folder_to_catalogue import catalogue
from tests import build
from tests.build import dicom_series


def _change(folder: Path, change) -> None:  # type: ignore[no-untyped-def]
    for path in dicom_series(folder, slices=2, rows=32, columns=32, signed=False):
        ds = dcmread(path)
        change(ds)
        ds.save_as(path)


def _codes(folder: Path) -> list[str]:
    return [item.code for item in catalogue(folder).passed_over]


def test_damaged_compressed_pixels(tmp_path: Path) -> None:
    def damage(ds: FileDataset) -> None:
        ds.compress(JPEG2000Lossless, generate_instance_uid=False)
        data = bytearray(ds.PixelData)
        data[40:200] = bytes(160)
        ds.PixelData = bytes(data)

    _change(tmp_path, damage)
    with pytest.raises(InputError) as refused:
        load(tmp_path)
    assert refused.value.code == "DECODE_FAILED"
    assert str(refused.value).startswith("Series s-")
    with pytest.raises(InputError):
        load_series(catalogue(tmp_path).series[0], root=tmp_path)


def test_unknown_compression(tmp_path: Path) -> None:
    def video(ds: FileDataset) -> None:
        ds.compress(RLELossless, generate_instance_uid=False)
        ds.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.4.100"

    _change(tmp_path, video)
    with pytest.raises(InputError) as refused:
        load(tmp_path)
    assert refused.value.code == "NO_CODEC"


def test_truncated_compressed_pixels(tmp_path: Path) -> None:
    _change(tmp_path, lambda ds: ds.compress(RLELossless, generate_instance_uid=False))
    path = next(tmp_path.iterdir())
    path.write_bytes(path.read_bytes()[:-100])
    assert _codes(tmp_path) == ["TRUNCATED"]


def test_no_pixels_at_all(tmp_path: Path) -> None:
    _change(tmp_path, lambda ds: ds.__delattr__("PixelData"))
    assert _codes(tmp_path) == ["TRUNCATED"]


def test_truncated_implicit(tmp_path: Path) -> None:
    paths = dicom_series(tmp_path)
    for path in paths:
        build.as_implicit(path)
    assert load(tmp_path).voxels.shape == (10, 12, 6)
    paths[0].write_bytes(paths[0].read_bytes()[:-4])
    assert _codes(tmp_path) == ["TRUNCATED"]


@pytest.mark.parametrize(
    ("keyword", "value", "code"),
    [
        ("NumberOfFrames", 2, "ENHANCED_UNSUPPORTED"),
        ("SOPInstanceUID", "", "NO_IDENTITY"),
        ("BitsStored", 9, "UNSUPPORTED_PIXELS"),
    ],
)
def test_refused_by_name(tmp_path: Path, keyword: str, value: object, code: str) -> None:
    def change(ds: FileDataset) -> None:
        setattr(ds, keyword, value)
        if keyword == "NumberOfFrames":
            ds.PixelData = ds.PixelData * 2

    for path in dicom_series(tmp_path, slices=1):
        ds = dcmread(path)
        change(ds)
        meta, body = plain(ds.file_meta), plain(ds)
        if code == "NO_IDENTITY":
            del meta[0x00020003]
        path.write_bytes(encode_file(meta, body))
    assert _codes(tmp_path) == [code]


def test_no_transfer_syntax(tmp_path: Path) -> None:
    for path in dicom_series(tmp_path, slices=1):
        ds = dcmread(path)
        meta = plain(ds.file_meta)
        del meta[0x00020010]
        path.write_bytes(encode_file(meta, plain(ds)))
    assert _codes(tmp_path) == ["NOT_DICOM"]


def test_phase_images_by_complex_component(tmp_path: Path) -> None:
    _change(tmp_path, lambda ds: setattr(ds, "ComplexImageComponent", "PHASE"))
    assert _codes(tmp_path) == ["NOT_MAGNITUDE"]


def test_other_references_are_kept(tmp_path: Path) -> None:
    def refer(ds: FileDataset) -> None:
        def series(uid: str, instance: str) -> Dataset:
            item, inner = Dataset(), Dataset()
            inner.ReferencedSOPClassUID, inner.ReferencedSOPInstanceUID = build.CT, instance
            item.SeriesInstanceUID, item.ReferencedInstanceSequence = uid, Sequence([inner])
            return item

        ds.ReferencedSeriesSequence = Sequence([series("2.25.77", "2.25.771"), series(ds.SeriesInstanceUID, "2.25.9")])

    _change(tmp_path / "in", refer)
    after = dcmread(save(load(tmp_path / "in"), tmp_path / "out").files[0])
    other, own = after.ReferencedSeriesSequence
    assert other.SeriesInstanceUID == "2.25.77"
    assert len(own.ReferencedInstanceSequence) == 2


@pytest.mark.parametrize("zone", ["+0530", "-0330", "nonsense", "+9999", ""])
def test_time_zone_of_the_source(tmp_path: Path, zone: str) -> None:
    _change(tmp_path / "in", lambda ds: ds.__setattr__("TimezoneOffsetFromUTC", zone))
    after = dcmread(save(load(tmp_path / "in"), tmp_path / "out").files[0])
    assert len(after.ContentTime) == 6
    assert after.AcquisitionTime == "101530"


@pytest.mark.parametrize(
    ("tags", "expected"),
    [
        ({"Exposure": "100"}, 100),
        ({"ExposureInuAs": "5000"}, 5),
        ({"XRayTubeCurrent": "200", "ExposureTime": "500"}, 100),
    ],
)
def test_exposure(tmp_path: Path, tags: dict[str, str], expected: float) -> None:
    dicom_series(tmp_path, tags=tags)
    assert catalogue(tmp_path).series[0].acquisition["exposure_mas"] == expected


def test_patients_without_identity_are_told_apart_by_study(tmp_path: Path) -> None:
    for name, study in (("a", "2.25.1"), ("b", "2.25.2")):
        dicom_series(
            tmp_path / name, study_uid=study, series_uid=study + ".1", tags={"PatientID": "", "PatientName": ""}
        )
    one, two = catalogue(tmp_path)
    assert one.acquisition["patient"] != two.acquisition["patient"]


def test_enhanced_acquisition_comes_from_its_frames(tmp_path: Path) -> None:
    build.enhanced_mr(tmp_path / "e.dcm")
    (series,) = catalogue(tmp_path)
    assert series.acquisition["thickness_mm"] == 5
    assert series.acquisition["echo_time_ms"] == 30


def test_itk_files_in_a_tree(tmp_path: Path) -> None:
    image = sitk.GetImageFromArray(np.arange(24, dtype="i2").reshape(2, 3, 4))
    sitk.WriteImage(image, str(tmp_path / "a.nrrd"))
    (tmp_path / "b.mha").write_text("no image")
    (tmp_path / "lonely.img").write_bytes(bytes(100))
    found = catalogue(tmp_path, modality="CT")
    assert [(series.format, series.modality, series.geometry.shape) for series in found] == [("itk", "CT", (4, 3, 2))]
    assert sorted(_codes(tmp_path))[0] == "FOREIGN_FILE"
    assert load(tmp_path).voxels.shape == (4, 3, 2)
    assert load_series(found.series[0], root=tmp_path).unit == "HU"


def test_bad_nifti_in_a_tree(tmp_path: Path) -> None:
    build.nifti(tmp_path / "a.nii.gz")
    (tmp_path / "b.nii").write_bytes(b"")
    (refused,) = catalogue(tmp_path).passed_over
    assert (refused.status, refused.code) == ("refused", "TRUNCATED")
    assert refused.reason.startswith(f"File {refused.id}: holds 0 bytes")


def test_only_own_output_can_be_looked_at(tmp_path: Path) -> None:
    dicom_series(tmp_path / "in")
    save(load(tmp_path / "in"), tmp_path / "out")
    assert load(tmp_path / "out").voxels.shape == (10, 12, 6)
    shutil.rmtree(tmp_path / "out")
    (tmp_path / "out").mkdir()
    with pytest.raises(NothingToDo):
        load(tmp_path / "out")


def test_every_slice_lies_where_its_header_says(tmp_path: Path) -> None:
    turned = (0.98480775, 0.17364818, 0, -0.17364818, 0.98480775, 0)
    paths = dicom_series(tmp_path / "in", tilt_mm=-0.61, orientation=turned, slices=8)
    volume = load(tmp_path / "in")
    for k, path in enumerate(paths):
        place = np.array(dcmread(path).ImagePositionPatient, float) * [-1, -1, 1]
        np.testing.assert_allclose((volume.affine @ [0, 0, k, 1])[:3], place, atol=1e-6)
    written = save(volume, tmp_path / "out")
    np.testing.assert_array_equal(load(tmp_path / "out").affine, volume.affine)
    for path, copy in zip(paths, written.files, strict=True):
        one, two = plain(dcmread(path)), plain(dcmread(copy))
        for key in (0x00200032, 0x00200037, 0x00280030, 0x00200052, 0x00100010, 0x0020000D):
            assert one[key] == two[key]


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    signed=st.booleans(),
    bits=st.sampled_from([12, 16]),
    slope=st.sampled_from([1.0, 0.25, 3.0517578125, 1e-3]),
    intercept=st.sampled_from([0.0, -1024.0, 12.34]),
    padded=st.booleans(),
    change=st.floats(-300, 300),
    seed=st.integers(0, 50),
)
def test_write_back(
    tmp_path: Path, signed: bool, bits: int, slope: float, intercept: float, padded: bool, change: float, seed: int
) -> None:
    """Identity to the bit; any other value within half a step of what was asked for, unless it was clipped."""
    folder = tmp_path / f"{len(list(tmp_path.iterdir()))}"
    padding = (-2000 if signed else 4000) if padded else None
    dicom_series(
        folder / "in", slices=2, signed=signed, bits_stored=bits, slopes=[slope, 2 * slope], intercept=intercept,
        padding=padding, seed=seed, modality="MR",
    )  # fmt: skip
    volume = load(folder / "in")
    for source, copy in zip(
        sorted((folder / "in").iterdir()), sorted(save(volume, folder / "same").files), strict=True
    ):
        assert dcmread(source).PixelData == dcmread(copy).PixelData
    wanted = volume.voxels + np.float32(change * slope)
    written = save(volume.with_voxels(wanted), folder / "other")
    back = load(folder / "other")
    native = np.ones(wanted.shape, bool) if volume.padding is None else ~volume.padding
    off = np.abs(back.voxels - wanted) / (slope * np.array([1, 2]))
    limit = 1.6 if padded else 0.6  # float32 adds up to a tenth of a step; a value may have to leave the padding value
    assert (off[native] > limit).sum() <= written.clipped_voxels
    np.testing.assert_array_equal(back.voxels[~native], volume.voxels[~native])
