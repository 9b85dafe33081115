"""Where each repeat of a training case shows the object, and how bright: what a pair is to be corrected by."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

Matrix = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Placement:
    """Of R repeats, against the group's reference scan.

    index_maps: (R,4,4) voxel index in the reference → voxel index in the repeat. levels: (R,2), gain and offset:
    repeat = gain · reference + offset, in network units. first_slice: the scan's index of the case's first slice.
    """

    index_maps: Matrix
    levels: Matrix
    first_slice: int = 0

    def from_slice(self, start: int) -> Placement:
        """Of the case's slices from this one on."""
        return replace(self, first_slice=self.first_slice + start)

    def without(self, repeats: Sequence[int]) -> Placement:
        """Less the repeats of these positions."""
        return replace(
            self,
            index_maps=np.delete(self.index_maps, repeats, axis=0),
            levels=np.delete(self.levels, repeats, axis=0),
        )

    def between(self, first: int, second: int, *, slice_number: int | None = None) -> Matrix:
        """Voxel index in the second repeat → voxel index in the first, both of the case.

        (3,4); for a 2D network (2,3), within the case's slice `slice_number`. Exactly the identity where neither
        moved.
        """
        dims = 3 if slice_number is None else 2
        ones, twos = self.index_maps[first], self.index_maps[second]
        if np.array_equal(ones, twos):
            return np.eye(dims, dims + 1)
        matrix = ones @ np.linalg.inv(twos)
        if slice_number is None:
            start = np.eye(4)
            start[2, 3] = self.first_slice
            return np.asarray((np.linalg.inv(start) @ matrix @ start)[:3])
        along_k = matrix[:2, 2] * (self.first_slice + slice_number) + matrix[:2, 3]
        return np.column_stack([matrix[:2, :2], along_k])

    def match(self, first: int, second: int) -> tuple[float, float]:
        """Gain and offset that bring the first repeat's intensity to the second's."""
        gain = self.levels[second, 0] / self.levels[first, 0]
        return float(gain), float(self.levels[second, 1] - gain * self.levels[first, 1])


def through_plane_slices(index_map: npt.NDArray[Any], shape: tuple[int, int, int]) -> float:
    """How far, in slices, anything in the middle 70 % of the grid moved through the slices at most."""
    ends = np.array([(n - 1) / 2 for n in shape])
    signs = np.array(np.meshgrid(*[(-0.7, 0.7)] * 3, indexing="ij")).reshape(3, -1)
    corners = ends[:, None] * (1 + signs)
    return float(np.abs(index_map[2, :3] @ corners + index_map[2, 3] - corners[2]).max())
