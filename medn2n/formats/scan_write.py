"""A Volume to files that mirror those it came from, each whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Literal, TypeAlias

from medn2n.core.provenance import Provenance
from medn2n.core.volume import Volume
from medn2n.errors import InputError, UsageError
from medn2n.formats import bids_names, dicom_write, nifti, photo
from medn2n.formats.bids_dataset import raw_dataset
from medn2n.formats.bids_write import derivative_of, is_own_copy
from medn2n.formats.dicom_read import DicomSource
from medn2n.formats.dicom_write import DicomOptions
from medn2n.formats.found import ITK_SUFFIXES
from medn2n.formats.nifti import NiftiSource
from medn2n.formats.photo import PhotoSource
from medn2n.formats.staged import Staged

if TYPE_CHECKING:
    from medn2n.formats.itk import ItkSource

Source: TypeAlias = "DicomSource | NiftiSource | ItkSource | PhotoSource"
Dtype = Literal["same", "float32"]
Format = Literal["same", "dicom", "nifti"]
DICOM_DEFAULTS = DicomOptions()
_NAMES = (".nii", ".nii.gz", ".hdr", ".dcm", *ITK_SUFFIXES, *photo.SUFFIXES)


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """files: what was written, absolute, in the order of the source files; then what BIDS wants beside them.
    clipped_voxels: how many of `voxels` did not fit into the stored range. lossy: the source's pixels were compressed
    with loss."""

    files: tuple[Path, ...]
    clipped_voxels: int
    voxels: int
    lossy: bool = False


def save(
    volume: Volume,
    output: Path | str,
    *,
    provenance: Provenance | None = None,
    dtype: Dtype = "same",
    format: Format = "same",
    dicom: DicomOptions = DICOM_DEFAULTS,
    relative_to: Path | None = None,
    overwrite: bool = False,
) -> Written:
    """Write a (denoised) Volume with the header and geometry of its source.

    output: a folder, below which files get the paths of their sources relative to `relative_to` (default: the folder
    that was loaded, or the file's own); or a file name, for a scan that is one file. DICOM: one derived object for
    each source file. NIfTI, NRRD, MetaImage, PNG, TIFF: one file (or pair). dtype and format: as the command line has
    them. dicom: how DICOM copies are written. Where `relative_to` is a raw BIDS dataset, `output` becomes a derivative
    of it. A voxel that nobody changed keeps its stored number to the bit. UsageError for a wrong call, above all a
    file in the way that medn2n did not write; InputError where the source has changed; TryLater for a full disk.
    """
    source = _source(volume)
    _check(volume, source, dtype, format)
    targets = planned_files(volume, output, format=format, relative_to=relative_to, dtype=dtype)
    beside, shared = _bids(source, Path(output), relative_to, provenance or Provenance(), dtype, overwrite)
    _check_targets(targets, beside, Path(output).absolute(), _source_files(source), overwrite)
    lossy = False
    with Staged() as staged:
        for path, data in {**shared, **beside}.items():
            staged.write(path, data)
        if isinstance(source, DicomSource) and format != "nifti":
            derived = dicom_write.derived_files(volume, source, provenance or Provenance(), dicom)
            clipped, lossy = _write_derived(staged, targets, derived)
        else:
            targets, clipped = _write_file(staged, targets, volume, source, dtype=dtype, format_=format)
    return Written(files=(*targets, *beside), clipped_voxels=clipped, voxels=int(volume.voxels.size), lossy=lossy)


def planned_files(
    volume: Volume,
    output: Path | str,
    *,
    format: Format = "same",
    relative_to: Path | None = None,
    dtype: Dtype = "same",
) -> tuple[Path, ...]:
    """Where `save` would write (without the .raw beside a .mhd), absolute, in the order of the source files."""
    source, folder = _source(volume), Path(output).absolute()
    files = _source_files(source)
    as_nifti = format == "nifti" and not isinstance(source, NiftiSource)
    if _is_file_name(folder):
        if len(files) > 1 and not as_nifti:
            raise UsageError(f"The output is a file name, but the scan has {len(files)} files. Name a folder.")
        return (folder,)
    base = (relative_to or _base(source)).absolute()
    places = [_mirrored(file, base) for file in files]
    if as_nifti and isinstance(source, DicomSource):
        places = [places[0].with_name(f"{source.volume.id}.nii.gz")]
    elif as_nifti:
        places = [places[0].with_name(_stem(places[0]) + ".nii.gz")]
    elif isinstance(source, PhotoSource) and dtype == "float32":  # a PNG holds whole numbers only
        places = [place.with_suffix(".tiff") if place.suffix.lower() == ".png" else place for place in places]
    if raw_dataset(base) is not None:
        places = [Path(bids_names.denoised(PurePosixPath(place.as_posix()))) for place in places]
    frame = getattr(source, "frame", None)
    if frame is not None:
        places = [place.with_name(f"{_stem(place)}_frame{frame}{place.name[len(_stem(place)) :]}") for place in places]
    return tuple(folder / place for place in places)


def _is_file_name(output: Path) -> bool:
    return output.name.lower().endswith(_NAMES) and not output.is_dir()


def _bids(
    source: Source,
    output: Path,
    relative_to: Path | None,
    provenance: Provenance,
    dtype: Dtype,
    overwrite: bool,
) -> tuple[dict[Path, bytes], dict[Path, bytes]]:
    """What a BIDS derivative has beside this copy, and what all of its copies share; both empty outside BIDS."""
    derivative = derivative_of(relative_to, output)
    if derivative is None or not isinstance(source, NiftiSource) or _is_file_name(output):
        return {}, {}
    return derivative.beside(source.path, provenance, dtype), derivative.dataset_files(overwrite=overwrite)


def _stem(path: Path) -> str:
    """File name without .nii.gz or its last suffix."""
    name = path.name
    return name[:-7] if name.lower().endswith((".nii.gz", ".hdr.gz", ".img.gz")) else path.stem


def _mirrored(file: Path, base: Path) -> Path:
    try:
        return file.relative_to(base)
    except ValueError:
        raise UsageError("A source file does not lie below the folder whose paths the output mirrors.") from None


def _source(volume: Volume) -> Source:
    source = volume.source
    if isinstance(source, DicomSource | NiftiSource | PhotoSource) or type(source).__name__ == "ItkSource":
        return source  # type: ignore[no-any-return]  # ItkSource is checked by name: its module loads SimpleITK
    raise UsageError("The volume has no source to take header and geometry from. Load it with medn2n.load.")


def _source_files(source: Source) -> tuple[Path, ...]:
    if isinstance(source, DicomSource):
        return tuple(header.path.absolute() for header in source.volume.headers)
    if isinstance(source, NiftiSource):
        header = nifti.read_header(source.path)
        return tuple(dict.fromkeys((header.path, header.data_path)))
    return (source.path,)


def _base(source: Source) -> Path:
    return source.base if isinstance(source, DicomSource) else source.path.parent


def refuse_uneven(volume: Volume, series: str, advice: str) -> None:
    """InputError UNEVEN_SPACING for a scan that a NIfTI would show in the wrong place. advice: what to do instead."""
    if volume.slice_positions_mm is not None:
        raise InputError("UNEVEN_SPACING", f"Series {series}: slices lie unevenly, which NIfTI cannot say. {advice}")


def _check(volume: Volume, source: Source, dtype: Dtype, format_: Format) -> None:
    if isinstance(source, DicomSource):
        if dtype == "float32" and format_ != "nifti":
            raise UsageError("DICOM CT and MR images hold whole numbers: --dtype float32 goes with --format nifti.")
        if format_ == "nifti":
            refuse_uneven(volume, source.volume.id, "Write DICOM.")
    elif format_ == "dicom":
        raise UsageError("Only a scan that came as DICOM can be written as DICOM: nothing else holds its header.")


def _check_targets(
    targets: tuple[Path, ...], beside: dict[Path, bytes], output: Path, sources: tuple[Path, ...], overwrite: bool
) -> None:
    """Never a source, nor behind a link that leads out of the output; a file in the way only if it is medn2n's own,
    holds the same, or the caller says so. A link in the way is itself replaced, never what it leads to."""
    inside = output.parent.resolve() if output in targets else output.resolve()
    if not all(target.parent.resolve().is_relative_to(inside) for target in (*targets, *beside)):
        raise UsageError("A folder in the output is a link that leads out of it. Name another folder.")
    originals = {path.resolve() for path in sources}
    if len(set(targets)) < len(targets):
        raise UsageError("Two files would be written under one name. Name an output folder.")
    for target in (*targets, *beside):
        if target.resolve() in originals:
            raise UsageError("The output would replace its own source. Name another folder.")
        if target.is_dir() or (os.path.lexists(target) and not overwrite and not _is_own(target, beside.get(target))):
            raise UsageError("A file that medn2n did not write is in the way. Name another folder, or --overwrite.")


def _is_own(target: Path, data: bytes | None) -> bool:
    """Whether medn2n wrote a file, as DICOM, BIDS and photographs' copies say, or somebody wrote the same data."""
    ours = is_own_copy(target) or dicom_write.is_own_output(target) or photo.is_own_copy(target)
    return ours or (data is not None and target.read_bytes() == data)


def _write_derived(
    staged: Staged, targets: tuple[Path, ...], derived: Iterator[dicom_write.DerivedFile]
) -> tuple[int, bool]:
    clipped, lossy = 0, False
    for target, file in zip(targets, derived, strict=True):
        staged.write(target, file.data)
        clipped += file.clipped
        lossy |= file.lossy
    return clipped, lossy


def _write_file(
    staged: Staged, targets: tuple[Path, ...], volume: Volume, source: Source, *, dtype: Dtype, format_: Format
) -> tuple[tuple[Path, ...], int]:
    """All that is no DICOM: what was written, and how many voxels were clipped."""
    if isinstance(source, NiftiSource):
        return targets, _write_nifti(staged, targets, nifti.encode_like(source, volume, dtype=dtype))
    if format_ == "nifti":
        return targets, _write_nifti(staged, targets, _as_new_nifti(volume, source, dtype))
    if isinstance(source, PhotoSource):
        data, clipped = photo.encode_like(source, volume, dtype=dtype)
        staged.write(targets[0], data)
        return targets, clipped
    return _write_itk(staged, targets[0], volume, source, dtype)


def _write_nifti(staged: Staged, targets: tuple[Path, ...], encoded: nifti.Encoded) -> int:
    for target, data in zip(targets, encoded.parts.values(), strict=True):
        staged.write(target, nifti.gzipped(data) if target.name.lower().endswith(".gz") else data)
    return encoded.clipped


def _as_new_nifti(volume: Volume, source: Source, dtype: Dtype) -> nifti.Encoded:
    """int16 with the source's scaling where the stored numbers fit it, else float32."""
    scaling = dicom_write.uniform_scaling(source) if isinstance(source, DicomSource) else (1.0, 0.0)
    if dtype == "float32" or scaling is None:
        return nifti.encode_new(volume, slope=1.0, intercept=0.0, integer=False)
    slope, intercept = scaling
    steps = (volume.voxels.astype("f8") - intercept) / slope
    whole = isinstance(source, DicomSource) or bool((steps == steps.round()).all())
    fits = steps.size and steps.min() >= -32768 and steps.max() <= 32767
    if slope == 1.0 and float(intercept).is_integer():  # plain HU: other programs read it without scaling
        slope, intercept = 1.0, 0.0
        fits = float(volume.voxels.min()) >= -32768 and float(volume.voxels.max()) <= 32767
    return nifti.encode_new(volume, slope=slope, intercept=intercept, integer=bool(whole and fits))


def _write_itk(
    staged: Staged, target: Path, volume: Volume, source: Source, dtype: Dtype
) -> tuple[tuple[Path, ...], int]:
    """SimpleITK writes files itself, and a .mhd names its .raw inside: both are made in a folder under their final
    names, then moved."""
    from medn2n.formats import itk  # loads SimpleITK, which DICOM and NIfTI do not need

    assert isinstance(source, itk.ItkSource)
    folder = staged.folder(target.parent)
    clipped = itk.write_like(source, volume, folder / target.name, dtype=dtype)
    return staged.take(folder, target.parent), clipped
