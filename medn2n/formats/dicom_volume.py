"""What the files of a DICOM series make: a volume, or a reason why they make none."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from medn2n.core.catalogue import Scalar
from medn2n.formats.dicom_header import Frame, Header


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class DicomVolume:
    """One volume. frames[k][t]: the plane at slice k, time t. headers: its files, each once, in slice order.

    part: 1, 2, … where its series holds several volumes, else None. folder: set where copies of one series lie in
    several folders, so that the UID alone does not name it.
    """

    id: str
    series_uid: str
    modality: str
    headers: tuple[Header, ...]
    frames: tuple[tuple[Frame, ...], ...]
    affine: npt.NDArray[np.float64]
    positions_mm: npt.NDArray[np.float64] | None
    acquisition: Mapping[str, Scalar]
    part: int | None = None
    folder: Path | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """(I,J,K), or (I,J,K,T) for more than one time point."""
        times = len(self.frames[0])
        grid = (self.headers[0].columns, self.headers[0].rows, len(self.frames))
        return grid if times == 1 else (*grid, times)


@dataclass(frozen=True, slots=True, kw_only=True)
class NotUsed:
    """Files that make no volume, and why: status "passed" or "refused", code, and a sentence for people."""

    id: str
    paths: tuple[Path, ...]
    status: str
    code: str
    reason: str
    series_uid: str = ""


Outcome = DicomVolume | NotUsed


def not_used(
    series: str, headers: Iterable[Header], status: str, code: str, reason: str, series_uid: str = ""
) -> NotUsed:
    """The sentence begins with the keyed id of the series and its number of files."""
    paths = tuple(sorted(header.path for header in headers))
    sentence = f"Series {series} ({len(paths)} file{'' if len(paths) == 1 else 's'}): {reason}"
    return NotUsed(id=series, paths=paths, status=status, code=code, reason=sentence, series_uid=series_uid)


def files_of(frames: Iterable[Frame], by_path: Mapping[Path, Header]) -> list[Header]:
    """The headers of the files that hold these frames, each once, in the frames' order."""
    return [by_path[path] for path in dict.fromkeys(frame.path for frame in frames)]
