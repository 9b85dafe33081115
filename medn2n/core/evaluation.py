"""What one denoised scan scores. Pure: scans in, figures out; `core.scores` sums up those of many scans.

Three questions, by what a group of scans offers:
    truth     against a reference without noise
    repeats   against an independent repeat (Noise2Noise's own estimate of error)
    single    nothing to compare with: noise before and after, and the shift of the mean

Figures (keys of `Score.figures`); CT in HU, MR in units of the reference's 99.9th percentile, photographs in units of
white (255 grey levels):
    psnr_db, ssim        CT in the soft-tissue window (−160…240 HU), MR with peak 1, photographs clipped to what can be
                         shown, with peak white
    rmse, bias           against a truth over all measured voxels, unwindowed
    body_psnr_db_…, body_rmse_…, share_true, share     over the body, against a truth or estimated from repeats in one
                         definition (`core.body_error`)
    noise_before, noise_after, noise_left, mean_shift     flat tissue of the noisy scan; mean over the body
    ct_number_shift/REGION, ct_number_shift_error/REGION  CT in HU (`core.ct_numbers`)
    signal_share/BRIGHTNESS                               MR: what is left of the mean signal; 1 all of it
    edge_blur, edges_moved, spot      extra blur of edges, pixel²; how far they moved, pixels; strongest spot in what
                         was removed, σ
    weakened             share of the fine structure that went with the noise (`core.structure_removed`)
    invented             how what was removed correlates with what is shown, below zero (the same)
    FIGURE/WINDOW, FIGURE/REGION/PART                     CT against a truth (`core.truth_figures`)
"""

from __future__ import annotations

from dataclasses import dataclass
from math import hypot
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from medn2n.core import metrics
from medn2n.core.body import body_mask
from medn2n.core.display import SOFT_TISSUE_HU
from medn2n.core.noise import block_side, flat_regions, noise_in
from medn2n.core.spread_slices import spread_slices
from medn2n.core.truth_figures import region_figures, windowed_figures
from medn2n.core.volume import FloatArray, Volume

if TYPE_CHECKING:
    from medn2n.core.scan_proof import ScanProof

Interval = tuple[float, float]
Mask = npt.NDArray[np.bool_]

_SCALES = {"CT": 1.0, "PHOTO": 255.0}
_WINDOWS = {"CT": SOFT_TISSUE_HU, "PHOTO": (0.0, 1.0)}  # after division by the scale


@dataclass(frozen=True, slots=True, kw_only=True)
class SingleScanFigures:
    """What can be said of a denoised scan by itself, in the scan's unit.

    noise_before/noise_after: standard deviation in the same flat tissue, chosen on the scan before.
    mean_shift: mean of after − before over the body. minimum/maximum: (before, after) of all slices, padding left out.
    """

    noise_before: float
    noise_after: float
    mean_shift: float
    minimum: Interval
    maximum: Interval

    @property
    def noise_left(self) -> float:
        """noise_after / noise_before; NaN where there was no noise to measure."""
        return self.noise_after / self.noise_before if self.noise_before > 0 else float("nan")


def single_scan_figures(
    before: Volume, after: Volume, *, flat: Mask | None = None, body: Mask | None = None
) -> SingleScanFigures:
    """Figures of one denoised scan without truth or repeat; a 4D scan counts its first frame. Noise and mean are
    measured in `spread_slices`.

    flat, body: the flat tissue and the body in those slices of the first frame, where the caller knows them
    (`noise.flat_regions`, `body.body_mask`). Residual anatomy inside the flat blocks counts as noise in both, so
    noise_left errs upwards.
    """
    before, after = before.frame(0), after.frame(0)
    first, second, padding = before.voxels, after.voxels, before.padding
    inside = np.isfinite(first) if padding is None else np.isfinite(first) & ~padding
    low, high = _range(first, inside), _range(second, inside)
    some = spread_slices(first.shape)
    first, second, inside = first[..., some], second[..., some], inside[..., some]
    padding = None if padding is None else padding[..., some]
    flat, side = flat_regions(first, padding) if flat is None else flat, block_side(first, padding)
    body = (body_mask(first, before.modality, padding) if body is None else body) & inside
    return SingleScanFigures(
        noise_before=noise_in(first, flat, side),
        noise_after=noise_in(second, flat, side),
        mean_shift=metrics.bias(first, second, body) if body.any() else 0.0,
        minimum=(low[0], high[0]),
        maximum=(low[1], high[1]),
    )


def _range(voxels: npt.NDArray[Any], inside: Mask) -> Interval:
    """Lowest and highest value; zeros where nothing is inside."""
    counted = voxels if inside.all() else voxels[inside]
    return (float(counted.min()), float(counted.max())) if counted.size else (0.0, 0.0)


def truth_scale(truth: FloatArray, modality: str) -> float:
    """What the figures are divided by: 1 for CT (HU), the truth's 99.9th percentile for MR, white for photographs."""
    if modality in _SCALES:
        return _SCALES[modality]
    top = float(np.percentile(truth, 99.9))
    return top if top > 0 else 1.0


def figures_with_truth(truth: Volume, noisy: Volume, denoised: Volume) -> dict[str, float]:
    """psnr_db, ssim, rmse, bias of one scan against its truth, over all voxels that were measured; for CT also in the
    clinical windows and by region."""
    scale = truth_scale(truth.filled(), noisy.modality)
    reference, test = truth.filled() / np.float32(scale), denoised.filled() / np.float32(scale)
    gaps = [one.padding for one in (noisy, truth) if one.padding is not None]
    mask = ~np.logical_or.reduce(gaps) if gaps else None
    window = _WINDOWS.get(noisy.modality)
    data_range = None if window else 1.0
    detail: dict[str, float] = {}
    if noisy.modality == "CT":
        detail = windowed_figures(reference, test, mask) | region_figures(reference, test, mask)
    return {
        "psnr_db": metrics.psnr(reference, test, data_range=data_range, mask=mask, window=window),
        "ssim": metrics.ssim(reference, test, data_range=data_range, mask=mask, window=window),
        "rmse": metrics.rmse(reference, test, mask),
        "bias": metrics.bias(reference, test, mask),
    } | detail


def figures_alone(proof: ScanProof, scale: float = 1.0) -> dict[str, float]:
    """noise_before, noise_after, noise_left (where there was noise to measure), mean_shift of one scan, divided by
    `scale`; what became of its CT numbers
    (HU) or MR signal; how much its edges are blurred (pixel²), and the strongest spot in what was removed (σ)."""
    found = proof.figures
    figures = {
        "noise_before": found.noise_before / scale,
        "noise_after": found.noise_after / scale,
        "mean_shift": found.mean_shift / scale,
    }
    if found.noise_before > 0:
        figures["noise_left"] = found.noise_left
    if proof.edge is not None:
        figures["edge_blur"] = proof.edge.square
        figures["edges_moved"] = hypot(*proof.edge.moved)
    if proof.structure is not None:
        figures["spot"] = abs(proof.structure.spot.strength)
        if proof.structure.weakened is not None:
            figures["weakened"] = proof.structure.weakened
    if proof.invented is not None:
        figures["invented"] = proof.invented
    if proof.modality == "CT":
        figures |= {f"ct_number_shift/{one.region}": one.shift for one in proof.regions}
        return figures | {f"ct_number_shift_error/{one.region}": one.shift_error for one in proof.regions}
    return figures | {f"signal_share/{one.region}": one.share for one in proof.regions}
