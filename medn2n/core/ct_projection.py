"""Projection and back-projection of parallel and fan beams, on a CPU or a GPU: the two slow steps of simulated CT.

Both sample linearly, through one grid of coordinates a view that all images of a batch share. Lengths are in pixels.
The turning point is pixel side//2 of each axis. Detector element d stands (d − elements//2)·pitch from it, measured
along a flat detector through the turning point, so that the parallel beam is the fan beam whose source is infinitely
far away. With as many elements as the side has pixels and a pitch of one, the parallel beam is that of scikit-image's
radon and iradon, which the tests compare with.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

FloatArray = npt.NDArray[np.float32]
SAMPLES_AT_ONCE = 8_000_000  # bounds the memory: a grid of that many coordinate pairs is 64 MB


@dataclass(frozen=True, slots=True, kw_only=True)
class Beam:
    """Where the rays run. angles: one a view, radians. elements: of the detector; pitch: their distance at the turning
    point, in pixels. source: its distance from the turning point in pixels; infinite for a parallel beam."""

    angles: tuple[float, ...]
    elements: int
    pitch: float = 1.0
    source: float = float("inf")

    @property
    def offsets(self) -> npt.NDArray[np.float64]:
        """Where each detector element stands, in pixels from the turning point."""
        return np.asarray((np.arange(self.elements) - self.elements // 2) * self.pitch, np.float64)

    @property
    def cosines(self) -> npt.NDArray[np.float64]:
        """Cosine of the angle between each element's ray and the middle one; 1 throughout in a parallel beam."""
        return np.asarray(1.0 / np.sqrt(1.0 + (self.offsets / self.source) ** 2))

    def views(self, first: int, step: int) -> Beam:
        """The same beam with every step-th view from `first` on."""
        return Beam(angles=self.angles[first::step], elements=self.elements, pitch=self.pitch, source=self.source)


def parallel_beam(side: int, views: int, *, pitch: float = 1.0) -> Beam:
    """Half a turn of parallel rays that covers the inscribed circle of a square image."""
    angles = tuple(float(view) * np.pi / views for view in range(views))
    return Beam(angles=angles, elements=side if pitch == 1.0 else 2 * int(np.ceil(side / 2 / pitch)) + 1, pitch=pitch)


def fan_beam(side: int, views: int, *, source: float, pitch: float = 1.0) -> Beam:
    """A whole turn of rays from a point `source` pixels away, onto a flat detector that covers the inscribed circle.
    ValueError where the source is not outside that circle."""
    radius = side / 2
    if source <= radius:
        raise ValueError(f"source: expected farther than the image's radius of {radius:g} pixels, found {source:g}")
    reach = radius / np.sqrt(1.0 - (radius / source) ** 2)  # where the tangent to the circle meets the detector
    angles = tuple(float(view) * 2 * np.pi / views for view in range(views))
    return Beam(angles=angles, elements=2 * int(np.ceil(reach / pitch)) + 1, pitch=pitch, source=source)


def device_for(name: str) -> str:
    """'auto' → 'cuda' where there is a usable GPU, else 'cpu'; any other name stays."""
    if name != "auto":
        return name
    return "cuda" if torch.cuda.is_available() else "cpu"


def radon(image: FloatArray, beam: Beam, *, device: str = "cpu") -> FloatArray:
    """Line integrals in pixel units, float32 (element, view), of a square image."""
    side = image.shape[0]
    source = torch.as_tensor(np.asarray(image, np.float32), device=device)[None, None]
    along = torch.arange(side, device=device, dtype=torch.float32)[:, None] - side // 2
    middle = torch.as_tensor(beam.offsets, device=device, dtype=torch.float32)[None, :]
    across = middle * (1.0 + along / beam.source)  # a ray leaves the source and opens on its way
    sums = []
    for cosine, sine in _chunks(beam, side * beam.elements, device):
        # Row and column where the ray's sample lies: the image turned by −θ about its centre.
        columns = across * cosine + along * sine
        rows = -across * sine + along * cosine
        grid = torch.stack([_unit(columns, side), _unit(rows, side)], dim=-1)
        batch = source.expand(len(grid), -1, -1, -1)
        turned = functional.grid_sample(batch, grid, mode="bilinear", padding_mode="zeros", align_corners=True)
        sums.append(turned[:, 0].sum(dim=1))
    steps = torch.as_tensor(1.0 / beam.cosines, dtype=torch.float32)[:, None]  # a slanted ray's way from row to row
    return np.ascontiguousarray((torch.cat(sums).T.cpu() * steps).numpy())


def back_project(filtered: FloatArray, beam: Beam, *, side: int, device: str = "cpu") -> FloatArray:
    """Sum over views of (R, elements, views) filtered projections → (R, side, side) float32, times π/(2·views); outside
    the inscribed circle 0. In a fan each pixel's share falls with the square of its distance from the source."""
    count = len(filtered)
    source = torch.as_tensor(np.asarray(filtered, np.float32), device=device).permute(2, 0, 1)[:, :, None]  # (V,R,1,D)
    offset = torch.arange(side, device=device, dtype=torch.float32) - side // 2
    rows, columns = offset[:, None], offset[None, :]
    total = torch.zeros((count, side, side), device=device)
    start = 0
    for cosine, sine in _chunks(beam, side * side, device):
        opened = 1.0 + (rows * cosine + columns * sine) / beam.source
        element = (columns * cosine - rows * sine) / opened / beam.pitch + beam.elements // 2
        where = element * (2.0 / max(beam.elements - 1, 1)) - 1.0
        grid = torch.stack([where, torch.zeros_like(where)], dim=-1)
        batch = source[start : start + len(grid)]
        start += len(grid)
        spread = functional.grid_sample(batch, grid, mode="bilinear", padding_mode="zeros", align_corners=True)
        if np.isfinite(beam.source):
            spread = spread / (opened**2)[:, None]
        total += spread.sum(dim=0)
    total[:, (rows**2 + columns**2) > (side // 2) ** 2] = 0.0
    return np.asarray((total * (np.pi / (2 * len(beam.angles)))).cpu().numpy(), np.float32)


def _chunks(beam: Beam, samples: int, device: str) -> list[tuple[Tensor, Tensor]]:
    """(cos θ, sin θ), each (n,1,1), for a few views at a time."""
    angles = torch.tensor(beam.angles, device=device, dtype=torch.float64)
    parts = torch.split(angles[:, None, None], max(1, SAMPLES_AT_ONCE // samples))
    return [(part.cos().float(), part.sin().float()) for part in parts]


def _unit(pixels: Tensor, side: int) -> Tensor:
    """Pixels from the turning point → grid_sample's coordinates, −1 and 1 at the first and last pixel."""
    return (pixels + side // 2) * (2.0 / max(side - 1, 1)) - 1.0
