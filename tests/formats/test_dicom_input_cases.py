"""What becomes of the series that hospitals have: a volume each, several, slices only, passed over, or refused."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset, FileDataset
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    RLELossless,
)

from medn2n.formats.scan import load, save
from medn2n.stages.folder_to_catalogue import catalogue
from tests import build
from tests.build import SeriesPlan, dicom_series
from tests.conformance import differences, same_pixels


def _change(paths: list[Path], change: Callable[[FileDataset, int], None]) -> None:
    for number, path in enumerate(paths):
        dataset = dcmread(path)
        change(dataset, number)
        dataset.save_as(path, enforce_file_format=True)


def _as(path: Path, syntax: str) -> None:
    """The same object in another transfer syntax."""
    dataset = dcmread(path)
    if syntax in (RLELossless, JPEG2000Lossless, JPEGLSLossless):
        dataset.compress(syntax, generate_instance_uid=False)
        dataset.save_as(path, enforce_file_format=True)
        return
    if syntax == ExplicitVRBigEndian:  # pydicom converts the byte order of a plain data set only
        swapped = dataset.pixel_array.astype(">i2").tobytes()
        dataset = _plain(dataset)
        dataset.add_new("PixelData", "OW", swapped)
    dataset.file_meta.TransferSyntaxUID = syntax
    little, implicit = syntax != ExplicitVRBigEndian, syntax == ImplicitVRLittleEndian
    dataset.save_as(path, implicit_vr=implicit, little_endian=little, enforce_file_format=True)


def _plain(dataset: FileDataset) -> Dataset:
    copy = Dataset()
    copy.update({element.tag: element for element in dataset})
    copy.file_meta = dataset.file_meta
    return copy


@pytest.mark.parametrize(
    "syntax",
    [ImplicitVRLittleEndian, DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian, RLELossless, JPEG2000Lossless,
     JPEGLSLossless],
    ids=lambda syntax: syntax.name,
)  # fmt: skip
def test_every_transfer_syntax_gives_the_same_copy(tmp_path: Path, syntax: str) -> None:
    plan = SeriesPlan(slices=2, rows=40, columns=36)
    plain_files = dicom_series(tmp_path / "plain", plan)
    for path in dicom_series(tmp_path / "in", plan):
        _as(path, syntax)
    volume = load(tmp_path / "in")
    np.testing.assert_array_equal(volume.voxels, load(tmp_path / "plain").voxels)
    copies = sorted(save(volume, tmp_path / "out").files)
    for source, copy in zip(sorted(plain_files), copies, strict=True):
        assert same_pixels(source, copy)
        assert not differences(source, copy)


def _verdicts(folder: Path) -> list[tuple[str, str, int]]:
    return [(item.status, item.code, len(item.files)) for item in catalogue(folder).passed_over]


def test_two_matrix_sizes_in_one_series_are_two_volumes(tmp_path: Path) -> None:
    dicom_series(tmp_path, slices=3)
    dicom_series(tmp_path, SeriesPlan(slices=2, rows=16, first_instance=50), prefix="other")
    assert [series.geometry.shape for series in catalogue(tmp_path)] == [(10, 12, 3), (10, 16, 2)]


def test_another_orientation_in_the_series_is_a_volume_of_its_own(tmp_path: Path) -> None:
    dicom_series(tmp_path, slices=3)
    coronal = SeriesPlan(slices=1, orientation=(1, 0, 0, 0, 0, -1), first_instance=50)
    dicom_series(tmp_path, coronal, prefix="other")
    assert [series.geometry.shape[2] for series in catalogue(tmp_path)] == [3, 1]


@pytest.mark.parametrize(
    ("keyword", "values"),
    [
        ("ImageType", (["ORIGINAL", "PRIMARY", "M", "WATER"], ["ORIGINAL", "PRIMARY", "M", "FAT"])),
        ("TriggerTime", (0.0, 412.5)),
        ("InversionTime", (100, 900)),
        ("FlipAngle", (5, 26)),
        ("KVP", (80, 140)),
        ("ConvolutionKernel", ("B30f", "B70f")),
    ],
)
def test_volumes_that_one_field_tells_apart(tmp_path: Path, keyword: str, values: tuple[object, object]) -> None:
    for number, value in enumerate(values):
        plan = SeriesPlan(seed=number, first_instance=1 + 100 * number, slices=3)
        paths = dicom_series(tmp_path, plan, prefix=f"v{number}-")
        _change(paths, lambda dataset, _, value=value: setattr(dataset, keyword, value))
    assert [series.geometry.shape for series in catalogue(tmp_path)] == [(10, 12, 3)] * 2


def test_enhanced_water_and_fat_are_frames_of_one_volume(tmp_path: Path) -> None:
    build.enhanced_mr(tmp_path / "e.dcm", echoes=2)

    def dixon(dataset: FileDataset, _: int) -> None:
        for index, group in enumerate(dataset.PerFrameFunctionalGroupsSequence):
            group.MREchoSequence[0].EffectiveEchoTime = 30.0
            group.MRImageFrameTypeSequence[0].FrameType = ["ORIGINAL", "PRIMARY", "M", ("WATER", "FAT")[index // 4]]

    _change([tmp_path / "e.dcm"], dixon)
    assert load(tmp_path).voxels.shape == (10, 12, 4, 2)


def test_one_series_uid_in_two_studies_is_two_series(tmp_path: Path) -> None:
    dicom_series(tmp_path / "a", slices=3)
    dicom_series(tmp_path / "b", SeriesPlan(slices=3, study_uid="2.25.77", first_instance=40))
    assert len(catalogue(tmp_path)) == 2


def test_a_series_uid_of_its_own_for_each_slice_gives_single_slices(tmp_path: Path) -> None:
    for k in range(3):
        dicom_series(tmp_path, SeriesPlan(slices=1, series_uid=f"2.25.500{k}", origin=(0, 0, 5.0 * k)), prefix=f"s{k}")
    assert [series.geometry.shape for series in catalogue(tmp_path)] == [(10, 12, 1)] * 3


@pytest.mark.parametrize("jitter_mm", [0.0, 0.01])
def test_positions_printed_with_few_digits_are_even(tmp_path: Path, jitter_mm: float) -> None:
    steps = [2.5 + jitter_mm * (-1) ** k for k in range(5)]
    dicom_series(tmp_path, steps_mm=steps)
    (series,) = catalogue(tmp_path)
    assert not series.slice_wise


def test_tilted_and_unevenly_spaced_is_slice_wise_and_written_where_it_was(tmp_path: Path) -> None:
    sources = dicom_series(tmp_path / "in", tilt_mm=0.83, steps_mm=[1.14, 4.22, 7.38, 4.22, 1.14])
    (series,) = catalogue(tmp_path / "in")
    assert series.slice_wise
    written = save(load(tmp_path / "in"), tmp_path / "out")
    for source, copy in zip(sources, written.files, strict=True):
        assert same_pixels(source, copy)
        assert not differences(source, copy)


@pytest.mark.parametrize(
    ("sop_class", "name"),
    [
        ("1.2.840.10008.5.1.4.1.1.128", "Positron Emission Tomography Image"),
        ("1.2.840.10008.5.1.4.1.1.6.1", "Ultrasound Image"),
        ("1.2.840.10008.5.1.4.1.1.12.1", "X-Ray Angiographic Image"),
        ("1.2.840.10008.5.1.4.1.1.481.2", "RT Dose"),
        ("1.2.840.10008.5.1.4.1.1.88.67", "X-Ray Radiation Dose SR"),
        ("1.2.840.10008.5.1.4.1.1.66.4", "Segmentation"),
        ("1.2.3.4", "another kind of DICOM object"),
    ],
)
def test_other_objects_are_passed_over_by_name(tmp_path: Path, sop_class: str, name: str) -> None:
    def become(dataset: FileDataset, _: int) -> None:
        dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = sop_class

    _change(dicom_series(tmp_path, slices=1), become)
    (item,) = catalogue(tmp_path).passed_over
    assert (item.status, item.code) == ("passed", "NOT_CT_MR")
    assert f"({name}" in item.reason


@pytest.mark.parametrize("charset", ["ISO_IR 192", ["", "ISO 2022 IR 87"], ["ISO 2022 IR 6", "ISO 2022 IR 149"]])
def test_character_sets_are_carried_over_as_bytes(tmp_path: Path, charset: str | list[str]) -> None:
    def name(dataset: FileDataset, _: int) -> None:
        dataset.SpecificCharacterSet = charset
        dataset.PatientName = "Wang^XiaoDong=王^小东" if charset == "ISO_IR 192" else "Yamada^Tarou"

    sources = dicom_series(tmp_path / "in", slices=1)
    _change(sources, name)
    (copy,) = save(load(tmp_path / "in"), tmp_path / "out").files
    assert not differences(sources[0], copy)
    assert str(dcmread(copy).PatientName) == str(dcmread(sources[0]).PatientName)


def test_no_extension_and_a_dicomdir_beside(tmp_path: Path) -> None:
    for number, path in enumerate(dicom_series(tmp_path, slices=3)):
        shutil.move(path, tmp_path / f"I{number}0")
    (tmp_path / "DICOMDIR").write_bytes(b"\0" * 128 + b"DICM")
    (series,) = catalogue(tmp_path)
    assert series.geometry.shape == (10, 12, 3)
    assert _verdicts(tmp_path) == [("passed", "FOREIGN_FILE", 1)]
