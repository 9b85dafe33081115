"""A second opinion on derived objects, over every CT and MR image of the public test files: dicom3tools finds no fault
in a copy that its source does not have, pixels are the same to the bit, and attributes differ where they must."""

from __future__ import annotations

import os
import shutil
import warnings
import zipfile
from collections.abc import Iterator
from pathlib import Path

import data_store
import pydicom.data
import pytest

from medn2n.core.provenance import Provenance
from medn2n.formats.dicom_read import read_volume
from medn2n.formats.dicom_syntax import Syntax
from medn2n.formats.dicom_write import DicomOptions
from medn2n.formats.found import find
from medn2n.formats.scan import load, save
from tests import build
from tests.conformance import dcentvfy, dciodvfy, differences, in_step, same_pixels

MODEL = Provenance(model="ct", model_sha256="ab" * 32, parameters={"strength": 1.0})
needs_dicom3tools = pytest.mark.skipif(shutil.which("dciodvfy") is None, reason="dicom3tools is not installed")
DATA = os.environ.get("MEDN2N_DATA", "")


def _public_images() -> list[Path]:
    """Files of pydicom and pydicom-data, by suffix or content; most are no CT or MR image."""
    roots = [Path(pydicom.data.__file__).parent / "test_files", Path(data_store.__file__).parent / "data"]
    files = (path for root in roots for path in sorted(root.rglob("*")) if path.is_file())
    return [path for path in files if _is_ct_or_mr(path)]


def _is_ct_or_mr(path: Path) -> bool:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            dataset = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=["SOPClassUID"])
    except Exception:  # not DICOM at all, or damaged on purpose
        return False
    return str(dataset.get("SOPClassUID", "")).startswith(("1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.4"))


def _series(root: Path, out: Path) -> Iterator[tuple[list[Path], list[Path]]]:
    """Each series below `root` as (source files, copies by an identity model)."""
    for number, item in enumerate(find(root).dicom):
        base = root if root.is_dir() else root.parent
        written = save(read_volume(item, base), out / root.name / str(number), provenance=MODEL, relative_to=base)
        assert written.clipped_voxels == 0
        yield [header.path for header in item.headers], list(written.files)


def _check(root: Path, out: Path) -> int:
    """How many series there are below `root`, each checked."""
    count = 0
    for sources, copies in _series(root, out):
        for source, copy in zip(sources, copies, strict=True):
            assert same_pixels(source, copy)
            assert in_step(copy)
            assert not differences(source, copy)
            new = dciodvfy(copy) - dciodvfy(source)
            assert not new, f"new conformance errors: {sorted(new)}"
        assert set(dcentvfy([*sources, *copies]).splitlines()) <= set(dcentvfy(sources).splitlines())
        count += 1
    return count


@needs_dicom3tools
@pytest.mark.parametrize("path", _public_images(), ids=lambda path: path.name)
def test_public_image(path: Path, tmp_path: Path) -> None:
    _check(path, tmp_path)  # none where it is refused or passed over; those have tests of their own


def test_most_public_images_can_be_denoised() -> None:
    """So that the checks above do not pass for want of copies; the rest is damaged, or describes no place."""
    made = sum(len(find(path).dicom) for path in _public_images())
    assert made >= 45


@needs_dicom3tools
@pytest.mark.skipif(not DATA, reason="MEDN2N_DATA is not set")
def test_scanners_from_several_vendors(tmp_path: Path) -> None:
    folders = [Path(DATA) / name for name in ("ct/dcmqi_liver_3slice_dicom", "mr/hazen_snr_pairs")]
    for archive in sorted(Path(DATA).rglob("*_dicom.zip")) + sorted(Path(DATA).rglob("d2n_*.zip")):
        folders.append(tmp_path / archive.stem)
        with zipfile.ZipFile(archive) as file:
            file.extractall(folders[-1])
    assert sum(_check(folder, tmp_path / "copies") for folder in folders) >= 20


@needs_dicom3tools
@pytest.mark.parametrize("kind", ["ct", "mr", "enhanced", "enhanced echoes"])
@pytest.mark.parametrize("syntax", ["explicit", "rle", "jpegls", "j2k"])
@pytest.mark.parametrize("equipment", ["minimal", "full"])
def test_built_series_with_every_option(tmp_path: Path, kind: str, syntax: Syntax, equipment: str) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    if kind.startswith("enhanced"):
        build.enhanced_mr(folder / "e.dcm", echoes=1 + kind.endswith("echoes"), size=(40, 36))
    else:
        build.dicom_series(folder, modality=kind.upper(), slices=2, rows=40, columns=36)
    options = DicomOptions(syntax=syntax, equipment=equipment)  # type: ignore[arg-type]
    written = save(load(folder), tmp_path / "out", provenance=MODEL, dicom=options)
    sources = [folder / file.relative_to(tmp_path / "out") for file in written.files]
    for source, copy in zip(sources, written.files, strict=True):
        assert same_pixels(source, copy)
        assert not differences(source, copy)
        assert not dciodvfy(copy) - dciodvfy(source)
    assert dcentvfy([*sources, *written.files]) == dcentvfy(sources)
