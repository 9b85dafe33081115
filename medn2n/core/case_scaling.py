"""Repeats in physical units → a case in network units, with the map of where its tissue lies."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch

from medn2n.config import Recipe
from medn2n.core.body import tissue_mask
from medn2n.core.cases import BLOCK, Case
from medn2n.core.intensity import IntensityScale, fit_scale

FloatArray = npt.NDArray[np.float32]


def scaled_case(repeats: FloatArray, truth: FloatArray | None, group: str, recipe: Recipe) -> Case:
    """The case of repeats (R,I,J,K) and truth (1,I,J,K) or None."""
    scale = repeats_scale(repeats, recipe)
    clean = None if truth is None else torch.from_numpy(scale.to_network(truth))
    return Case(
        image=torch.from_numpy(scale.to_network(repeats)),
        truth=clean,
        group=group,
        tissue=torch.from_numpy(tissue_blocks(repeats.mean(axis=0))),
    )


def repeats_scale(repeats: FloatArray, recipe: Recipe) -> IntensityScale:
    """One scale for all repeats, from their mean: a scale of its own for each would differ by its noise."""
    scaling = recipe.scaling
    return fit_scale(
        repeats.mean(axis=0),
        kind=scaling.kind,
        offset=scaling.offset,
        scale=scaling.scale,
        percentile=scaling.percentile,
    )


def tissue_blocks(voxels: FloatArray) -> FloatArray:
    """(⌈I/8⌉,⌈J/8⌉,K): the share of tissue in each block of 8×8 pixels of (I,J,K); what a block at the far edge lacks
    counts as air."""
    tissue = tissue_mask(voxels).astype(np.float32)
    rows, columns = (-size % BLOCK for size in tissue.shape[:2])
    padded = np.pad(tissue, ((0, rows), (0, columns), (0, 0)))
    blocks = padded.reshape(padded.shape[0] // BLOCK, BLOCK, padded.shape[1] // BLOCK, BLOCK, -1)
    return np.asarray(blocks.mean(axis=(1, 3)), np.float32)
