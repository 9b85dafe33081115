"""The error over the body in one definition, so that what repeats estimate can be held beside what a truth tells.

Mask: the body in the mean of the first two repeats, or in the truth where there is one scan; padding, and what has no
number in any of the scans, left out. Nothing is clipped. Units: CT in HU, MR in units of the 99.9th percentile of that
mean or truth. PSNR: CT over the width of the soft-tissue window (400 HU), MR with peak 1.

    body_psnr_db_true, body_rmse_true, share_true       against a truth (`true_error`)
    body_psnr_db_estimated, body_rmse_estimated, share  estimated from two repeats (`estimated_figures`)

`share` is the squared error after over before. Of two repeats both kinds are the mean squared error of both denoised
scans. Repeats of magnitude MR have the mean of the magnitude as their truth, which lies above a truth without noise
where the signal is weak (`core.rician`): there the true error is the larger one by that.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from medn2n.core import metrics
from medn2n.core.body import body_mask
from medn2n.core.display import SOFT_TISSUE_HU
from medn2n.core.evaluation import truth_scale
from medn2n.core.repeat_error import RepeatError, psnr_of
from medn2n.core.volume import FloatArray, Volume
from medn2n.errors import InputError

Interval = tuple[float, float]
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True)
class TrueError:
    """Error against a truth. figures: body_psnr_db_true, body_rmse_true, share_true. share_everywhere: squared error
    after over before, over all voxels that were measured; infinite where the scan has no error and the copy has."""

    figures: dict[str, float]
    share_everywhere: float

    @property
    def worst_share(self) -> float:
        """The larger of the two shares: no error is to grow, in the body or around it."""
        return max(self.figures["share_true"], self.share_everywhere)


def mean_of_two(scans: Sequence[Volume]) -> FloatArray:
    """(I,J,K) mean of the first two repeats, in the scan's unit: where the body is told, and MR's peak."""
    return np.asarray(0.5 * (scans[0].filled() + scans[1].filled()), np.float32)


def common_body(reference: FloatArray, scans: Sequence[Volume]) -> Mask:
    """(I,J,K) bool, the body in `reference` where each of the first three scans has a number. InputError NO_VOXELS
    where none does."""
    return _some(body_mask(reference, scans[0].modality) & _measured(scans[:3]))


def estimated_figures(
    error: RepeatError, reference: FloatArray, modality: str
) -> tuple[dict[str, float], dict[str, Interval]]:
    """body_psnr_db_estimated, body_rmse_estimated, share, and their intervals of 95 %. reference: `mean_of_two`."""
    scale = truth_scale(reference, modality)
    rmse, low, high = (float(np.sqrt(max(value, 0.0))) / scale for value in (error.mse, *error.mse_interval))
    psnr, psnr_interval = error.psnr_db(_width(scale, modality))
    return (
        {"share": error.share, "body_rmse_estimated": rmse, "body_psnr_db_estimated": psnr},
        {"share": error.share_interval, "body_rmse_estimated": (low, high), "body_psnr_db_estimated": psnr_interval},
    )


def true_error(truth: Volume, scans: Sequence[Volume], denoised: Sequence[Volume]) -> TrueError:
    """scans: one, or repeats, of which the first `len(denoised)` (one or two) were denoised; all (I,J,K) on the truth's
    grid, in its unit. InputError as of `common_body`."""
    reference = mean_of_two(scans) if len(denoised) > 1 else truth.filled()
    scale = truth_scale(reference, truth.modality)
    everywhere = _measured([truth, *scans[: len(denoised)]])
    body = _some(common_body(reference, scans) & _measured([truth]))
    pairs = list(zip(scans, denoised, strict=False))
    before, after = (_squared(truth, [pair[side] for pair in pairs], body) for side in (0, 1))
    whole = [_squared(truth, [pair[side] for pair in pairs], everywhere) for side in (0, 1)]
    return TrueError(
        figures={
            "share_true": _share(before, after),
            "body_rmse_true": float(np.sqrt(after)) / scale,
            "body_psnr_db_true": psnr_of(after, _width(scale, truth.modality)),
        },
        share_everywhere=_share(*whole),
    )


def _squared(truth: Volume, scans: Sequence[Volume], mask: Mask) -> float:
    return float(np.mean([metrics.mse(truth.filled(), scan.filled(), mask) for scan in scans]))


def _share(before: float, after: float) -> float:
    if before > 0:
        return after / before
    return float("inf") if after > 0 else 1.0


def _measured(scans: Sequence[Volume]) -> Mask:
    """Where each of them has a number, and no padding."""
    return np.asarray(np.logical_and.reduce([scan.measured for scan in scans]))


def _some(mask: Mask) -> Mask:
    if not mask.any():
        raise InputError("NO_VOXELS", "Expected voxels of the body that all scans of the group measured, found none.")
    return mask


def _width(scale: float, modality: str) -> float:
    """Data range of PSNR, in the scan's unit."""
    return SOFT_TISSUE_HU[1] - SOFT_TISSUE_HU[0] if modality == "CT" else scale
