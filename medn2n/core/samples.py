"""Training samples: a MONAI dictionary pipeline from the repeats of a group to (input, target) patches.

What is random is drawn anew for each sample from a seed of (study seed, stream, epoch, sample), so that a run can be
repeated and resumed. Every ordered pair of a group takes its turn, the roles swapped, and one crop, flip and rotation
is drawn for input and target together. Nothing is added to either: the noise is the scans' own. Neither is moved:
where a repeat moved, the sample says how the two lie, and `core.carrying` brings them together inside the loss.
"""

from __future__ import annotations

import itertools
from collections.abc import Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from monai.data import get_track_meta, set_track_meta
from monai.transforms import Compose, MapTransform, RandFlipd, RandRotate90d, RandSpatialCropd, SpatialPadd
from monai.transforms.transform import Randomizable
from torch import Tensor
from torch.utils.data import Dataset

from medn2n.config import Recipe
from medn2n.core.placement import Placement
from medn2n.errors import UsageError

Pair = tuple[int, int]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Case:
    """Repeats of one object in one place, in network units.

    image: (R,I,J,K) float32. truth: (1,I,J,K) or None. group: its name in the manifest; cases of one group share its
    turn. A simulated acquisition is one case with K = 1. placement: where repeats moved or differ in intensity.
    """

    image: Tensor
    truth: Tensor | None
    group: str
    placement: Placement | None = None

    def pairs(self) -> list[Pair]:
        """Every ordered pair of repeats (first, second), both roles."""
        return list(itertools.permutations(range(self.image.shape[0]), 2))


class PairRepeatsd(MapTransform):  # type: ignore[misc]  # monai has no types
    """data["image"] (R,I,J,K) and data["pair"] (a, b) → data["input"], data["target"], each (1,I,J,K), or (1,I,J) of
    slice data["slice"] for a 2D network. With clean targets, data["truth"] is the target. Where data["moved"],
    data["place_n"] are the two's indices along axis n."""

    def __init__(self, *, dims: int, clean_targets: bool = False) -> None:
        super().__init__(keys=["image"])
        self.dims = dims
        self.clean_targets = clean_targets

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        first, second = data["pair"]
        target = data["truth"] if self.clean_targets else data["image"][second : second + 1]
        views: dict[Hashable, Any] = {"input": data["image"][first : first + 1], "target": target}
        if self.dims == 2:
            views = {key: value[..., data["slice"]] for key, value in views.items()}
        return views | (_places(views["target"].shape) if data.get("moved") else {})


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


class PairedSamples(Dataset[dict[str, Tensor]]):
    """Input/target patches. Sample n of the run belongs to group n mod (number of groups): groups count equally,
    however many slices or repeats they have, and also where an epoch is shorter than the list of groups.
    Items: {"input": (1,*patch), "target": (1,*patch)} float32. Where any case has a placement (and the recipe aligns),
    also "carry" (d,d+1): index in the target's patch → index in the input's; "match" (2,): gain and offset from the
    input's intensity to the target's; "box" (d,2): the first and last index of the patch that the scan covers."""

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
        self.groups = [by_group[name] for name in sorted(by_group)]
        self.length = length
        self.epoch = 0
        self._seed = (recipe.seed, stream)
        self._dims = recipe.network.dims
        self._patch = recipe.samples.patch
        self._aligns = recipe.align != "off" and any(case.placement is not None for case in cases)
        self.transform = sample_pipeline(recipe)

    def __len__(self) -> int:
        return self.length

    def set_epoch(self, epoch: int) -> None:
        """Draw other slices, crops and pairs from here on."""
        self.epoch = epoch

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        visit, position = divmod(self.epoch * self.length + index, len(self.groups))
        group = self.groups[position]
        generator = np.random.default_rng((*self._seed, self.epoch, index))
        case = group[int(generator.integers(len(group)))]
        pairs = case.pairs()
        data: dict[str, Any] = {"image": case.image, "truth": case.truth, "pair": pairs[visit % len(pairs)]}
        if self._dims == 2:
            data["slice"] = int(generator.integers(case.image.shape[3]))
        placed = self._between(case, data) if self._aligns else None
        data["moved"] = placed is not None and not np.array_equal(placed[0], np.eye(*placed[0].shape))
        _seed(self.transform, int(generator.integers(2**31)))
        with _plain_tensors():
            sample = self.transform(data)
        patches = {key: torch.as_tensor(sample[key]).contiguous() for key in ("input", "target")}
        return patches if placed is None else patches | _carry(sample, *placed, case.image.shape[1:], self._patch)

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


def sample_pipeline(recipe: Recipe) -> Compose:
    """The random part as MONAI dictionary transforms; the same draw for both keys."""
    keys, dims = ["input", "target"], recipe.network.dims
    places = [f"place_{axis}" for axis in range(dims)]
    patch = (recipe.samples.patch,) * dims
    steps: list[Any] = [PairRepeatsd(dims=dims, clean_targets=recipe.targets == "clean")]
    steps.append(SpatialPadd(keys, spatial_size=patch, mode="symmetric"))
    steps.append(PadPlacesd(places, patch=patch))
    every: dict[str, Any] = {"keys": keys + places, "allow_missing_keys": True}
    steps.append(RandSpatialCropd(**every, roi_size=patch, random_size=False))
    if recipe.samples.flip:
        steps += [RandFlipd(**every, prob=0.5, spatial_axis=axis) for axis in range(dims)]
    if recipe.samples.rotate:
        steps.append(RandRotate90d(**every, prob=0.5, max_k=3, spatial_axes=(0, 1)))
    return Compose(steps)


def held_out_slices(cases: Sequence[Case], *, dims: int, every: int = 5) -> tuple[list[Case], list[Case]]:
    """Split the slices of a set that has one subject only: every fifth for validation, its neighbours for nobody (they
    are too alike), the rest for training. For a 3D network, whose slices must stay together, the last fifth of each
    volume is held out. Where all cases have few slices, every fifth case is held out; a single one of those is
    validated on itself (nothing is held out)."""
    if all(case.image.shape[3] < every for case in cases):
        if len(cases) == 1:
            return list(cases), []
        return [c for n, c in enumerate(cases) if n % every], [c for n, c in enumerate(cases) if n % every == 0]
    training: list[Case] = []
    validation: list[Case] = []
    for case in cases:
        depth = case.image.shape[3]
        held = [k for k in range(depth) if k % every == every // 2]
        if dims == 3:
            held = list(range(depth - depth // every, depth))
        kept = [k for k in range(depth) if all(abs(k - h) > 1 for h in held)]
        for target, indices in ((training, kept), (validation, held)):
            if indices:
                truth = None if case.truth is None else case.truth[..., indices]
                placement = None if case.placement is None else case.placement.chosen(indices)
                target.append(Case(image=case.image[..., indices], truth=truth, group=case.group, placement=placement))
    return training, validation
