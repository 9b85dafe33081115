"""Builds scans with known truth and named faults: DICOM CT and MR series, NIfTI with every header field set."""

from __future__ import annotations

import gzip
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.sequence import Sequence as Items
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

CT = "1.2.840.10008.5.1.4.1.1.2"
MR = "1.2.840.10008.5.1.4.1.1.4"
ENHANCED_MR = "1.2.840.10008.5.1.4.1.1.4.1"
SECRET = "Doe^Jane"  # must never appear in a message, a log or a temporary name


@dataclass(kw_only=True)
class SeriesPlan:
    """A DICOM series to build. The defaults make a healthy axial CT of 6 slices, 2.5 mm apart.

    drop: slices to leave out. tilt_mm: shift along a column from one slice to the next (gantry tilt).
    slopes: rescale slope for each slice. padding: PixelPaddingValue, stored in the left two columns.
    """

    modality: str = "CT"
    slices: int = 6
    rows: int = 12
    columns: int = 10
    spacing: tuple[float, float] = (0.7, 0.9)
    step_mm: float = 2.5
    steps_mm: Sequence[float] | None = None
    origin: tuple[float, float, float] = (-17.25, 31.5, -100.125)
    orientation: Sequence[float] = (1, 0, 0, 0, 1, 0)
    tilt_mm: float = 0.0
    drop: tuple[int, ...] = ()
    slopes: Sequence[float] | None = None
    intercept: float = -1024.0
    signed: bool = True
    bits_stored: int = 16
    padding: int | None = None
    monochrome1: bool = False
    study_uid: str = "2.25.1001"
    series_uid: str = "2.25.2001"
    first_instance: int = 1
    image_type: Sequence[str] = ("ORIGINAL", "PRIMARY", "AXIAL")
    seed: int = 0
    tags: dict[str, Any] = field(default_factory=dict)
    per_slice_tags: dict[str, Sequence[Any]] = field(default_factory=dict)


def stored_pixels(plan: SeriesPlan) -> npt.NDArray[Any]:
    """The numbers that `dicom_series` stores: (slices, rows, columns)."""
    generator = np.random.default_rng(plan.seed)
    low, high = (-200, 2000) if plan.signed else (0, 2200)
    shape = (plan.slices, plan.rows, plan.columns)
    pixels = generator.integers(low, high, shape).astype(np.int16 if plan.signed else np.uint16)
    if plan.padding is not None:
        pixels[:, :, :2] = plan.padding
    return pixels


def dicom_series(folder: Path, plan: SeriesPlan | None = None, *, prefix: str = "slice", **changes: Any) -> list[Path]:
    """Write the series; one file a slice, names in reverse order of position so that names cannot help to sort."""
    plan = plan or SeriesPlan(**changes)
    folder.mkdir(parents=True, exist_ok=True)
    pixels = stored_pixels(plan)
    steps = plan.steps_mm if plan.steps_mm is not None else [plan.step_mm] * (plan.slices - 1)
    offsets = np.concatenate([[0.0], np.cumsum(steps)])
    row, column = np.array(plan.orientation[:3], float), np.array(plan.orientation[3:], float)
    normal = np.cross(row, column)
    paths = []
    for k in range(plan.slices):
        if k in plan.drop:
            continue
        position = np.array(plan.origin) + offsets[k] * normal + k * plan.tilt_mm * column
        path = folder / f"{prefix}{plan.slices - k:03d}.dcm"
        slice_dataset(plan, pixels[k], k, position).save_as(path, enforce_file_format=True)
        paths.append(path)
    return paths


def slice_dataset(plan: SeriesPlan, pixels: npt.NDArray[Any], k: int, position: npt.NDArray[Any]) -> FileDataset:
    """One single-frame image with the modules that CT and MR ask for."""
    ds = _image(plan, f"{plan.series_uid}.{plan.first_instance + k}", CT if plan.modality == "CT" else MR)
    ds.InstanceNumber = plan.first_instance + k
    ds.ImageType = list(plan.image_type)
    ds.ImagePositionPatient = [f"{value:.10g}" for value in position]
    ds.ImageOrientationPatient = [f"{value:.8g}" for value in plan.orientation]
    ds.PixelSpacing = list(plan.spacing)
    ds.SliceThickness = plan.step_mm
    if plan.modality == "CT" or plan.slopes is not None:
        ds.RescaleSlope = 1 if plan.slopes is None else plan.slopes[k]
        ds.RescaleIntercept = plan.intercept
        ds.RescaleType = "HU" if plan.modality == "CT" else "US"
    _set_pixels(ds, plan, pixels)
    for keyword, value in plan.tags.items():
        setattr(ds, keyword, value)
    for keyword, values in plan.per_slice_tags.items():
        setattr(ds, keyword, values[k])
    return ds


def _image(plan: SeriesPlan, sop_uid: str, sop_class: str) -> FileDataset:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = sop_class, sop_uid
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    ds.SOPClassUID, ds.SOPInstanceUID = sop_class, sop_uid
    ds.StudyInstanceUID, ds.SeriesInstanceUID = plan.study_uid, plan.series_uid
    ds.FrameOfReferenceUID, ds.PositionReferenceIndicator = "2.25.3001", ""
    ds.Modality, ds.Manufacturer, ds.SpecificCharacterSet = plan.modality, "ACME", "ISO_IR 100"
    ds.PatientName, ds.PatientID, ds.PatientBirthDate, ds.PatientSex = SECRET, "PAT-77", "19700101", "O"
    ds.StudyDate, ds.StudyTime, ds.StudyID = "20200102", "101112", "S1"
    ds.AccessionNumber, ds.ReferringPhysicianName = "A77", "Ref^Doc"
    ds.SeriesNumber, ds.SeriesDescription, ds.AcquisitionNumber = 4, "Thorax 2.5 B31f", 1
    ds.AcquisitionDate, ds.AcquisitionTime, ds.ContentTime = "20200102", "101530", "101531"
    ds.PatientPosition, ds.KVP = "HFS", "120"
    if plan.modality == "MR":
        del ds.KVP
        ds.ScanningSequence, ds.SequenceVariant, ds.ScanOptions = "SE", "NONE", ""
        ds.MRAcquisitionType, ds.EchoTime, ds.RepetitionTime, ds.EchoTrainLength = "2D", "30", "1000", "1"
    block = ds.private_block(0x0019, "ACME PRIVATE", create=True)
    block.add_new(0x01, "LO", "noise of the original")
    return ds


def _set_pixels(ds: Dataset, plan: SeriesPlan, pixels: npt.NDArray[Any]) -> None:
    ds.Rows, ds.Columns, ds.SamplesPerPixel = plan.rows, plan.columns, 1
    ds.PhotometricInterpretation = "MONOCHROME1" if plan.monochrome1 else "MONOCHROME2"
    ds.BitsAllocated, ds.BitsStored, ds.HighBit = 16, plan.bits_stored, plan.bits_stored - 1
    ds.PixelRepresentation = int(plan.signed)
    if plan.padding is not None:
        ds.add_new(0x00280120, "SS" if plan.signed else "US", plan.padding)
    ds.add_new(0x00280106, "SS" if plan.signed else "US", int(pixels.min()))
    ds.WindowCenter, ds.WindowWidth = "40", "400"
    ds.PixelData = np.ascontiguousarray(pixels).tobytes()


def enhanced_mr(
    path: Path, *, slices: int = 4, times: int = 1, echoes: int = 1, seed: int = 0, size: tuple[int, int] = (12, 10)
) -> npt.NDArray[Any]:
    """Write one enhanced MR file, frames in an order that is not that of space; returns pixels (frame, row, col)."""
    count = slices * times * echoes
    plan = SeriesPlan(
        modality="MR", slices=count, rows=size[0], columns=size[1], signed=False, bits_stored=12, seed=seed
    )
    ds = _image(plan, "2.25.5001", ENHANCED_MR)
    pixels = stored_pixels(plan)
    ds.ImageType, ds.InstanceNumber, ds.NumberOfFrames = ["ORIGINAL", "PRIMARY", "M", "NONE"], 1, len(pixels)
    _set_pixels(ds, plan, pixels)
    shared, measures, plane = Dataset(), Dataset(), Dataset()
    measures.PixelSpacing, measures.SliceThickness = list(plan.spacing), 5.0
    plane.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    shared.PixelMeasuresSequence, shared.PlaneOrientationSequence = Items([measures]), Items([plane])
    ds.SharedFunctionalGroupsSequence = Items([shared])
    ds.PerFrameFunctionalGroupsSequence = Items(
        [_frame(slices - 1 - k, t, e) for e in range(echoes) for t in range(times) for k in range(slices)]
    )
    ds.save_as(path, enforce_file_format=True)
    return pixels


def _frame(k: int, t: int, echo: int) -> Dataset:
    group, content, position, kind, value, timing = (Dataset() for _ in range(6))
    content.TemporalPositionIndex, content.StackID, content.InStackPositionNumber = t + 1, "1", k + 1
    position.ImagePositionPatient = [-10.0, 20.0, 5.0 * k]
    kind.FrameType = ["ORIGINAL", "PRIMARY", "M", "NONE"]
    value.RescaleIntercept, value.RescaleSlope, value.RescaleType = 0, 0.5 + 0.25 * k, "US"
    timing.EffectiveEchoTime = 30.0 + 10 * echo
    group.FrameContentSequence, group.PlanePositionSequence = Items([content]), Items([position])
    group.MRImageFrameTypeSequence, group.PixelValueTransformationSequence = Items([kind]), Items([value])
    group.MREchoSequence = Items([timing])
    return group


def as_implicit(path: Path) -> None:
    """Rewrite a file in Implicit VR Little Endian."""
    from pydicom import dcmread

    ds = dcmread(path)
    ds.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
    ds.save_as(path, implicit_vr=True, little_endian=True, enforce_file_format=True)


def truncate(path: Path, fraction: float = 0.6) -> None:
    """Cut a file short, as an interrupted copy does."""
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * fraction)])


def nifti(
    path: Path,
    *,
    shape: Sequence[int] = (5, 6, 4),
    dtype: Any = np.int16,
    slope: float = 1.0,
    intercept: float = 0.0,
    endian: str = "<",
    version: int = 1,
    seed: int = 0,
) -> npt.NDArray[Any]:
    """Write a NIfTI with every header field set (sform ≠ qform, units, slice timing, extension); returns the stored
    numbers. `.hdr` writes a pair."""
    single = not path.name.endswith((".hdr", ".hdr.gz"))
    kinds = {(1, True): nib.Nifti1Header, (2, True): nib.Nifti2Header,
             (1, False): nib.nifti1.Nifti1PairHeader, (2, False): nib.nifti2.Nifti2PairHeader}  # fmt: skip
    header = kinds[version, single](endianness=endian)
    header.set_data_shape(shape)
    header.set_data_dtype(np.dtype(dtype).newbyteorder(endian))
    header.set_zooms((1.5, 2.0, 3.0, 2.5)[: len(shape)])
    header.set_sform([[-1.5, 0, 0.2, 10], [0, 2, 0, -20], [0.1, 0, 3, 30], [0, 0, 0, 1]], code=4)
    header.set_qform(np.diag([-1.5, 2, 3, 1]), code=1)
    header.set_xyzt_units("mm", "sec")
    header["scl_slope"], header["scl_inter"] = slope, intercept
    header["descrip"], header["aux_file"], header["cal_max"] = b"kept as it is", b"none", 900
    header["slice_code"], header["slice_end"], header["slice_duration"], header["toffset"] = 1, shape[2] - 1, 0.1, 2
    header["dim_info"], header["intent_name"] = 0b111001, b"intent"
    extension = b"\1\0\0\0" + np.array([32, 6], endian + "i4").tobytes() + b"a comment".ljust(24, b"\0")
    head = len(header.binaryblock) + len(extension)
    header["vox_offset"] = head if single else 0
    stored = _numbers(shape, dtype, seed).astype(np.dtype(dtype).newbyteorder(endian))
    voxels = stored.tobytes(order="F")
    if single:
        _write(path, bytes(header.binaryblock) + extension + voxels)
    else:
        _write(path, bytes(header.binaryblock) + extension)
        _write(path.with_name(path.name.replace(".hdr", ".img")), voxels)
    return stored


def _numbers(shape: Sequence[int], dtype: Any, seed: int) -> npt.NDArray[Any]:
    generator = np.random.default_rng(seed)
    kind = np.dtype(dtype)
    if kind.kind == "f":
        return generator.normal(100, 50, shape).astype(kind)
    info = np.iinfo(kind)
    return generator.integers(info.min, info.max, shape, dtype=kind, endpoint=True)


def _write(path: Path, data: bytes) -> None:
    path.write_bytes(gzip.compress(data, mtime=0) if path.name.endswith(".gz") else data)
