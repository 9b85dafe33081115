"""What an enhanced multi-frame object needs on top: frame types, and where each frame comes from (C.7.6.16.2.6)."""

from __future__ import annotations

from collections.abc import Collection

from medn2n.formats.dicom_derive import Derivation, copy_code, derivation_codes, derived_type, description, source_image
from medn2n.formats.dicom_elements import Elements, items, string, tag, text

_FRAME_TYPES = ("MRImageFrameTypeSequence", "CTImageFrameTypeSequence")


def add_frame_derivation(
    result: Elements, source: Elements, derivation: Derivation, unchanged: Collection[int] = ()
) -> None:
    """Add the Derivation Image functional group to every frame, DERIVED to the type of every frame but those that
    were copied `unchanged` (phase, say; indices from 0), and the evidence sequence. `result` (from
    `dicom_derive.derived`) is changed in place."""
    shared = items(result, "SharedFunctionalGroupsSequence")
    inherited = items(shared[0], "DerivationImageSequence") if shared else []
    for group in shared:
        group.pop(tag("DerivationImageSequence"), None)  # it moves into each frame, beside medn2n's own item
        if not unchanged:
            _derive_types(group)
    sop_class, sop_uid = string(source, "SOPClassUID"), string(source, "SOPInstanceUID")
    for index, group in enumerate(items(result, "PerFrameFunctionalGroupsSequence")):
        same = index in unchanged
        if not same:
            _derive_types(group)
        words = "Copied unchanged beside denoised frames" if same else description(derivation.provenance)
        step: Elements = {
            tag("DerivationDescription"): text("ST", words),
            tag("DerivationCodeSequence"): ("SQ", [copy_code()] if same else derivation_codes()),
            tag("SourceImageSequence"): ("SQ", [source_image(sop_class, sop_uid, index + 1)]),
        }
        before = items(group, "DerivationImageSequence") or inherited
        group[tag("DerivationImageSequence")] = ("SQ", [*before, step])
    if unchanged:
        result[tag("ImageType")] = derived_type(source.get(tag("ImageType")), "MIXED")
    result[tag("SourceImageEvidenceSequence")] = (
        "SQ",
        [*items(result, "SourceImageEvidenceSequence"), _evidence(source)],
    )


def _derive_types(group: Elements) -> None:
    for keyword in _FRAME_TYPES:
        for item in items(group, keyword):
            item[tag("FrameType")] = derived_type(item.get(tag("FrameType")))


def _evidence(source: Elements) -> Elements:
    instance: Elements = {
        tag("ReferencedSOPClassUID"): text("UI", string(source, "SOPClassUID")),
        tag("ReferencedSOPInstanceUID"): text("UI", string(source, "SOPInstanceUID")),
    }
    series: Elements = {
        tag("SeriesInstanceUID"): text("UI", string(source, "SeriesInstanceUID")),
        tag("ReferencedSOPSequence"): ("SQ", [instance]),
    }
    return {
        tag("StudyInstanceUID"): text("UI", string(source, "StudyInstanceUID")),
        tag("ReferencedSeriesSequence"): ("SQ", [series]),
    }
