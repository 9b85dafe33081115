"""DICOM out: pixels to the bit, who/when/where byte for byte, and everything a derived object must say of itself."""

from __future__ import annotations

import shutil
import warnings
from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.data import get_testdata_file
from pydicom.dataset import FileDataset
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    RLELossless,
)

import medn2n
from medn2n.core.provenance import Provenance
from medn2n.formats.dicom_elements import plain
from medn2n.formats.dicom_write import DicomOptions
from medn2n.formats.scan import load, save
from tests import build
from tests.build import SeriesPlan, dicom_series

MODEL = Provenance(model="ct", model_sha256="ab" * 32, parameters={"strength": 1.0, "device": "cpu"})
NEW = {
    "ImageType", "SOPInstanceUID", "SeriesInstanceUID", "SeriesNumber", "SeriesDescription", "SourceImageSequence",
    "DerivationDescription", "DerivationCodeSequence", "ContributingEquipmentSequence", "ReferencedSeriesSequence",
    "CodingSchemeIdentificationSequence", "ContentQualification", "PixelData", "InstanceCreationDate",
    "InstanceCreationTime", "ContentDate", "ContentTime", "SeriesDate", "SeriesTime",
}  # fmt: skip
GONE = {"SmallestImagePixelValue"}


def _pairs(folder: Path, out: Path) -> list[tuple[FileDataset, FileDataset]]:
    names = sorted(path.relative_to(folder) for path in folder.rglob("*.dcm"))
    return [(dcmread(folder / name), dcmread(out / name)) for name in names]


def _stored(ds: FileDataset) -> np.ndarray:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return ds.pixel_array


@pytest.mark.parametrize(
    "plan",
    [
        SeriesPlan(),
        SeriesPlan(signed=False, bits_stored=12),
        SeriesPlan(padding=-2000),
        SeriesPlan(monochrome1=True),
        SeriesPlan(tilt_mm=0.9),
        SeriesPlan(slices=1),
        SeriesPlan(modality="MR", slopes=[0.31, 1, 1.7, 2, 2.5, 3], intercept=0.123),
    ],
    ids=["ct", "unsigned12", "padding", "monochrome1", "tilt", "one slice", "mr slopes"],
)
def test_identity_changes_only_what_must(tmp_path: Path, plan: SeriesPlan) -> None:
    dicom_series(tmp_path / "in", plan)
    written = save(load(tmp_path / "in"), tmp_path / "out", provenance=MODEL)
    assert written.clipped_voxels == 0
    for before, after in _pairs(tmp_path / "in", tmp_path / "out"):
        assert after.PixelData == before.PixelData
        one, two = plain(before), plain(after)
        public = {key for key in one if not key >> 16 & 1}
        changed = {key for key in public | set(two) if one.get(key) != two.get(key)}
        from pydicom.datadict import keyword_for_tag

        names = {keyword_for_tag(key) for key in changed}
        assert names - {"PixelData"} == (NEW - {"PixelData"}) | GONE
        assert not any(key >> 16 & 1 for key in two), "private elements describe the original pixels"


def test_what_a_derived_image_says(tmp_path: Path) -> None:
    dicom_series(tmp_path / "in")
    save(load(tmp_path / "in"), tmp_path / "out", provenance=MODEL)
    pairs = _pairs(tmp_path / "in", tmp_path / "out")
    assert len({after.SOPInstanceUID for _, after in pairs}) == 6
    (series,) = {after.SeriesInstanceUID for _, after in pairs}
    for before, after in pairs:
        assert series != before.SeriesInstanceUID
        assert after.file_meta.MediaStorageSOPInstanceUID == after.SOPInstanceUID
        assert after.file_meta.MediaStorageSOPClassUID == after.SOPClassUID
        assert after.file_meta.TransferSyntaxUID == ExplicitVRLittleEndian
        assert list(after.ImageType) == ["DERIVED", "PRIMARY", "AXIAL"]
        assert (after.SeriesNumber, after.SeriesDescription) == (9004, "Thorax 2.5 B31f [N2N]")
        (source,) = after.SourceImageSequence
        assert source.ReferencedSOPInstanceUID == before.SOPInstanceUID
        assert source.PurposeOfReferenceCodeSequence[0].CodeValue == "121322"
        (item,) = after.ReferencedSeriesSequence
        assert item.SeriesInstanceUID == before.SeriesInstanceUID
        assert after.DerivationDescription == f"Denoised with medn2n {medn2n.__version__} model ct sha256 {'ab' * 6}"
        assert [code.CodeValue for code in after.DerivationCodeSequence] == ["113087", "N2N"]
        (equipment,) = after.ContributingEquipmentSequence
        assert equipment.Manufacturer == "medn2n"
        assert '"strength":1.0' in equipment.ContributionDescription
        assert "ManufacturerModelName" not in equipment
        assert after.ContentQualification == "RESEARCH"


def test_all_slices_as_sources(tmp_path: Path) -> None:
    dicom_series(tmp_path / "in")
    save(load(tmp_path / "in"), tmp_path / "out", dicom=DicomOptions(sources="all"))
    for _, after in _pairs(tmp_path / "in", tmp_path / "out"):
        assert len(after.SourceImageSequence) == 6
        assert len(after.ReferencedSeriesSequence[0].ReferencedInstanceSequence) == 6


def test_uids(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dicom_series(tmp_path / "in")
    volume = load(tmp_path / "in")

    def uid(name: str, **options: object) -> str:
        (tmp_path / name).mkdir()
        return str(dcmread(save(volume, tmp_path / name, **options).files[0]).SOPInstanceUID)  # type: ignore[arg-type]

    first = uid("a", provenance=MODEL)
    assert first.startswith("2.25.")
    assert len(first) <= 64
    assert uid("b", provenance=MODEL) == first
    assert uid("c", provenance=Provenance(model="ct", model_sha256="cd" * 32)) != first
    assert uid("d", provenance=MODEL, dicom=DicomOptions(uid="random")) != first
    monkeypatch.setenv("MEDN2N_SITE_KEY", "secret of this site")
    assert uid("e", provenance=MODEL) != first


def test_denoised_values_padding_and_clipping(tmp_path: Path) -> None:
    dicom_series(tmp_path / "in", padding=-2000, bits_stored=12)
    volume = load(tmp_path / "in")
    wanted = volume.voxels + np.float32(0.4)
    wanted[5, 5] = 9000
    written = save(volume.with_voxels(wanted), tmp_path / "out")
    assert written.clipped_voxels == 6
    back = load(tmp_path / "out")
    assert (back.voxels[:2] == volume.voxels[:2]).all()
    assert (back.voxels[5, 5] == 2047 - 1024).all()
    assert back.padding is not None
    np.testing.assert_array_equal(back.padding, volume.padding)


def test_unused_bits_are_kept(tmp_path: Path) -> None:
    paths = dicom_series(tmp_path / "in", signed=False, bits_stored=12)
    for path in paths:
        ds = dcmread(path)
        pixels = np.frombuffer(ds.PixelData, "<u2").copy()
        pixels[::7] |= 0x8000  # an overlay in bit 15
        ds.PixelData = pixels.tobytes()
        ds.save_as(path)
    volume = load(tmp_path / "in")
    assert volume.voxels.max() < 4096 - 1024
    save(volume, tmp_path / "out")
    for before, after in _pairs(tmp_path / "in", tmp_path / "out"):
        assert before.PixelData == after.PixelData


@pytest.mark.parametrize("syntax", [RLELossless, JPEG2000Lossless, JPEGLSLossless, "deflated", "implicit"])
def test_codecs_are_bit_exact(tmp_path: Path, syntax: str) -> None:
    for path in dicom_series(tmp_path / "in", signed=False, rows=64, columns=64, slices=2):
        if syntax == "implicit":
            build.as_implicit(path)
            continue
        ds = dcmread(path)
        if syntax == "deflated":
            ds.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
        else:
            ds.compress(syntax, generate_instance_uid=False)
        ds.save_as(path)
    save(load(tmp_path / "in"), tmp_path / "out")
    for before, after in _pairs(tmp_path / "in", tmp_path / "out"):
        np.testing.assert_array_equal(_stored(before), _stored(after))
        assert after.file_meta.TransferSyntaxUID == ExplicitVRLittleEndian
        assert "LossyImageCompression" not in after


PYDICOM = [
    "CT_small.dcm", "MR_small.dcm", "MR_small_RLE.dcm", "MR_small_bigendian.dcm", "MR_small_expb.dcm",
    "MR_small_implicit.dcm", "MR_small_jp2klossless.dcm", "MR_small_jpeg_ls_lossless.dcm", "MR_small_padded.dcm",
    "693_J2KI.dcm", "J2K_pixelrep_mismatch.dcm", "examples_overlay.dcm",
]  # fmt: skip


@pytest.mark.parametrize("name", PYDICOM)
def test_pydicom_files(tmp_path: Path, name: str) -> None:
    (tmp_path / "in").mkdir()
    shutil.copy(str(get_testdata_file(name, download=False)), tmp_path / "in" / name)
    volume = load(tmp_path / "in")
    save(volume, tmp_path / "out")
    ((before, after),) = _pairs(tmp_path / "in", tmp_path / "out")
    np.testing.assert_array_equal(_stored(before), _stored(after))
    for keyword in ("PatientName", "StudyInstanceUID", "ImagePositionPatient", "PixelSpacing", "BitsStored"):
        assert before.get(keyword) == after.get(keyword)


@pytest.mark.parametrize("times", [1, 3])
def test_enhanced(tmp_path: Path, times: int) -> None:
    (tmp_path / "in").mkdir()
    build.enhanced_mr(tmp_path / "in" / "e.dcm", times=times)
    save(load(tmp_path / "in"), tmp_path / "out", provenance=MODEL)
    ((before, after),) = _pairs(tmp_path / "in", tmp_path / "out")
    assert before.PixelData == after.PixelData
    assert after.ImageType[0] == "DERIVED"
    assert "SourceImageSequence" not in after
    assert after.SourceImageEvidenceSequence[0].StudyInstanceUID == before.StudyInstanceUID
    groups = zip(before.PerFrameFunctionalGroupsSequence, after.PerFrameFunctionalGroupsSequence, strict=True)
    for index, (old, new) in enumerate(groups):
        assert new.MRImageFrameTypeSequence[0].FrameType[0] == "DERIVED"
        assert new.PlanePositionSequence == old.PlanePositionSequence
        (item,) = new.DerivationImageSequence
        assert item.SourceImageSequence[0].ReferencedFrameNumber == index + 1


@pytest.mark.parametrize(
    ("description", "expected"),
    [("x" * 64, "x" * 58 + " [N2N]"), (None, "[N2N]"), ("é" * 40, "é" * 29 + " [N2N]")],
)
def test_series_description_fits(tmp_path: Path, description: str | None, expected: str) -> None:
    for path in dicom_series(tmp_path / "in", slices=1):
        ds = dcmread(path)
        ds.SpecificCharacterSet = "ISO_IR 192"
        if description is None:
            del ds.SeriesDescription, ds.SeriesNumber
        else:
            ds.SeriesDescription = description
        ds.save_as(path)
    (file,) = save(load(tmp_path / "in"), tmp_path / "out").files
    after = dcmread(file)
    assert after.SeriesDescription == expected
    assert after.SeriesNumber == (9000 if description is None else 9004)


def test_history_is_kept(tmp_path: Path) -> None:
    dicom_series(tmp_path / "in", slices=1)
    once = save(load(tmp_path / "in"), tmp_path / "once", provenance=MODEL)
    (file,) = save(load(once.files[0]), tmp_path / "twice", provenance=MODEL).files
    after = dcmread(file)
    assert len(after.ContributingEquipmentSequence) == 2
    assert len(after.DerivationCodeSequence) == 4
    assert after.DerivationDescription.count("Denoised") == 2


def test_lossy_sources_stay_marked(tmp_path: Path) -> None:
    found = get_testdata_file("JPGExtended.dcm", download=False)
    (tmp_path / "in").mkdir()
    ds = dcmread(str(found))
    ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = build.CT
    ds.ImagePositionPatient, ds.ImageOrientationPatient, ds.PixelSpacing = [0, 0, 0], [1, 0, 0, 0, 1, 0], [1, 1]
    ds.pop("LossyImageCompression", None)
    ds.save_as(tmp_path / "in" / "a.dcm")
    (file,) = save(load(tmp_path / "in"), tmp_path / "out").files
    assert dcmread(file).LossyImageCompression == "01"
