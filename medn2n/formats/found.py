"""What lies below a folder: DICOM volumes, NIfTI and ITK files, photographs, and what is neither, with the reason.

Headers only, but where two DICOM slices lie in one place and no field tells them apart: then their pixels do.
"""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, TypeAlias, get_args

import numpy as np
import numpy.typing as npt

from medn2n.errors import InputError
from medn2n.formats import nifti, photo_header
from medn2n.formats.bids_dataset import raw_dataset, sorted_out
from medn2n.formats.bids_names import is_part
from medn2n.formats.bids_write import is_own_copy
from medn2n.formats.dicom_header import Header, header_if_dicom
from medn2n.formats.dicom_series import volumes
from medn2n.formats.dicom_volume import DicomVolume, NotUsed
from medn2n.log import keyed_id

_DICOM_NAMES = (".dcm", ".dicom", ".ima")
# Reading is Python's own work on a local disk, where threads only hinder one another (2.6 s in one, 4.7 s in four, for
# 20,000 files), and waiting on a network share, where they help. A pool of processes gained nothing on two cores:
# starting them and sending the headers back cost what it saved.
_TRIED = 200  # files looked at in this thread, to see whether most of the time is waiting
_THREADS = 16
_Kind: TypeAlias = Literal["nifti", "itk", "photo", "foreign"]
_LINK = ("LINK", "a link that leaves the folder, or to a folder: not followed")
ITK_SUFFIXES = (".nrrd", ".nhdr", ".mha", ".mhd")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FileScan:
    """A scan that is a file of its own. format: "nifti", "itk" or "photo"."""

    id: str
    path: Path
    files: tuple[Path, ...]
    format: str
    modality: str
    shape: tuple[int, ...]
    affine: npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """Everything below one folder, in a fixed order whatever the disk's order is."""

    dicom: tuple[DicomVolume, ...]
    scans: tuple[FileScan, ...]
    not_used: tuple[NotUsed, ...]


def find(root: Path, *, only: Iterable[Path] | None = None, own_output: bool = False, below: str = "") -> Found:
    """Look at every file below `root` (or at `root` itself, a file). only: look at these files instead.
    own_output: take what medn2n wrote as scans too, which a batch passes over. below: the one folder to look at.
    Of a raw BIDS dataset, only the images are taken."""
    walked, odd = (sorted(only), []) if only is not None else _walk(root, below)
    base = root if root.is_dir() else root.parent
    if only is None and raw_dataset(root) is not None:
        walked, aside = _bids_images(walked, base)
        odd += aside
    looked = list(zip(walked, _look_at_all(walked), strict=True))
    headers = [item for _, item in looked if isinstance(item, Header)]
    outcomes = volumes(headers if own_output else [_own(header) for header in headers])
    kinds = {kind: [path for path, item in looked if item == kind] for kind in get_args(_Kind)}
    own = [] if own_output else [path for path in kinds["nifti"] if is_own_copy(path)]
    if own:
        odd.append(_many(own, base, "OWN_OUTPUT", "made by medn2n: already denoised"))
        kinds["nifti"] = sorted({*kinds["nifti"]} - {*own})
    scans, refused = _file_scans(kinds["nifti"], kinds["itk"], base, frozenset(walked) if root.is_dir() else None)
    for photograph in _photographs(kinds["photo"], base, own_output=own_output):
        scans.append(photograph) if isinstance(photograph, FileScan) else refused.append(photograph)
    used = {path for scan in scans for path in scan.files}
    foreign = [path for path in kinds["foreign"] if path not in used]
    unused = [item for item in outcomes if isinstance(item, NotUsed)]
    unused += [*odd, *refused, *(_refused(path, base, item) for path, item in looked if isinstance(item, InputError))]
    if foreign:
        unused.append(_many(foreign, base, "FOREIGN_FILE", "not a CT or MR image file"))
    return Found(
        dicom=tuple(
            sorted(
                (item for item in outcomes if isinstance(item, DicomVolume)),
                key=lambda item: (min(header.path for header in item.headers), item.part or 0),
            )
        ),
        scans=tuple(sorted(scans, key=lambda scan: scan.path)),
        not_used=tuple(sorted(unused, key=lambda item: (item.paths, item.code))),
    )


def file_id(path: Path, base: Path) -> str:
    """Keyed id of a file by its place below `base`."""
    return keyed_id(path.relative_to(base).as_posix(), "f")


def _walk(root: Path, below: str) -> tuple[list[Path], list[NotUsed]]:
    """Regular files below `root`, sorted. Links that leave it, pipes and devices are reported, never opened; so are
    folders that cannot be listed. Only the participants' folders of a raw BIDS dataset are entered."""
    if not root.is_dir():
        if not root.exists():
            raise InputError("MISSING_FILE", "The input does not exist. Check the path.")
        if not root.is_file():
            raise InputError("SPECIAL_FILE", "The input is a pipe, socket or device. Give a file or a folder.")
        return [root], []
    files: list[Path] = []
    aside: list[Path] = []
    odd: dict[tuple[str, str], list[Path]] = {}
    inside = root.resolve()
    closed: list[OSError] = []
    for folder, folders, names in os.walk(root / below, onerror=closed.append):
        folders.sort()
        if Path(folder) == root and raw_dataset(root) is not None:
            aside = [root / name for name in folders if not is_part(Path(name))]
            folders[:] = [name for name in folders if is_part(Path(name))]
        for name in [*names, *(sub for sub in folders if (Path(folder) / sub).is_symlink())]:
            path = Path(folder, name)
            verdict = _odd(path, inside)
            odd.setdefault(verdict, []).append(path) if verdict else files.append(path)
    unused = [_many(paths, root, code, reason) for (code, reason), paths in odd.items()]
    if aside:
        reason = "Folders beside the participants' (derivatives, source data, code): no raw images, not looked into."
        unused.append(replace(_many(aside, root, "BIDS_ASIDE", ""), reason=reason))
    if closed:
        paths = [Path(os.fsdecode(error.filename)) for error in closed]
        unused.append(replace(_many(paths, root, "UNREADABLE", "a folder that cannot be listed"), status="refused"))
    return sorted(files), unused


def _odd(path: Path, inside: Path) -> tuple[str, str] | None:
    """Why a file is not opened (code, reason); None for a regular one."""
    try:
        mode = os.lstat(path).st_mode
    except OSError:
        return "VANISHED", "a file that went away while the folder was read"
    if stat.S_ISLNK(mode):
        return None if _regular_inside(path, inside) else _LINK
    return None if stat.S_ISREG(mode) else ("SPECIAL_FILE", "a pipe, socket or device: not opened")


def _bids_images(paths: list[Path], base: Path) -> tuple[list[Path], list[NotUsed]]:
    """The images of a raw BIDS dataset, and the rest: an image without a BIDS name has no name for its copy either."""
    images, others, misplaced = sorted_out(base, paths)
    error = InputError(
        "NOT_BIDS", "BIDS has no image with this name in this place. Rename it, or denoise it by itself."
    )
    rest = [_refused(path, base, error) for path in misplaced]
    if others:
        rest.append(_many(others, base, "FOREIGN_FILE", "no image of the BIDS dataset (sidecars, tables)"))
    return images, rest


def _regular_inside(path: Path, inside: Path) -> bool:
    try:
        target = path.resolve(strict=True)
    except (OSError, RuntimeError):
        return False
    return target.is_file() and target.is_relative_to(inside)


def _many(paths: list[Path], base: Path, code: str, reason: str) -> NotUsed:
    name = keyed_id("|".join(path.relative_to(base).as_posix() for path in paths), "f")
    sentence = f"{len(paths)} file{'' if len(paths) == 1 else 's'}: {reason}."
    return NotUsed(id=name, paths=tuple(sorted(paths)), status="passed", code=code, reason=sentence)


def _look_at_all(paths: list[Path]) -> list[Header | _Kind | InputError]:
    """`_look` at each, in several threads where the first ones showed that it is the disk that takes the time."""
    wall, worked = time.perf_counter(), time.thread_time()
    tried = [_look(path) for path in paths[:_TRIED]]
    waits = time.perf_counter() - wall > 2 * (time.thread_time() - worked)
    if not waits:
        return tried + [_look(path) for path in paths[_TRIED:]]
    with ThreadPoolExecutor(_THREADS) as pool:
        return tried + list(pool.map(_look, paths[_TRIED:], chunksize=16))


def _look(path: Path) -> Header | _Kind | InputError:
    """What one file is, opened once: by content first (DICOM often has no suffix), then by name. Windows sidecars of
    macOS ("._x") are foreign."""
    name = path.name.lower()
    if name.startswith(".") or name == "dicomdir":
        return "foreign"
    try:
        header = header_if_dicom(path)
    except InputError as error:
        return error
    if header is not None:
        return header
    if name.endswith(_DICOM_NAMES):
        return InputError("NOT_DICOM", "named as DICOM but is not (no DICM mark). Export it again, or remove it.")
    if nifti.is_nifti(path):
        return "nifti" if nifti.header_path(path) == path or nifti.header_path(path).exists() else "foreign"
    if name.endswith(ITK_SUFFIXES):
        return "itk"
    return "photo" if photo_header.is_photo(path) else "foreign"


def _own(header: Header) -> Header:
    fault = ("passed", "OWN_OUTPUT", "made by medn2n: already denoised")
    return replace(header, fault=fault) if header.own_output else header


def _file_scans(
    niftis: list[Path], itks: list[Path], base: Path, walked: frozenset[Path] | None
) -> tuple[list[FileScan], list[NotUsed]]:
    """walked: the files that may be opened; None: one file was asked for, and what belongs to it is not looked for."""
    scans: list[FileScan] = []
    refused: list[NotUsed] = []
    for item in (*_nifti_scans(niftis, base), *_itk_scans(itks, base)):
        if isinstance(item, FileScan) and walked is not None and not walked.issuperset(item.files):
            refused.append(_refused(item.path, base, InputError("LINK", "its voxels lie behind a link: not followed.")))
        elif isinstance(item, FileScan):
            scans.append(item)
        else:
            refused.append(item)
    return sorted(scans, key=lambda scan: scan.path), refused


def _refused(path: Path, base: Path, error: InputError) -> NotUsed:
    name = file_id(path, base)
    return NotUsed(id=name, paths=(path,), status="refused", code=error.code, reason=f"File {name}: {error}")


def _nifti_scans(paths: list[Path], base: Path) -> Iterator[FileScan | NotUsed]:
    for path in paths:
        if nifti.header_path(path) != path:
            continue  # the .img of a pair comes with its .hdr
        told = nifti.no_scan(path)
        if told is not None:
            yield replace(_many([path], base, *told), id=file_id(path, base))
            continue
        try:
            header = nifti.read_header(path)
        except InputError as error:
            yield _refused(path, base, error)
            continue
        if header.is_label:
            yield replace(_many([path], base, "LABEL_MAP", "labels, not a scan"), id=file_id(path, base))
            continue
        yield FileScan(
            id=file_id(path, base),
            path=path,
            files=(path,) if header.data_path == path else (path, header.data_path),
            format="nifti",
            modality=nifti.modality_of(path),
            shape=header.grid,
            affine=header.affine,
        )


def _itk_scans(paths: list[Path], base: Path) -> Iterator[FileScan | NotUsed]:
    if not paths:
        return
    from medn2n.formats import itk  # loads SimpleITK, which most folders do not need

    for path in paths:
        try:
            header = itk.read_header(path)
        except InputError as error:
            yield _refused(path, base, error)
            continue
        yield FileScan(
            id=file_id(path, base),
            path=path,
            files=tuple(dict.fromkeys((path, header.data_path))),
            format="itk",
            modality=header.modality,
            shape=header.grid,
            affine=header.affine,
        )


def _photographs(paths: list[Path], base: Path, *, own_output: bool) -> Iterator[FileScan | NotUsed]:
    """One a file. A picture that cannot be taken is passed over: there is nothing wrong with the scans beside it."""
    affine = photo_header.AFFINE.copy()
    for path in paths:
        name = file_id(path, base)
        try:
            header = photo_header.read_header(path)
        except InputError as error:
            yield replace(_refused(path, base, error), status="passed")
            continue
        if header.own_copy and not own_output:
            yield replace(_many([path], base, "OWN_OUTPUT", "made by medn2n: already denoised"), id=name)
            continue
        shape = (header.columns, header.rows, header.planes)
        yield FileScan(id=name, path=path, files=(path,), format="photo", modality="PHOTO", shape=shape, affine=affine)
