"""Error of a method that sees all frames of a series at once: scored against frames that it did not see.

A method that averages or fits over time has the target's noise in its output, and the estimate from repeats then takes
what it kept of that noise for agreement with the truth: the more it kept, the better it looks.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from medn2n.core.repeat_error import Mask, RepeatError, error_from_repeats

Array = npt.NDArray[Any]
Method = Callable[[Array], Array]


def leave_one_out(frames: Array, method: Method, *, mask: Mask | None = None, pairs: int | None = None) -> RepeatError:
    """Mean squared error, in unit², of the frames that `method` ((I,J,K,T) → the same shape) denoises together.

    Of neighbouring frames s and t, t is denoised in the series without s, s in the series without t, and the two are
    scored as two repeats are (`error_from_repeats`: equal noise, same object in both). That is the error with T − 1
    frames, a little more than with all. pairs: how many such pairs, spread evenly over the series; all T // 2 if not
    given. The method runs twice for each. mask: (I,J,K). ValueError below three frames, or where the shape changes.
    """
    count = frames.shape[3] if frames.ndim == 4 else 0
    if count < 3:
        raise ValueError(f"leave_one_out: expected (I,J,K,T) with three frames or more, found shape {frames.shape}")
    most = count // 2
    starts = 2 * np.unique(np.linspace(0, most - 1, min(pairs or most, most)).round().astype(np.int64))
    first, second = frames[..., starts], frames[..., starts + 1]
    denoised = [_without(frames, int(start), int(start) + 1, method) for start in starts]
    other = [_without(frames, int(start) + 1, int(start), method) for start in starts]
    counted = None if mask is None else np.broadcast_to(mask[..., None], first.shape)
    return error_from_repeats(first, second, np.stack(denoised, axis=-1), np.stack(other, axis=-1), mask=counted)


def _without(frames: Array, kept: int, held_out: int, method: Method) -> Array:
    """Frame `kept` as `method` denoises it in the series without frame `held_out`."""
    rest = np.delete(frames, held_out, axis=3)
    found = method(rest)
    if found.shape != rest.shape:
        raise ValueError(f"leave_one_out: the method turned shape {rest.shape} into {found.shape}")
    return np.asarray(found[..., kept - (held_out < kept)])
