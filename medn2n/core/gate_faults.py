"""Faults that a denoiser may have, built on a real scan in a known size: what gates are measured with.

Every fault starts from a scan and its faithful copy (the shipped model's answer); a lesion that the fault takes away is
put into the scan first. Sizes of shifts and lesions are in HU for CT, in per cent of the mean tissue signal for MR.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from medn2n.core.body import body_mask, tissue_mask
from medn2n.core.lesions import Lesion, draw_lesions, place_lesions
from medn2n.core.noise import noise_sigma
from medn2n.core.volume import FloatArray, Volume

FaultName = Literal[
    "none", "part strength", "identity", "blur", "displaced", "shift", "shift of half", "lesion removed",
    "lesion added", "over-smoothed", "hallucinated", "other noise", "blur of a slice", "slice displaced",
    "shift of a slice", "quarter blurred", "quarter displaced", "a crop of it",
]  # fmt: skip
LESION_MM = 8.0
# Of each fault (the first three are none, nor is a crop, in pixels a side): blur and displacement in pixels; shift and
# lesions in HU or per cent; strength of total variation in multiples of the noise; hallucinated detail as a share of
# what another place shows; other noise as a share of the noise that was taken away.
SIZES: dict[FaultName, tuple[float, ...]] = {
    "none": (0.0,),
    "part strength": (0.3, 0.5, 0.7),
    "identity": (0.0,),
    "blur": (0.25, 0.5, 1.0),
    "displaced": (0.25, 0.5),
    "shift": (0.5, 1.0, 2.0, 4.0),
    "shift of half": (2.0, 4.0),
    "lesion removed": (20.0, 40.0, 60.0),
    "lesion added": (20.0, 40.0, 60.0),
    "over-smoothed": (1.0, 2.0, 4.0),
    "hallucinated": (0.25, 0.5, 1.0),
    "other noise": (0.5, 1.0),
    "blur of a slice": (0.5, 1.0),
    "slice displaced": (0.25, 0.5),
    "shift of a slice": (2.0, 4.0),
    "quarter blurred": (0.5, 1.0),
    "quarter displaced": (0.5, 1.0),
    "a crop of it": (96.0, 128.0, 192.0),
}
# Of two repeats: each fault on both. Texture: a Gaussian of TEXTURE_MM, in multiples of the noise, the same in both.
RepeatFault = FaultName | Literal["texture"]
REPEAT_SIZES: dict[RepeatFault, tuple[float, ...]] = {
    "none": (0.0,),
    "part strength": (0.3, 0.5, 0.7),
    "identity": (0.0,),
    "texture": (0.25, 0.5, 1.0),
    "hallucinated": (0.25, 0.5, 1.0),
    "over-smoothed": (1.0, 2.0, 4.0),
    "blur": (0.5, 1.0),
}
TEXTURE_MM = 1.2
ONE_SLICE: dict[FaultName, FaultName] = {
    "blur of a slice": "blur", "slice displaced": "displaced", "shift of a slice": "shift",
}  # fmt: skip
ONE_QUARTER: dict[FaultName, FaultName] = {"quarter blurred": "blur", "quarter displaced": "displaced"}
OF_A_COPY = {*ONE_SLICE, *ONE_QUARTER, "lesion removed", "lesion added", "a crop of it"}  # and not of a method


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FaultyScan:
    """before: what was denoised, with the lesion where one was put in; after: what came back."""

    before: Volume
    after: Volume


def faulty_scan(
    before: Volume, faithful: Volume, fault: FaultName, size: float, generator: np.random.Generator
) -> FaultyScan | None:
    """The scan with one fault; None where there is no room for the lesion, or the scan is no larger than the crop."""
    if fault == "none":
        return FaultyScan(before=before, after=faithful)
    if fault == "part strength":
        part = before.voxels + np.float32(size) * (faithful.voxels - before.voxels)
        return FaultyScan(before=before, after=faithful.with_voxels(part))
    if fault == "identity":
        return FaultyScan(before=before, after=before)
    if fault.startswith("lesion"):
        return _with_lesion(before, faithful, fault, size, generator)
    if fault == "a crop of it":
        return _cropped(before, faithful, int(size), generator)
    changed = _changed(before, faithful, (ONE_SLICE | ONE_QUARTER).get(fault, fault), size)
    if fault in ONE_SLICE:
        others = np.arange(changed.shape[2]) != generator.integers(changed.shape[2])
        changed = np.where(others, faithful.voxels, changed)
    if fault in ONE_QUARTER:
        changed = np.where(_a_quarter(_shape(changed), generator), changed, faithful.voxels)
    return FaultyScan(before=before, after=faithful.with_voxels(changed))


def with_texture(copy: Volume, strength: float, generator: np.random.Generator) -> Volume:
    """The copy with a grain of TEXTURE_MM all over it. strength: its standard deviation, in the scan's unit."""
    wide = TEXTURE_MM / max(copy.spacing_mm[:2])
    grain = ndimage.gaussian_filter(generator.normal(size=copy.voxels.shape), (wide, wide, 0))
    return copy.with_voxels((copy.voxels + strength * grain / grain.std()).astype(np.float32))


def _a_quarter(shape: tuple[int, int, int], generator: np.random.Generator) -> npt.NDArray[np.bool_]:
    """Of the image, in all slices."""
    inside = np.zeros(shape, bool)
    rows, columns = ((slice(length // 2), slice(length // 2, None))[generator.integers(2)] for length in shape[:2])
    inside[rows, columns] = True
    return inside


def _cropped(before: Volume, faithful: Volume, side: int, generator: np.random.Generator) -> FaultyScan | None:
    """Both, about a voxel of tissue."""
    tissue = np.argwhere(tissue_mask(before.voxels, before.padding, dark=True))
    shape = before.voxels.shape
    if side >= min(shape[:2]) or not len(tissue):
        return None
    middle = tissue[generator.integers(len(tissue))]
    rows, columns = (
        slice(start, start + side) for start in np.clip(middle[:2] - side // 2, 0, np.array(shape[:2]) - side).tolist()
    )
    box = (rows, columns, slice(None))
    return FaultyScan(before=before.part(box), after=faithful.part(box))


def _changed(before: Volume, faithful: Volume, fault: FaultName, size: float) -> FloatArray:
    voxels = faithful.voxels
    if fault == "blur":
        return np.asarray(ndimage.gaussian_filter(voxels, (size, size, 0)), np.float32)
    if fault == "displaced":
        return np.asarray(ndimage.shift(voxels, (size, 0, 0), order=3, mode="nearest"), np.float32)
    if fault == "other noise":  # taken from elsewhere in the scan: as grainy as its own, and nothing of it is true
        elsewhere = np.roll(before.voxels - voxels, [length // 3 for length in voxels.shape[:2]], axis=(0, 1))
        return np.asarray(voxels + np.float32(size) * elsewhere, np.float32)
    if fault.startswith("shift"):
        inside = body_mask(before.voxels, before.modality, before.padding)
        if fault == "shift of half":
            inside[: int(np.argwhere(inside)[:, 0].mean())] = False
        return np.asarray(voxels + np.float32(size * _unit(before)) * inside, np.float32)
    if fault == "over-smoothed":
        return _flattened(before, size)
    return _hallucinated(before, voxels, size)


def _unit(before: Volume) -> float:
    """1 HU, or 1 % of the mean tissue signal."""
    if before.modality == "CT":
        return 1.0
    return 0.01 * float(before.voxels[tissue_mask(before.voxels, before.padding)].mean())


def _flattened(before: Volume, size: float) -> FloatArray:
    """Total variation of `size` times the noise: even areas become flat, edges stay."""
    from skimage.restoration import denoise_tv_chambolle

    weight = size * noise_sigma(before.voxels, before.padding)
    slices = [denoise_tv_chambolle(before.voxels[..., k], weight=weight) for k in range(before.voxels.shape[2])]
    return np.stack(slices, axis=-1).astype(np.float32)


def _hallucinated(before: Volume, voxels: FloatArray, size: float) -> FloatArray:
    """Detail that belongs elsewhere: what the scan upside down shows beyond a smooth copy, clipped to what soft tissue
    may have, in the tissue away from its edges."""
    pixel = max(before.spacing_mm[:2])
    wide = 5.0 / pixel
    turned = voxels[:, ::-1]
    detail = turned - ndimage.gaussian_filter(turned, (wide, wide, 0))
    most = 60.0 * _unit(before)
    inside = ndimage.uniform_filter(
        ndimage.minimum_filter(tissue_mask(before.voxels, before.padding), (9, 9, 1)).astype(np.float32), (5, 5, 1)
    )
    return np.asarray(voxels + size * np.clip(detail, -most, most) * inside, np.float32)


def _with_lesion(
    before: Volume, faithful: Volume, fault: FaultName, size: float, generator: np.random.Generator
) -> FaultyScan | None:
    found = place_lesions(
        before.voxels, before.spacing_mm, generator=generator, count=1, diameters_mm=(LESION_MM, LESION_MM),
        contrasts=(size * _unit(before),) * 2, padding=before.padding, shape="disc",
    )  # fmt: skip
    if not found:
        return None
    lesion = draw_lesions(_shape(before.voxels), before.spacing_mm, [Lesion(
        centre=found[0].centre, diameter_mm=LESION_MM, contrast=found[0].contrast, blur_mm=found[0].blur_mm,
        shape="disc",
    )])  # fmt: skip
    if fault == "lesion removed":
        return FaultyScan(before=before.with_voxels(before.voxels + lesion), after=faithful)
    return FaultyScan(before=before, after=faithful.with_voxels(faithful.voxels + lesion))


def _shape(voxels: npt.NDArray[np.float32]) -> tuple[int, int, int]:
    i, j, k = voxels.shape
    return i, j, k
