"""OUTPUT/medn2n.json: what a denoise run did with each series. It lies with the images and may hold relative paths."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import medn2n
from medn2n.formats.manifest import write_json

SCHEMA = "medn2n.run/1"
NAME = "medn2n.json"
Status = Literal["done", "already", "passed", "review", "refused", "failed"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SeriesRecord:
    """One series. files, outputs: relative to INPUT and OUTPUT. Noise and mean shift in `unit`; gates: `core.gates`;
    seconds wall time."""

    id: str
    status: Status
    files: list[str] = field(default_factory=list)
    code: str = ""
    reason: str = ""
    modality: str = ""
    model: str = ""
    model_sha256: str = ""
    parameters: dict[str, Any] = field(default_factory=dict)
    source_fingerprint: str = ""
    outputs: list[str] = field(default_factory=list)
    noise_before: float | None = None
    noise_after: float | None = None
    mean_shift: float | None = None
    unit: str = ""
    gates: list[dict[str, Any]] = field(default_factory=list)
    clipped_voxels: int = 0
    voxels: int = 0
    seconds: float = 0.0

    def same_result(self, other: SeriesRecord) -> bool:
        """Whether both come from the same files, model and parameters."""
        return (
            self.status in ("done", "already", "review")
            and bool(self.outputs)
            and self.source_fingerprint == other.source_fingerprint
            and self.model_sha256 == other.model_sha256
            and self.parameters == other.parameters
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRecord:
    """The whole file."""

    series: list[SeriesRecord]

    def as_json(self) -> dict[str, Any]:
        """Versioned JSON value."""
        return {
            "schema": SCHEMA,
            "medn2n_version": medn2n.__version__,
            "notice": "Research use, not a medical device.",
            "series": [dataclasses.asdict(record) for record in self.series],
        }


def write_record(record: RunRecord, output: Path) -> None:
    """Write OUTPUT/medn2n.json whole or not at all."""
    write_json(record.as_json(), output / NAME)


def read_record(output: Path) -> dict[str, SeriesRecord]:
    """Series of an earlier run by id; empty where there is none, or none that this version understands."""
    if not (output / NAME).is_file():
        return {}
    try:
        data = json.loads((output / NAME).read_text(encoding="utf-8"))
        if data["schema"] != SCHEMA:
            return {}
        return {item["id"]: SeriesRecord(**item) for item in data["series"]}
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return {}


def fingerprint(files: Sequence[Path]) -> str:
    """sha256 over the files' contents, in the order given."""
    digest = hashlib.sha256()
    for path in files:
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()
