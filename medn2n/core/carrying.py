"""A network's prediction carried onto the place where the repeat that it is compared with shows the object.

The noisy target stays untouched: interpolating it would correlate and damp its noise, and the network would learn
what the interpolation does. The prediction is smooth enough for cubic B-splines, and the loss reaches the network
through them. Patches are (B,C,I,J[,K]); a matrix (B,d,d+1) maps each voxel index of the target's patch to an index
in the input's, so that flips, turns and crops of the patch are part of it.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from medn2n.core.networks import middle_channel

Compared = tuple[Tensor, Tensor, Tensor, Tensor | None]


def compared(output: Tensor, batch: Mapping[str, Tensor], align: str) -> Compared:
    """(output, target, input, valid) to compare, from a batch of `medn2n.core.samples`.

    Where a pair moved, align "prediction" carries output and input onto the target's place, and "target" carries the
    target onto theirs; output and input are brought to the target's intensity. valid: (B,1,…) 1 where all of it is
    known, else 0; None where the batch holds no such pair, and everything comes back as it was. A batch's own "valid"
    (B,1,…), the mask of its targets, counts besides. Of an input with neighbouring slices as channels, the middle one
    counts.
    """
    target, noisy, mask = batch["target"], middle_channel(batch["input"]), batch.get("valid")
    if "carry" not in batch:
        return output, target, noisy, mask
    carry, match, box = batch["carry"], batch["match"], batch["box"]
    still = torch.eye(carry.shape[1], carry.shape[2], device=carry.device)
    turned = (carry != still).flatten(1).any(1) | (match != match.new_tensor([1.0, 0.0])).any(1)
    if not bool(turned.any()):
        return output, target, noisy, mask
    here = turned.nonzero().flatten()
    gain, offset = (match[here, n].reshape(-1, *[1] * (target.dim() - 1)) for n in (0, 1))
    matrix = carry[here] if align == "prediction" else inverted(carry[here])
    valid = torch.ones_like(target[:, :1])
    valid[here] = valid_voxels(matrix, box[here], tuple(target.shape[2:]))
    if align == "prediction":
        output = output.index_copy(0, here, carried(gain * output[here] + offset, matrix))
        noisy = noisy.index_copy(0, here, carried(gain * noisy[here] + offset, matrix))
    else:
        output, noisy = (whole.index_copy(0, here, gain * whole[here] + offset) for whole in (output, noisy))
        target = target.index_copy(0, here, carried(target[here], matrix))
    return output, target, noisy, valid if mask is None else valid * mask


def carried(image: Tensor, matrix: Tensor) -> Tensor:
    """image (B,C,…) at the indices that `matrix` (B,d,d+1) gives for each voxel: cubic B-spline interpolation,
    float32 at least, differentiable in the image. Outside it goes on as a straight line for a voxel."""
    with torch.autocast(image.device.type, enabled=False):
        image = image if image.dtype == torch.float64 else image.float()
        coefficients = image
        for axis in range(2, image.dim()):
            inverse = torch.from_numpy(_prefilter(image.shape[axis])).to(image)
            coefficients = (coefficients.movedim(axis, -1) @ inverse).movedim(-1, axis)
        return _spline(coefficients, indices(matrix.to(image), tuple(image.shape[2:])) + 1)


def indices(matrix: Tensor, shape: tuple[int, ...]) -> Tensor:
    """(B,…,d): where `matrix` (B,d,d+1) sends each voxel of a patch."""
    axes = [torch.arange(n, device=matrix.device, dtype=matrix.dtype) for n in shape]
    grid = torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1)
    turn = torch.einsum("bde,...e->b...d", matrix[:, :, :-1], grid)
    return turn + matrix[:, :, -1].reshape(-1, *[1] * len(shape), len(shape))


def valid_voxels(matrix: Tensor, box: Tensor, shape: tuple[int, ...]) -> Tensor:
    """(B,1,…) float32, 1 where both a voxel and the index that `matrix` sends it to lie in `box` (B,d,2): the part
    of the patch, both ends included, that the scan really covers."""
    here = indices(torch.eye(len(shape), len(shape) + 1, device=matrix.device)[None], shape)
    there = indices(matrix.float(), shape)
    low, high = (box[:, :, end].reshape(-1, *[1] * len(shape), len(shape)) for end in (0, 1))
    slack = 1e-3  # rounding of an index
    inside = [((places >= low - slack) & (places <= high + slack)).all(dim=-1) for places in (here, there)]
    return (inside[0] & inside[1])[:, None].float()


def inverted(matrix: Tensor) -> Tensor:
    """The maps the other way round, (B,d,d+1)."""
    last = torch.zeros_like(matrix[:, :1])
    last[:, 0, -1] = 1
    inverse: Tensor = torch.linalg.inv(torch.cat([matrix, last], dim=1).double())
    return inverse[:, :-1].to(matrix)


@functools.lru_cache(maxsize=16)
def _prefilter(size: int) -> npt.NDArray[np.float64]:
    """(n,n+2), values → B-spline coefficients along one axis with one more at each end, transposed: the inverse of
    (1,4,1)/6, without curvature at the ends (a mirrored end would bend every slope at the rim of a patch)."""
    if size == 1:
        return np.ones((1, 3))
    basis = (np.eye(size, k=-1) + 4 * np.eye(size) + np.eye(size, k=1)) / 6
    basis[[0, -1]] = np.eye(size)[[0, -1]]
    inner = np.linalg.inv(basis)
    longer = np.vstack([2 * inner[0] - inner[1], inner, 2 * inner[-1] - inner[-2]])
    return np.ascontiguousarray(longer.T)


def _spline(coefficients: Tensor, places: Tensor) -> Tensor:
    """The cubic B-spline at (B,…,d) indices, as a weighted mean of 2^d linear interpolations (Sigg and Hadwiger 2005,
    "Fast third-order texture filtering")."""
    whole = places.floor()
    t = places - whole
    last = t**3 / 6
    first = (1 - t) ** 3 / 6
    second = (4 - 6 * t**2 + 3 * t**3) / 6
    weights = (first + second, 1 - first - second)
    corners = (whole - 1 + second / weights[0], whole + 1 + last / weights[1])
    sizes = torch.tensor(coefficients.shape[2:], device=places.device, dtype=places.dtype)
    total = torch.zeros(())
    for choice in itertools.product((0, 1), repeat=places.shape[-1]):
        at = torch.stack([corners[end][..., axis] for axis, end in enumerate(choice)], dim=-1)
        weight = torch.stack([weights[end][..., axis] for axis, end in enumerate(choice)]).prod(dim=0)
        scaled = (2 * at / (sizes - 1).clamp_min(1) - 1).flip(-1)  # grid_sample counts from the last axis
        value = functional.grid_sample(coefficients, scaled, padding_mode="reflection", align_corners=True)
        total = total.to(value) + weight[:, None] * value
    return total
