"""Files of simulated repeats, made series by series and written as float32, and those that lie in OUTPUT already,
which a later pairing must not find beside the new ones."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable
from pathlib import Path
from typing import TypeVar

from medn2n.core.catalogue import PassedOver, Series
from medn2n.core.volume import Volume
from medn2n.errors import InputError, UsageError
from medn2n.formats.nifti import encode_new, gzipped
from medn2n.formats.results import write_whole
from medn2n.log import logger

Made = TypeVar("Made")
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
