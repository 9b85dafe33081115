"""How a DICOM series was acquired, under the keys that the pairing rules compare.

The values are header text: they stay in memory, and nobody prints or writes them. The patient is a keyed id.
"""

from __future__ import annotations

from medn2n.core.catalogue import UNNAMED, Scalar
from medn2n.formats.dicom_elements import Elements, number, string, strings
from medn2n.log import keyed_id

_TEXT = {
    "study_uid": "StudyInstanceUID",
    "series_uid": "SeriesInstanceUID",
    "frame_of_reference_uid": "FrameOfReferenceUID",
    "series_time": "SeriesTime",
    "protocol": "ProtocolName",
    "series_description": "SeriesDescription",
    "manufacturer": "Manufacturer",
    "kernel": "ConvolutionKernel",
    "contrast_agent": "ContrastBolusAgent",
    "sequence": "SequenceName",
}
_NUMBER = {
    "kvp": "KVP",
    "thickness_mm": "SliceThickness",
    "echo_time_ms": "EchoTime",
    "repetition_time_ms": "RepetitionTime",
    "inversion_time_ms": "InversionTime",
    "flip_angle_deg": "FlipAngle",
    "field_t": "MagneticFieldStrength",
    "b_value": "DiffusionBValue",
}
_WHOLE = {
    "series_number": "SeriesNumber",
    "acquisition_number": "AcquisitionNumber",
    "temporal_position": "TemporalPositionIdentifier",
}
_OTHER = (
    "PatientID", "PatientName", "PatientBirthDate", "ImageType", "ManufacturerModelName", "DeviceSerialNumber",
    "StationName", "AcquisitionTime", "AcquisitionDateTime", "Exposure", "ExposureInuAs", "XRayTubeCurrent",
    "ExposureTime", "ScanningSequence", "SequenceVariant", "PulseSequenceName",
)  # fmt: skip
READ_FOR_ACQUISITION = (*_TEXT.values(), *_NUMBER.values(), *_WHOLE.values(), *_OTHER)


def acquisition(elements: Elements) -> dict[str, Scalar]:
    """ACQUISITION_KEYS → value, without the keys that the header leaves open."""
    found: dict[str, Scalar] = {key: "\\".join(strings(elements, keyword)) for key, keyword in _TEXT.items()}
    found |= {key: number(elements, keyword) for key, keyword in _NUMBER.items()}
    for key, keyword in _WHOLE.items():
        value = number(elements, keyword)
        found[key] = None if value is None else int(value)
    image_type = strings(elements, "ImageType")
    found |= {
        "patient": _patient(elements),
        "image_type": "\\".join(image_type),
        "derived": image_type[0].upper() == "DERIVED" if image_type else None,
        "scanner": _scanner(elements),
        "acquisition_time": string(elements, "AcquisitionTime") or string(elements, "AcquisitionDateTime")[8:],
        "exposure_mas": _exposure_mas(elements),
        "scanning_sequence": "\\".join(strings(elements, "ScanningSequence") + strings(elements, "SequenceVariant")),
    }
    found["sequence"] = found["sequence"] or string(elements, "PulseSequenceName")
    return {key: value for key, value in found.items() if value not in (None, "")}


def _patient(elements: Elements) -> str:
    """Keyed id of patient id and name; the study stands in, as UNNAMED, where both were removed, so that scans of one
    study never end up on both sides of a split."""
    identity = string(elements, "PatientID"), string(elements, "PatientName").strip("^ ").upper()
    if any(identity):
        return keyed_id("|".join(identity), "p")
    study = string(elements, "StudyInstanceUID")
    return keyed_id(study, UNNAMED) if study else ""


def _scanner(elements: Elements) -> str:
    parts = (string(elements, keyword) for keyword in ("ManufacturerModelName", "DeviceSerialNumber", "StationName"))
    return "|".join(parts).strip("|")


def _exposure_mas(elements: Elements) -> float | None:
    exposure = number(elements, "Exposure")
    if exposure is not None:
        return exposure
    micro = number(elements, "ExposureInuAs")
    if micro is not None:
        return micro / 1000
    current, time = number(elements, "XRayTubeCurrent"), number(elements, "ExposureTime")
    return None if current is None or time is None else current * time / 1000
