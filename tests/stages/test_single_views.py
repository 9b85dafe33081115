"""Single scans from files to a model: each way learns to lower the true error; scans that do not fit are refused."""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch
from scipy import ndimage

import medn2n
from medn2n.config import Recipe
from medn2n.errors import InputError
from medn2n.formats.case_cache import read_cases
from medn2n.formats.manifest import Group, Manifest, write_manifest
from medn2n.stages.repeats_to_samples import load_cases
from medn2n.training import train_model
from tests.tiny_training import recipe

torch.set_num_threads(1)
SHAPE = (96, 96, 12)
SIGMA = 60.0


def truth(seed: int) -> np.ndarray:
    """Smooth tissue of some 1000 units; slices change slowly."""
    rng = np.random.default_rng(seed)
    field = ndimage.gaussian_filter(rng.normal(size=SHAPE), (5, 5, 8))
    return 1000 + 150 * field / field.std()


@pytest.fixture(scope="module")
def singles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three single scans under white noise, 1 mm slices; the last is for validation."""
    root = tmp_path_factory.mktemp("singles")
    groups = []
    for n in range(3):
        noisy = truth(n) + SIGMA * np.random.default_rng(100 + n).normal(size=SHAPE)
        nibabel.save(nibabel.Nifti1Image(noisy.astype(np.float32), np.eye(4)), root / f"{n}.nii.gz")
        groups.append(Group(group=f"g{n}", subject=f"s{n}", modality="MR", image=[f"{n}.nii.gz"]))
    write_manifest(Manifest(name="singles", training=groups[:2], validation=groups[2:]), root / "manifest.json")
    return root


def of(pairs: str, **changes: object) -> Recipe:
    return recipe(pairs=pairs, scaling={"kind": "fixed", "offset": 1000.0, "scale": 300.0}, **changes)


@pytest.mark.parametrize(
    ("pairs", "settings", "left"),
    [
        ("neighbours", {}, 0.45),
        ("added_noise", {"added_noise": {"alpha": 1.0, "draws": 2}}, 0.6),
        ("subsample", {}, 0.45),
        ("blind_spot", {"blind_spot": {"share": 0.1}, "objective": "l2"}, 0.6),
    ],
)
def test_each_way_lowers_the_true_error(
    singles: Path, tmp_path: Path, pairs: str, settings: dict[str, object], left: float
) -> None:
    bundle = train_model(of(pairs, **settings), singles / "manifest.json", tmp_path, device="cpu")
    assert bundle.info.recipe["pairs"] == pairs
    low, high = bundle.info.scope.noise_share
    assert 0 < low <= high < 1
    volume = medn2n.load(singles / "2.nii.gz", modality="MR")
    after = medn2n.Denoiser.load(tmp_path, device="cpu", threads=1)(volume).voxels
    before, now = (float(np.mean((image - truth(2)) ** 2)) for image in (volume.voxels, after))
    assert now < left * before
    assert abs(float(after.mean() - volume.voxels.mean())) < 0.1 * SIGMA


def test_the_measured_noise_travels_in_the_cache(singles: Path, tmp_path: Path) -> None:
    train_model(of("added_noise", optimiser={"steps": 1}), singles / "manifest.json", tmp_path, device="cpu")
    for path in (tmp_path / "cache").iterdir():
        (case,) = read_cases(path)
        assert case.noise is not None
        assert float(case.noise.norm()) == pytest.approx(SIGMA / 300, rel=0.2)
        assert case.level is not None
        assert case.level.shape == case.image.shape
        assert float(case.level.mean()) == pytest.approx(1, abs=0.1)


def test_the_noise_of_each_scan_is_judged(tmp_path: Path) -> None:
    smooth = ndimage.gaussian_filter(np.random.default_rng(0).normal(size=SHAPE), (1, 1, 0))
    scan = truth(0) + SIGMA * smooth / smooth.std()
    nibabel.save(nibabel.Nifti1Image(scan.astype(np.float32), np.eye(4)), tmp_path / "s.nii.gz")
    group = Group(group="g", subject="s", modality="MR", image=["s.nii.gz"])
    for pairs in ("subsample", "blind_spot"):
        with pytest.raises(InputError, match=r"Group g, scan 1 of 1: the noise of pixels \(1, 0\) apart") as refused:
            load_cases([group], tmp_path, of(pairs))
        assert refused.value.code == "NOISE_UNFIT"
        assert refused.value.exit_code == 3
    assert len(load_cases([group], tmp_path, of("neighbours"))) == 1
