"""A tree of small DICOM files with headers as long as a scanner's: what `medn2n benchmark catalogue` reads.

Every file holds about 130 elements (PS3.3 CT and MR Image modules, private blocks of a vendor, nested sequences), and
no value of it belongs to anybody. The same arguments give the same bytes.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path

from pydicom.datadict import dictionary_VR

from medn2n.formats.dicom_elements import Element, Elements, encode_file, tag, text, words

SLICES = 100  # files of a series
_SERIES_OF_A_STUDY = 4
_EXPLICIT = "1.2.840.10008.1.2.1"
_CLASSES = {"CT": "1.2.840.10008.5.1.4.1.1.2", "MR": "1.2.840.10008.5.1.4.1.1.4"}
_ROOT = "1.2.826.0.1.3680043.8.498"

_GENERAL = {
    "SpecificCharacterSet": "ISO_IR 100", "InstanceCreationDate": "20200102", "InstanceCreationTime": "101512.123000",
    "StudyDate": "20200102", "SeriesDate": "20200102", "AcquisitionDate": "20200102", "ContentDate": "20200102",
    "StudyTime": "101112.000000", "SeriesTime": "101512.120000", "AccessionNumber": "A0001", "Manufacturer": "ACME",
    "InstitutionName": "Hospital", "InstitutionAddress": "Street 1, City, District, Country, 00000",
    "ReferringPhysicianName": "Referrer", "StationName": "STATION1", "StudyDescription": "Abdomen^routine",
    "SeriesDescription": "Abdomen 1.0 thin slices", "InstitutionalDepartmentName": "Radiology",
    "PhysiciansOfRecord": "Physician", "PerformingPhysicianName": "Performer", "OperatorsName": "Operator",
    "ManufacturerModelName": "Model 64", "DerivationDescription": "", "PatientBirthDate": "19700101",
    "PatientSex": "O", "PatientAge": "050Y", "PatientSize": "1.75", "PatientWeight": "75", "PatientComments": "",
    "BodyPartExamined": "ABDOMEN", "SoftwareVersions": "syngo VA40", "DeviceSerialNumber": "12345",
    "ProtocolName": "Abdomen routine", "PatientPosition": "HFS", "StudyID": "1", "PositionReferenceIndicator": "",
    "ImageComments": "", "WindowCenter": "40\\300", "WindowWidth": "400\\1500",
    "WindowCenterWidthExplanation": "WINDOW1\\WINDOW2", "RequestingPhysician": "Requester",
    "RequestedProcedureDescription": "Abdomen", "PerformedProcedureStepStartDate": "20200102",
    "PerformedProcedureStepStartTime": "101112.000000", "PerformedProcedureStepID": "1",
    "PerformedProcedureStepDescription": "Abdomen^routine", "PhotometricInterpretation": "MONOCHROME2",
}  # fmt: skip
_CT = {
    "ImageType": "ORIGINAL\\PRIMARY\\AXIAL\\CT_SOM5 SPI", "ScanOptions": "HELICAL", "KVP": "120",
    "DataCollectionDiameter": "500", "ReconstructionDiameter": "360", "DistanceSourceToDetector": "1085.6",
    "DistanceSourceToPatient": "595", "GantryDetectorTilt": "0", "TableHeight": "155", "RotationDirection": "CW",
    "ExposureTime": "500", "XRayTubeCurrent": "320", "Exposure": "160", "FilterType": "FLAT", "GeneratorPower": "44",
    "FocalSpots": "1.2", "DateOfLastCalibration": "20200101", "TimeOfLastCalibration": "060000.000000",
    "ConvolutionKernel": "B30f", "RescaleIntercept": "-1024", "RescaleSlope": "1", "RescaleType": "HU",
}  # fmt: skip
_MR = {
    "ImageType": "ORIGINAL\\PRIMARY\\M\\ND\\NORM", "ScanningSequence": "SE", "SequenceVariant": "SK\\SP\\OSP",
    "ScanOptions": "PFP", "MRAcquisitionType": "2D", "SequenceName": "*tse2d1_15", "AngioFlag": "N",
    "RepetitionTime": "4000", "EchoTime": "99", "NumberOfAverages": "1", "ImagingFrequency": "123.25",
    "ImagedNucleus": "1H", "EchoNumbers": "1", "MagneticFieldStrength": "3", "SpacingBetweenSlices": "2.5",
    "NumberOfPhaseEncodingSteps": "288", "EchoTrainLength": "15", "PercentSampling": "80", "PixelBandwidth": "220",
    "PercentPhaseFieldOfView": "100", "TransmitCoilName": "Body", "InPlanePhaseEncodingDirection": "ROW",
    "FlipAngle": "150", "VariableFlipAngleFlag": "N", "SAR": "0.43", "dBdt": "0",
}  # fmt: skip


def write_tree(root: Path, files: int, *, matrix: int = 16) -> list[Path]:
    """Write `files` files below `root`, in patient/study/series folders of at most SLICES files; returns their paths
    in that order. matrix: pixels each way, all 0, which a file system that knows sparse files does not store."""
    paths: list[Path] = []
    for series in range((files + SLICES - 1) // SLICES):
        study = series // _SERIES_OF_A_STUDY
        folder = root / f"patient{study:03d}" / "study" / f"series{series % _SERIES_OF_A_STUDY}"
        folder.mkdir(parents=True)
        for k, data in enumerate(_series(series, min(SLICES, files - series * SLICES), matrix)):
            path = folder / f"IM{k:05d}"
            with path.open("wb") as file:
                file.write(data)
                file.truncate(len(data) + 2 * matrix * matrix)
            paths.append(path)
    return paths


def _series(series: int, slices: int, matrix: int) -> Iterator[bytes]:
    modality = "MR" if series % 2 else "CT"
    study = series // _SERIES_OF_A_STUDY
    shared = _of_series(modality, study, series, matrix)
    pixels = struct.pack("<HH2sHL", 0x7FE0, 0x0010, b"OW", 0, 2 * matrix * matrix)  # the values follow in the file
    for k in range(slices):
        uid = f"{_ROOT}.{study}.{series}.{k + 1}"
        own = {
            "SOPInstanceUID": uid, "InstanceNumber": str(k + 1), "AcquisitionTime": "101512.123456",
            "ContentTime": f"1016{k % 60:02d}.123456", "ImagePositionPatient": f"-180.5\\-155.25\\{-500 + 2.5 * k:.6f}",
            "SliceLocation": f"{-500 + 2.5 * k:.2f}",
        }  # fmt: skip
        meta: Elements = {
            0x00020001: ("OB", b"\0\1"),
            0x00020002: text("UI", _CLASSES[modality]),
            0x00020003: text("UI", uid),
            0x00020010: text("UI", _EXPLICIT),
            0x00020012: text("UI", f"{_ROOT}.1"),
            0x00020013: text("SH", "MEDN2N_TREE"),
        }
        yield encode_file(meta, {**shared, **_texts(own)}) + pixels


def _of_series(modality: str, study: int, series: int, matrix: int) -> Elements:
    own = {
        "SOPClassUID": _CLASSES[modality], "Modality": modality, "PatientName": f"Test^Patient{study:03d}",
        "PatientID": f"T{study:03d}", "StudyInstanceUID": f"{_ROOT}.{study}", "SeriesNumber": str(series + 1),
        "SeriesInstanceUID": f"{_ROOT}.{study}.{series}", "FrameOfReferenceUID": f"{_ROOT}.{study}.9",
        "AcquisitionNumber": "1", "ImageOrientationPatient": "1\\0\\0\\0\\1\\0", "PixelSpacing": "0.703125\\0.703125",
        "SliceThickness": "2.5",
    }  # fmt: skip
    elements = _texts({**_GENERAL, **(_MR if modality == "MR" else _CT), **own})
    numbers = {"SamplesPerPixel": 1, "Rows": matrix, "Columns": matrix, "BitsAllocated": 16, "BitsStored": 12,
               "HighBit": 11, "PixelRepresentation": 0, "SmallestImagePixelValue": 0,
               "LargestImagePixelValue": 0}  # fmt: skip
    elements |= {tag(keyword): words("US", value) for keyword, value in numbers.items()}
    return elements | _sequences(study) | _private()


def _texts(values: dict[str, str]) -> Elements:
    return {tag(keyword): text(dictionary_VR(tag(keyword)), value) for keyword, value in values.items()}


def _sequences(study: int) -> Elements:
    """References to other images, the code of the procedure, and what was requested: two levels deep."""
    code = _texts({"CodeValue": "113724", "CodingSchemeDesignator": "DCM", "CodeMeaning": "Multiplanar"})
    uids = [f"{_ROOT}.{study}.8.{n}" for n in range(4)]
    referenced = [_texts({"ReferencedSOPClassUID": _CLASSES["CT"], "ReferencedSOPInstanceUID": uid}) for uid in uids]
    request = _texts({"RequestedProcedureID": "1", "ScheduledProcedureStepID": "1"})
    request[tag("ScheduledProtocolCodeSequence")] = ("SQ", [code])
    return {
        tag("ReferencedImageSequence"): ("SQ", list(referenced)),
        tag("ProcedureCodeSequence"): ("SQ", [code]),
        tag("RequestAttributesSequence"): ("SQ", [request]),
    }


def _private() -> Elements:
    """Two private blocks as vendors write them: many short values and one of some kB."""
    block: Elements = {0x00190010: text("LO", "ACME CT VA0 COAD"), 0x00290010: text("LO", "ACME CSA HEADER")}
    numbers: dict[int, Element] = {0x00191060 + index: text("DS", f"{index * 1.25:.3f}") for index in range(24)}
    block |= numbers
    block[0x00291008] = text("CS", "IMAGE NUM 4")
    block[0x00291009] = text("LO", "20200102")
    block[0x00291010] = ("OB", bytes(range(256)) * 16)
    return block
