"""What nobody may read: no header text and no file name anywhere people read."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import nibabel
import numpy as np
import pytest

from tests import build
from tests.command_line import Call, files_below

CANARIES = ("Canary^Patient", "CANARY-ID-7", "CanarySeriesText", "canaryfile", "canarydescrip", "CanaryPhysician")


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
