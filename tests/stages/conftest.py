"""One training from files to bundle, shared by the tests of its stages."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from medn2n.formats.manifest import Group, Manifest, PairCheck, file_sha256, write_manifest
from medn2n.training import train_model
from tests.built_repeats import head, repeats
from tests.tiny_training import recipe, store

torch.set_num_threads(1)
SIGMA = 60.0


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three heads, each scanned twice; the last is for validation. Truths lie beside them for the tests alone."""
    root = tmp_path_factory.mktemp("data")
    groups = []
    for n in range(3):
        truth = head((64, 64, 5), seed=n)
        names = [
            store(root / f"{n}-{r}.nii.gz", scan)
            for r, scan in enumerate(repeats(truth, SIGMA, n, blur=0.0, offset=80))
        ]
        np.save(root / f"truth-{n}.npy", truth + 80)
        groups.append(
            Group(
                group=f"g{n}",
                subject=f"s{n}",
                modality="MR",
                image=names,
                sha256=[file_sha256(root / name) for name in names],
                source="built",
                licence="none",
                check=PairCheck(verdict="fit"),
            )
        )
    write_manifest(Manifest(name="built", training=groups[:2], validation=groups[2:]), root / "manifest.json")
    return root


@pytest.fixture(scope="session")
def run(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    train_model(recipe(), data / "manifest.json", folder, device="cpu")
    return folder
