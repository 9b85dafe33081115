"""Training samples: a MONAI dictionary pipeline from the repeats of a case to (input, target) patches.

What is random is drawn anew for each sample from a seed of (study seed, stream, case, visit), so that a run can be
repeated and resumed, and a group's samples do not change when another joins the manifest. Every ordered pair of a group
takes its turn, the roles swapped, and one crop, flip and rotation is drawn for input and target together. Nothing is
added to either: the noise is the scans' own. Neither is moved: where a repeat moved, the sample says how the two lie,
and `core.carrying` brings them together inside the loss.

Arrays stay where they are (a file, memory) until the patch is cut: only its own voxels are read.
"""

from __future__ import annotations

import zlib
from collections.abc import Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from monai.data import get_track_meta, set_track_meta
from monai.transforms import Compose, MapTransform, RandFlipd, RandRotate90d, SpatialPadd
from monai.transforms.transform import Randomizable
from torch import Tensor
from torch.utils.data import Dataset

from medn2n.config import Recipe
from medn2n.core.cases import BLOCK, Case
from medn2n.errors import UsageError


class PairRepeatsd(MapTransform):  # type: ignore[misc]  # monai has no types
    """data["image"] (R,I,J,K) and data["pair"] (a, b) → data["input"], data["target"], each (1,I,J,K); for a 2D network
    slice data["slice"] of it, (1,I,J), the input with its `neighbours` on either side as channels, (2n+1,I,J): beyond
    the ends the last slice again. With clean targets, data["truth"] is the target. Where data["moved"],
    data["place_n"] are the two's indices along axis n."""

    def __init__(self, *, dims: int, clean_targets: bool = False, neighbours: int = 0) -> None:
        super().__init__(keys=["image"])
        self.dims = dims
        self.clean_targets = clean_targets
        self.neighbours = neighbours

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        first, second = data["pair"]
        target = data["truth"] if self.clean_targets else data["image"][second : second + 1]
        noisy = data["image"][first : first + 1]
        if self.dims == 2:
            k = data["slice"]
            noisy, target = _with_neighbours(noisy[0], k, self.neighbours), target[..., k]
        views: dict[Hashable, Any] = {"input": noisy, "target": target}
        return views | (_places(target.shape) if data.get("moved") else {}) | {"centre": data["centre"]}


def _with_neighbours(volume: Tensor, k: int, count: int) -> Tensor:
    """(2·count+1,I,J): slice k of (I,J,K) in the middle of its neighbours; a view wherever they all exist."""
    low, high, depth = k - count, k + count + 1, volume.shape[2]
    if low >= 0 and high <= depth:
        return volume[..., low:high].movedim(-1, 0)
    return volume[..., [min(max(n, 0), depth - 1) for n in range(low, high)]].movedim(-1, 0)


def _places(shape: torch.Size) -> dict[Hashable, Any]:
    """Each voxel's index along each axis, as views that take no memory until they are cut."""
    return {
        f"place_{axis}": torch.arange(size, dtype=torch.float32)
        .reshape(*(size if other == axis else 1 for other in range(len(shape) - 1)))
        .expand(1, *shape[1:])
        for axis, size in enumerate(shape[1:])
    }


class PadPlacesd(MapTransform):  # type: ignore[misc]
    """data["place_n"] go on counting over the padding of the images, which would mirror them."""

    def __init__(self, keys: Sequence[str], *, patch: tuple[int, ...]) -> None:
        super().__init__(keys=keys, allow_missing_keys=True)
        self.patch = patch

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        padded = dict(data)
        for axis, key in enumerate(self.keys):
            if key in data and data[key].shape != data["target"].shape:
                before = max(0, self.patch[axis] - data[key].shape[1 + axis]) // 2
                padded[key] = _places(data["target"].shape)[key] - before
        return padded


class CropAtd(MapTransform):  # type: ignore[misc]
    """A patch around data["centre"], as near to it as the image allows. Never random: the centre was drawn before."""

    def __init__(self, keys: Sequence[str], *, patch: tuple[int, ...]) -> None:
        super().__init__(keys=keys, allow_missing_keys=True)
        self.patch = patch

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        cropped = dict(data)
        for key in self.key_iterator(cropped):
            size = data[key].shape[1:]
            starts = [
                min(max(at - edge // 2, 0), whole - edge)
                for at, edge, whole in zip(data["centre"], self.patch, size, strict=True)
            ]
            cut = tuple(slice(start, start + edge) for start, edge in zip(starts, self.patch, strict=True))
            cropped[key] = data[key][(slice(None), *cut)]
        return cropped


class PairedSamples(Dataset[dict[str, Tensor]]):
    """Input/target patches. Sample n of the run belongs to group n mod (number of groups): groups count equally,
    however many slices or repeats they have, and also where an epoch is shorter than the list of groups. A patch is
    centred on tissue as often as `samples.tissue` says, else it lies anywhere.

    Items: {"input": (1,*patch), or (2n+1,*patch) with n neighbouring slices on either side, "target": (1,*patch)}
    float32. Where any case has a placement (and the recipe aligns), also "carry" (d,d+1): index in the target's patch
    → index in the input's; "match" (2,): gain and offset from the input's intensity to the target's; "box" (d,2): the
    first and last index of the patch that the scan covers."""

    def __init__(self, cases: Sequence[Case], recipe: Recipe, *, length: int, stream: int = 0) -> None:
        if not cases:
            raise UsageError(
                f"No group serves as training data for pairs: {recipe.pairs} and modality {recipe.modality}. "
                "Repeats need at least two scans a group; see the manifest."
            )
        if recipe.targets == "clean" and any(case.truth is None for case in cases):
            raise UsageError("targets: clean needs a truth for every group; only simulated repeats have one.")
        by_group: dict[str, list[Case]] = {}
        for case in cases:
            by_group.setdefault(case.group, []).append(case)
        self.names = sorted(by_group)
        self.groups = [by_group[name] for name in self.names]
        self.length = length
        self.epoch = 0
        self._seed = (recipe.seed, stream)
        self._dims = recipe.network.dims
        self._patch = recipe.samples.patch
        self._tissue = recipe.samples.tissue
        self._aligns = recipe.align != "off" and any(case.placement is not None for case in cases)
        self._slice_weights: dict[Case, npt.NDArray[np.float64]] = {}
        self.transform = sample_pipeline(recipe)

    def __len__(self) -> int:
        return self.length

    def set_epoch(self, epoch: int) -> None:
        """Draw other slices, crops and pairs from here on."""
        self.epoch = epoch

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        visit, position = divmod(self.epoch * self.length + index, len(self.groups))
        group = self.groups[position]
        generator = np.random.default_rng((*self._seed, zlib.crc32(self.names[position].encode()), visit))
        case = group[int(generator.integers(len(group)))]
        pairs = case.pairs()
        data: dict[str, Any] = {"image": case.image, "truth": case.truth, "pair": pairs[visit % len(pairs)]}
        centre = self._centre(case, generator)
        data["centre"] = centre[: self._dims]
        if self._dims == 2:
            data["slice"] = centre[2]
        placed = self._between(case, data) if self._aligns else None
        data["moved"] = placed is not None and not np.array_equal(placed[0], np.eye(*placed[0].shape))
        _seed(self.transform, int(generator.integers(2**31)))
        with _plain_tensors():
            sample = self.transform(data)
        patches = {key: torch.as_tensor(sample[key]).contiguous() for key in ("input", "target")}
        return patches if placed is None else patches | _carry(sample, *placed, case.image.shape[1:], self._patch)

    def _centre(self, case: Case, generator: np.random.Generator) -> tuple[int, int, int]:
        """The voxel that a patch is to be centred on: in tissue, each of its blocks as often as it holds tissue, or
        such that the patch lies anywhere inside."""
        weights = self._weights(case)
        if weights is None or generator.random() >= self._tissue:
            edges = (self._patch, self._patch, self._patch if self._dims == 3 else 1)
            low = [
                int(generator.integers(max(1, size - edge + 1))) + edge // 2
                for size, edge in zip(case.image.shape[1:], edges, strict=True)
            ]
            k = low[2] if self._dims == 3 else int(generator.choice(case.centres()))
            return low[0], low[1], k
        assert case.tissue is not None
        k = case.centres()[_drawn(weights, generator)]
        blocks = case.tissue[..., k].numpy().astype(np.float64)
        i, j = np.unravel_index(_drawn(blocks.ravel(), generator), blocks.shape)
        inside = generator.integers(BLOCK, size=2)
        return BLOCK * int(i) + int(inside[0]), BLOCK * int(j) + int(inside[1]), k

    def _weights(self, case: Case) -> npt.NDArray[np.float64] | None:
        """How much tissue each slice that may be the centre holds; None where none is known."""
        if case.tissue is None:
            return None
        if case not in self._slice_weights:
            whole = case.tissue.sum(dim=(0, 1), dtype=torch.float64).numpy()
            self._slice_weights[case] = whole[list(case.centres())]
        weights = self._slice_weights[case]
        return weights if weights.sum() > 0 else None

    def _between(self, case: Case, data: Mapping[str, Any]) -> tuple[npt.NDArray[np.float64], tuple[float, float]]:
        """How the input of a sample has to be moved and brightened to match its target."""
        if case.placement is None:
            return np.eye(self._dims, self._dims + 1), (1.0, 0.0)
        first, second = data["pair"]
        matrix = case.placement.between(first, second, slice_number=data.get("slice"))
        return matrix, case.placement.match(first, second)


def _carry(
    sample: Mapping[Hashable, Any],
    matrix: npt.NDArray[np.float64],
    match: tuple[float, float],
    size: Sequence[int],
    patch: int,
) -> dict[str, Tensor]:
    """The tensors that say how one patch's input and target lie: `matrix` seen through crop, flip and rotation."""
    dims = len(matrix)
    box = np.tile([0.0, patch - 1.0], (dims, 1))
    if "place_0" in sample:
        cut = np.eye(dims + 1)  # index in the patch → index in the scan
        for axis in range(dims):
            place = np.asarray(sample[f"place_{axis}"])[0]
            cut[axis, dims] = place[(0,) * dims]
            steps = [place[tuple(int(a == along) for a in range(dims))] for along in range(dims)]
            cut[axis, :dims] = steps - cut[axis, dims]
        back = np.linalg.inv(cut)
        matrix = (back @ np.vstack([matrix, np.eye(dims + 1)[dims]]) @ cut)[:dims]
        ends = back[:dims, :dims] @ np.array([[0, n - 1] for n in size[:dims]]) + back[:dims, dims:]
        box = np.stack([np.maximum(ends.min(axis=1), 0), np.minimum(ends.max(axis=1), patch - 1)], axis=1)
    return {
        "carry": torch.as_tensor(matrix, dtype=torch.float32),
        "match": torch.tensor(match),
        "box": torch.as_tensor(box, dtype=torch.float32),
    }


@contextmanager
def _plain_tensors() -> Iterator[None]:
    """MONAI without MetaTensor: the patches need no affine, and tracking it costs more than the crop itself."""
    before = get_track_meta()
    set_track_meta(False)
    try:
        yield
    finally:
        set_track_meta(before)


def _seed(pipeline: Compose, seed: int) -> None:
    """One random state for all transforms of the pipeline: making one for each takes longer than the transforms."""
    state = np.random.RandomState(seed)
    for transform in pipeline.transforms:
        if isinstance(transform, Randomizable):
            transform.set_random_state(state=state)


def _drawn(weights: npt.NDArray[np.float64], generator: np.random.Generator) -> int:
    """An index, each as often as its weight says."""
    sums = np.cumsum(weights)
    return min(int(np.searchsorted(sums, generator.random() * sums[-1], side="right")), len(sums) - 1)


def sample_pipeline(recipe: Recipe) -> Compose:
    """What makes a patch of a case, as MONAI dictionary transforms; the same draw for all keys."""
    keys, dims = ["input", "target"], recipe.network.dims
    places = [f"place_{axis}" for axis in range(dims)]
    patch = (recipe.samples.patch,) * dims
    pairing = PairRepeatsd(dims=dims, clean_targets=recipe.targets == "clean", neighbours=recipe.network.neighbours)
    steps: list[Any] = [pairing, SpatialPadd(keys, spatial_size=patch, mode="symmetric")]
    steps += [PadPlacesd(places, patch=patch), CropAtd(keys + places, patch=patch)]
    every: dict[str, Any] = {"keys": keys + places, "allow_missing_keys": True}
    if recipe.samples.flip:
        steps += [RandFlipd(**every, prob=0.5, spatial_axis=axis) for axis in range(dims)]
    if recipe.samples.rotate:
        steps.append(RandRotate90d(**every, prob=0.5, max_k=3, spatial_axes=(0, 1)))
    return Compose(steps)
