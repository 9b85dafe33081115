"""Frames of a CT whose tissue is near 0 HU: their level is that of their attenuation, and no steady state is asked."""

from pathlib import Path

import nibabel
import numpy as np

from medn2n.verbs import pair_scans


def test_repeats_of_water_are_one_group(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    i, j = np.mgrid[:96, :96]
    water = np.where(np.hypot(i - 48, j - 48) < 36, 0.0, -1000.0)[:, :, None, None]
    drift = np.array([3.0, 0, 0, 0, 0, 0, 0, 0])  # HU: nothing beside 1000, everything beside 0
    voxels = water + drift + rng.normal(0, 20, (96, 96, 2, 8))
    nibabel.save(nibabel.Nifti1Image(voxels.astype(np.int16), np.diag([0.9, 0.9, 2, 1])), tmp_path / "water.nii.gz")
    manifest, decisions = pair_scans(tmp_path, None, modality="CT")
    groups = [group for split in (manifest.training, manifest.validation, manifest.test) for group in split]
    assert [len(group.image) for group in groups] == [8], [one.reason for one in decisions]
