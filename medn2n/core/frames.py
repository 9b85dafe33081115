"""Which frames of a 4D series show the same signal: steady state reached, same diffusion weighting, same level."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from medn2n.core.body import tissue_mask

STEADY_SHARE = 0.03  # the first volumes before T1 saturation are brighter by 5-60 %; drift of a series stays below 2 %
STEADY_SPREADS = 5.0  # a level this many robust standard deviations off is no drift either
MOST_UNSTEADY = 10  # longer approaches to steady state do not occur at TR ≥ 0.5 s
LEVEL_GAP = 0.10  # between b-values, echoes or contrast phases; repeats of one weighting lie within a few per cent
SAME_B = 25.0  # s/mm²: scanners write 0, 5 or 995 for what was asked as 0 and 1000
SAME_DIRECTION = 0.9994  # |cosine|, 2 degrees: opposite directions weight alike
LEAST_ALTERNATING = 8  # frames: with fewer, noise alternates too often by chance
ALTERNATING_ERRORS = 6.0  # of the mean; label and control of ASL differ by 1 %, far above the wander of a level
ALTERNATING_SHARE = 0.002  # of the level; half the least of ASL, and more than rounding to whole numbers makes
ZERO_B = 50.0  # below this the direction does not matter


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameGroups:
    """groups: frame indices that show one signal, each in time order. unsteady: leading frames left out."""

    groups: tuple[tuple[int, ...], ...]
    unsteady: tuple[int, ...]


def frame_levels(voxels: npt.NDArray[Any], air: float = 0.0) -> npt.NDArray[np.float64]:
    """Median tissue value of each frame of (I,J,K,T), with one tissue mask for all: that of the mean. air: what it is
    told from; water's 0 HU would be no level."""
    tissue = tissue_mask(voxels.mean(axis=3))
    return np.array([float(np.median(voxels[..., t][tissue])) - air for t in range(voxels.shape[3])])


def unsteady_frames(levels: Sequence[float]) -> int:
    """How many leading frames were taken before steady state, never more than their level shows. Fewer than four
    frames cannot tell."""
    values = np.asarray(levels, dtype=float)
    if len(values) < 4:
        return 0
    settled = values[min(MOST_UNSTEADY, len(values) // 2) :]
    middle = float(np.median(settled))
    spread = 1.4826 * float(np.median(np.abs(settled - middle)))
    limit = max(STEADY_SHARE * abs(middle), STEADY_SPREADS * spread)
    count = 0
    while count < min(MOST_UNSTEADY, len(values) // 2) and abs(values[count] - middle) > limit:
        count += 1
    return count


def by_level(frames: Sequence[int], levels: Sequence[float]) -> list[tuple[int, ...]]:
    """Frames split wherever their sorted levels leave a gap of more than 10 %."""
    order = sorted(frames, key=lambda t: levels[t])
    groups: list[list[int]] = []
    for frame in order:
        apart = groups and levels[frame] - levels[groups[-1][-1]] > LEVEL_GAP * abs(levels[frame])
        if not groups or apart:
            groups.append([])
        groups[-1].append(frame)
    return sorted(tuple(sorted(group)) for group in groups)


def alternates(levels: Sequence[float]) -> bool:
    """True where every other frame is brighter: label and control of arterial spin labelling."""
    values = np.asarray(levels, dtype=float)
    if len(values) < LEAST_ALTERNATING:
        return False
    against = values[1:-1] - (values[:-2] + values[2:]) / 2  # each frame against its neighbours: blind to drift
    signed = against * (-1.0) ** np.arange(len(against))
    error = float(np.std(signed, ddof=1)) / np.sqrt(len(signed) / 3)  # each level is in three of them
    limit = max(ALTERNATING_ERRORS * error, ALTERNATING_SHARE * abs(float(values.mean())))
    return bool(abs(float(signed.mean())) > limit)


def by_gradient(b_values: Sequence[float], directions: Sequence[Sequence[float]] | None) -> list[tuple[int, ...]]:
    """Frames with the same b-value and the same direction or its opposite; without directions, only b ≈ 0."""
    groups: list[list[int]] = []
    for frame in range(len(b_values)):
        home = next((g for g in groups if _same_weighting(g[0], frame, b_values, directions)), None)
        if home is None:
            groups.append([frame])
        else:
            home.append(frame)
    return [tuple(group) for group in groups if b_value_known(b_values[group[0]])]


def b_value_known(b_value: float) -> bool:
    """False for NaN and negative entries."""
    return bool(b_value >= 0)


def _same_weighting(
    first: int, second: int, b_values: Sequence[float], directions: Sequence[Sequence[float]] | None
) -> bool:
    if abs(b_values[first] - b_values[second]) > SAME_B:
        return False
    if max(b_values[first], b_values[second]) < ZERO_B:
        return True
    if directions is None:
        return False
    ones, twos = np.asarray(directions[first], float), np.asarray(directions[second], float)
    lengths = float(np.linalg.norm(ones) * np.linalg.norm(twos))
    return lengths > 0 and abs(float(ones @ twos)) / lengths >= SAME_DIRECTION


def group_frames(
    levels: Sequence[float],
    b_values: Sequence[float] | None = None,
    directions: Sequence[Sequence[float]] | None = None,
) -> FrameGroups:
    """Groups of frames that may be repeats. With a gradient table it alone decides; else the levels do, after the
    leading frames before steady state are left out, and the turn of the frames where the levels alternate."""
    if b_values is not None:
        return FrameGroups(groups=tuple(by_gradient(b_values, directions)), unsteady=())
    dropped = unsteady_frames(levels)
    rest = range(dropped, len(levels))
    turns = [rest[::2], rest[1::2]] if alternates(levels[dropped:]) else [rest]
    groups = sorted(group for turn in turns for group in by_level(turn, levels))
    return FrameGroups(groups=tuple(groups), unsteady=tuple(range(dropped)))


def typical_frame(voxels: npt.NDArray[Any]) -> int:
    """Index of the frame of (I,J,K,T) that lies nearest to the voxelwise median: the one to check others against,
    so that a single moved frame does not condemn the series."""
    middle = np.median(voxels, axis=3)
    return int(np.argmin([float(np.mean(np.abs(voxels[..., t] - middle))) for t in range(voxels.shape[3])]))
