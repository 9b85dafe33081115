"""What repeats of one object tell of a method, without a truth: the error it leaves, and what it took besides noise.

Figures (CT in HU, MR in units of the mean's 99.9th percentile), all over the body: outside it magnitude MR's noise has
a mean of its own, which an independent repeat shares.
    share, rmse, psnr_db           error left, from two repeats (`core.repeat_error`). PSNR: CT over the width of the
                                   soft-tissue window, nothing clipped; MR with peak 1
    share_three, rmse_three        the same from a third and a second repeat, which needs no equal noise
    residual_correlation, residual_anatomy, residual_worst    what two removals share, over the body and in the region
                                   where it is most beyond chance (`core.residuals`)
    removed_low                    power of what was removed over the noise's, in the lowest band of frequencies
    uncertainty                    mean standard deviation of the denoised scan from repeat to repeat
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from medn2n.core.body import body_mask
from medn2n.core.classical import without_padding
from medn2n.core.display import SOFT_TISSUE_HU
from medn2n.core.evaluation import truth_scale
from medn2n.core.noise_power import NoisePower, power_of_repeats
from medn2n.core.repeat_error import RepeatError, error_from_repeats, error_from_three_repeats
from medn2n.core.residuals import Band, region_map, removed_spectrum, residual_anatomy, uncertainty_map
from medn2n.core.series_error import leave_one_out
from medn2n.core.volume import FloatArray, Volume

Interval = tuple[float, float]
Mask = npt.NDArray[np.bool_]
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
    mean = 0.5 * (four[0] + four[1])
    mask = _body(mean, scans)
    scale = truth_scale(mean, first.modality)
    figures, intervals = _error(error_from_repeats(*four, mask=mask), scale, first.modality)
    if len(scans) > 2:
        third = error_from_three_repeats(*four[:2], scans[2].filled(), four[2], mask=mask)
        more = _error(third, scale, first.modality)
        figures |= {f"{name}_three": more[0][name] for name in ("share", "rmse")}
        intervals |= {f"{name}_three": more[1][name] for name in ("share", "rmse")}
    anatomy = residual_anatomy(*four, where=mask, spacing_mm=first.spacing_mm)
    figures |= {"residual_correlation": anatomy.correlation, "residual_anatomy": anatomy.anatomy / scale}
    low, high = anatomy.anatomy_interval
    intervals["residual_correlation"] = (
        anatomy.correlation - 1.96 * anatomy.error, anatomy.correlation + 1.96 * anatomy.error
    )  # fmt: skip
    intervals["residual_anatomy"] = (low / scale, high / scale)
    if anatomy.worst >= 0:
        figures["residual_worst"] = float(anatomy.anatomies[anatomy.worst]) / scale
        figures["residual_found"] = float(anatomy.found)
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


def figures_together(
    scans: Sequence[Volume], method: Callable[[FloatArray], FloatArray]
) -> tuple[dict[str, float], dict[str, Interval]]:
    """share, rmse, psnr_db of a method that is given all repeats (I,J,K,T) at once and gives as many: each that is
    scored is denoised without the one that it is scored by (`core.series_error`). ValueError below three repeats."""
    frames = np.stack([without_padding(scan) for scan in scans], axis=-1)
    mean = frames.mean(axis=3)
    error = leave_one_out(frames, method, mask=_body(mean, scans), pairs=PAIRS_TOGETHER)
    return _error(error, truth_scale(mean, scans[0].modality), scans[0].modality)


def _body(mean: npt.NDArray[np.float32], scans: Sequence[Volume]) -> Mask:
    mask = body_mask(mean, scans[0].modality)
    for volume in scans[:3]:
        mask &= np.isfinite(volume.voxels)
        if volume.padding is not None:
            mask &= ~volume.padding
    return mask


def _error(error: RepeatError, scale: float, modality: str) -> tuple[dict[str, float], dict[str, Interval]]:
    root = [float(np.sqrt(max(value, 0.0))) / scale for value in (error.mse, *error.mse_interval)]
    width = SOFT_TISSUE_HU[1] - SOFT_TISSUE_HU[0] if modality == "CT" else scale
    psnr, psnr_interval = error.psnr_db(width)
    return (
        {"share": error.share, "rmse": root[0], "psnr_db": psnr},
        {"share": error.share_interval, "rmse": (root[1], root[2]), "psnr_db": psnr_interval},
    )


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
