"""What makes denoised copies a valid BIDS derivative: sidecars, files that belong to an image, dataset description.

The copy's sidecar holds all metadata of the raw image (resolved by inheritance: denoising changes none of it), then
Sources, Description, SkullStripped and, under "Denoising", which model made it and how, which tells medn2n's own copies
from other files. b-values and ASL context keep their raw names, which BIDS reserves for verbatim copies.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import medn2n
from medn2n.core.provenance import Provenance
from medn2n.errors import InputError, UsageError
from medn2n.formats.bids_dataset import DESCRIPTION_FILE, RawDataset, json_object, raw_dataset
from medn2n.formats.bids_names import DESCRIPTION, denoised, is_image_name, is_raw_image
from medn2n.formats.results import write_whole

BIDS_VERSION = "1.10.0"
_RAW = "bids:raw:"  # "raw" is the key in DatasetLinks
_NOT_BIDS = ("medn2n.json", "report.html", "ct", "*_ct.*", "*_CT.*")  # CT has no place in BIDS
_OWN_KEYS = {"Sources", "Description", "Denoising", "SkullStripped", "IntendedFor"}
_README = """Denoised copies (desc-denoised) of the magnitude images of a raw BIDS dataset, made by medn2n.

Each copy has the geometry, stored type and metadata of its source, which "Sources" in its sidecar names; "Denoising"
names the model. medn2n.json says what was not denoised, and why. Research use, not a medical device.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Derivative:
    """A derivative dataset that is being written: raw: where its images come from. root: its folder, absolute."""

    raw: RawDataset
    root: Path

    def beside(self, image: Path, provenance: Provenance, dtype: str) -> dict[Path, bytes]:
        """What lies beside the copy of a raw image, by path: its sidecar, and verbatim copies of the files that belong
        to it. InputError BAD_SIDECAR."""
        relative = image.relative_to(self.raw.root)
        if not is_raw_image(relative):
            return {}
        target = self.root / denoised(PurePosixPath(relative.as_posix()))
        files = {sidecar_of(target): _json(self._sidecar(image, provenance, dtype))}
        for path in self.raw.associated(image):
            files[self.root / path.relative_to(self.raw.root)] = path.read_bytes()
        return files

    def _sidecar(self, image: Path, provenance: Provenance, dtype: str) -> dict[str, Any]:
        metadata = self.raw.sidecar(image)
        relative = image.relative_to(self.raw.root)
        if "IntendedFor" in metadata:
            metadata["IntendedFor"] = _each(metadata["IntendedFor"], lambda entry: _raw_uri(entry, relative.parts[0]))
        metadata |= {
            "Sources": [_RAW + relative.as_posix()],
            "Description": f"Denoised by medn2n {medn2n.__version__} with model {provenance.model or 'unknown'}.",
            "Denoising": {
                "Software": "medn2n",
                "Model": provenance.model,
                "ModelSHA256": provenance.model_sha256,
                "Parameters": {**provenance.parameters, "dtype": dtype},
            },
        }
        metadata.setdefault("SkullStripped", False)  # a raw image is not, unless its sidecar says so
        return metadata

    def agrees(self, file: str, model_sha256: str, parameters: Mapping[str, Any]) -> bool:
        """Whether a file that an earlier run wrote, relative to the root, is what the same run would write now. Another
        run may have replaced it (one over a participant, one over all), or the raw dataset's metadata have changed."""
        path, raw = self.root / file, self.raw.root / file
        if is_image_name(file) or not path.is_file():
            return True
        if not is_own_copy(path):
            return raw.is_file() and raw.read_bytes() == path.read_bytes()
        now = json_object(path)
        made = now["Denoising"]
        told = dict(made.get("Parameters", {}))
        if made.get("ModelSHA256") != model_sha256 or any(parameters.get(key) != told[key] for key in told):
            return False
        try:
            wanted = self.raw.sidecar(self.raw.root / str(now["Sources"][0]).removeprefix(_RAW))
        except (InputError, ValueError, LookupError):
            return False
        return {k: v for k, v in now.items() if k not in _OWN_KEYS} == {
            k: v for k, v in wanted.items() if k not in _OWN_KEYS
        }

    def dataset_files(self, *, overwrite: bool = False) -> dict[Path, bytes]:
        """The files at the root that are not there yet: description, .bidsignore, README. UsageError where another
        dataset is there, or (unless overwrite) copies of another raw dataset."""
        files = {}
        described, wanted = json_object(self.root / DESCRIPTION_FILE), self._description()
        exists = (self.root / DESCRIPTION_FILE).exists()
        if exists and not _is_own(described):
            raise UsageError("OUTPUT is another BIDS dataset. Name a folder of its own for the denoised copies.")
        same_raw = described.get("DatasetLinks") == wanted["DatasetLinks"]
        if exists and not same_raw and not overwrite:
            raise UsageError(
                "OUTPUT holds denoised copies of another raw dataset, or of this one in another place. "
                "Name another folder, or --overwrite."
            )
        if not same_raw:
            files[self.root / DESCRIPTION_FILE] = _json(wanted)
        ignored = self.root / ".bidsignore"
        lines = ignored.read_text(encoding="utf-8").splitlines() if ignored.is_file() else []
        if not set(_NOT_BIDS) <= set(lines):
            files[ignored] = "\n".join(dict.fromkeys([*lines, *_NOT_BIDS, ""])).encode()
        if not list(self.root.glob("README*")):
            files[self.root / "README"] = _README.encode()
        return files

    def _description(self) -> dict[str, Any]:
        link = _link(self.raw.root, self.root)
        source = {"URL": link}
        if isinstance(self.raw.description.get("DatasetDOI"), str):
            source["DOI"] = self.raw.description["DatasetDOI"]
        kept = {key: self.raw.description[key] for key in ("License",) if key in self.raw.description}
        return {
            "Name": f"{self.raw.description.get('Name', 'dataset')}, denoised",
            "BIDSVersion": BIDS_VERSION,
            "DatasetType": "derivative",
            "GeneratedBy": [{"Name": "medn2n", "Version": medn2n.__version__, "Description": "Noise2Noise denoising"}],
            "SourceDatasets": [source],
            "DatasetLinks": {"raw": link},
            **kept,
        }


def derivative_of(relative_to: Path | None, output: Path) -> Derivative | None:
    """The derivative that copies of images below `relative_to` belong to; None where that is no raw dataset."""
    raw = raw_dataset(relative_to) if relative_to is not None else None
    return None if raw is None else Derivative(raw=raw, root=output.absolute())


def sidecar_of(image: Path) -> Path:
    """The JSON file beside an image."""
    return image.with_name(image.name.partition(".")[0] + ".json")


def is_own_copy(path: Path) -> bool:
    """Whether medn2n made this image or sidecar of a derivative: the sidecar says so."""
    if f"_desc-{DESCRIPTION}_" not in path.name or not (is_image_name(path.name) or path.name.endswith(".json")):
        return False
    made = json_object(sidecar_of(path)).get("Denoising")
    return isinstance(made, dict) and made.get("Software") == "medn2n"


def point_to_copies(root: Path, sidecars: Iterable[Path]) -> None:
    """IntendedFor of these sidecars names the copy where the image that it named was denoised too."""

    def nearest(entry: str) -> str:
        copy = denoised(PurePosixPath(entry.removeprefix(_RAW)))
        return f"bids::{copy}" if entry.startswith(_RAW) and (root / copy).is_file() else entry

    for path in sidecars:
        metadata = json_object(path)
        now = _each(metadata.get("IntendedFor"), nearest)
        if now != metadata.get("IntendedFor"):
            write_whole(path, _json({**metadata, "IntendedFor": now}))


def _is_own(description: Mapping[str, Any]) -> bool:
    makers = description.get("GeneratedBy")
    names = [maker.get("Name") for maker in makers if isinstance(maker, dict)] if isinstance(makers, list) else []
    return description.get("DatasetType") == "derivative" and "medn2n" in names


def _raw_uri(entry: str, participant: str) -> str:
    """bids:raw:… of "bids::sub-01/…" or of a path below the participant's folder; other URIs as they are."""
    if entry.startswith("bids::"):
        return _RAW + entry.removeprefix("bids::")
    return entry if entry.startswith("bids:") else f"{_RAW}{participant}/{entry}"


def _each(value: Any, change: Any) -> Any:
    """One string or each of a list, changed; anything else as it is."""
    if isinstance(value, list):
        return [_each(item, change) for item in value]
    return change(value) if isinstance(value, str) else value


def _link(raw: Path, derivative: Path) -> str:
    """Where the raw dataset lies, seen from the derivative, so that both can be moved together."""
    try:
        return Path(os.path.relpath(raw.resolve(), derivative.resolve())).as_posix()
    except ValueError:  # another drive
        return raw.resolve().as_uri()


def _json(data: Mapping[str, Any]) -> bytes:
    return (json.dumps(data, indent=2, ensure_ascii=False) + "\n").encode()
