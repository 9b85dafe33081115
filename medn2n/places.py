"""Where a denoise run reads and where it writes.

Usually OUTPUT mirrors INPUT. Where INPUT is a raw BIDS dataset, or the folder of one of its participants or sessions,
OUTPUT is a derivative of that dataset: paths start at both roots, so that runs over single participants, one after the
other or at once, fill one derivative. Each such run keeps its record and report in the folder of OUTPUT that mirrors
its INPUT: no two runs write the same file, but for those at the root, which are alike.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from medn2n.core.catalogue import Catalogue
from medn2n.errors import TryLater, UsageError
from medn2n.formats.bids_dataset import part_of_raw
from medn2n.formats.bids_write import Derivative, derivative_of, is_own_copy, point_to_copies
from medn2n.formats.run_record import SeriesRecord, read_record

FILE_NAMES = (".dcm", ".nii", ".nii.gz", ".hdr", ".img", ".nrrd", ".nhdr", ".mha", ".mhd")


@dataclass(frozen=True, slots=True, kw_only=True)
class Places:
    """source: what is catalogued, of which `below` is the part to look at ("" = all). base, output: folders that paths
    in the record start from. home: where record and report lie. All absolute. derivative: where OUTPUT is BIDS."""

    source: Path
    below: str
    base: Path
    output: Path
    home: Path
    derivative: Derivative | None

    def earlier(self) -> dict[str, SeriesRecord]:
        """Series of an earlier run by id, without those of a derivative that would not come out the same now."""
        records = read_record(self.home)
        if self.derivative is None:
            return records
        agrees = self.derivative.agrees
        return {
            name: record
            for name, record in records.items()
            if all(agrees(file, record.model_sha256, record.parameters) for file in record.outputs)
        }

    def finish(self, records: Iterable[SeriesRecord]) -> None:
        """After the last series: sidecars of a derivative refer to one another."""
        if self.derivative is not None:
            written = (self.output / name for record in records for name in record.outputs)
            point_to_copies(self.output, [path for path in written if path.suffix == ".json" and is_own_copy(path)])


def find_places(source: Path, output: Path, *, overwrite: bool) -> Places:
    """The places of a run. UsageError where INPUT is missing, or where OUTPUT is a file, lies inside INPUT or is
    another dataset. The derivatives/ folder of a BIDS dataset may hold its OUTPUT."""
    source, output = source.absolute(), output.absolute()
    if not source.exists():
        raise UsageError("INPUT does not exist. Give a scan file, a series folder or a folder of studies.")
    dataset, below = part_of_raw(source) or (None, "")
    root = source if dataset is None else dataset.root
    check_output(source, output)
    derivative = derivative_of(root if dataset is not None else None, output)
    if derivative is not None:
        derivative.dataset_files(overwrite=overwrite)  # says whether OUTPUT is another dataset
    base = root if root.is_dir() else root.parent
    return Places(source=root, below=below, base=base, output=output, home=output / below, derivative=derivative)


def check_output(source: Path, output: Path) -> None:
    """UsageError where OUTPUT is a file, is INPUT or lies inside it. INPUT is the whole dataset where it is a part of a
    raw BIDS dataset, whose derivatives/ may hold OUTPUT."""
    part = part_of_raw(source.absolute())
    inside, outside = output.resolve(), (source if part is None else part[0].root).resolve()
    allowed = part is not None and outside / "derivatives" in inside.parents
    if not allowed and (inside == outside or outside in inside.parents):
        place = "," if part is None else " or below its derivatives/,"
        raise UsageError(
            f"OUTPUT is INPUT or lies inside it. Give a folder outside{place} so that no copy is taken for a scan."
        )
    if (output.exists() or output.name.lower().endswith(FILE_NAMES)) and not output.is_dir():
        raise UsageError("OUTPUT is a file. Give a folder: the copies keep their names in it, beside the record.")


def check_space(found: Catalogue, output: Path, *, float32: bool) -> None:
    """Room for all copies, uncompressed, and the report; else TryLater before anything is written."""
    needed = 30_000_000
    for series in found:
        voxels = 1
        for size in series.geometry.shape:
            voxels *= size
        needed += voxels * (4 if float32 else 2) + 16_384 * len(series.files)
    place = output
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free
    if free < needed:
        raise TryLater(
            f"The output disk has {free / 1e6:.0f} MB free, the copies may need {needed / 1e6:.0f} MB. "
            "Make room and repeat."
        )
