"""Series by what their files hold: content ids that no file name changes, and the scans that pairing compares."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from medn2n.core.catalogue import Series
from medn2n.core.repeat_groups import Scan, slab
from medn2n.core.volume import Volume
from medn2n.formats.manifest import file_sha256
from medn2n.formats.reference import ScanReference
from medn2n.log import keyed_id


class SeriesContents:
    """The series below one folder; each file is hashed once."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._ids: dict[str, str] = {}
        self._sha256: dict[str, str] = {}

    def of(self, series: Series) -> str:
        """Id of what a series' files hold, whatever they are called and wherever they lie."""
        if series.id not in self._ids:
            parts = sorted(self.sha256(name) for name in series.files)
            part = ScanReference.parse(series.path).part or 0
            self._ids[series.id] = keyed_id("".join(parts) + f"/{part}", "p")
        return self._ids[series.id]

    def sha256(self, relative: str) -> str:
        """Of the file or folder at this path below the root."""
        if relative not in self._sha256:
            self._sha256[relative] = file_sha256(self._root / relative)
        return self._sha256[relative]

    def scan(self, series: Series, volume: Volume, frame: int | None = None) -> Scan:
        """A whole volume, or one frame of a 4D one."""
        reference = ScanReference.parse(series.path) if series.format == "dicom" else ScanReference(path=series.path)
        content = self.of(series)
        voxels, padding = volume.voxels, volume.padding
        if frame is not None:
            reference, content = replace(reference, frame=frame), f"{content}/{frame:05d}"
            voxels = voxels[..., frame] if voxels.ndim == 4 else voxels
            padding = padding[..., frame] if padding is not None and padding.ndim == 4 else padding
        return Scan(
            series=series,
            reference=str(reference),
            frame=frame,
            content=content,
            slab=slab(voxels).copy(),
            padding=None if padding is None else slab(padding).copy(),
        )
