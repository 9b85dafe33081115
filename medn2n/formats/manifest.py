"""The manifest: which scans show one object, who they belong to, how they were checked. Never the scans.

The JSON is a MONAI datalist: ``monai.data.load_decathlon_datalist(path, data_list_key="training")`` reads it,
and ``image`` holds scan references that ``medn2n.ScanReader`` understands ("a.nii.gz#frame=3",
"folder#series=1.2.3").
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field, ValidationError, model_validator

from medn2n.config.second_views import Strict
from medn2n.errors import InputError, UsageError
from medn2n.formats.reference import ScanReference

if TYPE_CHECKING:
    from medn2n.core.catalogue import Series
    from medn2n.core.repeat_alignment import Match

SCHEMA: Literal["medn2n.manifest/1"] = "medn2n.manifest/1"
Split = Literal["training", "validation", "test"]
Angle = Annotated[float, Field(ge=-180, le=180, allow_inf_nan=False)]
Length = Annotated[float, Field(ge=-500, le=500, allow_inf_nan=False)]


def named_modality(text: str) -> Literal["CT", "MR", "PHOTO"]:
    """The modality as a group names it; what is neither CT nor a photograph is MR."""
    return "CT" if text == "CT" else "PHOTO" if text == "PHOTO" else "MR"


class PairCheck(Strict):
    """Outcome of the voxel check of one group. figures: name → measured value (units in the names)."""

    verdict: Literal["fit", "correctable", "unfit", "unproven", "unchecked"]
    reason: str = ""
    figures: dict[str, float] = Field(default_factory=dict)


class Correction(Strict):
    """How a scan differs from its group's reference scan, and what training makes up for: by default nothing.

    scan = gain · reference + offset, in the scans' unit. What lies at x in the reference lies at R(x − c) + c + t in
    the scan, in RAS mm, c being the middle of the grid: rotation_deg is R's rotation vector (its length the angle),
    translation_mm is t, error_mm the standard error of a voxel's displacement.
    """

    gain: float = Field(default=1.0, ge=0.2, le=5.0, allow_inf_nan=False)
    offset: float = Field(default=0.0, allow_inf_nan=False)
    rotation_deg: tuple[Angle, Angle, Angle] = (0.0, 0.0, 0.0)
    translation_mm: tuple[Length, Length, Length] = (0.0, 0.0, 0.0)
    error_mm: float = Field(default=0.0, ge=0, allow_inf_nan=False)

    @property
    def moved(self) -> bool:
        """True where the scan shows the object in another place than the reference does."""
        return any(self.rotation_deg) or any(self.translation_mm)


def corrections(matches: Iterable[Match]) -> list[Correction]:
    """One for each scan of a group, in order; none at all where nothing has to be corrected."""
    made = [
        Correction(
            gain=match.gain,
            offset=match.offset,
            rotation_deg=match.motion.rotation_deg,
            translation_mm=match.motion.translation_mm,
            error_mm=match.error_mm,
        )
        for match in matches
    ]
    return made if any(correction != Correction() for correction in made) else []


class Acquisition(Strict):
    """How the scans of a group were acquired, as far as it decides what a model may be used on: edge of a pixel, step
    from slice to slice, and what the header says of kernel, field strength and the thickness of a slice ("" and None
    where it says nothing)."""

    pixel_mm: float
    slice_mm: float
    kernel: str = ""
    field_t: float | None = None
    thickness_mm: float | None = None


def acquisition_of(series: Series) -> Acquisition:
    """From the series' grid and header."""
    i, j, k = series.geometry.spacing_mm

    def number(key: str) -> float | None:
        value = series.acquisition.get(key)
        return float(value) if isinstance(value, int | float) else None

    return Acquisition(
        pixel_mm=round(max(i, j), 4), slice_mm=round(k, 4), kernel=str(series.acquisition.get("kernel") or ""),
        field_t=number("field_t"), thickness_mm=number("thickness_mm"),
    )  # fmt: skip


class Group(Strict):
    """≥ 1 scan of one object in one place, or moved by what `corrections` says.

    image: scan references relative to the manifest's data root. truth: a reference without noise, where one exists
    (simulation). subject: keyed id; no subject is in two splits. sha256: one a file named by `image`, in the same
    order. noise_sigma: spread of each scan about the truth in its unit, where it was simulated (of a magnitude less
    than its channels have, which simulation.json says). corrections: one for each scan, in the same order, the
    reference's being the identity; empty where there is nothing to correct. acquisition: of the first scan; None where
    nobody looked. objective: the only one under which what differs between the scans averages out, "" if a mean does.
    """

    group: str
    subject: str
    modality: Literal["CT", "MR", "PHOTO"]
    image: list[str] = Field(min_length=1)
    sha256: list[str] = Field(default_factory=list)
    truth: str | None = None
    noise_sigma: list[float] = Field(default_factory=list)
    source: str = ""
    licence: str = ""
    check: PairCheck = PairCheck(verdict="unchecked")
    corrections: list[Correction] = Field(default_factory=list)
    acquisition: Acquisition | None = None
    objective: str = ""

    @property
    def unmoved(self) -> list[int]:
        """Positions of the scans that show the object where the reference does."""
        return [n for n in range(len(self.image)) if not self.corrections or not self.corrections[n].moved]

    @model_validator(mode="after")
    def _parallel(self) -> Group:
        if self.sha256 and len(self.sha256) != len(self.image):
            raise ValueError(f"group {self.group}: {len(self.image)} images but {len(self.sha256)} sha256")
        if self.corrections and len(self.corrections) != len(self.image):
            raise ValueError(f"group {self.group}: {len(self.image)} images but {len(self.corrections)} corrections")
        if self.corrections and Correction() not in self.corrections:
            raise ValueError(f"group {self.group}: no scan is the reference that the corrections refer to")
        return self


class Manifest(Strict):
    """The whole file. Lists are sorted by group, so that renaming or shuffling the scans changes nothing."""

    schema_: Literal["medn2n.manifest/1"] = Field(default=SCHEMA, alias="schema")
    name: str
    description: str = ""
    root: str = Field(
        default="", description='"" = the manifest\'s own folder; "$MEDN2N_DATA" = that environment variable'
    )
    training: list[Group] = Field(default_factory=list)
    validation: list[Group] = Field(default_factory=list)
    test: list[Group] = Field(default_factory=list)

    @model_validator(mode="after")
    def _one_split_a_subject(self) -> Manifest:
        seen: dict[str, str] = {}
        for split in ("training", "validation", "test"):
            for group in getattr(self, split):
                if seen.setdefault(group.subject, split) != split:
                    raise ValueError(f"subject {group.subject} is in both {seen[group.subject]} and {split}")
        return self


def data_root(manifest: Manifest, path: Path) -> Path:
    """The folder that the manifest's references start from."""
    if not manifest.root:
        return path.parent
    if manifest.root.startswith("$"):
        value = os.environ.get(manifest.root[1:])
        if not value:
            raise UsageError(
                f"The manifest names its scans below ${manifest.root[1:]}, which is not set. "
                f"Set {manifest.root[1:]} to the folder that holds them."
            )
        return Path(value)
    return path.parent / manifest.root


def read_manifest(path: Path) -> Manifest:
    """Parse and validate. UsageError names the first field that is wrong."""
    try:
        return Manifest.model_validate(json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        raise UsageError("The manifest does not exist. Make one with `medn2n pair SCANS -o MANIFEST.json`.") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"The manifest is not JSON: {error}.") from None
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "top level"
        raise UsageError(f"The manifest is not valid: {where}: {first['msg']} (schema {SCHEMA}).") from None


def write_manifest(manifest: Manifest, path: Path) -> None:
    """Write by rename, keys in a fixed order, groups sorted: the same manifest gives the same bytes."""
    data = _plain(manifest)
    for split in ("training", "validation", "test"):
        data[split] = sorted(data[split], key=lambda group: str(group["group"]))
    write_json(data, path)


def _plain(manifest: Manifest) -> dict[str, Any]:
    """As the file holds it: what a group does not have it does not name, as before there was any of it."""
    data = manifest.model_dump(mode="json", by_alias=True)
    for split in ("training", "validation", "test"):
        for group in data[split]:
            for key in ("corrections", "acquisition", "objective"):
                if not group[key]:
                    del group[key]
    return data


def manifest_hash(manifest: Manifest) -> str:
    """sha256 over the canonical JSON: recorded in every model that was trained from it."""
    data = _plain(manifest)
    return hashlib.sha256(json.dumps(data, sort_keys=True, ensure_ascii=True).encode()).hexdigest()


def file_sha256(path: Path) -> str:
    """sha256 of a file; of a folder: over the sorted sha256 of its files, so that names do not count. JSON and pages
    are left out: a manifest or a report may lie beside the scans."""
    if path.is_dir():
        own = (".json", ".html")
        parts = sorted(file_sha256(child) for child in path.rglob("*") if child.is_file() and child.suffix not in own)
        return hashlib.sha256("".join(parts).encode()).hexdigest()
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def verify_files(manifest: Manifest, root: Path) -> None:
    """InputError if a scan named by the manifest is missing or is not the one that was recorded."""
    checked: dict[str, str] = {}
    for group in [*manifest.training, *manifest.validation, *manifest.test]:
        verify_group(group, root, checked)


def verify_group(group: Group, root: Path, checked: dict[str, str] | None = None) -> None:
    """`verify_files` for one group. checked: sha256 of files that were read before, by path; this call adds its own."""
    checked = {} if checked is None else checked
    for position, reference in enumerate(group.image):
        path = ScanReference.parse(reference).path
        where = f"Group {group.group}: scan {position + 1} of {len(group.image)}"
        if not (root / path).exists():
            raise InputError("MISSING_FILE", f"{where} is not below the manifest's data root.")
        if group.sha256:
            if path not in checked:
                checked[path] = file_sha256(root / path)
            actual = checked[path]
            if actual != group.sha256[position]:
                raise InputError(
                    "CHANGED_FILE",
                    f"{where} has sha256 {actual[:12]}…, expected {group.sha256[position][:12]}…. The file is not the "
                    "one the manifest was made from.",
                )


def write_json(data: Any, path: Path) -> None:
    """Write JSON whole or not at all (temporary file in the same folder, then rename). The bytes of a file name that is
    not UTF-8 become \\udc80 to \\udcff, as Python reads them back."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=".medn2n-", suffix=".tmp")
    try:
        with os.fdopen(handle, "w", encoding="utf-8", errors="backslashreplace") as file:
            json.dump(data, file, indent=1, ensure_ascii=False)
            file.write("\n")
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
