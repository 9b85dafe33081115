"""Parallel-beam projection and back-projection, on a CPU or a GPU: the two slow steps of simulated CT.

Both sample linearly, through one grid of coordinates a view that all images of a batch share. The turning point is
pixel side//2 of each axis, and detector element d stands d − side//2 pixels from it, as in scikit-image's radon and
iradon, which the tests compare with.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

FloatArray = npt.NDArray[np.float32]
SAMPLES_AT_ONCE = 8_000_000  # bounds the memory: a grid of that many coordinate pairs is 64 MB


def device_for(name: str) -> str:
    """'auto' → 'cuda' where there is a usable GPU, else 'cpu'; any other name stays."""
    if name != "auto":
        return name
    return "cuda" if torch.cuda.is_available() else "cpu"


def radon(image: FloatArray, *, views: int, device: str = "cpu") -> FloatArray:
    """Line integrals in pixel units, float32 (side, views), of a square image over half a turn."""
    side = image.shape[0]
    source = torch.as_tensor(np.asarray(image, np.float32), device=device)[None, None]
    offset = torch.arange(side, device=device, dtype=torch.float32) - side // 2
    along, across = offset[:, None], offset[None, :]  # along the ray, across the rays
    sums = []
    for cosine, sine in _chunks(views, side, device):
        # Row and column where the ray's sample lies: the image turned by −θ about its centre.
        columns = across * cosine + along * sine
        rows = -across * sine + along * cosine
        grid = torch.stack([_unit(columns, side), _unit(rows, side)], dim=-1)
        batch = source.expand(len(grid), -1, -1, -1)
        turned = functional.grid_sample(batch, grid, mode="bilinear", padding_mode="zeros", align_corners=True)
        sums.append(turned[:, 0].sum(dim=1))
    return np.ascontiguousarray(torch.cat(sums).T.cpu().numpy())


def back_project(filtered: FloatArray, *, device: str = "cpu") -> FloatArray:
    """Sum over views of (R, side, views) filtered projections → (R, side, side) float32, times π/(2·views); outside
    the inscribed circle 0."""
    count, side, views = filtered.shape
    source = torch.as_tensor(np.asarray(filtered, np.float32), device=device).permute(2, 0, 1)[:, :, None]  # (V,R,1,D)
    offset = torch.arange(side, device=device, dtype=torch.float32) - side // 2
    rows, columns = offset[:, None], offset[None, :]
    total = torch.zeros((count, side, side), device=device)
    start = 0
    for cosine, sine in _chunks(views, side, device):
        where = _unit(columns * cosine - rows * sine, side)
        grid = torch.stack([where, torch.zeros_like(where)], dim=-1)
        batch = source[start : start + len(grid)]
        start += len(grid)
        spread = functional.grid_sample(batch, grid, mode="bilinear", padding_mode="zeros", align_corners=True)
        total += spread.sum(dim=0)
    total[:, (rows**2 + columns**2) > (side // 2) ** 2] = 0.0
    return np.asarray((total * (np.pi / (2 * views))).cpu().numpy(), np.float32)


def _chunks(views: int, side: int, device: str) -> list[tuple[Tensor, Tensor]]:
    """(cos θ, sin θ), each (n,1,1), for a few views at a time."""
    angles = torch.arange(views, device=device, dtype=torch.float64) * (torch.pi / views)
    parts = torch.split(angles[:, None, None], max(1, SAMPLES_AT_ONCE // side**2))
    return [(part.cos().float(), part.sin().float()) for part in parts]


def _unit(pixels: Tensor, side: int) -> Tensor:
    """Pixels from the turning point → grid_sample's coordinates, −1 and 1 at the first and last pixel."""
    return (pixels + side // 2) * (2.0 / max(side - 1, 1)) - 1.0
