"""Repeats found in folders of built scans: the right groups, no subject in two splits, names never matter."""

from __future__ import annotations

import os
import random
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy import ndimage

from medn2n.core.repeat_groups import Decision
from medn2n.errors import InputError, UsageError
from medn2n.formats.declaration import Declaration, read_declaration
from medn2n.formats.gradients import read_gradients
from medn2n.formats.manifest import Correction, Manifest, read_manifest, verify_files, write_manifest
from medn2n.stages.catalogue_to_repeats import find_repeats
from medn2n.stages.folder_to_catalogue import catalogue
from tests.built_repeats import head, moved, repeats

SHAPE = (64, 64, 4)


def scans(seed: int, count: int, **changes: Any) -> list[np.ndarray]:
    return repeats(head(SHAPE, seed=seed), 15.0, seed=seed + 50, count=count, **changes)


def write(path: Path, voxels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(voxels.astype(np.float32), np.diag([2.0, 2.0, 4.0, 1.0])), path)


def found(root: Path, **options: Any) -> tuple[Manifest, list[Decision]]:
    return find_repeats(catalogue(root, modality="MR"), root, name="built", modality="MR", **options)


def groups(manifest: Manifest) -> list[list[str]]:
    return sorted(group.image for split in (manifest.training, manifest.validation, manifest.test) for group in split)


def test_frames_of_a_series_are_repeats_and_neither_the_first_bright_one_nor_a_distorted_one_is(tmp_path: Path) -> None:
    series = scans(1, 6)
    series[0] = series[0] * 1.3
    stretched = ndimage.zoom(head(SHAPE, seed=1), (1.06, 1, 1), order=3)[2:66]
    series[4] = repeats(stretched, 15.0, seed=99)[0]
    write(tmp_path / "bold.nii.gz", np.stack(series, axis=3))
    manifest, decisions = found(tmp_path)
    assert groups(manifest) == [[f"bold.nii.gz#frame={t}" for t in (1, 2, 3, 5)]]
    assert manifest.training[0].check.verdict == "fit"
    assert manifest.training[0].check.figures["pairs_checked"] == 3
    assert manifest.training[0].corrections == []
    assert "hold out slices" in manifest.description
    reasons = " ".join(decision.reason for decision in decisions)
    assert "before steady state" in reasons
    assert "volume 5: " in reasons
    assert "Alignment does not help" in reasons
    verify_files(manifest, tmp_path)


def test_a_frame_that_moved_or_brightened_is_kept_with_its_correction(tmp_path: Path) -> None:
    series = scans(1, 5)
    series[3] = repeats(moved(head(SHAPE, seed=1), (1.0, 0.5, 0)), 15.0, seed=99)[0]
    series[4] = series[4] * 1.05
    write(tmp_path / "bold.nii.gz", np.stack(series, axis=3))
    manifest, decisions = found(tmp_path)
    (group,) = manifest.training
    assert group.check.verdict == "correctable"
    assert "1 of 5 scans moved by up to 2." in group.check.reason
    assert "corrected; intensity differs by up to" in decisions[0].reason
    by_frame = dict(zip(group.image, group.corrections, strict=True))
    moving, brighter = by_frame["bold.nii.gz#frame=3"], by_frame["bold.nii.gz#frame=4"]
    np.testing.assert_allclose(moving.translation_mm, (2.0, 1.0, 0.0), atol=0.15)
    np.testing.assert_allclose(moving.rotation_deg, (0, 0, 0), atol=0.4)
    assert 0 < moving.error_mm < 0.3
    assert not brighter.moved
    assert brighter.gain == pytest.approx(1.05, abs=0.02)
    assert sum(correction == Correction() for correction in group.corrections) >= 2
    write_manifest(manifest, tmp_path / "m.json")
    assert read_manifest(tmp_path / "m.json") == manifest


def test_separate_files_pair_by_voxels_and_other_subjects_do_not(tmp_path: Path) -> None:
    first = scans(1, 2)
    write(tmp_path / "x" / "one.nii.gz", first[0])
    write(tmp_path / "y" / "two.nii.gz", first[1])
    write(tmp_path / "three.nii", scans(502, 1)[0])
    write(tmp_path / "copy.nii.gz", first[0])
    manifest, decisions = found(tmp_path)
    pair = groups(manifest)
    assert len(pair) == 1
    assert len(pair[0]) == 2
    assert "y/two.nii.gz" in pair[0]  # and one of the two copies
    assert [decision.verdict for decision in decisions].count("alone") == 1
    assert any("copy of another" in decision.reason for decision in decisions)


def test_a_frame_that_repeats_the_one_before_is_left_out(tmp_path: Path) -> None:
    series = scans(1, 5)
    series[3] = series[2]
    write(tmp_path / "a.nii.gz", np.stack(series, axis=3))
    manifest, decisions = found(tmp_path)
    frames = {int(image.partition("=")[2]) for image in groups(manifest)[0]}
    assert len(frames) == 4
    assert not {2, 3} <= frames
    assert any("same data twice" in decision.reason for decision in decisions)


def test_a_series_stored_twice_counts_once_and_a_resaved_one_is_the_same_subject(tmp_path: Path) -> None:
    series = np.stack(scans(1, 3), axis=3)
    write(tmp_path / "a.nii.gz", series)
    (tmp_path / "b.nii.gz").write_bytes((tmp_path / "a.nii.gz").read_bytes())
    assert len(groups(found(tmp_path)[0])) == 1
    write(tmp_path / "b.nii.gz", series + 0.01)
    write(tmp_path / "c.nii.gz", np.stack(scans(502, 3), axis=3))
    manifest, _ = found(tmp_path)
    everyone = [*manifest.training, *manifest.validation]
    assert len(everyone) == 3
    assert len({group.subject for group in everyone}) == 2


def test_a_copy_stays_with_its_subject(tmp_path: Path) -> None:
    for subject in range(3):
        for n, scan in enumerate(scans(subject * 7, 1, offset=60)):
            write(tmp_path / f"s{subject}-{n}.nii.gz", scan)
            write(tmp_path / f"s{subject}-{n}-copy.nii.gz", scan + 0.01)
    manifest, _ = found(tmp_path, singles=True)
    everyone = [*manifest.training, *manifest.validation]
    assert len(everyone) == 6
    assert len({group.subject for group in everyone}) <= 3
    assert manifest.validation
    assert {group.check.verdict for group in everyone} == {"unchecked"}


def test_shared_noise_is_left_out_even_as_frames(tmp_path: Path) -> None:
    frames = repeats(head((128, 128, 6), seed=1), 15.0, seed=51, count=3, shared=0.5)
    write(tmp_path / "a.nii.gz", np.stack(frames, axis=3))
    manifest, decisions = found(tmp_path)
    assert groups(manifest) == []
    assert any("noise correlates" in decision.reason for decision in decisions)


def test_a_gradient_table_groups_the_frames(tmp_path: Path) -> None:
    weighted = [scan * 0.5 for scan in scans(1, 7)[4:]]
    write(tmp_path / "dwi.nii.gz", np.stack([*scans(1, 4)[:2], *weighted], axis=3))
    (tmp_path / "dwi.bval").write_text("0 0 1000 1000 1000\n")
    (tmp_path / "dwi.bvec").write_text("0 0 1 -1 0\n0 0 0 0 1\n0 0 0 0 0\n")
    manifest, decisions = found(tmp_path)
    assert groups(manifest) == [[f"dwi.nii.gz#frame={t}" for t in pair] for pair in ((0, 1), (2, 3))]
    assert any("signal of their own" in decision.reason for decision in decisions)
    (tmp_path / "dwi.bval").write_text("0 0 1000\n")
    assert any("GRADIENT_TABLE" in decision.reason for decision in found(tmp_path)[1])
    with pytest.raises(InputError, match="b-values"):
        read_gradients(tmp_path / "dwi.nii.gz", 5)


def test_unknown_modality_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "a.nii.gz", scans(1, 1)[0])
    manifest, decisions = find_repeats(catalogue(tmp_path), tmp_path, name="x")
    assert groups(manifest) == []
    assert [decision.verdict for decision in decisions] == ["refused"]


def test_declared_repeats_and_declared_strangers(tmp_path: Path) -> None:
    first = scans(1, 3)
    for name, scan in zip("abc", first, strict=True):
        write(tmp_path / f"{name}.nii.gz", scan)
    (tmp_path / "known.yaml").write_text("repeats:\n - {scans: [a.nii.gz, c.nii.gz], subject: one}\n")
    manifest, _ = found(tmp_path, declaration=read_declaration(tmp_path / "known.yaml"))
    assert [sorted(images) for images in groups(manifest)] == [["a.nii.gz", "c.nii.gz"]]
    apart = Declaration(not_repeats=[["a.nii.gz", "b.nii.gz", "c.nii.gz"]])
    assert groups(found(tmp_path, declaration=apart)[0]) == []
    missing = Declaration.model_validate({"repeats": [{"scans": ["a.nii.gz", "z.nii.gz"]}]})
    with pytest.raises(UsageError, match="not among the series"):
        found(tmp_path, declaration=missing)


@pytest.mark.parametrize("text", ["repeats: [{scans: [a]}]", "nonsense: 1", "repeats: [", "repeats: [{scans: [a, a]}]"])
def test_a_wrong_declaration_is_a_usage_error(tmp_path: Path, text: str) -> None:
    (tmp_path / "known.yaml").write_text(text)
    with pytest.raises(UsageError):
        read_declaration(tmp_path / "known.yaml")
    with pytest.raises(UsageError):
        read_declaration(tmp_path / "absent.yaml")


def without_names(manifest: Manifest) -> Any:
    """The manifest less its paths, frames kept."""
    data = manifest.model_dump()
    for split in ("training", "validation", "test"):
        for group in data[split]:
            group["image"] = [image.partition("#")[2] for image in group["image"]]
    return data


BUILT = {
    "pair-1": [scans(1, 2)[0]],
    "pair-2": [scans(1, 2)[1]],
    "series": scans(502, 3),
    "other": scans(77, 2),
    "lonely": scans(9, 1),
}


@settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.randoms(use_true_random=False))
def test_names_and_order_never_matter(dice: random.Random) -> None:
    results = []
    for _ in range(2):
        names = dice.sample([f"{folder}{stem}.nii.gz" for folder in ("", "p/", "q/r/") for stem in "abc"], len(BUILT))
        with tempfile.TemporaryDirectory() as folder:
            root = Path(folder)
            for name, frames in zip(names, BUILT.values(), strict=True):
                write(root / name, frames[0] if len(frames) == 1 else np.stack(frames, axis=3))
            manifest, decisions = found(root)
        results.append((without_names(manifest), sorted((d.verdict, d.reason) for d in decisions)))
        listed = [*manifest.training, *manifest.validation]
        assert len(listed) == 3
        assert not {g.subject for g in manifest.training} & {g.subject for g in manifest.validation}
        assert manifest.training
        assert manifest.validation
        texts = " ".join(d.reason + d.group + " ".join(d.series) for d in decisions)
        assert not any(name in texts for name in names)
    assert results[0] == results[1]


def test_real_folder_of_repeats_and_decoys() -> None:
    root = os.environ.get("MEDN2N_DATA")
    if not root:
        pytest.skip("MEDN2N_DATA is not set")
    wanted = ("heudiconv_b0", "skyra_dce", "Siemens_Aera", "GE_Explorer")
    decoys = ("nih_ge_epi_motion", "t2tra", "remind", "ucsfbr06")
    below = Path(root) / "mr"
    everything = catalogue(below, modality="MR")
    some = replace(
        everything,
        series=tuple(s for s in everything if any(name in f"{s.path}{s.files}" for name in (*wanted, *decoys))),
    )
    manifest, decisions = find_repeats(some, below, name="real", modality="MR")
    assert len(groups(manifest)) == len(wanted)
    assert not any(name in image for images in groups(manifest) for image in images for name in decoys)
    assert all(decision.reason for decision in decisions)
