"""The command line as other programs see it: exit codes of calls that are wrong, and the small verbs."""

from __future__ import annotations

import json
import os
from pathlib import Path

import nibabel
import numpy as np
import pytest

from medn2n import cli
from tests import build
from tests.command_line import NO_LIMITS, Call, command, denoise, files_below, one_line

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
        ["evaluate", "FILE", "-o", "OUT", "--split", "val"],
        ["run-one", "NOWHERE"],
        ["config", "show", "nonesuch"],
        ["catalogue", "IN", "--no-such-option"],
        ["benchmark", "catalogue", "--files", "0"],
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


# Small verbs


def test_version_and_help(call: Call) -> None:
    import medn2n

    assert call("--version").out.strip() == medn2n.__version__
    assert "denoise" in call("--help").out
    for verb in ("catalogue", "pair", "train", "denoise", "evaluate", "demo", "run-one"):
        assert call(verb, "--help").code == 0


@pytest.mark.parametrize(
    ("given", "found"),
    [({}, cli.SPIN_COUNT), ({"GOMP_SPINCOUNT": "7"}, "7"), ({"OMP_WAIT_POLICY": "ACTIVE"}, None)],
)
def test_threads_sleep_soon_unless_told_otherwise(
    monkeypatch: pytest.MonkeyPatch, given: dict[str, str], found: str | None
) -> None:
    monkeypatch.setattr("sys.argv", ["medn2n", "--version"])
    monkeypatch.setattr(os, "environ", dict(given))
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 0
    assert os.environ.get("GOMP_SPINCOUNT") == found


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
    assert call("pair", tmp_path / "scans", "-o", manifest, "--modality", "MR").code == 0
    settings = ["--set", "network.arguments={channels: 4, levels: 2}", "--set", "optimiser.steps=2"]
    settings += ["--set", "samples={patch: 16, batch: 2, epoch: 4}"]
    done = call("train", "mr_repeats", "--data", manifest, "-o", tmp_path / "run", "--device", "cpu", *settings)
    assert done.code == 0, done.said
    assert "validation share" in done.out
    done = call("evaluate", manifest, "--model", tmp_path / "run", "-o", tmp_path / "page", "--split", "training")
    assert done.code == 0, done.said
    assert (tmp_path / "page" / "report.html").is_file()
    options = ("--modality", "mr", "--limits", NO_LIMITS)
    done = call("denoise", tmp_path / "scans", tmp_path / "out", "--model", tmp_path / "run", *options)
    assert done.code == 0
    assert len(list((tmp_path / "out").glob("*.nii.gz"))) == 2


def test_an_interrupted_call_says_how_it_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    monkeypatch.setattr(cli.logger, "error", lambda words, *rest: said.append(words % rest if rest else words))
    monkeypatch.setattr(cli, "app", lambda **_: cli.INTERRUPTED)  # what typer answers to Ctrl-C
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 130
    assert said == ["Interrupted. The same call goes on where it stopped; of train, with --resume."]
