"""What is in a mixed tree: series, passed, refused; the same on every disk, and nothing of a patient in the words."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from medn2n.core.catalogue import ACQUISITION_KEYS
from medn2n.errors import InputError
from medn2n.formats.scan import load
from medn2n.stages.folder_to_catalogue import catalogue
from tests import build

DATA = os.environ.get("MEDN2N_DATA")


def _tree(root: Path) -> Path:
    build.dicom_series(root / "study" / "ct")
    build.dicom_series(root / "study" / "gap", series_uid="2.25.2002", drop=(2,))
    build.dicom_series(root / "study" / "mr", modality="MR", series_uid="2.25.2003", study_uid="2.25.1002")
    (root / "sub-01" / "anat").mkdir(parents=True)
    build.nifti(root / "sub-01" / "anat" / "sub-01_T1w.nii.gz")
    build.nifti(root / "sub-01" / "anat" / "sub-01_dseg.nii.gz")
    build.nifti(root / "pair.hdr")
    (root / "note.dcm").write_text("text")
    (root / "readme.txt").write_text("text")
    (root / "study" / "DICOMDIR").write_bytes(b"\0" * 128 + b"DICM")
    return root


def test_mixed_tree(tmp_path: Path) -> None:
    found = catalogue(_tree(tmp_path))
    assert [(series.path, series.format, series.modality) for series in found] == [
        ("pair.hdr", "nifti", ""),
        ("study/ct#series=2.25.2001", "dicom", "CT"),
        ("study/mr#series=2.25.2003", "dicom", "MR"),
        ("sub-01/anat/sub-01_T1w.nii.gz", "nifti", "MR"),
    ]
    assert {(item.status, item.code) for item in found.passed_over} == {
        ("refused", "NOT_DICOM"),
        ("refused", "MISSING_SLICES"),
        ("passed", "LABEL_MAP"),
        ("passed", "FOREIGN_FILE"),
    }
    assert found.series[0].files == ("pair.hdr", "pair.img")
    for series in found:
        assert set(series.acquisition) <= set(ACQUISITION_KEYS)
        assert load(series.path, root=tmp_path).voxels.shape == series.geometry.shape


def test_files_are_in_slice_order(tmp_path: Path) -> None:
    paths = build.dicom_series(tmp_path)
    (series,) = catalogue(tmp_path)
    assert series.files == tuple(path.name for path in paths)


def test_acquisition(tmp_path: Path) -> None:
    build.dicom_series(tmp_path, tags={"ConvolutionKernel": "B31f", "Exposure": "120", "PatientID": "X"})
    (series,) = catalogue(tmp_path)
    assert series.acquisition["kernel"] == "B31f"
    assert series.acquisition["exposure_mas"] == 120
    assert series.acquisition["thickness_mm"] == 2.5
    assert series.acquisition["derived"] is False
    assert series.acquisition["acquisition_number"] == 1
    assert str(series.acquisition["patient"]).startswith("p-")
    assert build.SECRET not in str(series)


def test_one_patient_over_two_studies(tmp_path: Path) -> None:
    build.dicom_series(tmp_path / "a")
    build.dicom_series(tmp_path / "b", series_uid="2.25.8", study_uid="2.25.9")
    one, two = catalogue(tmp_path)
    assert one.acquisition["patient"] == two.acquisition["patient"]


def test_no_header_text_in_any_sentence(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    found = catalogue(_tree(tmp_path))
    words = " ".join(item.reason + item.id + item.code for item in found.passed_over) + "".join(capfd.readouterr())
    for secret in (build.SECRET, "Doe", "PAT-77", "Thorax", "2.25.", str(tmp_path), ".dcm", "study"):
        assert secret not in words


def test_order_does_not_depend_on_names_on_disk(tmp_path: Path) -> None:
    build.dicom_series(tmp_path / "a")
    before = catalogue(tmp_path / "a").series[0]
    (tmp_path / "b").mkdir()
    for index, path in enumerate(sorted((tmp_path / "a").iterdir())):
        shutil.move(path, tmp_path / "b" / f"IM{(index * 7) % 11:02d}")
    after = catalogue(tmp_path / "b").series[0]
    assert (before.id, before.geometry, before.acquisition) == (after.id, after.geometry, after.acquisition)


def test_links_and_pipes_are_reported_not_opened(tmp_path: Path) -> None:
    outside, inside = tmp_path / "outside", tmp_path / "in"
    build.dicom_series(outside)
    build.dicom_series(inside / "own", series_uid="2.25.2009")
    (inside / "out").symlink_to(outside)
    (inside / "one.dcm").symlink_to(next(outside.iterdir()))
    (inside / "broken").symlink_to(inside / "nothing")
    os.mkfifo(inside / "pipe")
    found = catalogue(inside)
    assert len(found) == 1
    assert {(item.code, len(item.files)) for item in found.passed_over} == {("LINK", 3), ("SPECIAL_FILE", 1)}


def test_a_single_file(tmp_path: Path) -> None:
    build.nifti(tmp_path / "a.nii.gz")
    (series,) = catalogue(tmp_path / "a.nii.gz", modality="CT")
    assert (series.path, series.modality) == ("a.nii.gz", "CT")
    with pytest.raises(InputError):
        catalogue(tmp_path / "none")


def test_own_output_is_passed_over(tmp_path: Path) -> None:
    from medn2n.formats.scan import save

    build.dicom_series(tmp_path / "in")
    save(load(tmp_path / "in"), tmp_path / "in" / "out")
    found = catalogue(tmp_path / "in")
    assert len(found) == 1
    assert [(item.code, len(item.files)) for item in found.passed_over] == [("OWN_OUTPUT", 6)]


def test_empty_identity_fields(tmp_path: Path) -> None:
    """Some anonymisers empty the UIDs of a series; its folder and the files' own copies still tell it apart."""
    empty = {"SeriesInstanceUID": "", "StudyInstanceUID": "", "SOPInstanceUID": "", "SOPClassUID": ""}
    build.dicom_series(tmp_path / "a", tags=empty)
    (series,) = catalogue(tmp_path)
    assert series.path == "a"
    assert load(series.path, root=tmp_path).voxels.shape == (10, 12, 6)


def test_neither_torch_nor_monai_nor_simpleitk(tmp_path: Path) -> None:
    build.dicom_series(tmp_path)
    code = (
        "import sys; from medn2n.stages.folder_to_catalogue import catalogue; "
        f"assert len(catalogue({str(tmp_path)!r})) == 1; "
        "print([name for name in ('torch', 'monai', 'SimpleITK') if name in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


@pytest.mark.skipif(not DATA, reason="MEDN2N_DATA is not set")
def test_real_scans() -> None:
    root = Path(str(DATA))
    found = catalogue(root)
    assert len(found) > 50
    assert not [item.code for item in found.passed_over if item.status == "refused"]
    for series in list(found)[::6]:
        assert load(series.path, root=root).voxels.shape == series.geometry.shape
