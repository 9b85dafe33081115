"""One DICOM file's header as medn2n needs it: what kind of object it is, and where each of its frames lies.

A single-frame file has one Frame. An enhanced multi-frame file (PS3.3 C.7.6.16) has one a frame, its values taken from
the per-frame functional groups, else from the shared ones. Pixels are not decoded; their length is checked.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from pydicom.dataset import Dataset

from medn2n.core.catalogue import Scalar
from medn2n.errors import InputError
from medn2n.formats.dicom_acquisition import READ_FOR_ACQUISITION, acquisition
from medn2n.formats.dicom_elements import Elements, items, number, numbers, string, strings, tag, text
from medn2n.formats.dicom_part10 import Part10, read_part10
from medn2n.formats.dicom_pixels import pixels_complete
from medn2n.formats.dicom_verdict import component, fault

CT_CLASSES = {
    "1.2.840.10008.5.1.4.1.1.2": "single",
    "1.2.840.10008.5.1.4.1.1.2.1": "enhanced",
    "1.2.840.10008.5.1.4.1.1.2.2": "enhanced",
}
MR_CLASSES = {
    "1.2.840.10008.5.1.4.1.1.4": "single",
    "1.2.840.10008.5.1.4.1.1.4.1": "enhanced",
    "1.2.840.10008.5.1.4.1.1.4.4": "enhanced",
}
MANUFACTURER = "medn2n"

_KEYWORDS = (
    "SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID", "ImageType",
    "InstanceNumber", "AcquisitionNumber", "TemporalPositionIdentifier", "TriggerTime", "EchoTime", "EchoNumbers",
    "DiffusionBValue", "DiffusionGradientOrientation", "InversionTime", "FlipAngle", "AcquisitionTime",
    "CardiacNumberOfImages", "NominalCardiacTriggerDelayTime", "NominalPercentageOfCardiacPhase",
    "ComplexImageComponent",
    "ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "SliceThickness", "Rows", "Columns",
    "NumberOfFrames", "SamplesPerPixel", "PhotometricInterpretation", "BitsAllocated", "BitsStored", "HighBit",
    "PixelRepresentation", "PixelPaddingValue", "PixelPaddingRangeLimit", "RescaleSlope", "RescaleIntercept",
    "RescaleType", "ModalityLUTSequence", "ContributingEquipmentSequence", "SharedFunctionalGroupsSequence",
    "PerFrameFunctionalGroupsSequence", "ConcatenationUID",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """One image plane: `index` within its file, place, size of a pixel, scaling, and what tells volumes apart.
    magnitude: False for a phase, real or imaginary frame of an enhanced file, which is copied as it is."""

    path: Path
    index: int
    position: tuple[float, ...]
    orientation: tuple[float, ...]
    pixel_spacing: tuple[float, ...]
    thickness_mm: float | None
    slope: float
    intercept: float
    image_type: tuple[str, ...]
    contrast: tuple[str, ...] = ()
    passes: tuple[tuple[str, str], ...] = ()
    magnitude: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """One file. kind: "single" or "enhanced". fault: why it is passed over or refused, as (status, code, reason).
    own_output: medn2n made it."""

    path: Path
    sop_class: str
    sop_uid: str
    study_uid: str
    series_uid: str
    modality: str
    kind: str
    rows: int = 0
    columns: int = 0
    instance_number: int = 0
    frames: tuple[Frame, ...] = ()
    fault: tuple[str, str, str] | None = None
    own_output: bool = False
    padding: tuple[int | None, int | None] = (None, None)

    @property
    def acquisition(self) -> Mapping[str, Scalar]:
        """How it was acquired, read from the file when asked: of a volume, only the first file is. InputError."""
        with _opened(self.path) as file:
            found = read_part10(file, _ACQUISITION)
        return {} if found is None or not self.modality else acquisition(_with_first_frame(found.elements))


def read_header(path: Path) -> Header:
    """Read one DICOM file. InputError NOT_DICOM, TRUNCATED, TOO_DEEP, TOO_LARGE or UNREADABLE where that is not
    possible; where its series is known by then, that is the header's fault instead, since it is the series' too."""
    header = header_if_dicom(path)
    if header is None:
        raise InputError("NOT_DICOM", "has no DICM mark, so that it is not DICOM. Export it again, or remove it.")
    return header


def header_if_dicom(path: Path) -> Header | None:
    """The same, and None where the file does not start as DICOM does."""
    with _opened(path) as file:
        found = read_part10(file, _WANTED)
        return None if found is None else _from_part10(path, file, found)


@contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    """The file, unbuffered; what goes wrong with it as InputError."""
    try:
        with open(path, "rb", buffering=0) as file:
            yield file
    except InputError:
        raise
    except OSError:
        raise InputError("UNREADABLE", "cannot be read. Check that it is still there and may be read.") from None
    except Exception as error:  # damaged values make many kinds; none may stop a batch
        raise InputError(
            "NOT_DICOM", f"cannot be read as DICOM ({type(error).__name__}). Export it again, or remove it."
        ) from None


def _from_part10(path: Path, file: BinaryIO, found: Part10) -> Header:
    elements = found.elements
    for keyword in ("SOPClassUID", "SOPInstanceUID"):
        _identity(elements, keyword, string(found.meta, f"MediaStorage{keyword}"))
    flaw = found.flaw
    if flaw is not None and not (string(elements, "SOPClassUID") and string(elements, "SeriesInstanceUID")):
        raise flaw
    if not string(elements, "SOPClassUID"):
        raise InputError("NOT_DICOM", "holds no SOP class, so that it is not a DICOM object. Export it again.")
    if flaw is None and found.oversized:
        flaw = InputError("TOO_LARGE", "one value of its header is longer than 64 MB. Export it again.")
    whole = False
    if flaw is None:
        file.seek(found.pixels_at)
        whole = pixels_complete(file, os.fstat(file.fileno()).st_size, found.syntax, elements)
        if not whole and not string(elements, "PhotometricInterpretation"):  # cut between two elements
            flaw = InputError("TRUNCATED", "the file ends before its pixel data does. Copy or export it again.")
    return _header(path, elements, found.syntax, whole, flaw)


def fill_identity(elements: Elements, dataset: Dataset) -> None:
    """Some anonymisers empty SOP class and instance UID but leave the file's own copies: those then count."""
    for keyword in ("SOPClassUID", "SOPInstanceUID"):
        _identity(elements, keyword, str(getattr(dataset.file_meta, f"MediaStorage{keyword}", "")))


def _identity(elements: Elements, keyword: str, uid: str) -> None:
    if uid and not string(elements, keyword):
        elements[tag(keyword)] = text("UI", uid)


def _header(path: Path, elements: Elements, syntax: str, whole: bool, flaw: InputError | None) -> Header:
    sop_class = string(elements, "SOPClassUID")
    modality = "CT" if sop_class in CT_CLASSES else "MR" if sop_class in MR_CLASSES else ""
    kind = {**CT_CLASSES, **MR_CLASSES}.get(sop_class, "")
    verdict = fault(elements, sop_class, modality, syntax, whole)
    if flaw is not None and modality:  # what else the header would say of it is not known
        verdict = ("refused", flaw.code, str(flaw))
    frames: tuple[Frame, ...] = ()
    if verdict is None:
        frames = _enhanced_frames(path, elements) if kind == "enhanced" else (_frame(path, 0, elements, [elements]),)
    return Header(
        path=path,
        sop_class=sop_class,
        sop_uid=string(elements, "SOPInstanceUID"),
        study_uid=string(elements, "StudyInstanceUID"),
        series_uid=string(elements, "SeriesInstanceUID"),
        modality=modality,
        kind=kind,
        rows=int(number(elements, "Rows") or 0),
        columns=int(number(elements, "Columns") or 0),
        instance_number=int(number(elements, "InstanceNumber") or 0),
        frames=frames,
        fault=verdict,
        own_output=any(
            string(item, "Manufacturer") == MANUFACTURER for item in items(elements, "ContributingEquipmentSequence")
        ),
        padding=(
            _pixel_value(elements, "PixelPaddingValue"),
            _pixel_value(elements, "PixelPaddingRangeLimit"),
        ),
    )


def _pixel_value(elements: Elements, keyword: str) -> int | None:
    """A padding value as a stored number. Some scanners write −2000 as 63536: US where the pixels are signed."""
    value = number(elements, keyword)
    if value is None:
        return None
    bits = int(number(elements, "BitsAllocated") or 16)
    signed = number(elements, "PixelRepresentation") == 1
    whole = int(value)
    return whole - (1 << bits) if signed and whole >= 1 << (bits - 1) else whole


# What makes two planes of one series belong to different volumes always, and only where planes coincide.
_CONTRAST = ("EchoTime", "EchoNumbers", "DiffusionBValue")
_PASSES = (
    "AcquisitionNumber", "TemporalPositionIdentifier", "TriggerTime", "NominalCardiacTriggerDelayTime",
    "NominalPercentageOfCardiacPhase", "DiffusionGradientOrientation", "InversionTime", "FlipAngle", "ImageType", "KVP",
    "ConvolutionKernel", "AcquisitionTime",
)  # fmt: skip
_WANTED = frozenset(tag(keyword) for keyword in (*_KEYWORDS, *_CONTRAST, *_PASSES))
_ACQUISITION = _WANTED | {tag(keyword) for keyword in READ_FOR_ACQUISITION}


def _frame(path: Path, index: int, elements: Elements, groups: list[Elements]) -> Frame:
    """One plane. groups: where to look for a value, nearest first."""

    def values(keyword: str) -> tuple[str, ...]:
        return next((found for group in groups if (found := _text(group, keyword))), ())

    def many(keyword: str) -> tuple[float, ...]:
        return next((found for group in groups if (found := numbers(group, keyword))), ())

    image_type = values("FrameType") or strings(elements, "ImageType")
    named = next((part for group in groups if (part := string(group, "ComplexImageComponent"))), "")
    thickness, slope, intercept = many("SliceThickness"), many("RescaleSlope"), many("RescaleIntercept")
    return Frame(
        path=path,
        index=index,
        position=many("ImagePositionPatient"),
        orientation=many("ImageOrientationPatient"),
        pixel_spacing=many("PixelSpacing"),
        thickness_mm=thickness[0] if thickness else None,
        slope=slope[0] if slope else 1.0,
        intercept=intercept[0] if intercept else 0.0,
        image_type=image_type,
        magnitude=component(named, image_type) in ("", "MAGNITUDE"),
        contrast=tuple("\\".join(values(keyword)) for keyword in _CONTRAST),
        passes=tuple(
            (keyword, "\\".join(image_type if keyword == "ImageType" else values(keyword))) for keyword in _PASSES
        ),
    )


def _text(elements: Elements, keyword: str) -> tuple[str, ...]:
    element = elements.get(tag(keyword))
    if element is None:
        return ()
    binary = element[0] in ("US", "SS", "UL", "SL", "FL", "FD")
    return tuple(f"{value:g}" for value in numbers(elements, keyword)) if binary else strings(elements, keyword)


# Enhanced objects name some values otherwise (PS3.3 C.8.13): our name → theirs.
_ENHANCED_NAMES = {
    "EchoTime": "EffectiveEchoTime", "InversionTime": "InversionTimes",
    "TemporalPositionIdentifier": "TemporalPositionIndex", "AcquisitionNumber": "FrameAcquisitionNumber",
    "AcquisitionTime": "FrameAcquisitionDateTime",
}  # fmt: skip


def _enhanced_frames(path: Path, elements: Elements) -> tuple[Frame, ...]:
    shared = _flat((items(elements, "SharedFunctionalGroupsSequence") or [{}])[0])
    per_frame = items(elements, "PerFrameFunctionalGroupsSequence")
    return tuple(
        _frame(path, index, elements, [_flat(group), shared, elements]) for index, group in enumerate(per_frame)
    )


def _with_first_frame(elements: Elements) -> Elements:
    """An enhanced header with what its functional groups say of the first frame; any other header as it is."""
    shared, frames = (items(elements, f"{kind}FunctionalGroupsSequence") for kind in ("Shared", "PerFrame"))
    return {**_flat(frames[0] if frames else {}), **_flat(shared[0] if shared else {}), **elements}


def _flat(group: Elements) -> Elements:
    """A functional group's macros side by side (deeper ones too), under the names of single-frame objects."""
    flat: Elements = {}
    pending = [group]
    while pending:
        for key, (vr, value) in pending.pop().items():
            if isinstance(value, list):
                if value and not (key >> 16) & 1:
                    pending.append(value[0])
            else:
                flat.setdefault(key, (vr, value))
    for ours, theirs in _ENHANCED_NAMES.items():
        if tag(theirs) in flat:
            flat[tag(ours)] = flat[tag(theirs)]
    return flat
