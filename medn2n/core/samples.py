"""Training samples: a MONAI dictionary pipeline from the repeats of a group to (input, target) patches.

What is random is drawn anew for each sample from a seed of (study seed, stream, epoch, sample), so that a run can be
repeated and resumed. Every ordered pair of a group takes its turn, the roles swapped, and one crop, flip and rotation
is drawn for input and target together. Nothing is added to either: the noise is the scans' own.
"""

from __future__ import annotations

import itertools
from collections.abc import Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from monai.data import get_track_meta, set_track_meta
from monai.transforms import Compose, MapTransform, RandFlipd, RandRotate90d, RandSpatialCropd, SpatialPadd
from monai.transforms.transform import Randomizable
from torch import Tensor
from torch.utils.data import Dataset

from medn2n.config import Recipe
from medn2n.errors import UsageError

Pair = tuple[int, int]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Case:
    """Repeats of one object in one place, in network units.

    image: (R,I,J,K) float32. truth: (1,I,J,K) or None. group: its name in the manifest; cases of one group share its
    turn. A simulated acquisition is one case with K = 1.
    """

    image: Tensor
    truth: Tensor | None
    group: str

    def pairs(self) -> list[Pair]:
        """Every ordered pair of repeats (first, second), both roles."""
        return list(itertools.permutations(range(self.image.shape[0]), 2))


class PairRepeatsd(MapTransform):  # type: ignore[misc]  # monai has no types
    """data["image"] (R,I,J,K) and data["pair"] (a, b) → data["input"], data["target"], each (1,I,J,K), or (1,I,J) of
    slice data["slice"] for a 2D network. With clean targets, data["truth"] is the target."""

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
        return views


class PairedSamples(Dataset[dict[str, Tensor]]):
    """Input/target patches. Sample n of the run belongs to group n mod (number of groups): groups count equally,
    however many slices or repeats they have, and also where an epoch is shorter than the list of groups.
    Items: {"input": (1,*patch), "target": (1,*patch)} float32."""

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
        _seed(self.transform, int(generator.integers(2**31)))
        with _plain_tensors():
            sample = self.transform(data)
        return {key: torch.as_tensor(sample[key]).contiguous() for key in ("input", "target")}


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
    patch = (recipe.samples.patch,) * dims
    steps: list[Any] = [PairRepeatsd(dims=dims, clean_targets=recipe.targets == "clean")]
    steps.append(SpatialPadd(keys, spatial_size=patch, mode="symmetric"))
    steps.append(RandSpatialCropd(keys, roi_size=patch, random_size=False))
    if recipe.samples.flip:
        steps += [RandFlipd(keys, prob=0.5, spatial_axis=axis) for axis in range(dims)]
    if recipe.samples.rotate:
        steps.append(RandRotate90d(keys, prob=0.5, max_k=3, spatial_axes=(0, 1)))
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
                target.append(Case(image=case.image[..., indices], truth=truth, group=case.group))
    return training, validation
