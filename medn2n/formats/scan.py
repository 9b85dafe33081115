"""Any scan to a Volume, and a denoised Volume back to files like those it came from."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from medn2n.core.catalogue import Series
from medn2n.core.volume import Volume
from medn2n.errors import InputError, NothingToDo, UsageError
from medn2n.formats import dicom_read, nifti, photo
from medn2n.formats.dicom_volume import DicomVolume
from medn2n.formats.found import ITK_SUFFIXES, FileScan, Found, find
from medn2n.formats.reference import ScanReference
from medn2n.formats.scan_write import Written, planned_files, save
from medn2n.log import keyed_id

__all__ = ["Written", "load", "load_series", "planned_files", "save"]


def load(reference: str | Path, *, root: Path | None = None, modality: str = "") -> Volume:
    """One scan as a Volume: a file, a folder with one series in it, or a scan reference (`formats.reference`).

    root: folder that a relative reference starts from. modality: "CT" or "MR", for files that do not say theirs; a
    photograph is "PHOTO" whatever is said, and nothing else is.
    InputError with the rule's code where the scan is refused, SEVERAL_SERIES (its message lists their references'
    keyed ids) where a folder holds more than one; NothingToDo where it holds none.
    """
    _check_modality(modality)
    parsed = _parse(reference)
    path = Path(parsed.path) if root is None else Path(root) / parsed.path
    if not path.exists():
        raise InputError("MISSING_FILE", "The scan does not exist. Check the path, and the folder it starts from.")
    if path.is_file() and (nifti.is_nifti(path) or path.name.lower().endswith((*ITK_SUFFIXES, *photo.SUFFIXES))):
        name = keyed_id(Path(parsed.path).as_posix() if root is not None else path.name, "f")
        return _load_file(path, name, parsed.frame, modality)
    return _frame(_one(_with_own_output(path), parsed, path, modality), parsed.frame)


def load_series(series: Series, *, root: Path, modality: str = "") -> Volume:
    """One series of a catalogue of `root`. Only its own files are opened, so that a folder with many series is not
    read again for each. InputError as `load`."""
    parsed = ScanReference.parse(series.path) if series.format == "dicom" else ScanReference(path=series.path)
    if series.format != "dicom":
        return load(Path(parsed.path), root=Path(root), modality=modality or series.modality)
    files = [Path(root) / name for name in series.files]
    missing = sum(not path.is_file() for path in files)
    if missing:
        raise InputError("MISSING_FILE", f"Series {series.id}: {missing} of its {len(files)} files are gone.")
    found = find(Path(root), only=files)
    for item in found.dicom:
        if len(item.headers) == len(files):
            return dicom_read.read_volume(replace(item, id=series.id, part=parsed.part), Path(root))
    if found.not_used:
        raise InputError(found.not_used[0].code, found.not_used[0].reason)
    raise InputError(
        "CHANGED_FILE", f"Series {series.id}: its files are not what the catalogue found. Catalogue again."
    )


def _check_modality(modality: str) -> None:
    if modality not in ("", "CT", "MR", "PHOTO"):
        raise UsageError(f'modality is "CT", "MR", "PHOTO" or "" (as the file says), found {modality!r}.')


def _parse(reference: str | Path) -> ScanReference:
    """A Path, or a string that names an existing file as it stands, is never cut at a "#"."""
    if isinstance(reference, Path):
        return ScanReference(path=str(reference))
    return ScanReference.parse(reference)


def _load_file(path: Path, name: str, frame: int | None, modality: str) -> Volume:
    """A scan that is a file of its own; its errors begin with the file's keyed id."""
    modality = "" if modality == "PHOTO" else modality
    try:
        if nifti.is_nifti(path):
            return nifti.read_volume(path, frame=frame, modality=modality)
        if path.name.lower().endswith(photo.SUFFIXES):
            if frame:
                raise InputError("NO_SUCH_FRAME", f"frame {frame} was asked for, a photograph has one.")
            return photo.read_volume(path)
        from medn2n.formats import itk  # loads SimpleITK, which DICOM and NIfTI do not need

        return itk.read_volume(path, frame=frame, modality=modality)
    except InputError as error:
        raise InputError(error.code, f"File {name}: {error}") from None


def _with_own_output(path: Path) -> Found:
    """What is there; a folder with nothing but medn2n's own copies is one that somebody wants to look at."""
    found = find(path)
    return found if found.dicom or found.scans else find(path, own_output=True)


def _one(found: Found, parsed: ScanReference, path: Path, modality: str) -> Volume:
    """The volume that the reference names, or the only one."""
    wanted: list[DicomVolume | FileScan] = [
        item
        for item in found.dicom
        if parsed.series in (None, item.series_uid) and parsed.part in (None, item.part or 1)
    ]
    if len(wanted) > 1 and parsed.series is not None:
        here = [item for item in wanted if isinstance(item, DicomVolume) and item.folder in (None, path)]
        wanted = list(here) if len(here) == 1 else wanted
    if parsed.series is None:
        wanted += found.scans
    if len(wanted) > 1:
        names = ", ".join(item.id for item in wanted[:8]) + (", …" if len(wanted) > 8 else "")
        raise InputError(
            "SEVERAL_SERIES",
            f"The folder holds {len(wanted)} series ({names}), expected one. Name one as FOLDER#series=UID, with "
            "&part=N where a series holds several volumes; `medn2n catalogue --json` lists them.",
        )
    if not wanted:
        _nothing(found, parsed)
    item = wanted[0]
    if isinstance(item, DicomVolume):
        return dicom_read.read_volume(item, path if path.is_dir() else path.parent)
    return _load_file(item.path, item.id, None, modality)


def _nothing(found: Found, parsed: ScanReference) -> None:
    """Say why there is no volume: the refusal if there was one, else that there is no image series."""
    refused = [
        item
        for item in found.not_used
        if item.status == "refused" and (parsed.series is None or item.series_uid in ("", parsed.series))
    ]
    if refused:
        raise InputError(refused[0].code, refused[0].reason)
    if parsed.series is not None and found.dicom:
        raise InputError("NO_SUCH_SERIES", f"The folder holds {len(found.dicom)} series, but not the one named.")
    codes = sorted({item.code for item in found.not_used})
    passed = f" Passed over: {', '.join(codes)}." if codes else ""
    raise NothingToDo(f"There is no CT or MR image series here.{passed}")


def _frame(volume: Volume, frame: int | None) -> Volume:
    """One time point; it keeps no source when it is a part of a file, since that file is written whole or not."""
    if frame is None:
        return volume
    times = volume.voxels.shape[3] if volume.voxels.ndim == 4 else 1
    if not 0 <= frame < times:
        raise InputError("NO_SUCH_FRAME", f"frame {frame} was asked for, there are {times} (they count from 0).")
    if times == 1:
        return volume
    padding = None if volume.padding is None else volume.padding[..., frame]
    voxels = np.ascontiguousarray(volume.voxels[..., frame])
    return replace(volume, voxels=voxels, padding=padding, source=None)
