"""DICOM in: the right volumes out of mixed folders, in the right place, with the right values."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
from pydicom import dcmread
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from medn2n.errors import InputError, NothingToDo
from medn2n.formats.dicom_elements import encode_file, plain, tag, text
from medn2n.formats.scan import load
from medn2n.stages.folder_to_catalogue import catalogue
from tests import build
from tests.build import SeriesPlan, dicom_series, stored_pixels


def _refusal(folder: Path) -> InputError:
    with pytest.raises(InputError) as refused:
        load(folder)
    assert build.SECRET not in str(refused.value)
    assert str(folder) not in str(refused.value)
    return refused.value


def _ras(plan: SeriesPlan) -> np.ndarray:
    return stored_pixels(plan).transpose(2, 1, 0).astype(np.float32)


@pytest.mark.parametrize("signed", [True, False])
def test_values_order_and_place(tmp_path: Path, signed: bool) -> None:
    plan = SeriesPlan(signed=signed, bits_stored=12)
    dicom_series(tmp_path, plan)
    volume = load(tmp_path)
    np.testing.assert_array_equal(volume.voxels, _ras(plan) - 1024)
    expected = np.array([[-0.9, 0, 0, 17.25], [0, -0.7, 0, -31.5], [0, 0, 2.5, -100.125], [0, 0, 0, 1]])
    np.testing.assert_allclose(volume.affine, expected, atol=1e-6)
    assert (volume.unit, volume.modality, volume.slice_positions_mm) == ("HU", "CT", None)


def test_same_place_as_simpleitk(tmp_path: Path) -> None:
    oblique = (0.8, 0.6, 0, -0.36, 0.48, 0.8)
    dicom_series(tmp_path, orientation=oblique)
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(tmp_path)))
    image = reader.Execute()
    volume = load(tmp_path)
    for index in ((0, 0, 0), (9, 11, 5), (3, 4, 2)):
        lps = np.array(image.TransformIndexToPhysicalPoint(index))
        np.testing.assert_allclose((volume.affine @ [*index, 1])[:3], lps * [-1, -1, 1], atol=1e-6)
        assert volume.voxels[index] == image[index]


def test_gantry_tilt_is_shear(tmp_path: Path) -> None:
    dicom_series(tmp_path, tilt_mm=0.8)
    volume = load(tmp_path)
    assert volume.slice_positions_mm is None
    normal, step = np.cross(volume.affine[:3, 0], volume.affine[:3, 1]), volume.affine[:3, 2]
    cosine = abs(normal @ step) / np.linalg.norm(normal) / np.linalg.norm(step)
    np.testing.assert_allclose(np.arccos(cosine), np.arctan(0.8 / 2.5), atol=1e-7)


def test_slope_of_each_slice(tmp_path: Path) -> None:
    plan = SeriesPlan(modality="MR", slopes=[0.5, 1, 1.5, 2, 2.5, 3], intercept=0)
    dicom_series(tmp_path, plan)
    np.testing.assert_allclose(load(tmp_path).voxels, _ras(plan) * np.array(plan.slopes), rtol=1e-6)


@pytest.mark.parametrize("wrong_vr", [False, True])
def test_padding_is_marked(tmp_path: Path, wrong_vr: bool) -> None:
    for path in dicom_series(tmp_path, padding=-2000):
        if wrong_vr:  # GE writes -2000 as 63536, US
            ds = dcmread(path)
            ds.add_new(0x00280120, "US", 63536)
            ds.save_as(path)
    volume = load(tmp_path)
    assert volume.padding is not None
    assert volume.padding[:2].all()
    assert not volume.padding[2:].any()


def test_monochrome1_is_not_inverted(tmp_path: Path) -> None:
    plan = SeriesPlan(monochrome1=True)
    dicom_series(tmp_path, plan)
    np.testing.assert_array_equal(load(tmp_path).voxels, _ras(plan) - 1024)


def test_overlong_decimal_strings(tmp_path: Path) -> None:
    cosine, sine = np.cos(np.radians(10)), np.sin(np.radians(10))
    for path in dicom_series(tmp_path):
        ds = dcmread(path)
        meta, body = plain(ds.file_meta), plain(ds)
        body[tag("ImageOrientationPatient")] = text("DS", *(f"{v:.18f}" for v in (cosine, sine, 0, -sine, cosine, 0)))
        path.write_bytes(encode_file(meta, body))
    np.testing.assert_allclose(load(tmp_path).affine[:2, 0], [-0.9 * cosine, -0.9 * sine], atol=1e-12)


def test_missing_slice(tmp_path: Path) -> None:
    dicom_series(tmp_path, drop=(3,))
    error = _refusal(tmp_path)
    assert error.code == "MISSING_SLICES"
    assert "(5 files): gap of 5.00 mm after slice 3, expected 2.50 ± 0.03 mm." in str(error)


def test_uneven_slices_are_slice_wise(tmp_path: Path) -> None:
    dicom_series(tmp_path, slices=4, steps_mm=[1.14, 4.22, 7.38])
    volume = load(tmp_path)
    assert volume.slice_positions_mm is not None
    np.testing.assert_allclose(np.diff(volume.slice_positions_mm), [1.14, 4.22, 7.38], atol=1e-6)
    (series,) = catalogue(tmp_path)
    assert series.slice_wise
    assert not series.geometry.evenly_spaced


def test_truncated_slice_refuses_the_series(tmp_path: Path) -> None:
    paths = dicom_series(tmp_path)
    build.truncate(paths[2], 0.95)
    assert _refusal(tmp_path).code == "TRUNCATED"
    (refused,) = catalogue(tmp_path).passed_over
    assert (refused.status, len(refused.files)) == ("refused", 6)


def test_truncated_header_is_refused(tmp_path: Path) -> None:
    paths = dicom_series(tmp_path, slices=1)
    build.truncate(paths[0], 0.1)
    assert _refusal(tmp_path).code in ("TRUNCATED", "NOT_DICOM")


def test_text_named_dcm(tmp_path: Path) -> None:
    (tmp_path / "note.dcm").write_text("this is not an image")
    assert _refusal(tmp_path).code == "NOT_DICOM"


def test_localizer_among_the_slices(tmp_path: Path) -> None:
    dicom_series(tmp_path)
    dicom_series(
        tmp_path, SeriesPlan(slices=1, first_instance=50, image_type=("ORIGINAL", "PRIMARY", "LOCALIZER"),
                             orientation=(0, 1, 0, 0, 0, -1)), prefix="scout",
    )  # fmt: skip
    found = catalogue(tmp_path)
    assert [len(series.files) for series in found] == [6]
    assert [item.code for item in found.passed_over] == ["LOCALIZER"]
    assert load(tmp_path).voxels.shape == (10, 12, 6)


def test_two_series_in_one_folder(tmp_path: Path) -> None:
    one, two = SeriesPlan(seed=1), SeriesPlan(seed=2, series_uid="2.25.2002", first_instance=1)
    dicom_series(tmp_path, one, prefix="a")
    dicom_series(tmp_path, two, prefix="b")
    assert _refusal(tmp_path).code == "SEVERAL_SERIES"
    for plan in (one, two):
        volume = load(f"{tmp_path}#series={plan.series_uid}")
        np.testing.assert_array_equal(volume.voxels, _ras(plan) - 1024)
    with pytest.raises(InputError) as refused:
        load(f"{tmp_path}#series=2.25.9")
    assert refused.value.code == "NO_SUCH_SERIES"


@pytest.mark.parametrize(
    "keyword", ["AcquisitionNumber", "TemporalPositionIdentifier", "EchoTime", "DiffusionBValue", "AcquisitionTime"]
)
def test_several_volumes_of_one_series(tmp_path: Path, keyword: str) -> None:
    value = {"AcquisitionTime": ("101500", "101600")}.get(keyword, (1, 2))
    plans = [
        SeriesPlan(modality="MR", seed=index, first_instance=1 + 100 * index, tags={keyword: value[index]},
                   image_type=("ORIGINAL", "PRIMARY", "M"))
        for index in range(2)
    ]  # fmt: skip
    for index, plan in enumerate(plans):
        dicom_series(tmp_path, plan, prefix=f"v{index}-")
    found = catalogue(tmp_path)
    assert [series.path for series in found] == [f".#series=2.25.2001&part={part}" for part in (1, 2)]
    for plan, series in zip(plans, found, strict=True):
        np.testing.assert_array_equal(load(series.path, root=tmp_path).voxels, _ras(plan))


def test_repeats_that_nothing_tells_apart(tmp_path: Path) -> None:
    for index in range(2):
        dicom_series(tmp_path, SeriesPlan(seed=index, first_instance=1 + 100 * index), prefix=f"v{index}-")
    assert _refusal(tmp_path).code == "DUPLICATE_SLICES"


def test_a_slice_exported_twice_under_two_instance_uids_is_one_slice(tmp_path: Path) -> None:
    plan = SeriesPlan()
    dicom_series(tmp_path, plan)
    dicom_series(tmp_path / "again", SeriesPlan(first_instance=101))
    for path in sorted((tmp_path / "again").iterdir())[1:]:
        path.unlink()
    found = catalogue(tmp_path)
    assert [(item.status, item.code, len(item.files)) for item in found.passed_over] == [
        ("passed", "DUPLICATE_SLICE", 1)
    ]
    (series,) = found
    np.testing.assert_array_equal(load(series.path, root=tmp_path).voxels, _ras(plan) - 1024)


def test_a_copied_file_is_passed_over(tmp_path: Path) -> None:
    paths = dicom_series(tmp_path)
    shutil.copy(paths[1], tmp_path / "copy.dcm")
    found = catalogue(tmp_path)
    assert len(found) == 1
    assert [(item.code, len(item.files)) for item in found.passed_over] == [("DUPLICATE_FILE", 1)]


def test_same_uid_other_pixels(tmp_path: Path) -> None:
    paths = dicom_series(tmp_path)
    data = bytearray(paths[1].read_bytes())
    data[-1] ^= 1
    (tmp_path / "other.dcm").write_bytes(data)
    assert _refusal(tmp_path).code == "DUPLICATE_SLICES"


def test_copies_in_two_folders(tmp_path: Path) -> None:
    dicom_series(tmp_path / "a")
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    found = catalogue(tmp_path)
    assert [series.path for series in found] == ["a#series=2.25.2001", "b#series=2.25.2001"]
    assert len({series.id for series in found}) == 2


def test_series_over_two_folders(tmp_path: Path) -> None:
    paths = dicom_series(tmp_path / "a")
    (tmp_path / "b").mkdir()
    for path in paths[3:]:
        shutil.move(path, tmp_path / "b" / path.name)
    (series,) = catalogue(tmp_path)
    assert load(series.path, root=tmp_path).voxels.shape == (10, 12, 6)


def _lut(ds: Dataset) -> None:
    item = Dataset()
    item.LUTDescriptor, item.ModalityLUTType, item.LUTData = [2, 0, 16], "US", b"\0\0\1\0"
    ds.ModalityLUTSequence = Sequence([item])


@pytest.mark.parametrize(
    ("change", "status", "code"),
    [
        (lambda ds: setattr(ds, "SOPClassUID", "1.2.840.10008.5.1.4.1.1.128"), "passed", "NOT_CT_MR"),
        (lambda ds: setattr(ds, "SOPClassUID", "1.2.840.10008.5.1.4.1.1.7"), "passed", "SECONDARY_CAPTURE"),
        (lambda ds: setattr(ds, "PhotometricInterpretation", "PALETTE COLOR"), "passed", "COLOUR"),
        (lambda ds: setattr(ds, "ImageType", ["ORIGINAL", "PRIMARY", "P", "ND"]), "passed", "NOT_MAGNITUDE"),
        (lambda ds: setattr(ds, "ImageType", ["ORIGINAL", "PRIMARY", "M", "MOSAIC"]), "refused", "MOSAIC"),
        (_lut, "refused", "MODALITY_LUT"),
        (lambda ds: delattr(ds, "ImagePositionPatient"), "refused", "NO_GEOMETRY"),
        (lambda ds: setattr(ds, "PixelSpacing", [0, 1]), "refused", "NO_GEOMETRY"),
        (lambda ds: setattr(ds, "RescaleSlope", 0), "refused", "BAD_SCALING"),
        (lambda ds: setattr(ds, "HighBit", 12), "refused", "UNSUPPORTED_PIXELS"),
        (lambda ds: setattr(ds, "ConcatenationUID", "2.25.1"), "refused", "ENHANCED_UNSUPPORTED"),
    ],
)
def test_what_is_not_denoised(tmp_path: Path, change, status: str, code: str) -> None:  # type: ignore[no-untyped-def]
    for path in dicom_series(tmp_path):
        ds = dcmread(path)
        change(ds)
        ds.save_as(path)
    found = catalogue(tmp_path)
    assert not found.series
    assert {(item.status, item.code) for item in found.passed_over} == {(status, code)}
    with pytest.raises((InputError, NothingToDo)):
        load(tmp_path)


@pytest.mark.parametrize(("times", "echoes"), [(1, 1), (3, 1)])
def test_enhanced(tmp_path: Path, times: int, echoes: int) -> None:
    pixels = build.enhanced_mr(tmp_path / "e.dcm", times=times, echoes=echoes)
    volume = load(tmp_path / "e.dcm")
    slopes = 0.5 + 0.25 * np.arange(4)
    expected = pixels.reshape(times, 4, 12, 10)[:, ::-1].transpose(3, 2, 1, 0) * slopes[:, None]
    np.testing.assert_allclose(volume.voxels, expected[..., 0] if times == 1 else expected, rtol=1e-6)
    np.testing.assert_allclose(np.diag(volume.affine), [-0.9, -0.7, 5, 1], atol=1e-9)
    (series,) = catalogue(tmp_path)
    assert series.acquisition["echo_time_ms"] == 30
    if times > 1:
        np.testing.assert_array_equal(load(f"{tmp_path}#frame=1").voxels, volume.voxels[..., 1])


@pytest.mark.parametrize(
    ("name", "code"),
    [("rtplan.dcm", "NOT_CT_MR"), ("test-SR.dcm", "NOT_CT_MR"), ("SC_rgb_rle.dcm", "SECONDARY_CAPTURE"),
     ("rtdose.dcm", "NOT_CT_MR"), ("examples_rgb_color.dcm", "NOT_CT_MR"), ("MR_truncated.dcm", "TRUNCATED"),
     ("no_meta.dcm", "NOT_DICOM")],
)  # fmt: skip
def test_pydicom_files_that_are_not_scans(tmp_path: Path, name: str, code: str) -> None:
    shutil.copy(str(get_testdata_file(name, download=False)), tmp_path / name)
    found = catalogue(tmp_path)
    assert not found.series
    assert [item.code for item in found.passed_over] == [code]
