"""Transfer syntaxes of the copies: every one gives the stored numbers back to the bit, here and in another reader."""

from __future__ import annotations

import shutil
import warnings
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
from pydicom import dcmread
from pydicom.data import get_testdata_file

from medn2n.errors import InputError
from medn2n.formats.dicom_elements import plain
from medn2n.formats.dicom_pixels import stored_frames
from medn2n.formats.dicom_syntax import SYNTAX_UIDS, Syntax
from medn2n.formats.dicom_write import DicomOptions
from medn2n.formats.scan import load, save
from tests import build
from tests.build import SeriesPlan, dicom_series

COMPRESSED: tuple[Syntax, ...] = ("rle", "jpegls", "j2k")


def stored(path: Path) -> np.ndarray:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return dcmread(path).pixel_array


@pytest.mark.parametrize("syntax", COMPRESSED)
@pytest.mark.parametrize(
    "plan",
    [
        SeriesPlan(rows=40, columns=48, slices=2),
        SeriesPlan(rows=40, columns=48, slices=2, signed=False, bits_stored=12),
        SeriesPlan(rows=40, columns=48, slices=2, padding=-2000),
        SeriesPlan(rows=33, columns=41, slices=2, monochrome1=True),
    ],
    ids=["signed16", "unsigned12", "padding", "odd monochrome1"],
)
def test_pixels_come_back_to_the_bit_and_the_header_stays(tmp_path: Path, plan: SeriesPlan, syntax: Syntax) -> None:
    dicom_series(tmp_path / "in", plan)
    save(load(tmp_path / "in"), tmp_path / "plain")
    save(load(tmp_path / "in"), tmp_path / "out", dicom=DicomOptions(syntax=syntax))
    for source in sorted((tmp_path / "in").iterdir()):
        copy, reference = tmp_path / "out" / source.name, tmp_path / "plain" / source.name
        np.testing.assert_array_equal(stored(copy), stored(source))
        dataset = dcmread(copy)
        assert dataset.file_meta.TransferSyntaxUID == SYNTAX_UIDS[syntax]
        assert "LossyImageCompression" not in dataset
        one, two = plain(dataset), plain(dcmread(reference))
        names = {"PixelData", "InstanceCreationTime", "ContentTime", "SeriesTime"}
        different = {key for key in set(one) | set(two) if one.get(key) != two.get(key)}
        assert {dataset[key].keyword for key in different} <= names
        read = sitk.GetArrayFromImage(sitk.ReadImage(str(copy)))
        if not plan.monochrome1:  # which SimpleITK inverts
            np.testing.assert_array_equal(read, sitk.GetArrayFromImage(sitk.ReadImage(str(source))))


@pytest.mark.parametrize("syntax", ["rle", "jpegls"])
def test_frames_of_an_enhanced_image_are_fragments_of_their_own(tmp_path: Path, syntax: Syntax) -> None:
    (tmp_path / "in").mkdir()
    build.enhanced_mr(tmp_path / "in" / "e.dcm", times=2)
    save(load(tmp_path / "in"), tmp_path / "out", dicom=DicomOptions(syntax=syntax))
    np.testing.assert_array_equal(stored(tmp_path / "out" / "e.dcm"), stored(tmp_path / "in" / "e.dcm"))
    again = load(tmp_path / "out")  # medn2n reads its own files, too
    np.testing.assert_array_equal(again.voxels, load(tmp_path / "in").voxels)


@pytest.mark.parametrize("name", ["CT_small.dcm", "MR_small.dcm", "MR_small_RLE.dcm", "693_J2KI.dcm"])
@pytest.mark.parametrize("syntax", COMPRESSED)
def test_real_files(tmp_path: Path, name: str, syntax: Syntax) -> None:
    (tmp_path / "in").mkdir()
    shutil.copy(str(get_testdata_file(name, download=False)), tmp_path / "in" / name)
    save(load(tmp_path / "in"), tmp_path / "out", dicom=DicomOptions(syntax=syntax))
    np.testing.assert_array_equal(stored(tmp_path / "out" / name), stored(tmp_path / "in" / name))


def test_an_overlay_in_unused_bits_is_never_lost(tmp_path: Path) -> None:
    (path,) = dicom_series(tmp_path / "in", signed=False, bits_stored=12, slices=1)
    dataset = dcmread(path)
    pixels = np.frombuffer(dataset.PixelData, "<u2").copy()
    pixels[::7] |= 0x8000
    dataset.PixelData = pixels.tobytes()
    dataset.save_as(path)
    volume = load(tmp_path / "in")
    for syntax in ("jpegls", "j2k"):
        with pytest.raises(InputError, match="overlay") as caught:
            save(volume, tmp_path / "out", dicom=DicomOptions(syntax=syntax))  # type: ignore[arg-type]
        assert caught.value.code == "UNUSED_BITS"
        assert not list((tmp_path / "out").rglob("*.dcm"))
    save(volume, tmp_path / "out", dicom=DicomOptions(syntax="rle"))
    np.testing.assert_array_equal(stored_frames(dcmread(tmp_path / "out" / path.name))[0], pixels.reshape(12, 10))


def test_what_a_codec_refuses_is_said_in_one_sentence(tmp_path: Path) -> None:
    dicom_series(tmp_path / "in", rows=12, columns=10, slices=2)
    with pytest.raises(InputError, match="12×10 pixels cannot be written as j2k") as caught:
        save(load(tmp_path / "in"), tmp_path / "out", dicom=DicomOptions(syntax="j2k"))
    assert caught.value.code == "NOT_ENCODED"
    assert not list((tmp_path / "out").rglob("*.dcm"))
