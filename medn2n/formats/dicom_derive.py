"""The data set of a derived (denoised) CT or MR image: the source's, element by element, with what must change.

Patient, study, equipment, acquisition, frame of reference, place, pixel format, rescale, padding and window stay byte
for byte. New: identity, DERIVED image type, references to the source, how it was made. Gone: what described the old
pixels or the old file. PS3.3 C.7.6.1 (General Image), C.7.5.2 (Enhanced General Equipment), C.12.1 (SOP Common).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import Literal

import medn2n
from medn2n.core.provenance import Provenance
from medn2n.formats.dicom_elements import Element, Elements, items, number, string, strings, tag, text
from medn2n.formats.dicom_header import MANUFACTURER
from medn2n.formats.dicom_kept import kept, kept_nested
from medn2n.formats.dicom_uid import IMPLEMENTATION_CLASS_UID

Equipment = Literal["minimal", "full"]
SERIES_SUFFIX = " [N2N]"
SERIES_NUMBER_OFFSET = 9000
CODING_SCHEME = "99MEDN2N"
_LOSSY = {
    "1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.51", "1.2.840.10008.1.2.4.81", "1.2.840.10008.1.2.4.91",
    "1.2.840.10008.1.2.4.203",
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Derivation:
    """What the files of one derived series share. uid: (kind, source UID) → new UID. sources: (SOP class, SOP
    instance) of images that every slice was made from, or None for "the slice itself". equipment: how much medn2n says
    of itself. keep_private: private creators whose elements stay."""

    provenance: Provenance
    uid: Callable[[str, str], str]
    series_uid: str
    now: datetime
    sources: tuple[tuple[str, str], ...] | None = None
    equipment: Equipment = "minimal"
    keep_private: tuple[str, ...] = ()


def derived(source: Elements, pixels: Element, derivation: Derivation, *, syntax: str, enhanced: bool) -> Elements:
    """The derived object. pixels: its PixelData, in the source's pixel format. syntax: the source's transfer syntax,
    which tells whether it was lossy."""
    result = kept(source, derivation.keep_private)
    sop_class, sop_uid = string(source, "SOPClassUID"), string(source, "SOPInstanceUID")
    result |= {
        tag("SOPInstanceUID"): text("UI", derivation.uid("instance", sop_uid)),
        tag("SeriesInstanceUID"): text("UI", derivation.series_uid),
        tag("ImageType"): derived_type(source.get(tag("ImageType"))),
        tag("ContentQualification"): text("CS", "RESEARCH"),
        tag("ContributingEquipmentSequence"): _contributing(source, derivation),
        tag("CodingSchemeIdentificationSequence"): _coding_schemes(source),
    }
    result |= _series_name(source) | _times(source, derivation.now)
    result[tag("PixelData")] = pixels
    if is_lossy(source, syntax):
        result[tag("LossyImageCompression")] = text("CS", "01")
    used = derivation.sources or ((sop_class, sop_uid),)
    if string(source, "SeriesInstanceUID"):
        result[tag("ReferencedSeriesSequence")] = _referenced_series(source, used)
    if not enhanced:
        result |= {
            tag("SourceImageSequence"): ("SQ", [source_image(*image) for image in used]),
            tag("DerivationDescription"): _description(source, derivation.provenance),
            tag("DerivationCodeSequence"): (
                "SQ",
                [*items(source, "DerivationCodeSequence"), *derivation_codes()],
            ),
        }
    return result


def is_lossy(source: Elements, syntax: str) -> bool:
    """Whether its pixels were ever compressed with loss: once said, that is never taken back (PS3.3 C.7.6.1.1.5)."""
    return syntax in _LOSSY or string(source, "LossyImageCompression") == "01"


def derived_type(element: Element | None, first: str = "DERIVED") -> Element:
    """Image or frame type with `first` as value 1; the rest of its bytes stay."""
    data = element[1] if element is not None and isinstance(element[1], bytes) else b""
    _, mark, rest = data.rstrip(b" \0").partition(b"\\")
    value = first.encode() + b"\\" + (rest if mark else b"PRIMARY")
    return ("CS", value + b" " * (len(value) % 2))


def _series_name(source: Elements) -> Elements:
    """Series number + 9000, and the description cut so that the suffix fits into LO's 64 characters."""
    original = number(source, "SeriesNumber")
    changed = {tag("SeriesNumber"): text("IS", str(int(original or 0) + SERIES_NUMBER_OFFSET))}
    element = source.get(tag("SeriesDescription"))
    data = element[1].rstrip(b" \0") if element is not None and isinstance(element[1], bytes) else b""
    value = _cut(data, 64 - len(SERIES_SUFFIX)) + SERIES_SUFFIX.encode()
    value = value.strip()
    return changed | {tag("SeriesDescription"): ("LO", value + b" " * (len(value) % 2))}


def _cut(data: bytes, length: int) -> bytes:
    """At most `length` bytes, not ending inside a UTF-8 character or an ISO 2022 escape."""
    if len(data) <= length:
        return data
    short = data[:length]
    while short and data[len(short)] & 0xC0 == 0x80:
        short = short[:-1]
    escape = short.rfind(b"\x1b")
    return short[:escape] if escape >= 0 and len(short) - escape < 4 else short


def _times(source: Elements, now: datetime) -> Elements:
    """Creation, content and series times: now, in the zone that the source names, else the local one."""
    zone = string(source, "TimezoneOffsetFromUTC")
    try:
        offset = timezone(timedelta(hours=int(zone[:3]), minutes=int(zone[0] + zone[3:5]))) if zone else None
    except ValueError:
        offset = None
    local = now.astimezone(offset)
    date, time = text("DA", local.strftime("%Y%m%d")), text("TM", local.strftime("%H%M%S"))
    return {tag(f"{kind}Date"): date for kind in ("InstanceCreation", "Content", "Series")} | {
        tag(f"{kind}Time"): time for kind in ("InstanceCreation", "Content", "Series")
    }


def code(value: str, scheme: str, meaning: str) -> Elements:
    """An item of a code sequence (PS3.3 8.8)."""
    return {
        tag("CodeValue"): text("SH", value),
        tag("CodingSchemeDesignator"): text("SH", scheme),
        tag("CodeMeaning"): text("LO", meaning),
    }


def derivation_codes() -> list[Elements]:
    """DICOM has no code for denoising (CID 7203): the nearest one, and medn2n's own."""
    return [
        code("113087", "DCM", "Smoothing"),
        code("N2N", CODING_SCHEME, "Noise2Noise denoising"),
    ]


def copy_code() -> Elements:
    """The derivation code of a frame whose pixels are its source's."""
    return code("COPY", CODING_SCHEME, "Unchanged copy")


def source_image(sop_class: str, sop_uid: str, frame: int | None = None) -> Elements:
    """An item that names an image (or one frame of it, from 1) as processed into this one (CID 7202)."""
    item = {
        tag("ReferencedSOPClassUID"): text("UI", sop_class),
        tag("ReferencedSOPInstanceUID"): text("UI", sop_uid),
        tag("SpatialLocationsPreserved"): text("CS", "YES"),
        tag("PurposeOfReferenceCodeSequence"): (
            "SQ",
            [code("121322", "DCM", "Source image for image processing operation")],
        ),
    }
    if frame is not None:
        item[tag("ReferencedFrameNumber")] = text("IS", str(frame))
    return item


def description(provenance: Provenance) -> str:
    """ "Denoised with medn2n X.Y model NAME sha256 …", ASCII."""
    model = f" model {provenance.model}" if provenance.model else ""
    weights = f" sha256 {provenance.model_sha256[:12]}" if provenance.model_sha256 else ""
    words = f"Denoised with medn2n {medn2n.__version__}{model}{weights}"
    return words.encode("ascii", "replace").decode().replace("\\", "/")


def _description(source: Elements, provenance: Provenance) -> Element:
    """The source's own history first, then this step; ST holds 1024 characters."""
    ours = description(provenance).encode()
    element = source.get(tag("DerivationDescription"))
    before = element[1].rstrip(b" \0") if element is not None and isinstance(element[1], bytes) else b""
    value = _cut(before, 1024 - len(ours) - 2) + b"; " + ours if before else ours
    return ("ST", value + b" " * (len(value) % 2))


def _contributing(source: Elements, derivation: Derivation) -> Element:
    """The source's items and medn2n's (PS3.3 C.12.1.1.5). Minimal: manufacturer and description, since converters
    take a nested model name for the scanner's. Full: also model, software, device and time, as IHE AIR asks."""
    parameters = derivation.provenance.canonical_parameters()
    words = f"{description(derivation.provenance)}; parameters {parameters}"
    words = words.replace("\\", "/").encode("ascii", "replace").decode()[:1024]
    item: Elements = {
        tag("Manufacturer"): text("LO", MANUFACTURER),
        tag("ContributionDescription"): text("ST", words),
        tag("PurposeOfReferenceCodeSequence"): ("SQ", [code("109102", "DCM", "Processing Equipment")]),
    }
    if derivation.equipment == "full":
        made = derivation.provenance
        model = made.model.encode("ascii", "replace").decode().replace("\\", "/")[:64] or "none"
        item |= {
            tag("ManufacturerModelName"): text("LO", model),
            tag("SoftwareVersions"): text("LO", f"medn2n {medn2n.__version__}"[:64]),
            tag("DeviceUID"): text("UI", derivation.uid("device", made.model_sha256)),
            tag("ContributionDateTime"): text("DT", derivation.now.strftime("%Y%m%d%H%M%S+0000")),
        }
    before = [kept_nested(one, derivation.keep_private) for one in items(source, "ContributingEquipmentSequence")]
    return ("SQ", [*before, item])


def _coding_schemes(source: Elements) -> Element:
    item: Elements = {
        tag("CodingSchemeDesignator"): text("SH", CODING_SCHEME),
        tag("CodingSchemeName"): text("ST", "medn2n private codes"),
        tag("CodingSchemeResponsibleOrganization"): text("ST", "medn2n"),
    }
    return ("SQ", [*items(source, "CodingSchemeIdentificationSequence"), item])


def _referenced_series(source: Elements, used: tuple[tuple[str, str], ...]) -> Element:
    """Common Instance Reference (PS3.3 C.12.2): the source's own references, and the images used, by series."""
    uid = string(source, "SeriesInstanceUID")
    instances = [
        {
            tag("ReferencedSOPClassUID"): text("UI", sop_class),
            tag("ReferencedSOPInstanceUID"): text("UI", sop_uid),
        }
        for sop_class, sop_uid in used
    ]
    others: list[Elements] = []
    for item in items(source, "ReferencedSeriesSequence"):
        if string(item, "SeriesInstanceUID") != uid:
            others.append(kept_nested(item))
            continue
        known = {string(instance, "ReferencedSOPInstanceUID") for instance in instances}
        same = items(item, "ReferencedInstanceSequence")
        instances += [one for one in same if string(one, "ReferencedSOPInstanceUID") not in known]
    ours: Elements = {
        tag("SeriesInstanceUID"): text("UI", uid),
        tag("ReferencedInstanceSequence"): ("SQ", instances),
    }
    return ("SQ", [*others, ours])


def file_meta(body: Elements, syntax_uid: str) -> Elements:
    """File Meta Information of a derived object (PS3.10 7.1), in step with its data set."""
    release = ".".join(medn2n.__version__.split(".")[:3])
    return {
        0x00020001: ("OB", b"\0\1"),
        0x00020002: text("UI", strings(body, "SOPClassUID")[0]),
        0x00020003: text("UI", strings(body, "SOPInstanceUID")[0]),
        0x00020010: text("UI", syntax_uid),
        0x00020012: text("UI", IMPLEMENTATION_CLASS_UID),
        0x00020013: text("SH", f"MEDN2N_{release}"[:16]),
    }
