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
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from monai.transforms import Compose, MapTransform
from torch import Tensor
from torch.utils.data import Dataset

from medn2n.config import Recipe, Samples
from medn2n.core.cases import BLOCK, Case
from medn2n.core.paging import read_soon
from medn2n.core.second_views import SINGLE_VIEWS, second_view
from medn2n.errors import UsageError

SAMPLE_KEYS = ("input", "target", "valid", "whole", "first", "second", "measured", "kept")


@dataclass(frozen=True, slots=True, kw_only=True)
class Cut:
    """Where a patch lies in a scan, and how: its edge in voxels, the first index along each axis (below 0 where the
    scan is smaller than the patch and is mirrored around), whether the first two axes change places, and which axes
    of the result are reversed after that."""

    edge: int
    start: tuple[int, ...]
    swapped: bool
    reversed: tuple[bool, ...]

    def of(self, image: Tensor) -> Tensor:
        """(C,*spatial) → (C,*patch)."""
        for axis, (start, size) in enumerate(zip(self.start, image.shape[1:], strict=True), start=1):
            if size >= self.edge:
                image = image.narrow(axis, start, self.edge)
            else:
                around = np.arange(start, start + self.edge) % (2 * size)
                image = image.index_select(axis, torch.from_numpy(np.minimum(around, 2 * size - 1 - around)))
        read_soon(image)
        return self.turned(image)

    def turned(self, image: Tensor) -> Tensor:
        """(C,*spatial) turned and mirrored; of fewer axes than the scan has, along those."""
        if self.swapped:
            image = image.transpose(1, 2)
        back = self.reversed[: image.dim() - 1]
        return image.flip([axis for axis, mirrored in enumerate(back, start=1) if mirrored]).contiguous()

    def index_map(self) -> npt.NDArray[np.float64]:
        """(d+1,d+1): index in the patch → index in the scan, which counts on over what was mirrored."""
        dims = len(self.start)
        order = [1, 0, *range(2, dims)] if self.swapped else list(range(dims))
        matrix = np.eye(dims + 1)
        for axis, source in enumerate(order):  # of the scan; the patch's axis that runs along it
            back = self.reversed[source]
            matrix[axis, :dims] = 0
            matrix[axis, source] = -1 if back else 1
            matrix[axis, dims] = self.start[axis] + (self.edge - 1 if back else 0)
        return matrix


class PairRepeatsd(MapTransform):  # type: ignore[misc]  # monai has no types
    """data["image"] (R,I,J,K) and data["pair"] (a, b) → data["input"], data["target"], each (1,I,J,K); for a 2D network
    slices data["slices"] (one each) of it, (1,I,J), the input with its `neighbours` on either side as channels,
    (2n+1,I,J): beyond the ends the last slice again. With clean targets, data["truth"] is the target, where there is
    one; a picture that is corrupted afterwards is its own truth. data["level"], (1,I,J,K) or None, stays with the
    input."""

    def __init__(self, *, dims: int, clean_targets: bool = False, neighbours: int = 0) -> None:
        super().__init__(keys=["image"])
        self.dims = dims
        self.clean_targets = clean_targets
        self.neighbours = neighbours

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        first, second = data["pair"]
        clean = self.clean_targets and data["truth"] is not None
        target = data["truth"] if clean else data["image"][second : second + 1]
        noisy, level = data["image"][first : first + 1], data["level"]
        if self.dims == 2:
            seen, wanted = data["slices"]
            noisy, target = _with_neighbours(noisy[0], seen, self.neighbours), target[..., wanted]
            level = None if level is None else _with_neighbours(level[0], seen, self.neighbours)
        return {**data, "input": noisy, "target": target, "level": level}


def _with_neighbours(volume: Tensor, k: int, count: int) -> Tensor:
    """(2·count+1,I,J): slice k of (I,J,K) in the middle of its neighbours; a view wherever they all exist."""
    low, high, depth = k - count, k + count + 1, volume.shape[2]
    if low >= 0 and high <= depth:
        return volume[..., low:high].movedim(-1, 0)
    return volume[..., [min(max(n, 0), depth - 1) for n in range(low, high)]].movedim(-1, 0)


class CutPatchd(MapTransform):  # type: ignore[misc]
    """Of each key that there is the patch that data["cut"] describes, alike for all of them."""

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        there = [key for key in self.key_iterator(dict(data)) if data[key] is not None]
        return {**data, **{key: data["cut"].of(data[key]) for key in there}}


class PairedSamples(Dataset[dict[str, Tensor]]):
    """Input/target patches. Sample n of the run belongs to group n mod (number of groups): groups count equally,
    however many slices or repeats they have, and also where an epoch is shorter than the list of groups. A patch is
    centred on tissue as often as `samples.tissue` says, else it lies anywhere.

    Items: {"input": (1,*patch), or (2n+1,*patch) with n neighbouring slices on either side, "target": (1,*patch)}
    float32. Where any case has a placement (and the recipe aligns), also "carry" (d,d+1): index in the target's patch
    → index in the input's; "match" (2,): gain and offset from the input's intensity to the target's; "box" (d,2): the
    first and last index of the patch that the scan covers. Where the second view is made of the first, also what its
    transform adds (`core.second_views`)."""

    def __init__(self, cases: Sequence[Case], recipe: Recipe, *, length: int, stream: int = 0) -> None:
        if not cases:
            raise UsageError(
                f"No group serves as training data for pairs: {recipe.pairs} and modality {recipe.modality}. "
                "Repeats need at least two scans a group, and a check that found them fit; the other ways one; see the "
                "manifest."
            )
        without = [case.group for case in cases if case.truth is None]
        if recipe.targets == "clean" and recipe.pairs != "corrupt" and without:
            raise UsageError(
                f"targets: clean needs a truth for every group, as `medn2n simulate` writes it; group {without[0]} has "
                "none in the place of its scans. Leave it out, or set targets=noisy."
            )
        by_group: dict[str, list[Case]] = {}
        for case in cases:
            by_group.setdefault(case.group, []).append(case)
        self.names = sorted(by_group)
        self.groups = [by_group[name] for name in self.names]
        self.length = length
        self.first = 0
        self._seed = (recipe.seed, stream)
        self._dims = recipe.network.dims
        self._recipe = recipe.samples
        self._pairs = recipe.pairs
        self._aligns = recipe.align != "off" and any(case.placement is not None for case in cases)
        self._slice_weights: dict[Case, npt.NDArray[np.float64]] = {}
        self.transform = sample_pipeline(recipe)

    def __len__(self) -> int:
        return self.length

    def start_at(self, sample: int) -> None:
        """Count from that sample of the run on."""
        self.first = sample

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        visit, position = divmod(self.first + index, len(self.groups))
        group = self.groups[position]
        generator = np.random.default_rng((*self._seed, zlib.crc32(self.names[position].encode()), visit))
        case = group[int(generator.integers(len(group)))]
        pairs = [(r, r) for r in range(len(case.image))] if self._pairs in SINGLE_VIEWS else case.pairs()
        centre = self._centre(case, generator)
        cut = self._cut(case, centre, generator)
        data = {
            "image": case.image,
            "truth": case.truth,
            "noise": case.noise,
            "level": case.level,
            "mark": case.mark,
            "pair": pairs[visit % len(pairs)],
            "slices": self._slices(case, centre[2], generator),
            "cut": cut,
            "seed": int(generator.integers(2**63)),
        }
        made = self.transform(data)
        sample: dict[str, Tensor] = {key: made[key] for key in SAMPLE_KEYS if key in made}
        return sample | (self._placed(case, data, cut) if self._aligns else {})

    def _slices(self, case: Case, k: int, generator: np.random.Generator) -> tuple[int, int]:
        """Of input and target: the same, or neighbours where those pass for repeats."""
        depth = case.image.shape[3]
        if self._pairs != "neighbours":
            return k, k
        step = 1 if k == 0 else -1 if k == depth - 1 else int(generator.choice((-1, 1)))
        return k, k + step

    def _centre(self, case: Case, generator: np.random.Generator) -> tuple[int, int, int]:
        """The voxel that a patch is to be centred on: in tissue, each of its blocks as often as it holds tissue, or
        such that the patch lies anywhere inside."""
        centres, weights = case.centres(), self._weights(case)
        if weights is None or generator.random() >= self._recipe.tissue:
            edge = self._recipe.patch
            i, j, k = (int(generator.integers(max(1, n - edge + 1))) + edge // 2 for n in case.image.shape[1:])
            return i, j, k if self._dims == 3 else centres[int(generator.integers(len(centres)))]
        assert case.tissue is not None
        k = centres[_drawn(weights, generator)]
        blocks = case.tissue[..., k].numpy()
        i, j = divmod(_drawn(blocks.ravel(), generator), blocks.shape[1])
        inside = generator.integers(BLOCK, size=2)
        return BLOCK * i + int(inside[0]), BLOCK * j + int(inside[1]), k

    def _weights(self, case: Case) -> npt.NDArray[np.float64] | None:
        """How much tissue each slice that may be the centre holds; None where none is known."""
        if case.tissue is None:
            return None
        if case not in self._slice_weights:
            whole = case.tissue.sum(dim=(0, 1), dtype=torch.float64).numpy()
            self._slice_weights[case] = whole[list(case.centres())]
        weights = self._slice_weights[case]
        return weights if weights.sum() > 0 else None

    def _cut(self, case: Case, centre: tuple[int, int, int], generator: np.random.Generator) -> Cut:
        """A patch as near to the centre as the scan allows, turned and mirrored by chance."""
        edge = self._recipe.patch
        start = tuple(
            min(max(at - edge // 2, 0), size - edge) if size >= edge else -((edge - size) // 2)
            for at, size in zip(centre[: self._dims], case.image.shape[1:], strict=False)
        )
        swapped, back = _lie(self._recipe, self._dims, generator)
        return Cut(edge=edge, start=start, swapped=swapped, reversed=back)

    def _placed(self, case: Case, data: Mapping[str, Any], cut: Cut) -> dict[str, Tensor]:
        """How one patch's input and target lie: what moved, seen through the cut."""
        dims, size = self._dims, case.image.shape[1:]
        matrix, match = self._between(case, data)
        box = np.tile([0.0, cut.edge - 1.0], (dims, 1))
        if not np.array_equal(matrix, np.eye(dims, dims + 1)):
            scan = cut.index_map()
            back = np.linalg.inv(scan)
            matrix = (back @ np.vstack([matrix, np.eye(dims + 1)[dims]]) @ scan)[:dims]
            ends = back[:dims, :dims] @ np.array([[0, n - 1] for n in size[:dims]]) + back[:dims, dims:]
            box = np.stack([np.maximum(ends.min(axis=1), 0), np.minimum(ends.max(axis=1), cut.edge - 1)], axis=1)
        return {
            "carry": torch.as_tensor(matrix, dtype=torch.float32),
            "match": torch.tensor(match),
            "box": torch.as_tensor(box, dtype=torch.float32),
        }

    def _between(self, case: Case, data: Mapping[str, Any]) -> tuple[npt.NDArray[np.float64], tuple[float, float]]:
        """How the input of a sample has to be moved and brightened to match its target."""
        if case.placement is None:
            return np.eye(self._dims, self._dims + 1), (1.0, 0.0)
        first, second = data["pair"]
        matrix = case.placement.between(first, second, slice_number=data["slices"][0] if self._dims == 2 else None)
        return matrix, case.placement.match(first, second)


def _lie(samples: Samples, dims: int, generator: np.random.Generator) -> tuple[bool, tuple[bool, ...]]:
    """Whether the first two axes change places, and which are reversed then: each way that turns by quarters, or
    mirrors, or both allow, as often as any other."""
    turn = int(generator.integers(4)) if samples.rotate else 0
    back = [turn in (2, 3), turn in (1, 2), False][:dims]
    if samples.flip:
        back = [bool(side) != mirrored for side, mirrored in zip(back, generator.integers(2, size=dims), strict=True)]
    return turn in (1, 3), tuple(back)


def _drawn(weights: npt.NDArray[np.float64], generator: np.random.Generator) -> int:
    """An index, each as often as its weight says."""
    sums = np.cumsum(weights)
    return min(int(np.searchsorted(sums, generator.random() * sums[-1], side="right")), len(sums) - 1)


def sample_pipeline(recipe: Recipe) -> Compose:
    """What makes a patch of a case, as MONAI dictionary transforms. Where the two views lie was drawn before, once for
    all keys; a second view that is made of the first draws from data["seed"]."""
    pairing = PairRepeatsd(
        dims=recipe.network.dims, clean_targets=recipe.targets == "clean", neighbours=recipe.network.neighbours
    )
    return Compose([pairing, CutPatchd(["input", "target", "level"]), *second_view(recipe)])
