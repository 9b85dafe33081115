"""Files of simulated repeats, made series by series and written as float32, and those that lie in OUTPUT already,
which a later pairing must not find beside the new ones."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from scipy import ndimage

from medn2n.core.catalogue import PassedOver, Series
from medn2n.core.noise import measured_voxels
from medn2n.core.pair_rules import noise_is_shared
from medn2n.core.shared_noise import shared_noise
from medn2n.core.volume import FloatArray, Volume
from medn2n.errors import InputError, UsageError
from medn2n.formats.manifest import PairCheck, write_json
from medn2n.formats.nifti import encode_new, gzipped
from medn2n.formats.results import write_whole
from medn2n.formats.scan import load_series
from medn2n.formats.scan_write import refuse_uneven
from medn2n.log import logger

Made = TypeVar("Made")
RECORD = "simulation.json"
SCHEMA = "medn2n.simulation/2"
MOST_SHARED = 0.1  # correlation of repeats, beyond which they are no proven pair
_OURS = re.compile(r"(repeat-\d+|valid-\d+|truth)(-real|-imaginary)?\.(nii\.gz|tiff)")


def _ours(folder: Path) -> list[Path]:
    return [path for path in folder.iterdir() if _OURS.fullmatch(path.name)]


def refuse_others(output: Path, ids: Collection[str]) -> None:
    """UsageError where OUTPUT holds repeats of other series than these, one folder each."""
    folders = [path for path in output.iterdir() if path.is_dir()] if output.is_dir() else []
    others = [folder for folder in folders if folder.name not in ids and _ours(folder)]
    if others:
        raise UsageError(
            f"OUTPUT holds repeats of {len(others)} other series than INPUT does, which the new manifest would not "
            "name. Name another folder, or remove them."
        )


def scan_to_repeat(series: Series, root: Path, modality: str) -> Volume:
    """The scan that repeats are made of; of a 4D series its first frame. InputError where its slices lie unevenly, or
    where a voxel inside the object has no number: air in its place would be an error in every copy and in the truth."""
    volume = load_series(series, root=root, modality=modality).frame(0)
    refuse_uneven(volume, series.id, "Resample it to even slices.")
    missing = ~np.isfinite(volume.voxels)
    holes = sum(
        int(np.count_nonzero(ndimage.binary_fill_holes(~missing[..., k]) & missing[..., k]))
        for k in np.flatnonzero(missing.any(axis=(0, 1)))
    )
    if holes:
        raise InputError(
            "HOLES",
            f"Series {series.id}: {holes} voxels have no number and lie among such as have one; expected them outside "
            "the object only. Give the scan without them.",
        )
    return volume


def seeds_of(seed: int, scan: Volume, series: str, output: Path) -> tuple[int, int]:
    """From which numpy's generator for this scan is made: the call's seed, and the first 48 bits of the sha256 of its
    voxels in order of size. So no two scans share a draw, whatever their names are, and one scan has the same draws
    wherever it lies and whichever way its axes run. UsageError where OUTPUT holds repeats of another scan that had the
    same name, by the record of that call."""
    # Zero is added, which makes one number of both zeros.
    content = int(hashlib.sha256(np.sort(scan.voxels + np.float32(0), axis=None).data).hexdigest()[:12], 16)
    if any(one["id"] == series and one["seed"][1] != content for one in _recorded(output / RECORD)):
        raise UsageError(
            f"OUTPUT holds repeats of another scan than series {series}, which had the same name and would be lost. "
            "Name another folder, or remove them."
        )
    return seed, content


def _recorded(record: Path) -> list[dict[str, Any]]:
    try:
        earlier = json.loads(record.read_text(encoding="utf-8")) if record.is_file() else {}
    except ValueError:
        return []
    return list(earlier["series"]) if earlier.get("schema") == SCHEMA else []


def write_simulation(output: Path, about: Mapping[str, Any], series: Sequence[Mapping[str, Any]]) -> None:
    """OUTPUT/simulation.json. about: of the whole call. series: id, seed (as `seeds_of`) and shape of each, and what
    else is known of it."""
    write_json({"schema": SCHEMA, **about, "series": list(series)}, output / RECORD)


def simulated_check(repeats: FloatArray, shared: float, sigma: float) -> PairCheck:
    """What the manifest says of simulated repeats (R,I,J,K). shared: what is expected to be, by a noise level that fine
    anatomy raises: alone it disproves nothing. What the repeats themselves show is held to the limits of the pair
    check, so that `medn2n pair` says the same of them."""
    figures = {"sigma": sigma, "shared_noise": shared}
    if shared > 0:
        first, second = repeats[:2]
        if seen := noise_is_shared(shared_noise(first, second, measured_voxels(first) & measured_voxels(second))):
            reason = f"simulated on a scan of which too much noise is in all repeats alike: {seen}"
            logger.warning("%s. Training leaves them out.", reason)
            return PairCheck(verdict="unfit", reason=reason, figures=figures)
    if shared <= MOST_SHARED:
        return PairCheck(verdict="fit", reason="simulated with independent noise", figures=figures)
    reason = f"simulated on a scan whose own noise is {100 * shared:.0f} % of each repeat's variance, in all alike"
    return PairCheck(verdict="unproven", reason=reason, figures=figures)


def of_each(
    found: Iterable[Series], make: Callable[[Series], Made], output: Path
) -> tuple[list[Made], tuple[PassedOver, ...]]:
    """What `make` gives for each series, and the series that it refuses: they cost the others nothing, and what an
    earlier call wrote of them goes. Where it refuses all, the first one's InputError."""
    wanted, made = list(found), []
    refused: list[tuple[Series, InputError]] = []
    for number, series in enumerate(wanted, start=1):
        logger.info("series %s: %d of %d", series.id, number, len(wanted))
        try:
            made.append(make(series))
        except InputError as error:
            refused.append((series, error))
    if refused and not made:
        raise refused[0][1]
    for series, _ in refused:
        if (output / series.id).is_dir():
            remove_earlier(output, series.id, ())
    return made, tuple(_refusal(series, error) for series, error in refused)


def _refusal(series: Series, error: InputError) -> PassedOver:
    """The id stands before it, so not once more in the reason."""
    reason = str(error).removeprefix(f"Series {series.id}: ").removeprefix(f"File {series.id}: ")
    return PassedOver(id=series.id, files=series.files, status="refused", code=error.code, reason=reason)


def remove_earlier(output: Path, series: str, names: Collection[str]) -> None:
    """Remove what an earlier call wrote of a series, but for the files that this one did: names relative to OUTPUT."""
    folder = output / series
    stale = [path for path in _ours(folder) if f"{series}/{path.name}" not in names]
    for path in stale:
        path.unlink()
    if stale:
        logger.info("series %s: %d files of an earlier call removed", series, len(stale))


def write_scan(path: Path, volume: Volume) -> None:
    """Write a .nii.gz of float32, whole or not at all."""
    write_whole(path, gzipped(encode_new(volume, slope=1.0, intercept=0.0, integer=False).parts[".nii.gz"]))
