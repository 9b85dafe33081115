"""The gates of `evaluate` that a truth or repeats tell.

error      the error left must not be larger than the noisy scan's. A truth tells it exactly, over the body and over all
           voxels; without one repeats do, by `share` and its interval
anatomy    what was removed from two repeats alike, which is no noise: `residual_share` and its interval

Repeats that may share noise tell neither: what they share counts as the object, so that a method which takes noise away
is charged with it. How the limits were chosen is in medn2n/docs/gates.md.
"""

from __future__ import annotations

from collections.abc import Mapping

from medn2n.core.body_error import Interval, TrueError
from medn2n.core.limits import TOO_UNCERTAIN, Gate, Limits, unmeasured

ERROR_GATES = ("error", "anatomy")
# In words, and in short.
NOTHING = ("Not measured: neither a truth nor a repeat is at hand.", "no truth or repeat")
NO_REPEAT = ("Not measured: no repeat is at hand.", "no repeat")
UNPROVEN = (
    "Not measured: the noise of these repeats is not proven independent.", "noise of the repeats not proven independent"
)  # fmt: skip
ROUNDING = 1e-6  # of the share of a copy that is the scan itself


def error_gates(
    modality: str,
    true: TrueError | None,
    figures: Mapping[str, float],
    intervals: Mapping[str, Interval],
    *,
    proven: bool,
    limits: Limits,
) -> list[Gate]:
    """ERROR_GATES in that order; of photographs the first alone, and only where a truth tells it, since repeats of
    lettering or impulses need not have the clean picture as their mean. true: against a truth, which decides where
    there is one. figures, intervals: with those of `core.repeat_figures` where there are repeats; proven: whether their
    noise is independent."""
    if modality == "PHOTO":
        return [] if true is None else [_true_error(true, limits.error_left)]
    repeats = "share" in figures
    told = repeats and proven
    if true is not None:
        error = _true_error(true, limits.error_left)
    elif told:
        known = [name for name in ("share", "share_three") if name in intervals]
        best = min(known, key=lambda name: intervals[name][1] - intervals[name][0])  # what is known best decides
        error = _estimated_error(figures[best], intervals[best], limits.error_left)
    else:
        error = unmeasured("error", "", *(UNPROVEN if repeats else NOTHING))
    if told:
        return [error, _anatomy(figures["residual_share"], intervals["residual_share"], limits.residual_share)]
    return [error, unmeasured("anatomy", "", *(UNPROVEN if repeats else NO_REPEAT))]


def _true_error(true: TrueError, limit: float) -> Gate:
    body, worst = true.figures["share_true"], true.worst_share
    words = (
        f"The squared error against the truth is {100 * body:.0f} % of the noisy scan's over the body and "
        f"{100 * true.share_everywhere:.0f} % over all voxels; more than {100 * limit:g} % is not allowed."
    )
    return Gate(
        name="error", passed=worst <= limit * (1 + ROUNDING), value=worst, limit=limit, excess=worst / limit, unit="",
        words=words,
    )  # fmt: skip


def _estimated_error(share: float, interval: Interval, limit: float) -> Gate:
    words = (
        f"The squared error, estimated from repeats, is {_percent(share, interval)} of the noisy scan's; more than "
        f"{100 * limit:g} % is not allowed"
    )
    return _gate("error", share, interval, limit, words)


def _anatomy(share: float, interval: Interval, limit: float) -> Gate:
    words = (
        f"What was removed from two repeats alike, or shown in both though neither holds it, is "
        f"{_percent(share, interval)} of the noise's variance; at most {100 * limit:g} % is allowed"
    )
    return _gate("anatomy", share, interval, limit, words)


def _gate(name: str, share: float, interval: Interval, limit: float, words: str) -> Gate:
    """Failed where the interval's lower end lies beyond the limit; held where the share lies within and is known that
    well."""
    low, high = interval
    held = share <= limit * (1 + ROUNDING) and high - share <= limit
    passed = False if low > limit * (1 + ROUNDING) else bool(held) or None
    why = TOO_UNCERTAIN if passed is None else ""
    words += f"{why and f', which is {why} to tell'}."
    return Gate(name=name, passed=passed, value=share, limit=limit, excess=low / limit, unit="", words=words, why=why)


def _percent(share: float, interval: Interval) -> str:
    low, high = interval
    return f"{100 * share:.0f} % [{100 * low:.0f}, {100 * high:.0f}]"
