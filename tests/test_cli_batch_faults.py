"""What is wrong with the scans, the disk or the run: one bad series never stops the rest, nothing is half written."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests import build
from tests.command_line import Call, denoise, files_below, one_line, statuses


def test_nothing_to_denoise(call: Call, tmp_path: Path, ct_bundle: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "notes.txt").write_text("hello")
    done, record = denoise(call, tmp_path / "in", tmp_path / "out", ct_bundle)
    assert done.code == 4
    assert "no CT or MR" in done.err
    assert statuses(record) == {"passed": 1}


def test_one_bad_series_never_stops_the_rest(call: Call, tmp_path: Path, ct_bundle: Path) -> None:
    scans = tmp_path / "in"
    build.dicom_series(scans / "good", series_uid="2.25.1", rows=40, columns=36)
    build.dicom_series(scans / "gap", series_uid="2.25.2", drop=(2,))
    build.dicom_series(scans / "scout", series_uid="2.25.3", slices=1, image_type=("ORIGINAL", "PRIMARY", "LOCALIZER"))
    short = build.dicom_series(scans / "short", series_uid="2.25.4")
    build.truncate(short[2])
    (scans / "false").mkdir()
    (scans / "false" / "text.dcm").write_text("this is no image\n" * 40)
    build.dicom_series(scans / "mr", series_uid="2.25.5", modality="MR", signed=False)
    done, record = denoise(call, scans, tmp_path / "out", ct_bundle)
    assert done.code == 3
    by_folder = {}
    for series in record["series"]:
        for name in series["files"]:
            by_folder.setdefault(name.split("/")[0], set()).add(series["status"])
    assert by_folder["good"] == {"done"}
    assert by_folder["scout"] == {"passed"}
    assert by_folder["gap"] == {"refused"}
    assert "refused" in by_folder["short"]
    assert "done" not in by_folder["short"]
    assert by_folder["mr"] == {"refused"}  # the model that was named is for CT
    assert by_folder["false"] <= {"passed", "refused"}
    for series in record["series"]:
        if series["status"] in ("refused", "failed", "passed"):
            assert series["code"], series
            assert len(series["reason"]) > 10
            assert series["outputs"] == []
    written = files_below(tmp_path / "out")
    assert {name.split("/")[0] for name in written if name.endswith(".dcm")} == {"good"}
    assert not [name for name in written if "tmp" in name or Path(name).name.startswith(".")]


def test_a_localizer_among_the_slices_is_left_out(call: Call, tmp_path: Path, ct_bundle: Path) -> None:
    build.dicom_series(tmp_path / "in", rows=40, columns=36)
    build.dicom_series(
        tmp_path / "in", prefix="scout", slices=1, first_instance=90, rows=30, columns=50,
        orientation=(1, 0, 0, 0, 0, -1), image_type=("ORIGINAL", "PRIMARY", "LOCALIZER"),
    )  # fmt: skip
    done, record = denoise(call, tmp_path / "in", tmp_path / "out", ct_bundle)
    assert (done.code, statuses(record)) == (0, {"passed": 1, "done": 1})
    assert not (tmp_path / "out" / "scout001.dcm").exists()


def test_a_foreign_file_in_the_way_is_kept(call: Call, tmp_path: Path, ct_bundle: Path) -> None:
    paths = build.dicom_series(tmp_path / "in", rows=40, columns=36)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / paths[0].name).write_text("mine")
    done, _ = denoise(call, tmp_path / "in", tmp_path / "out", ct_bundle)
    assert done.code == 3
    assert (tmp_path / "out" / paths[0].name).read_text() == "mine"
    assert len(list((tmp_path / "out").glob("*.dcm"))) == 1
    done, record = denoise(call, tmp_path / "in", tmp_path / "out", ct_bundle, "--overwrite")
    assert (done.code, statuses(record)) == (0, {"done": 1})


def test_a_run_s_own_output_is_not_denoised_again(call: Call, tmp_path: Path, ct_bundle: Path) -> None:
    build.dicom_series(tmp_path / "in", rows=40, columns=36)
    denoise(call, tmp_path / "in", tmp_path / "out", ct_bundle)
    done, record = denoise(call, tmp_path / "out", tmp_path / "again", ct_bundle)
    assert done.code == 0
    assert set(statuses(record)) == {"passed"}


def test_a_full_disk_is_for_later_and_leaves_nothing(
    call: Call, tmp_path: Path, ct_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build.dicom_series(tmp_path / "in")
    from medn2n import places

    monkeypatch.setattr(places.shutil, "disk_usage", lambda _: SimpleNamespace(free=10))
    done, _ = denoise(call, tmp_path / "in", tmp_path / "out", ct_bundle)
    assert done.code == 75
    assert one_line(done.err)
    assert not (tmp_path / "out").exists()


def test_an_unforeseen_error_is_the_series_status_and_tells_no_text(
    call: Call, tmp_path: Path, ct_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build.dicom_series(tmp_path / "a", series_uid="2.25.1")
    from medn2n.stages.volume_to_denoised import Denoiser

    def crash(*_: object, **__: object) -> None:
        raise ValueError("Canary^Patient")

    monkeypatch.setattr(Denoiser, "_frame", crash)
    done, record = denoise(call, tmp_path / "a", tmp_path / "out", ct_bundle)
    assert (done.code, statuses(record)) == (3, {"failed": 1})
    assert record["series"][0]["code"] == "ValueError"
    assert "Canary" not in done.said + json.dumps(record)
    assert files_below(tmp_path / "out") == ["medn2n.json", "report.html"]


def test_an_internal_error_is_exit_code_1(call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from medn2n import batch

    def crash(*_: object) -> None:
        raise KeyError("Canary^Patient")

    monkeypatch.setattr(batch, "catalogue", lambda *_, **__: crash())
    done = call("denoise", tmp_path, tmp_path.parent / "elsewhere")
    assert done.code == 1
    assert one_line(done.err)
    assert "Canary" not in done.said


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit])
def test_interrupted_runs_leave_whole_series_and_go_on(
    call: Call, tmp_path: Path, ct_bundle: Path, monkeypatch: pytest.MonkeyPatch, kind: type[BaseException]
) -> None:
    from medn2n import batch

    for n in (1, 2):
        build.dicom_series(tmp_path / "in" / str(n), series_uid=f"2.25.{n}")
    whole, calls = batch.save, []

    def interrupted(*arguments: object, **options: object) -> object:
        calls.append(1)
        if len(calls) == 2:
            raise kind(143)
        return whole(*arguments, **options)

    monkeypatch.setattr(batch, "save", interrupted)
    done, record = denoise(call, tmp_path / "in", tmp_path / "out", ct_bundle)
    assert done.code == (130 if kind is KeyboardInterrupt else 143)
    assert statuses(record) == {"done": 1}
    monkeypatch.setattr(batch, "save", whole)
    done, record = denoise(call, tmp_path / "in", tmp_path / "out", ct_bundle)
    assert (done.code, statuses(record)) == (0, {"done": 1, "already": 1})
