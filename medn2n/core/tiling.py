"""An image through a network in tiles that fit into memory, the same as in one piece.

Each tile is run with a halo around it and only its inside is kept. With a halo at least as wide as the network's
receptive radius, and tile starts at multiples of its coarsest pooling step, the result equals the whole image's.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float32]
Network = Callable[[FloatArray], FloatArray]
# Voxels around a tile, by dimensions: at least the receptive radius of the U-Net (158 pixels with five levels in 2D, 38
# with three in 3D) and of every NAFNet that may be built.
HALO = {2: 160, 3: 48}


def pad_to_multiple(batch: FloatArray, multiple: int) -> FloatArray:
    """(B,C,*spatial) padded at the far ends to multiples, mirrored at the edge voxel."""
    widths = [(0, 0), (0, 0)] + [(0, -size % multiple) for size in batch.shape[2:]]
    return np.pad(batch, widths, mode="symmetric") if any(after for _, after in widths) else batch


def spans(size: int, *, tile: int, halo: int) -> Iterator[tuple[slice, slice, slice]]:
    """Along one axis: (read from the image, write to the image, take from the read part). tile: inside of a tile."""
    for start in range(0, size, tile):
        stop = min(start + tile, size)
        low, high = max(0, start - halo), min(size, stop + halo)
        yield slice(low, high), slice(start, stop), slice(start - low, stop - low)


def run(network: Network, batch: FloatArray, *, multiple: int, tile: Sequence[int], halo: int) -> FloatArray:
    """(B,C,*spatial) float32 → (B,1,*spatial). Spatial axes up to `tile` (a multiple of `multiple`, as is `halo`) go
    in one piece."""
    size = batch.shape[2:]
    padded = pad_to_multiple(batch, multiple)
    if all(edge <= limit for edge, limit in zip(padded.shape[2:], tile, strict=True)):
        output = network(padded)
    else:
        output = np.empty_like(padded[:, :1])
        axes = [
            list(spans(edge, tile=edge if edge <= limit else limit - 2 * halo, halo=0 if edge <= limit else halo))
            for edge, limit in zip(padded.shape[2:], tile, strict=True)
        ]
        for parts in itertools.product(*axes):
            read, write, take = zip(*parts, strict=True)
            done = network(np.ascontiguousarray(padded[(slice(None), slice(None), *read)]))
            output[(slice(None), slice(None), *write)] = done[(slice(None), slice(None), *take)]
    return np.ascontiguousarray(output[(slice(None), slice(None), *(slice(0, edge) for edge in size))])
