"""The command line as other programs see it: exit codes, statuses, files, and no header text anywhere people read."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import nibabel
import numpy as np
import pydicom
import pytest

from tests import build

CANARIES = ("Canary^Patient", "CANARY-ID-7", "CanarySeriesText", "canaryfile", "canarydescrip", "CanaryPhysician")


@dataclass(frozen=True)
class Outcome:
    code: int
    out: str
    err: str

    @property
    def said(self) -> str:
        return self.out + self.err


def command(*arguments: object, **environment: str) -> Outcome:
    """`medn2n …` in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-m", "medn2n.cli", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
    )
    return Outcome(done.returncode, done.stdout, done.stderr)


Call = Callable[..., Outcome]


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Call:
    """`medn2n …` through its entry point in this process: the same, without a second of imports each time."""
    import signal

    from medn2n import cli
    from medn2n.log import logger

    before = signal.getsignal(signal.SIGTERM), list(logger.handlers), logger.propagate, logger.level

    def run(*arguments: object) -> Outcome:
        monkeypatch.setattr(sys, "argv", ["medn2n", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            cli.main()
        captured = capsys.readouterr()
        return Outcome(int(ended.value.code or 0), captured.out, captured.err)

    yield run
    signal.signal(signal.SIGTERM, before[0])
    logger.handlers[:], logger.propagate = before[1], before[2]
    logger.setLevel(before[3])


def files_below(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def denoise(call: Call, scans: Path, output: Path, bundle: Path, *more: object) -> tuple[Outcome, dict]:
    done = call("denoise", scans, output, "--model", bundle, "--device", "cpu", "--threads", 1, *more)
    record = output / "medn2n.json"
    return done, json.loads(record.read_text()) if record.is_file() else {}


def statuses(record: dict) -> dict[str, int]:
    counts: dict[str, int] = {}
    for series in record["series"]:
        counts[series["status"]] = counts.get(series["status"], 0) + 1
    return counts


def one_line(text: str) -> bool:
    return len(text.strip().splitlines()) == 1 and "Traceback" not in text


# What a program reads


def test_a_folder_of_dicom_in_a_folder_of_dicom_out(call: Call, tmp_path: Path, ct_bundle: Path) -> None:
    paths = build.dicom_series(tmp_path / "in" / "study" / "ct", rows=40, columns=36)
    done, _ = denoise(call, tmp_path / "in", tmp_path / "out", ct_bundle)
    assert done.code == 0
    assert files_below(tmp_path / "out") == sorted(
        ["medn2n.json", "report.html", *(f"study/ct/{path.name}" for path in paths)]
    )
    folders = (tmp_path / "in", tmp_path / "out")
    before, after = (pydicom.dcmread(folder / "study" / "ct" / paths[0].name) for folder in folders)
    assert before.PatientName == after.PatientName
    assert before.StudyInstanceUID == after.StudyInstanceUID
    assert before.SeriesInstanceUID != after.SeriesInstanceUID
    assert before.ImagePositionPatient == after.ImagePositionPatient
    assert not np.array_equal(before.pixel_array, after.pixel_array)
    assert "1 done" in done.out
    assert "not a medical device" in done.out


def test_medn2n_json_has_its_schema(call: Call, tmp_path: Path, ct_bundle: Path) -> None:
    build.dicom_series(tmp_path / "in", rows=40, columns=36)
    done, record = denoise(call, tmp_path / "in", tmp_path / "out", ct_bundle, "--json", "--strength", 0.5)
    assert json.loads(done.out) == record
    assert set(record) == {"schema", "medn2n_version", "notice", "series"}
    assert record["schema"] == "medn2n.run/1"
    (series,) = record["series"]
    assert set(series) == {
        "id", "status", "files", "code", "reason", "modality", "model", "model_sha256", "parameters",
        "source_fingerprint", "outputs", "noise_before", "noise_after", "mean_shift", "unit", "clipped_voxels",
        "voxels", "seconds",
    }  # fmt: skip
    assert (series["status"], series["modality"], series["model"], series["unit"]) == ("done", "CT", "tiny-ct", "HU")
    assert series["parameters"]["strength"] == 0.5
    assert series["voxels"] == 40 * 36 * 6
    assert len(series["files"]) == len(series["outputs"]) == 6
    assert not any(name.startswith("/") for name in [*series["files"], *series["outputs"]])
    assert len(series["model_sha256"]) == len(series["source_fingerprint"]) == 64


def test_the_same_call_again_finds_it_done_and_another_strength_does_not(
    call: Call, tmp_path: Path, ct_bundle: Path
) -> None:
    build.dicom_series(tmp_path / "in", rows=40, columns=36)
    denoise(call, tmp_path / "in", tmp_path / "out", ct_bundle)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").glob("*.dcm")}
    done, record = denoise(call, tmp_path / "in", tmp_path / "out", ct_bundle)
    assert (done.code, statuses(record)) == (0, {"already": 1})
    assert before == {path: path.stat().st_mtime_ns for path in (tmp_path / "out").glob("*.dcm")}
    done, record = denoise(call, tmp_path / "in", tmp_path / "out", ct_bundle, "--strength", 0.5)
    assert (done.code, statuses(record)) == (0, {"done": 1})
    next(iter(before)).unlink()
    done, record = denoise(call, tmp_path / "in", tmp_path / "out", ct_bundle, "--strength", 0.5)
    assert (done.code, statuses(record)) == (0, {"done": 1})
    assert len(list((tmp_path / "out").glob("*.dcm"))) == 6


WRITTEN_NOW = ("InstanceCreationDate", "InstanceCreationTime", "SeriesDate", "SeriesTime", "ContentDate", "ContentTime")


def test_the_same_call_elsewhere_gives_the_same_files_but_for_the_time(
    call: Call, tmp_path: Path, ct_bundle: Path
) -> None:
    build.dicom_series(tmp_path / "in", rows=40, columns=36)
    for name in ("one", "two"):
        denoise(call, tmp_path / "in", tmp_path / name, ct_bundle)
    for path in (tmp_path / "one").glob("*.dcm"):
        first, second = pydicom.dcmread(path), pydicom.dcmread(tmp_path / "two" / path.name)
        for keyword in WRITTEN_NOW:
            delattr(first, keyword)
            delattr(second, keyword)
        assert first == second
        assert first.file_meta == second.file_meta


def test_nifti_takes_its_modality_from_the_model_named_or_the_option(
    call: Call, tmp_path: Path, mr_bundle: Path
) -> None:
    (tmp_path / "in").mkdir()
    build.nifti(tmp_path / "in" / "a.nii.gz")
    done, record = denoise(call, tmp_path / "in", tmp_path / "out", mr_bundle)
    assert (done.code, record["series"][0]["modality"]) == (0, "MR")
    assert (tmp_path / "out" / "a.nii.gz").is_file()
    done = call("denoise", tmp_path / "in", tmp_path / "auto")
    assert done.code == 3
    assert "--modality" in done.said


def test_a_masked_scan_with_nan_outside_is_denoised_inside(call: Call, tmp_path: Path, mr_bundle: Path) -> None:
    voxels = np.random.default_rng(0).normal(100, 10, (40, 40, 3)).astype(np.float32)
    voxels[:10] = np.nan
    (tmp_path / "in").mkdir()
    nibabel.save(nibabel.Nifti1Image(voxels, np.eye(4)), tmp_path / "in" / "a.nii")
    done, record = denoise(call, tmp_path / "in", tmp_path / "out", mr_bundle)
    assert (done.code, statuses(record)) == (0, {"done": 1})
    written = np.asarray(nibabel.load(tmp_path / "out" / "a.nii").dataobj)
    assert np.array_equal(np.isnan(written), np.isnan(voxels))
    assert "NaN" not in (tmp_path / "out" / "medn2n.json").read_text()


def test_relative_paths_mean_the_same(
    call: Call, tmp_path: Path, ct_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build.dicom_series(tmp_path / "in", rows=40, columns=36)
    (tmp_path / "mr").mkdir()
    build.nifti(tmp_path / "mr" / "a.nii")
    monkeypatch.chdir(tmp_path)
    for scans, count in (("in", 6), ("in/slice001.dcm", 1), ("mr/a.nii", 1)):
        output = Path("out") / scans.replace("/", "-").replace(".", "-")
        done, record = denoise(call, Path(scans), output, ct_bundle)
        assert (done.code, statuses(record)) == (0, {"done": 1})
        assert len(record["series"][0]["outputs"]) == count
        assert all((output / name).is_file() for name in record["series"][0]["outputs"])


def test_dry_run_writes_nothing(call: Call, tmp_path: Path, ct_bundle: Path) -> None:
    build.dicom_series(tmp_path / "in")
    done, _ = denoise(call, tmp_path / "in", tmp_path / "out", ct_bundle, "--dry-run")
    assert done.code == 0
    assert "would be denoised" in done.out
    assert not (tmp_path / "out").exists()


def test_no_report(call: Call, tmp_path: Path, ct_bundle: Path) -> None:
    build.dicom_series(tmp_path / "in")
    denoise(call, tmp_path / "in", tmp_path / "out", ct_bundle, "--no-report")
    assert not (tmp_path / "out" / "report.html").exists()


# What is wrong with the call: exit code 2, and nothing is written


@pytest.mark.parametrize("output", ["in", "in/deeper/still", "in/../in"])
def test_output_inside_input(call: Call, tmp_path: Path, ct_bundle: Path, output: str) -> None:
    build.dicom_series(tmp_path / "in")
    before = files_below(tmp_path)
    done, _ = denoise(call, tmp_path / "in", tmp_path / output, ct_bundle)
    assert done.code == 2
    assert one_line(done.err)
    assert "inside" in done.err
    assert files_below(tmp_path) == before


@pytest.mark.parametrize(
    "arguments",
    [
        ["denoise", "IN", "OUT", "--model", "nonesuch"],
        ["denoise", "NOWHERE", "OUT"],
        ["denoise", "IN", "OUT", "--strength", "2"],
        ["denoise", "IN", "OUT", "--dtype", "int8"],
        ["denoise", "IN"],
        ["denoise", "IN", "FILE"],
        ["denoise", "IN", "OUT.nii.gz"],
        ["catalogue", "NOWHERE"],
        ["pair", "IN"],
        ["pair", "NOWHERE", "-o", "m.json"],
        ["simulate", "ct", "NOWHERE", "-o", "OUT"],
        ["simulate", "ct", "IN", "-o", "OUT", "--kernel", "bone"],
        ["train", "nonesuch", "--data", "m.json", "-o", "OUT"],
        ["train", "mr_repeats", "--data", "NOWHERE", "-o", "OUT"],
        ["train", "mr_repeats", "--data", "NOWHERE", "-o", "OUT", "--set", "seed"],
        ["evaluate", "NOWHERE", "-o", "OUT"],
        ["run-one", "NOWHERE"],
        ["config", "show", "nonesuch"],
        ["catalogue", "IN", "--no-such-option"],
    ],
)
def test_usage_errors_are_one_line_and_exit_code_2(call: Call, tmp_path: Path, arguments: list[str]) -> None:
    build.dicom_series(tmp_path / "IN", slices=2)
    (tmp_path / "FILE").write_text("x")
    places = {name: str(tmp_path / name) for name in ("IN", "OUT", "NOWHERE", "FILE")}
    for name, place in places.items():
        arguments = [word.replace(name, place, 1) if word.startswith(name) else word for word in arguments]
    done = call(*arguments)
    assert done.code == 2, done.said
    assert one_line(done.err)
    assert not list(tmp_path.glob("OUT*"))


def test_the_module_ends_with_the_same_codes(tmp_path: Path) -> None:
    """The one thing that a call in this process cannot show."""
    (tmp_path / "in").mkdir()
    done = command("denoise", tmp_path / "in", tmp_path / "in" / "x")
    assert (done.code, done.out) == (2, "")
    assert one_line(done.err)
    done = command("denoise", tmp_path / "in", tmp_path / "out")
    assert done.code == 4
    done = command("no-such-verb")
    assert done.code == 2
    assert one_line(done.err)


# What is wrong with the scans


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
    from medn2n import batch

    monkeypatch.setattr(batch.shutil, "disk_usage", lambda _: SimpleNamespace(free=10))
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


# What nobody may read


@pytest.fixture(scope="module")
def secret_scans(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tree in which every text that could tell who a patient is holds a canary: sound, refused, and passed over."""
    scans = tmp_path_factory.mktemp("scans")
    tags = {
        "PatientName": "Canary^Patient",
        "PatientID": "CANARY-ID-7",
        "SeriesDescription": "CanarySeriesText",
        "StudyDescription": "CanarySeriesText",
        "ReferringPhysicianName": "CanaryPhysician",
        "ProtocolName": "CanarySeriesText",
    }
    home = scans / "canaryfile-folder"
    localizer = {"slices": 1, "image_type": ("ORIGINAL", "PRIMARY", "LOCALIZER")}
    for n, changes in enumerate(({}, {"drop": (2,)}, {"modality": "MR"}, localizer)):
        build.dicom_series(
            home / f"canaryfile-{n}", prefix="canaryfile", series_uid=f"2.25.{n + 1}", tags=dict(tags), **changes
        )
    build.truncate(build.dicom_series(home / "canaryfile-short", series_uid="2.25.9", tags=tags)[0], 0.3)
    (home / "canaryfile.dcm").write_text("Canary^Patient CANARY-ID-7")
    image = nibabel.Nifti1Image(np.random.default_rng(0).normal(100, 5, (20, 20, 3)).astype(np.float32), np.eye(4))
    image.header["descrip"] = b"canarydescrip"
    nibabel.save(image, home / "canaryfile_bold.nii.gz")
    (home / "canaryfile-broken.nii.gz").write_bytes(b"\x1f\x8bcanarydescrip")
    return scans


def tells(text: str) -> list[str]:
    return [canary for canary in CANARIES if canary.lower() in text.lower()]


@pytest.mark.parametrize("flags", [[], ["-v"], ["-v", "--log-json"]])
def test_no_header_text_or_file_name_is_told(
    call: Call, tmp_path: Path, secret_scans: Path, ct_bundle: Path, flags: Sequence[str]
) -> None:
    output = tmp_path / "out"
    done = call(*flags, "denoise", secret_scans, output, "--model", ct_bundle, "--device", "cpu", "--threads", 1)
    assert done.code == 3
    assert tells(done.said) == []
    assert tells((output / "report.html").read_text()) == []
    assert '"done"' in (output / "medn2n.json").read_text()
    if "--log-json" in flags:
        for line in done.err.strip().splitlines():
            assert set(json.loads(line)) == {"time", "level", "message"}


@pytest.mark.parametrize("verb", [["catalogue"], ["catalogue", "--json"], ["pair", "--dry-run"]])
def test_other_verbs_tell_nothing_either(call: Call, secret_scans: Path, verb: list[str]) -> None:
    done = call("-v", *verb, secret_scans)
    assert done.code in (0, 3, 4)
    assert done.out
    assert tells(done.said) == []


def test_simulated_repeats_and_their_manifest_tell_nothing(call: Call, tmp_path: Path, secret_scans: Path) -> None:
    scans = secret_scans / "canaryfile-folder" / "canaryfile-2"
    done = call("simulate", "mr", scans, "-o", tmp_path / "made", "--repeats", 1)
    assert done.code == 0
    manifest = (tmp_path / "made" / "manifest.json").read_text()
    assert tells(done.said + manifest + " ".join(files_below(tmp_path / "made"))) == []
    (group,) = json.loads(manifest)["training"]
    assert group["noise_sigma"][0] > 0


# Small verbs


def test_version_and_help(call: Call) -> None:
    import medn2n

    assert call("--version").out.strip() == medn2n.__version__
    assert "denoise" in call("--help").out
    for verb in ("catalogue", "pair", "train", "denoise", "evaluate", "demo", "run-one"):
        assert call(verb, "--help").code == 0


def test_catalogue_json(call: Call, tmp_path: Path) -> None:
    build.dicom_series(tmp_path / "ct")
    done = call("catalogue", tmp_path, "--json")
    assert done.code == 0
    (series,) = json.loads(done.out)["series"]
    assert (series["modality"], series["files"], series["format"]) == ("CT", 6, "dicom")
    assert "1 series" in call("catalogue", tmp_path).out


def test_recipes_and_models_are_listed(call: Call) -> None:
    assert "mr_repeats" in call("config", "list").out
    assert "pairs: repeats" in call("config", "show", "mr_repeats").out
    assert call("models", "list").code == 0
    assert isinstance(json.loads(call("models", "list", "--json").out), list)


def test_pair_train_evaluate_on_files(call: Call, tmp_path: Path) -> None:
    from tests.built_repeats import head, repeats

    (tmp_path / "scans").mkdir()
    pairs = [repeats(head((64, 64, 5), seed=n), 40, n) for n in range(2)]
    for n, scans in enumerate(pairs):
        stacked = np.stack(scans, axis=3)
        nibabel.save(nibabel.Nifti1Image(stacked, np.diag([2.0, 2, 3, 1])), tmp_path / "scans" / f"sub-{n}_bold.nii.gz")
    manifest = tmp_path / "manifest.json"
    assert call("pair", tmp_path / "scans", "-o", manifest, "--modality", "mr").code == 0
    settings = ["--set", "network.arguments={channels: 4, levels: 2}", "--set", "optimiser.steps=2"]
    settings += ["--set", "samples={patch: 16, batch: 2, epoch: 4}"]
    done = call("train", "mr_repeats", "--data", manifest, "-o", tmp_path / "run", "--device", "cpu", *settings)
    assert done.code == 0, done.said
    assert "validation share" in done.out
    done = call("evaluate", manifest, "--model", tmp_path / "run", "-o", tmp_path / "page", "--split", "training")
    assert done.code == 0, done.said
    assert (tmp_path / "page" / "report.html").is_file()
    done = call("denoise", tmp_path / "scans", tmp_path / "out", "--model", tmp_path / "run", "--modality", "mr")
    assert done.code == 0
    assert len(list((tmp_path / "out").glob("*.nii.gz"))) == 2
