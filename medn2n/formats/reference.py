"""A scan reference: one string that names one volume, as manifests, MONAI readers and people write it.

scan.nii.gz                    a whole file
scan.nii.gz#frame=3            the fourth volume of a 4D file
folder#series=1.2.840.1        one DICOM series among others in a folder
folder#series=1.2.840.1&part=2 its second volume, where a series holds several (echoes, time points)
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from medn2n.errors import UsageError

_KEYS = ("series", "part", "frame")
UID = re.compile(r"[0-9.]{1,64}")


@dataclass(frozen=True, slots=True, kw_only=True)
class ScanReference:
    """path: file or folder; series: SeriesInstanceUID; part: from 1; frame: index along time, from 0."""

    path: str
    series: str | None = None
    part: int | None = None
    frame: int | None = None

    @staticmethod
    def parse(text: str) -> ScanReference:
        """Read the string form. A "#" that is not followed by a known key, or whose series is no UID, belongs to the
        path."""
        path, mark, tail = text.rpartition("#")
        fields = dict(item.partition("=")[::2] for item in tail.split("&"))
        if not mark or not set(fields) <= set(_KEYS) or not UID.fullmatch(fields.get("series", "0")):
            return ScanReference(path=text)
        try:
            part = int(fields["part"]) if "part" in fields else None
            frame = int(fields["frame"]) if "frame" in fields else None
        except ValueError:
            raise UsageError(f"Scan reference: part and frame are whole numbers, found {tail!r}.") from None
        return ScanReference(path=path, series=fields.get("series"), part=part, frame=frame)

    def __str__(self) -> str:
        fields = [f"{key}={value}" for key in _KEYS if (value := getattr(self, key)) is not None]
        return self.path + ("#" + "&".join(fields) if fields else "")


def without_frame(reference: str) -> str:
    """The reference of the whole scan."""
    return str(replace(ScanReference.parse(reference), frame=None))
