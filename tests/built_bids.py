"""A small raw BIDS dataset with one image of each kind, and the validator that judges what comes out of it."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sysconfig
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np

VALIDATOR = Path(sysconfig.get_path("scripts")) / "bids-validator-deno"
ASL = {
    "ArterialSpinLabelingType": "PCASL", "PostLabelingDelay": 1.8, "BackgroundSuppression": False,
    "M0Type": "Separate", "TotalAcquiredPairs": 2, "LabelingDuration": 1.8, "RepetitionTimePreparation": 4.0,
    "MagneticFieldStrength": 3, "MRAcquisitionType": "3D", "EchoTime": 0.01,
}  # fmt: skip


def image(path: Path, shape: Sequence[int] = (40, 36, 3), *, seed: int = 0, **sidecar: Any) -> None:
    """A NIfTI of noise around 300, and its sidecar where there is anything to say."""
    path.parent.mkdir(parents=True, exist_ok=True)
    voxels = np.random.default_rng(seed).normal(300, 30, shape).astype(np.int16)
    made = nib.Nifti1Image(voxels, np.array([[-2, 0, 0.1, 9], [0, 2, 0, -20], [0.1, 0, 3, 30], [0, 0, 0, 1]]))
    made.header.set_xyzt_units("mm", "sec")
    if len(shape) == 4:
        made.header.set_zooms((*made.header.get_zooms()[:3], 2.0))
    nib.save(made, path)
    if sidecar:
        text(path.with_name(path.name.split(".")[0] + ".json"), json.dumps(sidecar))


def text(path: Path, content: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)


def dataset(root: Path) -> None:
    """sub-01 with anatomy, function, diffusion, perfusion and field maps; sub-02 with two sessions."""
    described = {"Name": "heads", "BIDSVersion": "1.10.0", "License": "CC0", "DatasetDOI": "doi:10.0/x"}
    text(root / "dataset_description.json", json.dumps(described))
    text(root / "README", "A dataset that tests build, with one image of each kind that BIDS has for MR. " * 3)
    text(root / "participants.tsv", "participant_id\nsub-01\nsub-02\n")
    text(root / "T1w.json", json.dumps({"MagneticFieldStrength": 3, "FlipAngle": 8}))
    text(root / "task-rest_bold.json", json.dumps({"TaskName": "rest", "RepetitionTime": 2.0}))
    text(root / "dwi.bval", "0 1000 1000\n")
    one = root / "sub-01"
    image(one / "anat" / "sub-01_T1w.nii.gz", FlipAngle=9)
    image(one / "anat" / "sub-01_FLAIR.nii.gz", EchoTime=0.1)
    image(one / "anat" / "sub-01_part-mag_T2starw.nii.gz", EchoTime=0.02)
    image(one / "anat" / "sub-01_part-phase_T2starw.nii.gz", EchoTime=0.02, Units="rad")
    image(one / "anat" / "sub-01_T1map.nii.gz")
    image(one / "anat" / "sub-01_mod-T1w_defacemask.nii.gz")
    image(one / "func" / "sub-01_task-rest_bold.nii.gz", (40, 36, 3, 4))
    text(one / "func" / "sub-01_task-rest_events.tsv", "onset\tduration\n1\t1\n5\t1\n")
    image(one / "dwi" / "sub-01_dwi.nii.gz", (40, 36, 3, 3))
    text(one / "dwi" / "sub-01_dwi.bvec", "0 1 0\n0 0 1\n0 0 0\n")
    image(one / "perf" / "sub-01_asl.nii.gz", (40, 36, 3, 4), **ASL)
    text(one / "perf" / "sub-01_aslcontext.tsv", "volume_type\ncontrol\nlabel\ncontrol\nlabel\n")
    intended = {
        "RepetitionTimePreparation": 4.0,
        "EchoTime": 0.01,
        "IntendedFor": "bids::sub-01/perf/sub-01_asl.nii.gz",
    }
    image(one / "perf" / "sub-01_m0scan.nii.gz", **intended)
    image(one / "fmap" / "sub-01_magnitude1.nii.gz")
    rest = "func/sub-01_task-rest_bold.nii.gz"
    image(one / "fmap" / "sub-01_phasediff.nii.gz", EchoTime1=0.004, EchoTime2=0.006, IntendedFor=rest)
    ends = {"PhaseEncodingDirection": "j", "TotalReadoutTime": 0.05}
    image(one / "fmap" / "sub-01_dir-AP_epi.nii.gz", IntendedFor=[rest, "anat/sub-01_T1map.nii.gz"], **ends)
    for session in ("ses-a", "ses-b"):
        image(root / "sub-02" / session / "anat" / f"sub-02_{session}_T1w.nii.gz", seed=2)
    image(root / "derivatives" / "other" / "sub-01" / "anat" / "sub-01_desc-x_T1w.nii.gz")
    image(root / "sourcedata" / "old.nii.gz")


DENOISED = sorted(
    [
        "sub-01/anat/sub-01_desc-denoised_FLAIR.nii.gz",
        "sub-01/anat/sub-01_desc-denoised_T1w.nii.gz",
        "sub-01/anat/sub-01_part-mag_desc-denoised_T2starw.nii.gz",
        "sub-01/dwi/sub-01_desc-denoised_dwi.nii.gz",
        "sub-01/fmap/sub-01_desc-denoised_magnitude1.nii.gz",
        "sub-01/fmap/sub-01_dir-AP_desc-denoised_epi.nii.gz",
        "sub-01/func/sub-01_task-rest_desc-denoised_bold.nii.gz",
        "sub-01/perf/sub-01_desc-denoised_asl.nii.gz",
        "sub-01/perf/sub-01_desc-denoised_m0scan.nii.gz",
        "sub-02/ses-a/anat/sub-02_ses-a_desc-denoised_T1w.nii.gz",
        "sub-02/ses-b/anat/sub-02_ses-b_desc-denoised_T1w.nii.gz",
    ]
)


def faults(folder: Path, severity: str = "error") -> list[str]:
    """What the BIDS validator, which comes with the tests' extra, finds: "CODE subcode place", sorted."""
    done = subprocess.run([VALIDATOR, folder, "--format", "json"], capture_output=True, text=True, check=False)
    found = json.loads(done.stdout)["issues"]["issues"]
    return sorted(
        f"{item['code']} {item.get('subCode', '')} {item.get('location', '')}"
        for item in found
        if item["severity"] == severity
    )


def sums(folder: Path) -> dict[str, str]:
    """sha256 of each file below a folder."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
