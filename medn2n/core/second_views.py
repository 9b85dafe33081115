"""How the second view of an object arises where there is one scan of it: MONAI transforms after the patch is cut.

Each takes data["input"] (C,*patch) and data["target"] (1,*patch), the same patch of one scan, and data["seed"], from
which alone it draws; each says what it asks of the noise in `STRATEGIES`, which the docs print and
`core.noise_texture` checks. Real repeats need none of them.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from monai.transforms import MapTransform
from torch import Tensor

from medn2n.config import Recipe
from medn2n.core.corruption import Corrupted, Corruption, Levels, Watermark, corrupt, corruption_of, of_a_pair
from medn2n.core.kspace_keeping import EDGE_CHANCE, undersampled
from medn2n.core.textured_noise import textured_noise

FloatArray = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True)
class Strategy:
    """One way in which pairs arise. second_view: what the target is. asks: of the noise. source: the paper."""

    second_view: str
    asks: str
    source: str


STRATEGIES: dict[str, Strategy] = {
    "repeats": Strategy(
        second_view="another measurement of the same object",
        asks="independent between the two, mean zero about the same signal; any texture, any level",
        source="Lehtinen et al. 2018 (Noise2Noise)",
    ),
    "simulate": Strategy(
        second_view="another simulated measurement of the same scan",
        asks="the simulated noise is like the real one, and well above what the scan has of its own",
        source="Lehtinen et al. 2018",
    ),
    "corrupt": Strategy(
        second_view="another corruption of the same clean picture",
        asks="a clean picture; the loss's optimum over the corrupted ones is the clean one",
        source="Lehtinen et al. 2018, §3",
    ),
    "neighbours": Strategy(
        second_view="the next slice",
        asks="shown to be independent between slices, whose anatomy hardly differs: slices apart, yet near",
        source="Wu et al. 2019; Niu et al. 2022 (Noise2Sim)",
    ),
    "added_noise": Strategy(
        second_view="the scan itself; the input is the scan with more noise of its own kind",
        asks="one texture, a level that varies smoothly, and additive: not magnitude MR near its noise",
        source="Moran et al. 2020 (Noisier2Noise); Pang et al. 2021 (Recorrupted2Recorrupted)",
    ),
    "subsample": Strategy(
        second_view="the neighbouring pixels",
        asks="independent between neighbouring pixels: no reconstruction kernel, no interpolation",
        source="Huang et al. 2021 (Neighbor2Neighbor)",
    ),
    "blind_spot": Strategy(
        second_view="the pixel itself, which the input does not show",
        asks="independent between pixels, as for subsample",
        source="Krull et al. 2019 (Noise2Void)",
    ),
}
SINGLE_VIEWS = ("corrupt", "neighbours", "added_noise", "subsample", "blind_spot")


class CorruptTwiced(MapTransform):  # type: ignore[misc]  # monai has no types
    """Input and target each corrupted by a draw of its own (`corruption.of_a_pair`); a clean target stays as it is.
    data["mark"], (I,J) or None, is the watermark to use, else each is drawn. Adds data["valid"], (1,*patch) 1 where
    the target is still a measurement, of corruptions that erase pixels."""

    def __init__(self, corruption: Corruption, levels: Levels, *, clean_targets: bool = False) -> None:
        super().__init__(keys=["input", "target"])
        self.corruption, self.levels, self.clean_targets = corruption, levels, clean_targets

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        generator = np.random.default_rng(data["seed"])
        corruption = of_a_pair(self._under(data.get("mark")), generator)
        noisy = self._drawn(data["input"], corruption, generator)
        if self.clean_targets:
            return {**data, "input": _tensor(noisy.image)}
        target = self._drawn(data["target"], corruption, generator)
        made = {**data, "input": _tensor(noisy.image), "target": _tensor(target.image)}
        return made if target.valid is None else {**made, "valid": _tensor(target.valid)}

    def _under(self, mark: Tensor | None) -> Corruption:
        """Under a given mark, some patches have none: it may be larger than a patch, and cover most of it."""
        if mark is None or not isinstance(self.corruption, Watermark):
            return self.corruption
        return replace(self.corruption, mark=mark.numpy(), marks=(0, 2))

    def _drawn(self, image: Tensor, corruption: Corruption, generator: np.random.Generator) -> Corrupted:
        """(C,*patch) with a draw for each channel, or for each slice of a block."""
        planes = (
            image.numpy().reshape(-1, *image.shape[1:3]) if image.dim() == 3 else image.numpy()[0].transpose(2, 0, 1)
        )
        made = corrupt(planes.transpose(1, 2, 0), corruption, generator, levels=self.levels)

        def back(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
            return array.transpose(2, 0, 1) if image.dim() == 3 else array[None]

        return Corrupted(image=back(made.image), valid=None if made.valid is None else back(made.valid))


class UndersampleTwiced(MapTransform):  # type: ignore[misc]
    """Input and target (1,I,J) each from a draw of its own of the frequencies of the same real image, which was first
    shifted around its edges by up to `shift` pixels each way; a clean target stays whole. Adds what the loss puts back
    into the network's output: data["measured"], (1,I,J) complex, the input's own frequencies, and data["kept"],
    (1,I,J) 1 where there is one (Lehtinen 2018, §3.4)."""

    def __init__(self, *, edge: float, shift: int = 64, clean_targets: bool = False) -> None:
        super().__init__(keys=["input", "target"])
        self.edge, self.shift, self.clean_targets = edge, shift, clean_targets

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        generator = np.random.default_rng(data["seed"])
        by = generator.integers(-self.shift, self.shift + 1, size=2)
        first, second = (np.roll(data[key][0].numpy(), by, axis=(0, 1)) for key in ("input", "target"))
        seen = undersampled(first, generator, edge=self.edge)
        target = second if self.clean_targets else undersampled(second, generator, edge=self.edge).image
        return {
            **data,
            "input": _tensor(seen.image[None]),
            "target": _tensor(target[None]),
            "measured": torch.from_numpy(seen.measured[None].astype(np.complex64)),
            "kept": _tensor(seen.kept[None]),
        }


class AddNoised(MapTransform):  # type: ignore[misc]
    """input + alpha times noise of the scan's own texture and level: white noise under data["noise"] (S,S), a kernel
    that lies as the scan does and is turned and mirrored as data["cut"] was, times data["level"], of the input's shape,
    or None for one level everywhere."""

    def __init__(self, *, alpha: float) -> None:
        super().__init__(keys=["input"])
        self.alpha = alpha

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        image = data["input"]  # (C,I,J), or (1,I,J,K) whose planes are drawn first
        shape = image.shape if image.dim() == 3 else image[0].movedim(-1, 0).shape
        kernel = data["cut"].turned(data["noise"][None])[0].numpy()
        drawn = torch.from_numpy(textured_noise(kernel, tuple(shape), np.random.default_rng(data["seed"])))
        noise = drawn if image.dim() == 3 else drawn.movedim(0, -1)[None]
        level = 1.0 if data["level"] is None else data["level"]
        return {**data, "input": (image + self.alpha * level * noise).contiguous()}


class SubsamplePaird(MapTransform):  # type: ignore[misc]
    """Of each cell of 2×2 pixels two neighbours: one goes to the input, the other to the target, both of half the
    edge. The regulariser gets data["whole"] (1,*patch), and "first" and "second", the two's places in their cells,
    0 to 3 row by row (Huang 2021, §3.2). 2D; an odd last row or column is left out."""

    _NEIGHBOURS = np.array([[1, 2], [0, 3], [0, 3], [1, 2]])

    def __init__(self) -> None:
        super().__init__(keys=["input", "target"])

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        generator = np.random.default_rng(data["seed"])
        whole = data["target"][:, : data["target"].shape[1] // 2 * 2, : data["target"].shape[2] // 2 * 2]
        cells = (1, whole.shape[1] // 2, whole.shape[2] // 2)
        first = generator.integers(4, size=cells)
        second = self._NEIGHBOURS[first, generator.integers(2, size=cells)]
        ones, twos = torch.from_numpy(first), torch.from_numpy(second)
        return {
            **data,
            "input": subsampled(whole[None], ones[None])[0],
            "target": subsampled(whole[None], twos[None])[0],
            "whole": whole.contiguous(),
            "first": ones,
            "second": twos,
        }


def subsampled(image: Tensor, places: Tensor) -> Tensor:
    """(B,1,2I,2J), (B,1,I,J) of 0 to 3 → (B,1,I,J): of each cell of 2×2 pixels the one at its place."""
    cells = torch.nn.functional.pixel_unshuffle(image, 2)  # (B,4,I,J), row by row
    return cells.gather(1, places)


class BlindSpotd(MapTransform):  # type: ignore[misc]
    """A share of the input's pixels is replaced by another pixel within `radius`; data["valid"] is 1 there, and the
    loss counts there alone (Krull 2019, uniform pixel selection). Of neighbouring slices, those stay as they are."""

    def __init__(self, *, share: float, radius: int) -> None:
        super().__init__(keys=["input"])
        self.share, self.radius = share, radius

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        generator = np.random.default_rng(data["seed"])
        image = data["input"].numpy().copy()
        middle = image[len(image) // 2]
        hidden = np.nonzero(generator.random(middle.shape) < self.share)
        moves = generator.integers(-self.radius, self.radius + 1, size=(middle.ndim, len(hidden[0])))
        still = ~moves.any(axis=0)
        moves[0, still] = 1  # never the pixel itself
        there = []
        for at, move, size in zip(hidden, moves, middle.shape, strict=True):
            moved = at + move
            there.append(np.where((moved < 0) | (moved >= size), at - move, moved))
        before = middle.copy()
        middle[hidden] = before[tuple(there)]
        valid = np.zeros(middle.shape, np.float32)
        valid[hidden] = 1
        return {**data, "input": torch.from_numpy(image), "valid": torch.from_numpy(valid[None])}


def second_view(recipe: Recipe) -> list[MapTransform]:
    """The transforms, none or one, that a recipe's `pairs` adds to the cut patch."""
    if recipe.pairs == "corrupt":
        assert recipe.corrupt is not None  # the recipe was validated
        if recipe.corrupt.kind == "kspace":
            edge = recipe.corrupt.p_edge or EDGE_CHANCE
            return [UndersampleTwiced(edge=edge, clean_targets=recipe.targets == "clean")]
        corruption = corruption_of(recipe.corrupt)
        return [CorruptTwiced(corruption, network_levels(recipe), clean_targets=recipe.targets == "clean")]
    if recipe.pairs == "added_noise":
        return [AddNoised(alpha=recipe.added_noise.alpha)]
    if recipe.pairs == "subsample":
        return [SubsamplePaird()]
    if recipe.pairs == "blind_spot":
        return [BlindSpotd(share=recipe.blind_spot.share, radius=recipe.blind_spot.radius)]
    return []


def network_levels(recipe: Recipe) -> Levels:
    """Black and white in network units: of photographs 0 and 255, of CT −1000 and 1000 HU, of MR 0 and what the scaling
    brings to 1."""
    if recipe.scaling.kind == "percentile":
        return Levels(black=0.0, white=1.0)
    black, white = {"PHOTO": (0.0, 255.0), "CT": (-1000.0, 1000.0)}.get(recipe.modality, (0.0, recipe.scaling.scale))
    return Levels(
        black=(black - recipe.scaling.offset) / recipe.scaling.scale,
        white=(white - recipe.scaling.offset) / recipe.scaling.scale,
    )


def _tensor(array: npt.NDArray[Any]) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(array, dtype=np.float32))
