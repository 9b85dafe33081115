"""Folders in which repeats lie among what is alike: the right groups and no wrong one, whatever they are called."""

from __future__ import annotations

import os
import random
import shutil
import tempfile
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pydicom
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy import ndimage

from medn2n.core.repeat_groups import Decision
from medn2n.formats.manifest import Manifest
from medn2n.stages.catalogue_to_repeats import find_repeats
from medn2n.stages.folder_to_catalogue import catalogue
from tests.build import dicom_series
from tests.built_repeats import head, moved, noise_field, repeats

SHAPE, SIGMA = (96, 96, 4), 15.0
ROW, COLUMN = np.indices(SHAPE[:2])


def found(root: Path, modality: str = "MR") -> tuple[Manifest, list[Decision]]:
    return find_repeats(catalogue(root, modality=modality), root, name="mixed", modality=modality)


def groups(manifest: Manifest, names: dict[str, str]) -> set[frozenset[str]]:
    """Groups as sets of what the scans are; names: path → that."""
    everyone = [*manifest.training, *manifest.validation, *manifest.test]
    return {frozenset(names.get(image, image) for image in group.image) for group in everyone}


def without_paths(manifest: Manifest) -> Any:
    return [
        [group.group, group.subject, group.check.model_dump()]
        for split in (manifest.training, manifest.validation, manifest.test)
        for group in split
    ]


def built() -> dict[str, np.ndarray]:
    """Two repeats of each of two heads, and of the first what looks like a third."""
    first, second, third, fourth = repeats(head(SHAPE, seed=1), SIGMA, seed=7, count=4)
    wave = 1.5 * SIGMA * np.cos(2 * np.pi * (0.21 * ROW + 0.13 * COLUMN))[..., None]
    zipper = third.copy()
    zipper[:, 50] += 6 * SIGMA * np.random.default_rng(0).choice([-1, 1], size=(96, 4))
    others = repeats(head(SHAPE, seed=502), SIGMA, seed=9)
    return {
        "one": first,
        "two": second,
        "spike": third + wave,
        "zipper": zipper,
        "other echo": 0.6 * fourth,
        "smoothed copy": ndimage.gaussian_filter(first, (1, 1, 0)),
        "moved copy": moved(second, (0.5, 0, 0)),
        "rescaled copy": 1.02 * first + 5,
        "average of both": (first + second) / 2,
        "other one": others[0],
        "other two": others[1],
    }


# Whose noise a scan holds; what is not named belongs into no group.
NOISE_OF = {"one": 1, "rescaled copy": 1, "two": 2, "moved copy": 2}


def test_built_decoys_join_no_group(tmp_path: Path) -> None:
    dice, scans = random.Random(0), built()
    numbers = dice.sample(range(100, 999), len(scans))
    names = {f"{n % 4}/{n}.nii.gz": what for n, what in zip(numbers, scans, strict=True)}
    for path, what in names.items():
        (tmp_path / path).parent.mkdir(exist_ok=True)
        image = nibabel.Nifti1Image(scans[what].astype(np.float32), np.diag([2.0, 2.0, 4.0, 1.0]))
        nibabel.save(image, tmp_path / path)
    manifest, decisions = found(tmp_path)
    kept = groups(manifest, names)
    assert frozenset({"other one", "other two"}) in kept
    # Nobody can know which of two copies is the original: either may stand for both, in one group each at most.
    for members in kept - {frozenset({"other one", "other two"})}:
        sources = [NOISE_OF[what] for what in members]
        assert len(set(sources)) == len(sources)
    subjects = {group.subject for group in [*manifest.training, *manifest.validation]}
    assert len(subjects) == 2
    assert all(decision.reason for decision in decisions)


def series_4d(path: Path, frames: list[np.ndarray]) -> None:
    nibabel.save(nibabel.Nifti1Image(np.stack(frames, axis=3).astype(np.float32), np.diag([2.0, 2.0, 4.0, 1.0])), path)


def test_label_and_control_are_two_groups_and_the_first_bright_volumes_none(tmp_path: Path) -> None:
    """Arterial spin labelling: every other volume 1 % darker; and the two before steady state left out."""
    frames = repeats(head(SHAPE, seed=1) + 50, SIGMA, seed=3, count=14, offset=0)
    series = [frame * (1.4 if t == 0 else 1.1 if t == 1 else 1 - 0.01 * (t % 2)) for t, frame in enumerate(frames)]
    series_4d(tmp_path / "7.nii.gz", series)
    manifest, decisions = found(tmp_path)
    expected = {frozenset(f"7.nii.gz#frame={t}" for t in range(start, 14, 2)) for start in (2, 3)}
    assert groups(manifest, {}) == expected
    assert len({group.subject for group in [*manifest.training, *manifest.validation]}) == 1
    assert any("2 volumes were taken before steady state" in decision.reason for decision in decisions)


def test_shells_with_repeated_directions(tmp_path: Path) -> None:
    weights = {0: 1.0, 1000: 0.5, 2000: 0.3}
    b_values = [0, 1000, 2000, 1000, 0, 2000, 2000]
    directions = [(0, 0, 0), (1, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 0), (-1, 0, 0), (0, 0, 1)]
    image = head(SHAPE, seed=4) + 50
    rng = np.random.default_rng(5)
    frames = [weights[b] * image + SIGMA / 2 * noise_field(SHAPE, rng) for b in b_values]
    series_4d(tmp_path / "9.nii.gz", frames)
    (tmp_path / "9.bval").write_text(" ".join(map(str, b_values)))
    (tmp_path / "9.bvec").write_text("\n".join(" ".join(str(d[axis]) for d in directions) for axis in range(3)))
    manifest, _ = found(tmp_path)
    assert groups(manifest, {}) == {frozenset(f"9.nii.gz#frame={t}" for t in pair) for pair in ((0, 4), (2, 5))}


ALIKE = {
    "other echo": ({"EchoTime": 60.0}, "echo times"),
    "contrast phase": ({"ContrastBolusAgent": "agent"}, "contrast agent"),
    "derived": ({"ImageType": ["DERIVED", "PRIMARY", "M"]}, "derived"),
    "other scanner": ({"MagneticFieldStrength": 3.0}, "different scanners"),
    "same raw data": ({"AcquisitionTime": "101500", "AcquisitionNumber": 1}, "same raw data"),
}


def dicom_scan(folder: Path, number: int, pixels: np.ndarray, **tags: Any) -> None:
    base = {"PatientID": "1", "EchoTime": 30.0, "RepetitionTime": 900.0, "MagneticFieldStrength": 1.5}
    base |= {
        "AcquisitionTime": f"10{15 + number:02}00",
        "AcquisitionNumber": number + 1,
        "FrameOfReferenceUID": "2.25.9",
    }
    image_type = tags.pop("ImageType", ["ORIGINAL", "PRIMARY", "M"])
    paths = dicom_series(
        folder,
        modality="MR",
        slices=4,
        rows=SHAPE[1],
        columns=SHAPE[0],
        intercept=0.0,
        series_uid=f"2.25.300{number}",
        image_type=image_type,
        tags=base | tags,
    )
    for k, path in enumerate(sorted(paths)):
        ds = pydicom.dcmread(path)
        ds.PixelData = np.ascontiguousarray(pixels[:, :, k].T).round().astype(np.int16).tobytes()
        ds.save_as(path)


def test_headers_tell_what_only_looks_like_a_repeat(tmp_path: Path) -> None:
    scans = repeats(head(SHAPE, seed=1), SIGMA, seed=11, count=2 + len(ALIKE))
    for number, (pixels, (tags, _)) in enumerate(zip(scans, [({}, ""), ({}, ""), *ALIKE.values()], strict=True)):
        dicom_scan(tmp_path / str(7 * number % 10), number, pixels, **tags)
    manifest, decisions = found(tmp_path, "")
    everyone = [*manifest.training, *manifest.validation]
    assert [len(group.image) for group in everyone] == [2]
    reasons = " ".join(decision.reason for decision in decisions)
    for _, words in ALIKE.values():
        assert words in reasons


def data() -> Path:
    root = os.environ.get("MEDN2N_DATA")
    if not root:
        pytest.skip("MEDN2N_DATA is not set")
    return Path(root)


def shuffled(files: list[Path], root: Path, dice: random.Random) -> dict[str, str]:
    """Copies under meaningless names, some in folders; path → the original's name."""
    names = {}
    for path, number in zip(files, dice.sample(range(1000, 9999), len(files)), strict=True):
        suffix = ".nii.gz" if path.name.endswith(".nii.gz") else path.suffix
        copy = Path(f"d{number % 3}") / f"{number}{suffix}"
        (root / copy.parent).mkdir(exist_ok=True)
        shutil.copy(path, root / copy)
        names[copy.as_posix()] = path.name
    return names


PHANTOMS = (
    "GE_Explorer15T",
    "Siemens_Aera15T",
    "Siemens_Sola15T_enhanced_BODY_AX",
    "Siemens_Sola15T_enhanced_HEADNECK",
)
SERIES = {"heudiconv_b0_pair_prisma": 2, "studyforrest_bold_16frames": 16, "sct_spinal_fmri_30rep": 30}
MOVING = ("nih_ge_epi_motion_10rep", "prostatex0207_skyra_t2tra_scan_rescan")
SINGLE = ("remind022_t1post_brain", "remind022_t2space_brain", "ucsfbr06_ge_signa15_3dfgre_breast_pre")


def test_real_mr_repeats_among_decoys(tmp_path: Path) -> None:
    """Phantom pairs of four scanners, EPI, b=0 and spinal series; a head and a prostate that moved, single scans."""
    below = data() / "mr"
    phantoms = [below / "hazen_snr_pairs" / f"{name}_rep{n}.dcm" for name in PHANTOMS for n in (1, 2)]
    files = phantoms + [below / f"{name}.nii.gz" for name in (*SERIES, *MOVING, *SINGLE)]
    uids = {path: pydicom.dcmread(path, stop_before_pixels=True).SeriesInstanceUID for path in phantoms}
    outcomes = []
    for seed in range(2):
        root = tmp_path / str(seed)
        root.mkdir()
        names = shuffled(files, root, random.Random(seed))
        manifest, decisions = found(root)
        everyone = [*manifest.training, *manifest.validation]
        frames = {names.get(group.image[0].partition("#")[0], ""): len(group.image) for group in everyone}
        assert {name: frames.get(f"{name}.nii.gz") for name in SERIES} == SERIES
        assert not {f"{name}.nii.gz" for name in (*MOVING, *SINGLE)} & set(frames)
        series = {frozenset(image.partition("series=")[2] for image in group.image) for group in everyone}
        for name in PHANTOMS:
            assert frozenset(str(uids[path]) for path in phantoms if path.name.startswith(name)) in series
        assert len(everyone) == len(SERIES) + len(PHANTOMS)
        outcomes.append((without_paths(manifest), sorted((d.verdict, d.reason) for d in decisions)))
    assert outcomes[0] == outcomes[1]


def test_real_ct_repeats_among_decoys(tmp_path: Path) -> None:
    """Draws of a simulated phantom; two reconstructions of one raw scan, priors and currents, other patients."""
    below = data() / "ct"
    archive = np.load(data() / "ct_sim" / "lcdct_fbp_dose100_signal_present.npz")
    draws = next(archive[key] for key in archive if archive[key].ndim == 3)
    files = sorted(below.glob("philips_*")) + sorted(below.glob("covid_*/*.dcm")) + sorted(below.glob("sts00*"))
    outcomes = []
    for seed in range(2):
        root, dice = tmp_path / str(seed), random.Random(seed)
        root.mkdir()
        names = shuffled(files, root, dice)
        for n in range(3):
            image = nibabel.Nifti1Image((draws[n].T[:, :, None] - 1000).astype(np.int16), np.diag([0.5, 0.5, 1, 1]))
            path = f"{dice.randrange(10000, 99999)}.nii"
            nibabel.save(image, root / path)
            names[path] = f"draw {n}"
        manifest, decisions = found(root, "CT")
        assert groups(manifest, names) == {frozenset({"draw 0", "draw 1", "draw 2"})}
        reconstructions = [item for item in decisions if "another reconstruction" in item.reason]
        assert [(item.verdict, len(item.series)) for item in reconstructions] == [("unfit", 2)]
        outcomes.append((without_paths(manifest), sorted((d.verdict, d.reason) for d in decisions)))
    assert outcomes[0] == outcomes[1]


def copy_of(scan: np.ndarray, how: str) -> np.ndarray:
    """The same noise again, stored in another way."""
    changed = {"same": scan, "lifted": scan + 0.01, "scaled": 1.02 * scan, "inverse": 0.97 * scan + 4}[how]
    return changed.astype(np.float32)


SMALL = (64, 64, 4)
SCANS = {
    (subject, repeat): scan
    for subject, seed in enumerate((1, 502))
    for repeat, scan in enumerate(repeats(head(SMALL, seed=seed), SIGMA, seed=seed + 50, count=3))
}
STORED = st.tuples(st.sampled_from(sorted(SCANS)), st.sampled_from(["same", "lifted", "scaled", "inverse"]))


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(STORED, min_size=3, max_size=6, unique=True), st.randoms(use_true_random=False))
def test_no_group_holds_one_noise_twice_and_no_subject_lies_in_two_splits(
    stored: list[tuple[tuple[int, int], str]], dice: random.Random
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        root, names = Path(folder), {}
        for (which, how), number in zip(stored, dice.sample(range(100), len(stored)), strict=True):
            names[f"{number}.nii"] = which
            image = nibabel.Nifti1Image(copy_of(SCANS[which], how), np.diag([2.0, 2.0, 4.0, 1.0]))
            nibabel.save(image, root / f"{number}.nii")
        manifest, decisions = found(root)
    splits: dict[str, set[str]] = {}
    for split in ("training", "validation", "test"):
        for group in getattr(manifest, split):
            members = [names[image] for image in group.image]
            assert len(set(members)) == len(members)
            assert len({subject for subject, _ in members}) == 1
            splits.setdefault(group.subject, set()).add(split)
    assert all(len(where) == 1 for where in splits.values())
    # Two independent scans of one subject were there: then some pair of that subject was found.
    for subject in (0, 1):
        if len({which for which, _ in stored if which[0] == subject}) >= 2:
            pairs = [*manifest.training, *manifest.validation, *manifest.test]
            assert any(names[group.image[0]][0] == subject for group in pairs)
    assert all(decision.reason for decision in decisions)
