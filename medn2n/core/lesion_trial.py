"""Lesions put into a CT scan that is being judged: which of them a method had to keep, and what it kept.

Which lesions is it fair to ask for? The contrast of a lesion over the standard deviation that the noise has when it is
averaged over the lesion's area is its visibility (Rose, J. Opt. Soc. Am. 38 (1948) 196). A method that estimates the
mean of what may lie below the noise, as every network trained by mean squared error does, draws a lesion that the noise
could have made towards its surroundings, and is right to: at a visibility of 2 one place in fifty of plain noise looks
the same. Rose found that about 5 is seen with certainty. So at 5 and more a lesion must keep half of its contrast
(`lesions.LEAST_CONTRAST`); below, what is left is told but nothing is asked. Measured on seven patients' scans (84
lesions, seed 20180711), the share that the shipped CT model takes more than half of: 60 % below a visibility of 3, 29 %
from 3 to 4, 1 of 5 from 4 to 5, and none of 34 from 5 on, of which the least kept 81 %.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from medn2n.core.lesions import (
    LEAST_CONTRAST,
    Lesion,
    RecoveredLesion,
    Spacing,
    draw_lesions,
    lesion_slice,
    place_lesions,
    recovered,
)
from medn2n.core.noise import block_side, flat_regions, noise_in
from medn2n.core.noise_texture import noise_kernel
from medn2n.core.volume import Volume

Method = Callable[[Volume], Volume]
Array = npt.NDArray[np.float64]
MOST_SLICES = 8  # in the middle of the scan, so that a slow method is not run on all of it twice more
ROSE = 5.0  # contrast over the noise's spread, averaged over the lesion: seen with certainty


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LesionTrial:
    """Slices of a scan without and with the lesions, in HU; visibility: (N,), of each lesion (see above). flat: (I,J,K)
    True where the tissue of these slices is flat, for the noise."""

    without: Volume
    with_lesions: Volume
    lesions: tuple[Lesion, ...]
    visibility: Array
    flat: npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LesionAnswer:
    """What one method left. found: of each lesion; visibility: (N,) as in the trial. noise_before, noise_after:
    standard deviation in the flat tissue of these slices, HU. inserted: (N,) mean contrast of each lesion over its
    middle, HU."""

    found: tuple[RecoveredLesion, ...]
    visibility: Array
    inserted: Array
    noise_before: float
    noise_after: float

    @property
    def fair(self) -> npt.NDArray[np.bool_]:
        """(N,) True for the lesions that a method has to keep."""
        return np.asarray(self.visibility >= ROSE)

    @property
    def kept(self) -> Array:
        """(N,) share of the contrast that is left."""
        return np.array([one.contrast for one in self.found])


def lesion_trial(scan: Volume, generator: np.random.Generator, *, count: int = 12) -> LesionTrial | None:
    """Up to `count` spheres of 3 to 10 mm and 10 to 60 HU, brighter or darker, in the flat tissue of the scan's middle
    slices (`lesions.place_lesions`). None where no lesion has room."""
    slices = scan.middle_slices(MOST_SLICES)
    spacing = scan.spacing_mm
    lesions = tuple(place_lesions(slices.voxels, spacing, generator=generator, count=count, padding=slices.padding))
    if not lesions:
        return None
    shape: tuple[int, int, int] = slices.voxels.shape
    added = draw_lesions(shape, spacing, lesions)
    kernel = noise_kernel(slices.filled()).astype(np.float64)
    return LesionTrial(
        without=slices,
        with_lesions=slices.with_voxels(slices.voxels + added),
        lesions=lesions,
        visibility=np.array([_visibility(one, shape, spacing, kernel) for one in lesions]),
        flat=flat_regions(slices.voxels, slices.padding),
    )


def _visibility(lesion: Lesion, shape: tuple[int, int, int], spacing_mm: Spacing, kernel: Array) -> float:
    """Mean contrast over the part of the lesion above half its peak, in the slice through its centre, over the standard
    deviation of the mean of so much noise. kernel: `noise_texture.noise_kernel`, in HU."""
    from scipy.signal import fftconvolve

    drawn = np.abs(lesion_slice(lesion, shape, spacing_mm))
    area = drawn > drawn.max() / 2
    spread = float(np.sqrt((fftconvolve(area / area.sum(), kernel) ** 2).sum()))
    return float(drawn[area].mean()) / spread if spread > 0 else float("inf")


def lesion_answer(trial: LesionTrial, method: Method) -> LesionAnswer:
    """Run the method on the slices without and with the lesions."""
    without, with_lesions = method(trial.without).voxels, method(trial.with_lesions).voxels
    response = with_lesions.astype(np.float64) - without
    added: npt.NDArray[Any] = trial.with_lesions.voxels - trial.without.voxels
    spacing, side = trial.without.spacing_mm, block_side(trial.without.voxels, trial.without.padding)
    return LesionAnswer(
        found=tuple(recovered(one, response, spacing) for one in trial.lesions),
        visibility=trial.visibility,
        inserted=np.array([_peak(one, added) for one in trial.lesions]),
        noise_before=noise_in(trial.without.voxels, trial.flat, side),
        noise_after=noise_in(without, trial.flat, side),
    )


def _peak(lesion: Lesion, added: npt.NDArray[Any]) -> float:
    i, j, k = (int(np.clip(np.rint(c), 0, size - 1)) for c, size in zip(lesion.centre, added.shape, strict=True))
    return abs(float(added[i, j, k]))


def lesion_figures(answer: LesionAnswer) -> dict[str, float]:
    """lesion_count: lesions that had to be kept; of these lesion_contrast (median share of the contrast that is left),
    lesion_vanished (share that kept less than half) and lesion_size (median diameter after over before, of those that
    did not vanish). The same with "/faint": of the lesions too faint to ask for. lesion_cnr_before and
    lesion_cnr_after: median contrast of all lesions over the noise of the flat tissue, a pixel's."""
    fair, kept = answer.fair, answer.kept
    figures: dict[str, float] = {"lesion_count": float(np.count_nonzero(fair))}
    if fair.any():
        figures["lesion_contrast"] = float(np.median(kept[fair]))
        figures["lesion_vanished"] = float(np.mean(kept[fair] < LEAST_CONTRAST))
        sizes = [
            one.diameter_mm / one.inserted_diameter_mm
            for one, asked in zip(answer.found, fair, strict=True)
            if asked and not one.vanished
        ]
        if sizes:
            figures["lesion_size"] = float(np.median(sizes))
    if not fair.all():
        figures["lesion_count/faint"] = float(np.count_nonzero(~fair))
        figures["lesion_contrast/faint"] = float(np.median(kept[~fair]))
        figures["lesion_vanished/faint"] = float(np.mean(kept[~fair] < LEAST_CONTRAST))
    if answer.noise_before > 0 and answer.noise_after > 0:
        figures["lesion_cnr_before"] = float(np.median(answer.inserted)) / answer.noise_before
        figures["lesion_cnr_after"] = float(np.median(answer.inserted * kept)) / answer.noise_after
    return figures
