"""What one denoised scan says of its denoising by itself, without truth or repeat: noise, numbers, edges, spots.

Four questions that a physicist would ask; `core.gates` holds the answers against limits:
    numbers   did the mean of a tissue move?                  core.ct_numbers
    edges     are they as sharp as before, and in place?      core.edges
    structure did anything go, or come, that is no noise?     core.structure_removed
    noise     is there less of it, and of what grain?         core.noise, core.noise_power

Noise, numbers and edges are measured in evenly spread slices of a large scan (`core.spread_slices`), numbers and edges
also in those that seem most odd (`core.odd_slices`); structure is sought in every slice.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.ndimage import minimum_filter

from medn2n.core.background import masked_background
from medn2n.core.body import body_mask, tissue_mask
from medn2n.core.ct_numbers import RegionNumbers, ct_numbers, mr_signal
from medn2n.core.edges import PATCH_PIXELS, EdgeBlur, blur_in_parts
from medn2n.core.evaluation import SingleScanFigures, single_scan_figures
from medn2n.core.noise import (
    block_side,
    cut_blocks,
    flat_by_neighbours,
    flat_regions,
    measured_voxels,
    quiet_share,
)
from medn2n.core.noise_power import NoisePower, power_of_one
from medn2n.core.odd_slices import LEAST_SLOPE, odd_edges
from medn2n.core.spot_filters import measured
from medn2n.core.spread_slices import spread_slices
from medn2n.core.structure_removed import Structure, likeness, structure_removed
from medn2n.core.threads import in_threads
from medn2n.core.volume import Volume

Array = npt.NDArray[Any]
Part = tuple[str, EdgeBlur]  # its name for people
Box = tuple[slice, slice]
MASKED_SHARE = 0.05  # of exact zeros, from which a mask is looked for
UNSEEN_HU = 0.25  # of noise, and of a slope from pixel to pixel; an eighth of the faintest disc that counts
UNSEEN_SHARE = 0.0005  # the same of the mean of what is no CT
QUARTERS = 4  # of the body in plane, whose edges are measured by themselves too
AS_STEEP = 0.9  # times the noise, from pixel to pixel, edges of a slice or quarter are
STEEPER = 2.0  # times the noise, edges of a whole CT and its quarters are; below,
SEEMING = 0.4  # pixel², faithful copies seem softer by up to as much
RIM = 3  # pixels inside the skin, where the table and the air do not count


@dataclass(frozen=True, slots=True, kw_only=True)
class ScanProof:
    """figures: noise, mean and range. power_before, power_after: noise power spectra in flat tissue, None where there
    is too little of it. regions: means by tissue. edge: None where there is no edge.
    structure: None where there is too little flat tissue. invented_noise: correlation, below zero, of what was removed
    from the noise of flat tissue with the noise that is shown there, two standard errors nearer to zero; None without
    flat tissue. slices: in how many noise and `edge` were measured, and how many there are. odd_edges: slices whose
    edges seem to have changed unlike those of the others, or most, and quarters of the body, each with its name for
    people and with errors as of the most odd of so many."""

    modality: str
    figures: SingleScanFigures
    power_before: NoisePower | None = None
    power_after: NoisePower | None = None
    regions: tuple[RegionNumbers, ...] = ()
    edge: EdgeBlur | None = None
    odd_edges: tuple[Part, ...] = ()
    structure: Structure | None = None
    invented_noise: float | None = None
    slices: tuple[int, int] = (0, 0)

    @property
    def invented(self) -> float | None:
        """The lower correlation of the two: of the structure of tissue, and of the noise in its flat parts."""
        both = (None if self.structure is None else self.structure.invented, self.invented_noise)
        told = [one for one in both if one is not None]
        return float(np.min(told)) if told else None


def scan_proof(before: Volume, after: Volume) -> ScanProof:
    """Of a 4D scan, its first frame; of a photograph, `figures` alone."""
    modality = before.modality
    if modality == "PHOTO":
        return ScanProof(modality=modality, figures=single_scan_figures(before, after))
    before, after = in_threads(_slice_by_slice, (before.frame(0), after.frame(0)))
    first, second, padding = before.voxels, after.voxels, before.padding
    padding = _with_gaps(first, _with_mask(first, padding) if modality == "CT" else padding)
    some = spread_slices(first.shape)
    counts, spacing = (len(some), first.shape[2]), before.spacing_mm
    old, new = (np.ascontiguousarray(scan[..., some]) for scan in (first, second))
    gaps = None if padding is None else padding[..., some]
    unseen = UNSEEN_HU if modality == "CT" else UNSEEN_SHARE * float(np.abs(measured(old)).mean())
    measure = ct_numbers if modality == "CT" else mr_signal
    with ThreadPoolExecutor(2) as pool:  # half the time goes into structure, and numpy and scipy share the cores well
        structure = pool.submit(
            structure_removed, first, second, spacing_mm=spacing, modality=modality, padding=padding, unseen=unseen
        )
        tissue = tissue_mask(old, gaps, dark=True)
        body = body_mask(old, modality, gaps, tissue=tissue)
        edges = pool.submit(_with_quarters, old, new, body, unseen)
        odd = pool.submit(_odd_edges, first, second, modality, padding, unseen)
        flat = flat_regions(old, gaps, tissue=tissue)
        side = block_side(old, gaps)
        figures = single_scan_figures(before, after, flat=flat, body=body)
        noise, (whole, quarters) = figures.noise_before, edges.result()
        whole = None if whole is None else _allowing(whole, noise, modality)
        return ScanProof(
            modality=modality,
            figures=figures,
            power_before=_power(old, flat, spacing, side),
            power_after=_power(new, flat, spacing, side),
            regions=measure(first, second, padding),
            edge=whole,
            odd_edges=_odd_of(whole, odd.result(), quarters, noise, counts=counts, modality=modality),
            structure=structure.result(),
            invented_noise=_invented_noise(old, new, tissue, gaps, unseen),
            slices=counts,
        )


@np.errstate(over="ignore", invalid="ignore")  # a value that no scan has is another gate's
def _invented_noise(
    before: Array, after: Array, tissue: npt.NDArray[np.bool_], padding: npt.NDArray[np.bool_] | None, unseen: float
) -> float | None:
    """What `structure_removed` asks of the structure of tissue, asked of the noise of its flattest blocks: elsewhere
    the edges of fat and muscle would hide it. NaN where the copy has no number there."""
    where, side = tissue & measured_voxels(before, padding), block_side(before, padding)
    flat = flat_by_neighbours(cut_blocks(before, where, side=side), quiet_share(before, padding), before.shape)
    if len(flat) < 2:
        return None
    removed, found = (cut_blocks(one, where, side=side).residual[flat] for one in (before - after, after))
    each = (removed * found).sum(axis=1, dtype=np.float64)
    power = float(np.linalg.norm(removed) * np.linalg.norm(found))
    error = np.sqrt(len(each)) * each.std(ddof=1) / power if power > 0 else 0.0
    return float(np.minimum(0.0, likeness(removed, found, unseen) + 2 * float(error)))


def _with_mask(voxels: Array, padding: npt.NDArray[np.bool_] | None) -> npt.NDArray[np.bool_] | None:
    """A CT's padding, and what somebody set to zero around a head or an organ: water, as far as its number tells."""
    if np.count_nonzero(voxels == 0) < MASKED_SHARE * voxels.size:
        return padding
    masked = masked_background(voxels)
    return masked if padding is None else masked | padding


def _with_gaps(voxels: Array, padding: npt.NDArray[np.bool_] | None) -> npt.NDArray[np.bool_] | None:
    """Where there is no number there is no tissue either: taken as zero, it would be water."""
    if measured(voxels) is voxels:
        return padding
    gaps = ~np.isfinite(voxels)
    return gaps if padding is None else gaps | padding


def _power(voxels: Array, flat: Array, spacing_mm: tuple[float, float, float], side: int) -> NoisePower | None:
    """side: of the blocks that `flat` is made of."""
    try:
        return power_of_one(voxels, spacing_mm[:2], where=flat, side=side)
    except ValueError:
        return None


def _edges(
    before: Array, after: Array, body: npt.NDArray[np.bool_], unseen: float, parts: Sequence[Box] = ()
) -> list[EdgeBlur | None]:
    """Of the body's inside, since a masked rim is an edge that no scanner drew, and of what of it lies in each of
    these parts of the image. unseen: slope that is no edge."""
    inside = minimum_filter(body & np.isfinite(before), (2 * RIM + 1, 2 * RIM + 1, 1))
    box = _around(inside)
    masks = [inside]
    for rows, columns in parts:
        masks.append(np.zeros_like(inside))
        masks[-1][rows, columns] = inside[rows, columns]
    found = blur_in_parts(measured(before[box]), measured(after[box]), [mask[box] for mask in masks])
    return [edge if edge.contrast > unseen and np.isfinite(edge.square) else None for edge in found]


def _odd_of(
    whole: EdgeBlur | None, slices: Sequence[Part], quarters: Sequence[Part], noise: float, *, counts: tuple[int, int],
    modality: str,
) -> tuple[Part, ...]:  # fmt: skip
    """With errors as of the most odd of so many. What is no steeper than noise, as in a slice of air, is no edge, and
    left out. noise: of the scan, as a slope from pixel to pixel. counts: of slices in which `whole` was measured, and
    of all."""
    least = max(AS_STEEP * noise, LEAST_SLOPE * (0.0 if whole is None else whole.contrast))
    odd, apart = (
        [(name, edge.of(counts[1] + QUARTERS)) for name, edge in parts if edge.contrast >= least]
        for parts in (slices, quarters)
    )
    return (
        *((name, _as_the_others(edge, whole, counts[0])) for name, edge in odd),
        *((name, _allowing(edge, noise, modality)) for name, edge in apart),
    )


def _as_the_others(edge: EdgeBlur, whole: EdgeBlur | None, count: int) -> EdgeBlur:
    """A slice that is no softer than the others of `count`: noise may feign as much of it as of the whole."""
    if whole is None or not whole.seeming or count < 2:
        return edge
    others = (count * whole.square - edge.square) / (count - 1)
    return replace(edge, seeming=whole.seeming) if edge.square - others <= 2 * edge.error else edge


def _allowing(edge: EdgeBlur, noise: float, modality: str) -> EdgeBlur:
    """Edges of a CT that are hardly steeper than its noise seem softer than they are (`blur_pixels`). Those of MR were
    not found to: its noise is told too high by what is as fine as its pixels."""
    return replace(edge, seeming=SEEMING if modality == "CT" and edge.contrast < STEEPER * noise else 0.0)


def _around(inside: npt.NDArray[np.bool_]) -> Box:
    """What holds all of it in plane with what the filters of `core.edges` reach, in whole patches of those."""
    spans = []
    for axis in (0, 1):
        there = np.flatnonzero(inside.any(axis=(1 - axis, 2)))
        first, last = (int(there[0]), int(there[-1])) if len(there) else (0, 0)
        start = max(0, first // PATCH_PIXELS - 1) * PATCH_PIXELS
        spans.append(slice(start, (last // PATCH_PIXELS + 2) * PATCH_PIXELS))
    return spans[0], spans[1]


def _odd_edges(
    before: Array, after: Array, modality: str, padding: npt.NDArray[np.bool_] | None, unseen: float
) -> list[Part]:
    """Slices, as of ScanProof."""
    found = []
    for k in odd_edges(before, after, padding):
        old, new = before[..., k : k + 1], after[..., k : k + 1]
        body = body_mask(old, modality, None if padding is None else padding[..., k : k + 1])
        (edge,) = _edges(old, new, body, unseen)
        if edge is not None:
            found.append((f"slice {k}", edge))
    return found


def _with_quarters(
    before: Array, after: Array, body: npt.NDArray[np.bool_], unseen: float
) -> tuple[EdgeBlur | None, list[Part]]:
    """The edges of the body in all of these slices, and of the quarters of its box in plane."""
    rows, columns = (_halves(np.flatnonzero(body.any(axis=(1 - axis, 2)))) for axis in (0, 1))
    quarters = list(itertools.product(rows, columns))
    whole, *each = _edges(before, after, body, unseen, quarters)
    return whole, [
        (f"the quarter of the body from ({top.start}, {left.start})", edge)
        for (top, left), edge in zip(quarters, each, strict=True)
        if edge is not None
    ]


def _halves(inside: npt.NDArray[np.intp]) -> Box:
    first, last = (int(inside[0]), int(inside[-1]) + 1) if len(inside) else (0, 0)
    return slice(first, (first + last) // 2), slice((first + last) // 2, last)


def _slice_by_slice(scan: Volume) -> Volume:
    """(I,J,K), with each slice in one piece of memory: what looks at slice by slice takes half the time."""
    return replace(scan, voxels=np.moveaxis(np.ascontiguousarray(np.moveaxis(scan.voxels, -1, 0)), 0, -1))
