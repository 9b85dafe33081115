"""Header text and file names chosen to do harm: they reach no path, no line, no page, and only as data the JSON."""

from __future__ import annotations

import json
import os
import unicodedata
from pathlib import Path

import pytest
from pydicom import dcmread

from medn2n.errors import InputError
from medn2n.formats.manifest import read_manifest
from medn2n.formats.reference import ScanReference
from medn2n.formats.scan import load
from medn2n.stages.folder_to_catalogue import catalogue
from tests import build
from tests.command_line import Call, denoise, files_below, one_line, statuses

EVIL = (
    "../../../../tmp/evil",
    "\x1b[31mEVIL\x1b[2J",
    "EVIL\nline",
    "%n%n%sEVIL",
    "EVIL" * 2500,
    "<script>EVIL",
    "ЁVIL\u202e",
)
TEXTS = ("PatientName", "PatientID", "SeriesDescription", "StudyDescription", "ProtocolName", "StationName")
# Latin letters, control characters, a byte that is no UTF-8, right-to-left override, and marks of scan references.
NAMES = (
    b"\xff\xfeodd",
    b"line\nbreak",
    b"\x1b[31mred",
    b"%n%s",
    b"a#series=1.2&part=3",
    "\u202egnp".encode(),
    b"<b>&quot;",
)

pytestmark = pytest.mark.filterwarnings("ignore")  # pydicom warns when such values are written


def is_plain(text: str) -> bool:
    """Nothing that a terminal acts upon, and nothing of EVIL."""
    controls = [char for char in text if unicodedata.category(char) in ("Cc", "Cf", "Cs") and char not in "\n\r"]
    return not controls and "evil" not in text.lower() and "VIL" not in text


@pytest.fixture(scope="module")
def evil_scans(tmp_path_factory: pytest.TempPathFactory) -> Path:
    scans = tmp_path_factory.mktemp("scans")
    for n, text in enumerate(EVIL):
        tags = dict.fromkeys(TEXTS, text) | {"SpecificCharacterSet": "ISO_IR 192"}
        build.dicom_series(scans / str(n), slices=2, rows=40, columns=36, series_uid=f"2.25.{n + 1}", tags=tags)
    return scans


def test_evil_texts_reach_nothing(call: Call, tmp_path: Path, evil_scans: Path, ct_bundle: Path) -> None:
    done, record = denoise(call, evil_scans, tmp_path / "out", ct_bundle)
    assert (done.code, statuses(record)) == (0, {"done": len(EVIL)})
    assert is_plain(done.said)
    for name in ("medn2n.json", "report.html"):
        assert is_plain((tmp_path / "out" / name).read_text(encoding="utf-8"))
    assert files_below(tmp_path / "out") == sorted([*files_below(evil_scans), "medn2n.json", "report.html"])
    for verb in (["catalogue"], ["catalogue", "--json"], ["pair", "--dry-run"]):
        assert is_plain(call("-v", *verb, evil_scans).said)
    assert call("pair", evil_scans, "-o", tmp_path / "m.json").code in (0, 4)
    assert is_plain((tmp_path / "m.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("level", ["SOP", "Series", "Study"])
@pytest.mark.parametrize("uid", [*EVIL[:-1], "1.2#part=3", "1.2&part=3", "1.2\\1.3", "9" * 65, "1.2 3", "1.2.x"])
def test_evil_uids_are_refused(call: Call, tmp_path: Path, level: str, uid: str) -> None:
    build.dicom_series(tmp_path / "in", slices=1, tags={f"{level}InstanceUID": uid})
    (item,) = catalogue(tmp_path / "in").passed_over
    assert (item.status, item.code) == ("refused", "BAD_UID")
    assert is_plain(item.reason)
    with pytest.raises(InputError):
        load(tmp_path / "in")
    for verb in (["catalogue", tmp_path / "in", "--json"], ["denoise", tmp_path / "in", tmp_path / "out"]):
        done = call(*verb)
        assert done.code == 3
        assert is_plain(done.said)
    assert files_below(tmp_path / "out") == ["medn2n.json", "report.html"]


def test_odd_but_valid_uids_pass(tmp_path: Path) -> None:
    for n, uid in enumerate(("1", "1.02.3", "9" * 64)):
        build.dicom_series(tmp_path / str(n), slices=1, series_uid="2.25.1", tags={"StudyInstanceUID": uid})
    assert len(catalogue(tmp_path)) == 3


@pytest.fixture
def odd_names(tmp_path: Path) -> Path:
    scans = tmp_path / "in"
    for n, name in enumerate(NAMES):
        folder = scans / os.fsdecode(name)
        build.dicom_series(folder, prefix=os.fsdecode(name), slices=2, rows=40, columns=36, series_uid=f"2.25.{n + 1}")
    build.nifti(scans / os.fsdecode(b"\xff\x1b[31m\n.nii.gz"), shape=(40, 36, 3))
    (scans / os.fsdecode(b"\xfftext\n.dcm")).write_text("no scan", encoding="utf-8")
    (scans / os.fsdecode(b"\xfflink")).symlink_to("/")
    return scans


def test_odd_file_names_are_mirrored_and_never_shown(
    call: Call, tmp_path: Path, odd_names: Path, ct_bundle: Path
) -> None:
    out = tmp_path / "out"
    done, record = denoise(call, odd_names, out, ct_bundle, "--modality", "ct")
    # The NIfTI holds every number of its type, so that some of its voxels are clipped.
    assert statuses(record) == {"done": len(NAMES), "review": 1, "refused": 1, "passed": 1}
    assert done.code == 3  # the text that is named as DICOM
    assert is_plain(done.said)
    assert is_plain((out / "report.html").read_text(encoding="utf-8"))
    for series in record["series"]:
        assert all(os.path.lexists(odd_names / name) for name in series["files"])
        assert all((out / name).is_file() for name in series["outputs"])
    (out / "medn2n.json").read_text(encoding="utf-8").encode("utf-8")  # one line a value, and valid UTF-8
    again, record = denoise(call, odd_names, out, ct_bundle, "--modality", "ct")
    assert statuses(record) == {"already": len(NAMES), "review": 1, "refused": 1, "passed": 1}
    printed = call("denoise", odd_names, out, "--model", ct_bundle, "--modality", "ct", "--json", "--device", "cpu")
    names = [(series["files"], series["outputs"]) for series in record["series"]]
    assert [(series["files"], series["outputs"]) for series in json.loads(printed.out)["series"]] == names
    assert is_plain(again.said + printed.said)


def test_odd_file_names_in_a_catalogue_and_a_manifest(call: Call, tmp_path: Path, odd_names: Path) -> None:
    for verb in (["catalogue"], ["catalogue", "--json"], ["pair", "--dry-run", "--modality", "ct"]):
        assert is_plain(call("-v", *verb, odd_names).said)
    for series in catalogue(odd_names):
        assert load(series.path if series.format == "dicom" else odd_names / series.path, root=odd_names).voxels.size
    call("pair", odd_names, "-o", tmp_path / "m.json", "--modality", "ct")
    manifest = read_manifest(tmp_path / "m.json")
    for group in (*manifest.training, *manifest.validation, *manifest.test):
        for reference in group.image:
            assert load(reference, root=tmp_path).voxels.size
            assert ScanReference.parse(reference).series != "1.2"


def test_a_model_is_no_way_in(call: Call, tmp_path: Path) -> None:
    build.dicom_series(tmp_path / "in", slices=1)
    done = call("denoise", tmp_path / "in", tmp_path / "out", "--model", "../\x1b[31mEVIL")
    assert done.code == 2
    assert one_line(done.err)


def test_copies_keep_their_source_s_text(tmp_path: Path) -> None:
    """What medn2n does not read it does not change, however odd."""
    from medn2n.formats.scan import save

    (path,) = build.dicom_series(tmp_path / "in", slices=1, tags={"StudyDescription": "\x1b[31mEVIL"})
    (copy,) = save(load(tmp_path / "in"), tmp_path / "out").files
    assert copy.name == path.name
    assert dcmread(copy).StudyDescription == dcmread(path).StudyDescription
