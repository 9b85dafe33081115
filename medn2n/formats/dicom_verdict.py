"""Which DICOM objects are denoised: CT and MR images with measured grey values. The rest is passed over or refused."""

from __future__ import annotations

from pydicom import config, uid

from medn2n.formats.dicom_elements import Elements, items, number, numbers, string, strings
from medn2n.formats.reference import UID


def fault(elements: Elements, sop_class: str, modality: str, syntax: str, whole: bool) -> tuple[str, str, str] | None:
    """Why this object is not to be denoised; None for an image that can be."""
    image_type = tuple(value.upper() for value in strings(elements, "ImageType"))
    photometric = string(elements, "PhotometricInterpretation")
    if sop_class.startswith("1.2.840.10008.5.1.4.1.1.7"):
        return "passed", "SECONDARY_CAPTURE", "a secondary capture, not a measured image"
    if not modality:
        return "passed", "NOT_CT_MR", f"not a CT or MR image ({_kind(sop_class)})"
    if photometric not in ("", "MONOCHROME1", "MONOCHROME2") or (number(elements, "SamplesPerPixel") or 1) != 1:
        return "passed", "COLOUR", "a colour image, not measured grey values"
    if {"LOCALIZER", "SCOUT", "TOPOGRAM"} & set(image_type):
        return "passed", "LOCALIZER", "a localizer (planning image)"
    if component(string(elements, "ComplexImageComponent"), image_type) not in ("", "MAGNITUDE"):
        return (
            "passed",
            "NOT_MAGNITUDE",
            "a phase, real or imaginary image or a computed map; only magnitude images are denoised",
        )
    return _refusal(elements, image_type, syntax, whole)


def _refusal(elements: Elements, image_type: tuple[str, ...], syntax: str, whole: bool) -> tuple[str, str, str] | None:
    if "MOSAIC" in image_type:
        return (
            "refused",
            "MOSAIC",
            "a Siemens mosaic (many slices tiled into one image). Export it as enhanced MR.",
        )
    if items(elements, "ModalityLUTSequence"):
        return (
            "refused",
            "MODALITY_LUT",
            "its values pass a lookup table (Modality LUT) that cannot be inverted.",
        )
    if not syntax:
        return "refused", "NOT_DICOM", "its file header names no transfer syntax. Export it again."
    if not whole:
        return "refused", "TRUNCATED", "the file ends before its pixel data does. Copy or export it again."
    bits, high = number(elements, "BitsStored"), number(elements, "HighBit")
    if not string(elements, "PhotometricInterpretation"):
        return "refused", "UNSUPPORTED_PIXELS", "its header does not say whether it is grey or colour. Export it again."
    if number(elements, "BitsAllocated") not in (8, 16) or bits is None or high != bits - 1:
        return "refused", "UNSUPPORTED_PIXELS", "its pixels are not 8 or 16 bit integers that start at bit 0."
    if not string(elements, "SOPInstanceUID"):
        return "refused", "NO_IDENTITY", "it has no instance UID, so that a copy could not be told from it."
    if not _scaling_is_numbers(elements):
        return "refused", "BAD_SCALING", "its rescale slope and intercept are not one number each. Export it again."
    if not all(_valid_uid(elements, f"{level}InstanceUID") for level in ("SOP", "Series", "Study")):
        reason = "one of its UIDs is not digits and dots, at most 64 of them. Export it again, with valid UIDs."
        return "refused", "BAD_UID", reason
    frames = int(number(elements, "NumberOfFrames") or 1)
    per_frame = len(items(elements, "PerFrameFunctionalGroupsSequence"))
    if frames > 1 and frames != per_frame:
        return "refused", "ENHANCED_UNSUPPORTED", f"it has {frames} frames but says where {per_frame} of them lie."
    if string(elements, "ConcatenationUID"):
        return (
            "refused",
            "ENHANCED_UNSUPPORTED",
            "it is one part of a concatenation. Export it as one object.",
        )
    return None


def _kind(sop_class: str) -> str:
    """The standard's name of an object, without "Storage"; never the header's own text."""
    name = uid.UID(sop_class, config.IGNORE).name  # else pydicom prints what is no UID
    if name == sop_class:  # not in the dictionary
        return "another kind of DICOM object"
    return name.removesuffix(" - For Presentation").removesuffix(" Storage")


_NOT_MAGNITUDE = {
    "P": "PHASE", "PHASE": "PHASE", "PHASE MAP": "PHASE", "PHASE_MAP": "PHASE", "R": "REAL", "REAL": "REAL",
    "I": "IMAGINARY", "IMAGINARY": "IMAGINARY", "VELOCITY": "MAP", "B0": "MAP", "B0 MAP": "MAP", "B1": "MAP",
    "B1 MAP": "MAP", "FIELD_MAP": "MAP", "ADC": "MAP", "EADC": "MAP", "FA": "MAP", "T1 MAP": "MAP", "T2 MAP": "MAP",
    "T2_STAR MAP": "MAP", "T1_MAP": "MAP", "T2_MAP": "MAP", "T2STAR_MAP": "MAP", "R2_MAP": "MAP", "CBF": "MAP",
    "CBV": "MAP", "MTT": "MAP", "TTP": "MAP", "RELCBF": "MAP", "RELCBV": "MAP", "RELMTT": "MAP", "ATT": "MAP",
}  # fmt: skip


def component(named: str, image_type: tuple[str, ...]) -> str:
    """PHASE, REAL, IMAGINARY, MAP (computed: field, diffusion, perfusion), MAGNITUDE, or "" where the header does not
    say (CT, most MR). named: ComplexImageComponent, of which MIXED says nothing about a frame."""
    if named and named.upper() not in ("MIXED", "MAGNITUDE"):
        return named.upper()
    told = next((_NOT_MAGNITUDE[value] for value in image_type[2:] if value in _NOT_MAGNITUDE), "")
    return told or ("MAGNITUDE" if named else "")


def _scaling_is_numbers(elements: Elements) -> bool:
    """Slope and intercept come together (PS3.3 C.11.1.1.2); one that is there but cannot be read is not the same as
    none. Of the image, or of any of its frames."""
    groups = [*items(elements, "SharedFunctionalGroupsSequence"), *items(elements, "PerFrameFunctionalGroupsSequence")]
    holders = [elements, *(item for group in groups for item in items(group, "PixelValueTransformationSequence"))]
    for holder in holders:
        counts = [len(numbers(holder, keyword)) for keyword in ("RescaleSlope", "RescaleIntercept")]
        given = any(strings(holder, keyword) for keyword in ("RescaleSlope", "RescaleIntercept"))
        if given and counts != [1, 1]:
            return False
    return True


def _valid_uid(elements: Elements, keyword: str) -> bool:
    """One UID of PS3.5 9.1's characters, or none: UIDs go into references, records and the copy."""
    values = strings(elements, keyword)
    return not values or (len(values) == 1 and UID.fullmatch(values[0]) is not None)
