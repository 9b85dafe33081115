"""Source and derived DICOM object side by side: pixels, every attribute, dicom3tools' and SimpleITK's opinion."""

from __future__ import annotations

import subprocess
from collections import Counter
from pathlib import Path

import numpy as np
import pydicom
from pydicom.datadict import keyword_for_tag

from medn2n.formats.dicom_elements import Elements, no_header_text, plain, tag
from medn2n.formats.dicom_pixels import read_dataset, stored_frames

# All that a derived object may differ in, at top level; inside functional groups see NESTED. Everything else must be
# there, with the same bytes. medn2n/docs/dicom_conformance_statement.md says why for each.
NEW = {
    "SOPInstanceUID", "SeriesInstanceUID", "ImageType", "SeriesNumber", "SeriesDescription", "ContentQualification",
    "InstanceCreationDate", "InstanceCreationTime", "ContentDate", "ContentTime", "SeriesDate", "SeriesTime",
    "ContributingEquipmentSequence", "CodingSchemeIdentificationSequence", "ReferencedSeriesSequence",
    "SourceImageSequence", "DerivationDescription", "DerivationCodeSequence", "SourceImageEvidenceSequence",
    "LossyImageCompression", "PixelData",
}  # fmt: skip
REMOVED = {
    "SmallestImagePixelValue", "LargestImagePixelValue", "SmallestPixelValueInSeries", "LargestPixelValueInSeries",
    "IconImageSequence", "ExtendedOffsetTable", "ExtendedOffsetTableLengths", "PixelDataProviderURL",
    "MACParametersSequence", "DigitalSignaturesSequence", "EncryptedAttributesSequence",
    "ReferencedPerformedProcedureStepSequence", "DataSetTrailingPadding",
}  # fmt: skip
NESTED = {"DerivationImageSequence", "FrameType"}
ALLOWED = "Attribute present when condition unsatisfied"  # an old dictionary's rule for DERIVED enhanced MR


def dciodvfy(path: Path) -> Counter[str]:
    """Errors that dicom3tools finds in one object."""
    out = subprocess.run(["dciodvfy", "-new", str(path)], capture_output=True, text=True, check=False, errors="replace")
    lines = (out.stdout + out.stderr).splitlines()
    return Counter(line for line in lines if line.startswith("Error") and ALLOWED not in line)


def dcentvfy(paths: list[Path]) -> str:
    """What dicom3tools says about objects that should agree on patient, study, series and frame of reference."""
    out = subprocess.run(["dcentvfy", *map(str, paths)], capture_output=True, text=True, check=False, errors="replace")
    return out.stdout + out.stderr


def elements(path: Path) -> Elements:
    """The object as medn2n holds elements, pixels left out."""
    with no_header_text():
        dataset = pydicom.dcmread(path)
        return plain(dataset, signed=bool(dataset.get("PixelRepresentation", 0)))


def differences(source: Path, copy: Path) -> list[str]:
    """Attributes that differ although they may not, as keyword (or tag) and what happened."""
    return _differences(elements(source), elements(copy), NEW, REMOVED)


def _differences(before: Elements, after: Elements, new: set[str], removed: set[str]) -> list[str]:
    found = []
    for key in sorted(before.keys() | after.keys()):
        word = keyword_for_tag(key) or f"{key:08X}"
        if key not in after:
            private, curve = (key >> 16) & 1, 0x5000 <= key >> 16 <= 0x501F
            if word not in removed and not private and not curve and key & 0xFFFF:
                found.append(f"{word} is gone")
        elif key not in before:
            found += [] if word in new else [f"{word} is new"]
        elif word not in new:
            found += _difference(word, before[key][1], after[key][1])
    return found


def _difference(word: str, before: bytes | list[Elements], after: bytes | list[Elements]) -> list[str]:
    if isinstance(before, list) and isinstance(after, list):
        if len(before) != len(after):
            return [f"{word} has another number of items"]
        pairs = zip(before, after, strict=True)
        return [f"{word} > {line}" for one, other in pairs for line in _differences(one, other, NESTED, set())]
    if isinstance(before, bytes) and isinstance(after, bytes) and before.rstrip(b" \0") == after.rstrip(b" \0"):
        return []
    return [f"{word} has changed"]


def same_pixels(source: Path, copy: Path) -> bool:
    """Whether both files hold the same pixel words to the bit."""
    one, two = (read_dataset(path) for path in (source, copy))
    before, after = stored_frames(one), stored_frames(two)
    return before.dtype == after.dtype and one.BitsStored == two.BitsStored and np.array_equal(before, after)


def in_step(copy: Path) -> bool:
    """Whether the file meta information names the object that the data set is."""
    dataset = pydicom.dcmread(copy, specific_tags=[tag("SOPInstanceUID"), tag("SOPClassUID")])
    meta = dataset.file_meta
    return bool(
        meta.MediaStorageSOPInstanceUID == dataset.SOPInstanceUID
        and meta.MediaStorageSOPClassUID == dataset.SOPClassUID
    )
