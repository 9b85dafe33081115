"""A second opinion on derived objects: dicom3tools finds no fault in them that it does not find in their sources."""

from __future__ import annotations

import shutil
import subprocess
from collections import Counter
from pathlib import Path

import pytest
from pydicom.data import get_testdata_file

from medn2n.core.provenance import Provenance
from medn2n.formats.dicom_syntax import Syntax
from medn2n.formats.dicom_write import DicomOptions
from medn2n.formats.scan import load, save
from tests import build

MODEL = Provenance(model="ct", model_sha256="ab" * 32, parameters={"strength": 1.0})
ALLOWED = "Attribute present when condition unsatisfied"  # an old dictionary's rule for DERIVED enhanced MR


def _errors(path: Path) -> Counter[str]:
    out = subprocess.run(["dciodvfy", "-new", str(path)], capture_output=True, text=True, check=False)
    lines = (out.stdout + out.stderr).splitlines()
    return Counter(line for line in lines if line.startswith("Error") and ALLOWED not in line)


@pytest.mark.skipif(shutil.which("dciodvfy") is None, reason="dciodvfy (dicom3tools) is not installed")
@pytest.mark.parametrize("name", ["built ct", "built mr", "enhanced", "CT_small.dcm", "MR_small.dcm", "693_J2KI.dcm"])
def test_no_new_conformance_errors(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    if name == "enhanced":
        build.enhanced_mr(folder / "e.dcm")
    elif name.startswith("built"):
        build.dicom_series(folder, modality=name[-2:].upper(), slices=2)
    else:
        shutil.copy(str(get_testdata_file(name, download=False)), folder / name)
    written = save(load(folder), tmp_path / "out", provenance=MODEL)
    for file in written.files:
        new = _errors(file) - _errors(folder / file.relative_to(tmp_path / "out"))
        assert not new, f"new conformance errors: {sorted(new)}"


@pytest.mark.skipif(shutil.which("dciodvfy") is None, reason="dciodvfy (dicom3tools) is not installed")
@pytest.mark.parametrize("name", ["CT_small.dcm", "MR_small.dcm"])
@pytest.mark.parametrize("syntax", ["rle", "jpegls", "j2k"])
def test_no_new_conformance_errors_when_compressed(tmp_path: Path, name: str, syntax: Syntax) -> None:
    (tmp_path / "in").mkdir()
    shutil.copy(str(get_testdata_file(name, download=False)), tmp_path / "in" / name)
    save(load(tmp_path / "in"), tmp_path / "out", provenance=MODEL, dicom=DicomOptions(syntax=syntax))
    assert not _errors(tmp_path / "out" / name) - _errors(tmp_path / "in" / name)


@pytest.mark.skipif(shutil.which("dcentvfy") is None, reason="dcentvfy (dicom3tools) is not installed")
def test_source_and_copy_agree_on_patient_and_study(tmp_path: Path) -> None:
    build.dicom_series(tmp_path / "in", modality="MR")
    written = save(load(tmp_path / "in"), tmp_path / "out", provenance=MODEL)
    files = [*(tmp_path / "in").iterdir(), *written.files]
    out = subprocess.run(["dcentvfy", *map(str, files)], capture_output=True, text=True, check=False)
    assert out.stdout + out.stderr == ""
