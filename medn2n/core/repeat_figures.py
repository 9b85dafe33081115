"""What repeats of one object tell of a method, without a truth: the error it leaves, and what it took besides noise.

Figures (CT in HU, MR in units of the mean's 99.9th percentile), all over the body: outside it magnitude MR's noise has
a mean of its own, which an independent repeat shares.
    share, body_rmse_estimated, body_psnr_db_estimated     error left, from two repeats (`core.body_error`)
    share_three, rmse_three        the same from a third and a second repeat, which needs no equal noise
    residual_correlation, residual_anatomy, residual_worst    what two removals share, over the body and in the region
                                   where it is most beyond chance (`core.residuals`)
    residual_share                 the square of residual_anatomy over the noise's variance: the part of `share` that is
                                   the same in every repeat
    removed_low                    power of what was removed over the noise's, in the lowest band of frequencies
    uncertainty                    mean standard deviation of the denoised scan from repeat to repeat
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from medn2n.core.body_error import Interval, Mask, common_body, estimated_figures, mean_of_two
from medn2n.core.classical import without_padding
from medn2n.core.evaluation import truth_scale
from medn2n.core.noise_power import NoisePower, power_of_repeats
from medn2n.core.repeat_error import error_from_repeats, error_from_three_repeats
from medn2n.core.residuals import (
    Band,
    ResidualAnatomy,
    region_map,
    removed_spectrum,
    residual_anatomy,
    uncertainty_map,
)
from medn2n.core.series_error import leave_one_out
from medn2n.core.volume import FloatArray, Volume

SIDES = (64, 32, 16)  # pixels of the squares that a noise spectrum is measured in: the largest of which enough fit
FEWEST_SQUARES = 8
PAIRS_TOGETHER = 1  # of repeats that are scored; the method, which is slow, runs twice for each


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RepeatFigures:
    """figures, and intervals of 95 %. bands: spectrum of what was removed. power_before, power_after: noise power
    spectra from what differs between the repeats, None where no square fits. uncertainty: (I,J,K) in the scan's unit.
    shared: (I,J,K), what two removals have in common, by region (`residuals.region_map`)."""

    figures: dict[str, float]
    intervals: dict[str, Interval]
    bands: tuple[Band, ...]
    power_before: NoisePower | None
    power_after: NoisePower | None
    uncertainty: npt.NDArray[np.float64]
    shared: npt.NDArray[np.float64]


def repeat_figures(scans: Sequence[Volume], denoised_first: Volume, denoised_second: Volume) -> RepeatFigures:
    """scans: two repeats (I,J,K) or more on one grid; the first two were denoised."""
    first, second = scans[:2]
    four = (first.filled(), second.filled(), denoised_first.filled(), denoised_second.filled())
    mean = mean_of_two(scans)
    mask = common_body(mean, scans)
    scale = truth_scale(mean, first.modality)
    error = error_from_repeats(*four, mask=mask)
    figures, intervals = estimated_figures(error, mean, first.modality)
    if len(scans) > 2:
        third = error_from_three_repeats(*four[:2], scans[2].filled(), four[2], mask=mask)
        more, about = estimated_figures(third, mean, first.modality)
        figures |= {"share_three": more["share"], "rmse_three": more["body_rmse_estimated"]}
        intervals |= {"share_three": about["share"], "rmse_three": about["body_rmse_estimated"]}
    anatomy = residual_anatomy(*four, where=mask, spacing_mm=first.spacing_mm)
    shared, around = _shared(anatomy, scale, error.noisy_mse)
    figures, intervals = figures | shared, intervals | around
    bands = removed_spectrum(*four, where=mask, spacing_mm=first.spacing_mm[:2])
    if bands:
        figures["removed_low"], intervals["removed_low"] = bands[0].ratio, bands[0].interval
    uncertainty = uncertainty_map(*four[2:])
    figures["uncertainty"] = float(uncertainty[mask].mean()) / scale
    return RepeatFigures(
        figures=figures,
        intervals=intervals,
        bands=bands,
        power_before=_power(first, second, mask),
        power_after=_power(denoised_first, denoised_second, mask),
        uncertainty=uncertainty,
        shared=region_map(anatomy, mask.shape),
    )


def _shared(found: ResidualAnatomy, scale: float, noise: float) -> tuple[dict[str, float], dict[str, Interval]]:
    """The residual figures and their intervals. noise: its variance, in the scan's unit²."""
    (low, high), spread = found.anatomy_interval, 1.96 * found.error
    share, *ends = (value * abs(value) / noise for value in (found.anatomy, low, high))
    figures = {
        "residual_correlation": found.correlation,
        "residual_anatomy": found.anatomy / scale,
        "residual_share": share,
    }
    if found.worst >= 0:
        figures["residual_worst"] = float(found.anatomies[found.worst]) / scale
        figures["residual_found"] = float(found.found)
    return figures, {
        "residual_correlation": (found.correlation - spread, found.correlation + spread),
        "residual_anatomy": (low / scale, high / scale),
        "residual_share": (ends[0], ends[1]),
    }


def figures_together(
    scans: Sequence[Volume], method: Callable[[FloatArray], FloatArray]
) -> tuple[dict[str, float], dict[str, Interval]]:
    """share, body_rmse_estimated, body_psnr_db_estimated of a method that is given all repeats (I,J,K,T) at once and
    gives as many: each that is scored is denoised without the one that it is scored by (`core.series_error`).
    ValueError below three repeats."""
    frames = np.stack([without_padding(scan) for scan in scans], axis=-1)
    mean = frames.mean(axis=3)
    error = leave_one_out(frames, method, mask=common_body(mean, scans), pairs=PAIRS_TOGETHER)
    return estimated_figures(error, mean, scans[0].modality)


def _power(first: Volume, second: Volume, mask: Mask) -> NoisePower | None:
    pair = np.stack([first.filled(), second.filled()])
    for side in SIDES:
        try:
            found = power_of_repeats(pair, first.spacing_mm[:2], where=mask, side=side)
        except ValueError:
            continue
        if found.regions >= FEWEST_SQUARES or side == SIDES[-1]:
            return found
    return None
