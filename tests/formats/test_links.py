"""Links, pipes, sockets and files that vanish or cannot be opened: reported, never followed, never waited for."""

from __future__ import annotations

import os
import shutil
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813

from medn2n.errors import InputError
from medn2n.formats.found import find
from medn2n.formats.scan import load, load_series
from medn2n.stages.folder_to_catalogue import catalogue
from tests import build
from tests.command_line import Call, denoise, one_line


def codes(folder: Path) -> list[tuple[str, str, int]]:
    return sorted((item.status, item.code, len(item.files)) for item in catalogue(folder).passed_over)


def refusal(path: Path) -> str:
    with pytest.raises(InputError) as refused:
        load(path)
    assert str(path.parent) not in str(refused.value)
    return refused.value.code


def test_everything_that_is_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = tmp_path / "in"
    (made, *_) = build.dicom_series(home / "ct")
    os.link(made, home / "ct" / "hard link.dcm")
    (home / "loop").symlink_to(home)
    (home / "self").symlink_to(home / "self")
    (home / "null").symlink_to("/dev/null")
    (home / "passwd.dcm").symlink_to("/etc/passwd")
    os.mkfifo(home / "pipe.dcm")
    monkeypatch.chdir(home)  # names of sockets are short
    with socket.socket(socket.AF_UNIX) as opened:
        opened.bind("socket.nii")
        assert codes(home) == [("passed", "DUPLICATE_FILE", 1), ("passed", "LINK", 4), ("passed", "SPECIAL_FILE", 2)]
        assert len(catalogue(home)) == 1


def test_a_pipe_as_the_input(call: Call, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.dcm")
    assert refusal(tmp_path / "pipe.dcm") == "SPECIAL_FILE"
    for verb in (["catalogue", tmp_path / "pipe.dcm"], ["denoise", tmp_path / "pipe.dcm", tmp_path / "out"]):
        done = call(*verb)
        assert done.code == 3
        assert one_line(done.err)
    assert not (tmp_path / "out").exists()


def test_pipes_where_companions_are_expected(tmp_path: Path) -> None:
    build.nifti(tmp_path / "a.hdr")
    build.nifti(tmp_path / "b.nii")
    (tmp_path / "a.img").unlink()
    for name in ("a.img", "b.json", "c.raw"):
        os.mkfifo(tmp_path / name)
    (tmp_path / "c.mhd").write_text(
        "NDims = 3\nDimSize = 2 2 2\nElementType = MET_UCHAR\nElementDataFile = c.raw\n", encoding="utf-8"
    )
    found = catalogue(tmp_path)
    assert [series.path for series in found] == ["b.nii"]
    assert codes(tmp_path) == [
        ("passed", "SPECIAL_FILE", 3), ("refused", "MISSING_FILE", 1), ("refused", "MISSING_FILE", 1),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("line", "code"),
    [
        ("data file: ../out.raw", "OUTSIDE_FOLDER"), ("data file: /etc/passwd", "OUTSIDE_FOLDER"),
        ("data file: C:\\x.raw", "OUTSIDE_FOLDER"), ("data file: ..\\out.raw", "OUTSIDE_FOLDER"),
        ("data file: link.raw", "OUTSIDE_FOLDER"), ("data file: LIST", "UNSUPPORTED_FORMAT"),
        ("data file: x%03d.raw 1 3 1", "UNSUPPORTED_FORMAT"), ("data file: " + "x" * 5000, "OUTSIDE_FOLDER"),
        ("data file: none.raw", "MISSING_FILE"), ("data file: .", "MISSING_FILE"),
    ],
)  # fmt: skip
def test_voxels_outside_the_folder(tmp_path: Path, line: str, code: str) -> None:
    home = tmp_path / "in"
    home.mkdir()
    (tmp_path / "out.raw").write_bytes(bytes(8))
    (home / "link.raw").symlink_to(tmp_path / "out.raw")
    header = f"NRRD0004\ntype: uchar\ndimension: 3\nsizes: 2 2 2\nencoding: raw\n{line}\n"
    (home / "a.nhdr").write_text(header, encoding="utf-8")
    assert refusal(home / "a.nhdr") == code
    name = line.removeprefix("data file: ")
    header = f"NDims = 3\nDimSize = 2 2 2\nElementType = MET_UCHAR\nElementDataFile = {name}\n"
    (home / "b.mhd").write_text(header, encoding="utf-8")
    assert refusal(home / "b.mhd") == code


def test_voxels_in_a_folder_below(tmp_path: Path) -> None:
    sitk.WriteImage(sitk.GetImageFromArray(np.arange(24, dtype="i2").reshape(2, 3, 4)), str(tmp_path / "a.mhd"))
    (tmp_path / "data").mkdir()
    (tmp_path / "a.raw").rename(tmp_path / "data" / "a.raw")
    header = (tmp_path / "a.mhd").read_text(encoding="utf-8")
    (tmp_path / "a.mhd").write_text(header.replace("a.raw", "data/a.raw"), encoding="utf-8")
    assert load(tmp_path / "a.mhd").voxels.ravel(order="F").tolist() == list(range(24))
    (series,) = catalogue(tmp_path)
    assert series.files == ("a.mhd", "data/a.raw")
    assert codes(tmp_path) == []


def test_the_image_of_a_pair_behind_a_link(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    build.nifti(tmp_path / "out" / "a.hdr")
    (tmp_path / "in").mkdir()
    shutil.copy(tmp_path / "out" / "a.hdr", tmp_path / "in" / "a.hdr")
    (tmp_path / "in" / "a.img").symlink_to(tmp_path / "out" / "a.img")
    assert codes(tmp_path / "in") == [("passed", "LINK", 1), ("refused", "LINK", 1)]


def test_files_that_vanish(tmp_path: Path) -> None:
    paths = build.dicom_series(tmp_path / "ct")
    build.nifti(tmp_path / "a.nii")
    nifti, ct = catalogue(tmp_path)
    paths[0].unlink()
    (tmp_path / "a.nii").unlink()
    for series in (nifti, ct):
        with pytest.raises(InputError) as refused:
            load_series(series, root=tmp_path)
        assert refused.value.code == "MISSING_FILE"
    (gone,) = find(tmp_path, only=[paths[0]]).not_used
    assert (gone.status, gone.code) == ("refused", "UNREADABLE")


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that other users may enter; the tests' own folders are closed to them."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


def test_what_may_not_be_opened_is_refused(open_folder: Path) -> None:
    build.dicom_series(open_folder / "ct")
    build.nifti(open_folder / "a.nii")
    build.dicom_series(open_folder / "closed", series_uid="2.25.7")
    (open_folder / "a.nii").chmod(0)
    (open_folder / "closed").chmod(0)
    root = os.geteuid() == 0
    if root:  # for whom nothing is closed
        os.seteuid(65534)
    try:
        found = codes(open_folder)
        assert refusal(open_folder / "a.nii") == "UNREADABLE"
    finally:
        if root:
            os.seteuid(0)
        (open_folder / "closed").chmod(0o700)
    assert found == [("refused", "UNREADABLE", 1), ("refused", "UNREADABLE", 1)]


def test_links_in_the_output_are_never_followed(call: Call, tmp_path: Path, ct_bundle: Path) -> None:
    scans, out = tmp_path / "in", tmp_path / "out"
    paths = build.dicom_series(scans / "ct", rows=40, columns=36)
    before = {path: path.read_bytes() for path in paths}
    out.mkdir()
    (out / "ct").symlink_to(scans / "ct")
    for options in ([], ["--overwrite"], ["--overwrite", "--format", "nifti"]):
        done, record = denoise(call, scans, out, ct_bundle, *options)
        assert (done.code, record["series"][0]["code"]) == (3, "NOT_WRITTEN")
    (out / "ct").unlink()
    (out / "ct").mkdir()
    outside = tmp_path / "outside.txt"
    outside.write_text("mine", encoding="utf-8")
    for name in ("ct/" + paths[0].name, "medn2n.json", "report.html"):
        (out / name).unlink(missing_ok=True)
        (out / name).symlink_to(outside)
    (out / "ct" / paths[1].name).symlink_to(paths[1])
    done, record = denoise(call, scans, out, ct_bundle)
    assert (done.code, record["series"][0]["code"]) == (3, "NOT_WRITTEN")
    (out / "ct" / paths[1].name).unlink()
    os.link(paths[1], out / "ct" / paths[1].name)
    done, _ = denoise(call, scans, out, ct_bundle, "--overwrite")
    assert done.code == 0
    assert {path: path.read_bytes() for path in paths} == before
    assert sorted(path.name for path in (scans / "ct").iterdir()) == sorted(path.name for path in paths)
    assert outside.read_text(encoding="utf-8") == "mine"
    assert not any(path.is_symlink() for path in out.rglob("*"))


def test_a_pipe_in_the_output(call: Call, tmp_path: Path, ct_bundle: Path) -> None:
    (path,) = build.dicom_series(tmp_path / "in", slices=1, rows=40, columns=36)
    (tmp_path / "out").mkdir()
    os.mkfifo(tmp_path / "out" / path.name)
    os.mkfifo(tmp_path / "out" / "medn2n.json")
    done, record = denoise(call, tmp_path / "in", tmp_path / "out", ct_bundle)
    assert (done.code, record["series"][0]["code"]) == (3, "NOT_WRITTEN")
