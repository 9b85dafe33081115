"""What training draws from: the repeats of one object, as arrays that may lie in a file larger than memory."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace

from torch import Tensor

from medn2n.core.placement import Placement

BLOCK = 8  # pixels, in the image plane: where tissue lies is kept in blocks of this edge
Pair = tuple[int, int]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Case:
    """Repeats of one object in one place, in network units.

    image: (R,I,J,K) float32. truth: (1,I,J,K) or None. group: its name in the manifest; cases of one group share its
    turn. A simulated acquisition is one case with K = 1. placement: where repeats moved or differ in intensity.
    tissue: (⌈I/8⌉,⌈J/8⌉,K) share of each block of 8×8 pixels that is tissue, or None (patches then lie anywhere).
    slices: those that a sample may be centred on, None for all; the others may serve as neighbours.
    noise: (S,S) kernel of the scan's own noise, level: (1,I,J,K) how strong it is beside that, or None where alike
    everywhere (`core.noise_texture`); for training from single scans.
    mark: (I,J) coverage of the watermark that is to be learned, one for all cases: no cache keeps it.
    """

    image: Tensor
    truth: Tensor | None
    group: str
    placement: Placement | None = None
    tissue: Tensor | None = None
    slices: tuple[int, ...] | None = None
    noise: Tensor | None = None
    level: Tensor | None = None
    mark: Tensor | None = None

    def pairs(self) -> list[Pair]:
        """Every ordered pair of repeats (first, second), both roles."""
        return list(itertools.permutations(range(self.image.shape[0]), 2))

    def centres(self) -> tuple[int, ...]:
        """The slices that a sample may be centred on."""
        return tuple(range(self.image.shape[3])) if self.slices is None else self.slices

    def block(self, start: int, stop: int) -> Case:
        """The slices from `start` to before `stop` alone; nothing is copied."""
        return replace(
            self,
            image=self.image[..., start:stop],
            truth=None if self.truth is None else self.truth[..., start:stop],
            placement=None if self.placement is None else self.placement.from_slice(start),
            tissue=None if self.tissue is None else self.tissue[..., start:stop],
            level=None if self.level is None else self.level[..., start:stop],
        )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CaseSet:
    """What one training draws from: the cases of a manifest's two splits, and of digital objects."""

    training: list[Case]
    validation: list[Case]
    digital: list[Case]

    def under(self, mark: Tensor | None) -> CaseSet:
        """The same cases, to be trained on under copies of a mark; None: as they are."""
        if mark is None:
            return self
        parts = ([replace(case, mark=mark) for case in part] for part in (self.training, self.validation, self.digital))
        training, validation, digital = parts
        return CaseSet(training=training, validation=validation, digital=digital)

    def split(self, *, dims: int) -> tuple[list[Case], list[Case]]:
        """Cases to train on and to validate on; where the manifest has no validation split, slices are held out of
        the scans instead, never of digital objects."""
        training, validation = self.training, self.validation
        if training and not validation:
            training, validation = held_out_slices(training, dims=dims)
        return training + self.digital, validation


HELD_OUT_EVERY = 5


def held_out(depth: int, *, every: int = HELD_OUT_EVERY) -> list[int]:
    """The slices, of so many, that `held_out_slices` holds out for a 2D network."""
    return [k for k in range(depth) if k % every == every // 2]


def held_out_slices(cases: Sequence[Case], *, dims: int, every: int = HELD_OUT_EVERY) -> tuple[list[Case], list[Case]]:
    """Split the slices of a set that has one subject only: every fifth for validation, its neighbours for nobody (they
    are too alike), the rest for training. For a 3D network, whose slices must stay together, the last fifth of each
    volume is held out. Where all cases have few slices, the last fifth of them is held out; a single one of those is
    validated on itself (nothing is held out)."""
    if all(case.image.shape[3] < every for case in cases):
        if len(cases) == 1:
            return list(cases), []
        held_from = len(cases) - max(1, len(cases) // every)  # together: draws of one slice lie side by side
        return list(cases[:held_from]), list(cases[held_from:])
    training: list[Case] = []
    validation: list[Case] = []
    for case in cases:
        depth = case.image.shape[3]
        if dims == 3:
            held_from = depth - depth // every
            training.append(case.block(0, held_from - (held_from < depth)))
            validation += [case.block(held_from, depth)] if held_from < depth else []
            continue
        held = held_out(depth, every=every)
        kept = [k for k in range(depth) if all(abs(k - h) > 1 for h in held)]
        for target, indices in ((training, kept), (validation, held)):
            target += [replace(case, slices=tuple(indices))] if indices else []
    return training, validation
