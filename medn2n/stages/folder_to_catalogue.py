"""folder → Catalogue: which series are there, and what is passed over or refused, and why. Headers only."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from medn2n.core.catalogue import Catalogue, Geometry, PassedOver, Scalar, Series
from medn2n.formats.dicom_volume import DicomVolume, NotUsed
from medn2n.formats.found import FileScan, find
from medn2n.formats.reference import ScanReference
from medn2n.log import keyed_id

_FORMATS: dict[str, Literal["nifti", "itk", "photo"]] = {"nifti": "nifti", "itk": "itk", "photo": "photo"}
_SUBJECT = re.compile(r"(?:^|/)(sub-[A-Za-z0-9]+)(?=[/_])")


def catalogue(path: str | Path, *, modality: str = "", below: str = "") -> Catalogue:
    """All series below a folder (or the one in a file), sorted by path, and everything else with its reason.

    modality: "CT" or "MR" for files that do not say theirs (NIfTI, NRRD). below: the one folder in it to look at.
    Headers are read, pixels only of DICOM slices that lie in one place; links that leave the folder are not followed,
    and neither torch nor monai is loaded. InputError MISSING_FILE.
    """
    root = Path(path)
    base = root if root.is_dir() else root.parent
    found = find(root, below=below)
    series = [_dicom(item, base) for item in found.dicom]
    series += [_file(item, base, modality) for item in found.scans]
    return Catalogue(
        series=tuple(sorted(series, key=lambda item: (item.path, item.id))),
        passed_over=tuple(_passed_over(item, base) for item in found.not_used),
    )


def _relative(path: Path, base: Path) -> str:
    return path.relative_to(base).as_posix()


def _dicom(item: DicomVolume, base: Path) -> Series:
    folder = Path(os.path.commonpath([header.path.parent for header in item.headers]))
    reference = ScanReference(path=_relative(folder, base), series=item.series_uid or None, part=item.part)
    return Series(
        id=item.id,
        path=str(reference),
        files=tuple(_relative(header.path, base) for header in item.headers),
        format="dicom",
        modality=item.modality,
        geometry=_geometry(item.shape, item.affine, item.positions_mm is None),
        acquisition=item.acquisition,
        slice_wise=item.positions_mm is not None,
    )


def _file(item: FileScan, base: Path, modality: str) -> Series:
    relative = _relative(item.path, base)
    acquisition: dict[str, Scalar] = {}
    subject = _SUBJECT.search("/" + relative)
    if subject:
        acquisition["patient"] = keyed_id(subject.group(1), "p")
    return Series(
        id=item.id,
        path=relative,
        files=tuple(_relative(path, base) for path in item.files),
        format=_FORMATS[item.format],
        modality=item.modality or modality,
        geometry=_geometry(item.shape, item.affine, True),
        acquisition=acquisition,
    )


def _geometry(shape: tuple[int, ...], affine: npt.NDArray[np.float64], even: bool) -> Geometry:
    lengths = np.linalg.norm(affine[:3, :3], axis=0)
    rows = tuple((float(a), float(b), float(c), float(d)) for a, b, c, d in affine)
    spacing = (float(lengths[0]), float(lengths[1]), float(lengths[2]))
    return Geometry(shape=shape, spacing_mm=spacing, affine=rows, evenly_spaced=even)


def _passed_over(item: NotUsed, base: Path) -> PassedOver:
    return PassedOver(
        id=item.id,
        files=tuple(_relative(path, base) for path in item.paths),
        status="refused" if item.status == "refused" else "passed",
        code=item.code,
        reason=item.reason,
    )
