"""Which elements of a source a derived object keeps: all but private ones, those that described the old pixels or the
old file, group lengths and curves (PS3.5 7.8, PS3.3 C.7.6.1)."""

from __future__ import annotations

from collections.abc import Collection

from medn2n.formats.dicom_elements import Elements, tag

_STALE = (
    "SmallestImagePixelValue", "LargestImagePixelValue", "SmallestPixelValueInSeries", "LargestPixelValueInSeries",
    "IconImageSequence", "ExtendedOffsetTable", "ExtendedOffsetTableLengths", "PixelDataProviderURL",
    "MACParametersSequence", "DigitalSignaturesSequence", "EncryptedAttributesSequence",
    "ReferencedPerformedProcedureStepSequence", "DataSetTrailingPadding", "SourceImageSequence",
)  # fmt: skip


def kept(source: Elements, keep_private: Collection[str] = ()) -> Elements:
    """What stays of a whole data set; the same objects, so that nothing is changed in place.

    keep_private: private creators whose elements stay, at every depth. Vendors' elements describe the original
    pixels, and nobody but the vendor knows which of them a changed pixel makes wrong.
    """
    stale = {tag(keyword) for keyword in _STALE}
    return {
        key: element
        for key, element in kept_nested(source, keep_private).items()
        if key not in stale and not 0x5000 <= key >> 16 <= 0x501F
    }


def kept_nested(item: Elements, keep_private: Collection[str] = ()) -> Elements:
    """What stays of an item of a sequence."""
    allowed = _allowed_blocks(item, keep_private)
    return {
        key: (vr, [kept_nested(inner, keep_private) for inner in value] if isinstance(value, list) else value)
        for key, (vr, value) in item.items()
        if _stays(key, allowed)
    }


def _stays(key: int, allowed: set[tuple[int, int]]) -> bool:
    group, element = key >> 16, key & 0xFFFF
    if element == 0 or group <= 2:
        return False
    if not group & 1:
        return True
    return (group, element >> 8 if element > 0xFF else element) in allowed


def _allowed_blocks(item: Elements, creators: Collection[str]) -> set[tuple[int, int]]:
    """(group, block) of each private block that one of `creators` reserved: its name lies in element 0010-00FF."""
    wanted = {name.strip() for name in creators}
    found = set()
    for key, (_, value) in item.items():
        group, element = key >> 16, key & 0xFFFF
        name = value.decode("latin-1").strip(" \0") if isinstance(value, bytes) else ""
        if group & 1 and 0x10 <= element <= 0xFF and name in wanted:
            found.add((group, element))
    return found
