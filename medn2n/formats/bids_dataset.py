"""A raw BIDS dataset on disk: where its images lie, and what applies to each of them by inheritance."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from medn2n.errors import InputError
from medn2n.formats.bids_names import Name, is_image_name, is_part, is_raw_image

DESCRIPTION_FILE = "dataset_description.json"
# What an image means nothing without. Events, physiology and the like stay in the raw dataset, where tools look.
_ASSOCIATED = {"dwi": (".bval", ".bvec"), "epi": (".bval", ".bvec"), "asl": ("aslcontext.tsv",)}


@dataclass(frozen=True, slots=True, kw_only=True)
class RawDataset:
    """root: absolute. description: its dataset_description.json."""

    root: Path
    description: dict[str, Any]

    def sidecar(self, image: Path) -> dict[str, Any]:
        """All metadata of an image: the JSON files that apply to it, a nearer one before one higher in the tree.
        InputError BAD_SIDECAR where one is no JSON object."""
        merged: dict[str, Any] = {}
        for path in self._applying(image, ".json", Name.parse(image.name)):
            merged |= _object(path)
        return merged

    def associated(self, image: Path) -> list[Path]:
        """The files without which nobody can use the image: b-values and directions of diffusion images, the order of
        the volumes of an ASL image; the nearest that applies of each kind."""
        name = Name.parse(image.name)
        found = []
        for kind in _ASSOCIATED.get(name.suffix, ()):
            suffix, dot, extension = kind.rpartition(".")
            wanted = Name(entities=name.entities, suffix=suffix or name.suffix, extension=name.extension)
            found += list(self._applying(image, dot + extension, wanted))[-1:]
        return found

    def _applying(self, image: Path, extension: str, name: Name) -> Iterator[Path]:
        """Files with this extension that apply to an image so named, from the dataset's root to the image's folder."""
        folders = [self.root]
        for part in image.relative_to(self.root).parts[:-1]:
            folders.append(folders[-1] / part)
        for folder in folders:
            named = [(Name.parse(path.name), path) for path in sorted(folder.glob(f"*{extension}"))]
            fitting = [item for item in named if item[0].extension == extension and item[0].applies_to(name)]
            yield from (path for _, path in sorted(fitting, key=lambda item: len(item[0].entities)))


def _object(path: Path) -> dict[str, Any]:
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        data = None
    if not isinstance(data, dict):
        raise InputError(
            "BAD_SIDECAR", "A JSON sidecar that applies to this image cannot be read as a JSON object. Correct it."
        )
    return data


def json_object(path: Path) -> dict[str, Any]:
    """A JSON object; empty where there is none that can be read."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return data if isinstance(data, dict) else {}


def raw_dataset(folder: Path) -> RawDataset | None:
    """The raw BIDS dataset whose root `folder` is; None for anything else, derivatives too."""
    description = json_object(folder / DESCRIPTION_FILE)
    if not description.get("BIDSVersion") or description.get("DatasetType", "raw") != "raw":
        return None
    return RawDataset(root=folder.absolute(), description=description)


def part_of_raw(folder: Path) -> tuple[RawDataset, str] | None:
    """The dataset, and the part of it that `folder` is: "" for its root, "sub-01" or "sub-01/ses-2" for the folder of
    a participant or session. None outside raw datasets, and for a single file or datatype folder."""
    for depth, root in enumerate((folder, *list(folder.parents)[:2])):
        dataset = raw_dataset(root) if folder.is_dir() else None
        below = folder.relative_to(root)
        if dataset is not None and (depth == 0 or is_part(below)):
            return dataset, "" if depth == 0 else below.as_posix()
    return None


def sorted_out(root: Path, files: Sequence[Path]) -> tuple[list[Path], list[Path], list[Path]]:
    """Files below a raw dataset: its images, other files (sidecars, tables), and images that lie or are named as BIDS
    has none."""
    images: list[Path] = []
    others: list[Path] = []
    misplaced: list[Path] = []
    for path in files:
        if is_raw_image(PurePosixPath(path.relative_to(root).as_posix())):
            images.append(path)
        else:
            (misplaced if is_image_name(path.name) else others).append(path)
    return images, others, misplaced
