"""Recipes, cases and scans for tiny trainings that take seconds."""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
import torch

from medn2n.config import Recipe, parse_recipe
from medn2n.core.cases import Case


def recipe(**changes: object) -> Recipe:
    return parse_recipe(
        {
            "name": "tiny",
            "modality": "MR",
            "pairs": "repeats",
            "network": {"arguments": {"channels": 8, "levels": 2}},
            "scaling": {"kind": "percentile"},
            "samples": {"patch": 32, "batch": 8, "epoch": 80},
            "optimiser": {"steps": 160, "learning_rate": 4e-3, "ema": 0.9},
            "precision": "32-true",
            "validate_every": 80,
            **changes,
        }
    )


def few(**changes: object) -> Recipe:
    return recipe(samples={"patch": 16, "batch": 2, "epoch": 4}, validate_every=2, **changes)


def store(path: Path, voxels: np.ndarray) -> str:
    nibabel.save(nibabel.Nifti1Image(voxels.astype(np.float32), np.diag([-1.0, -1.0, 3.0, 1.0])), path)
    return path.name


def cases(n: int = 1) -> list[Case]:
    generator = torch.Generator().manual_seed(n)
    return [
        Case(image=torch.randn(2, 24, 24, 2, generator=generator), truth=None, group=f"g{index}") for index in range(n)
    ]
