"""What the name of a BIDS file says: entities, suffix, whether it is a magnitude image, and the name of its copy.

Names as the Brain Imaging Data Structure 1.10 has them: sub-01[_ses-2][_key-label…]_suffix.extension. Below a name that
does not begin with "sub-", only suffixes count that are no plain words ("portal_phase.nii.gz" is no phase image).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import PurePath, PurePosixPath

DESCRIPTION = "denoised"  # sub-01_desc-denoised_T1w.nii.gz
_EXTENSIONS = (".nii.gz", ".nii")
_DATATYPES = {"anat", "func", "dwi", "fmap", "perf", "pet", "mrs", "ct"}  # ct: not of BIDS, but in use
_LABEL = r"[0-9A-Za-z+]+"
_IMAGE_NAME = re.compile(rf"sub-{_LABEL}(_[a-z0-9]+-{_LABEL})*_[0-9A-Za-z]+\.nii(\.gz)?")
_PARTICIPANT = re.compile(rf"sub-{_LABEL}")
_SESSION = re.compile(rf"ses-{_LABEL}")

_MR = {
    "T1w", "T2w", "T2starw", "PDw", "PDT2", "FLAIR", "FLASH", "angio", "inplaneT1", "inplaneT2", "bold", "cbv", "sbref",
    "dwi", "asl", "m0scan", "epi", "magnitude", "magnitude1", "magnitude2", "MEGRE", "MESE", "MP2RAGE", "VFA", "IRT1",
    "MTR", "MTS", "MPM", "TB1DAM", "TB1EPI", "TB1AFI", "TB1SRGE", "RB1COR",
}  # fmt: skip
_CT = {"ct", "CT"}
_LABELS = {"mask", "dseg", "probseg", "label", "seg", "defacemask"}
_NOT_MAGNITUDE = {"phase", "phase1", "phase2", "phasediff", "fieldmap"}
_MAPS = {
    "T1map", "T2map", "T2starmap", "R1map", "R2map", "R2starmap", "PDmap", "MTRmap", "MTsat", "UNIT1", "T1rho",
    "MWFmap", "MTVmap", "Chimap", "S0map", "M0map", "TB1map", "RB1map", "TB1TFL", "TB1RFM", "ADC", "FA", "colFA",
    "expADC", "trace",
}  # fmt: skip
_AMBIGUOUS = {"PD", "T2star"}  # deprecated: a map or a conventional image
_OTHER = {"pet", "svs", "mrsi", "unloc", "mrsref"}
_PLAIN_WORDS = {"phase", "fieldmap", "trace", "FA", "ADC", "PD", "T2star", "pet", "ct", "CT", "noRF"}
_VERDICTS = (
    (_LABELS, "LABEL_MAP", "labels or a mask, not a scan"),
    (_NOT_MAGNITUDE, "NOT_MAGNITUDE", "a phase or field map; only magnitude images are denoised"),
    (_MAPS, "NOT_MAGNITUDE", "a map that was computed from scans, not a measured image"),
    (_AMBIGUOUS, "NOT_MAGNITUDE", "perhaps a computed map: its BIDS suffix is ambiguous. Rename it PDw or T2starw"),
    ({"noRF"}, "NO_SIGNAL", "a noise scan, which holds no signal"),
    (_OTHER, "NOT_CT_MR", "not a CT or MR image by its BIDS suffix"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Name:
    """The parts of a file name. entities: {"sub": "01", "task": "rest"}; extension with its dot."""

    entities: dict[str, str]
    suffix: str
    extension: str

    @staticmethod
    def parse(name: str) -> Name:
        """Any file name: what is no entity is left out."""
        stem, dot, extension = name.partition(".")
        *pairs, suffix = stem.split("_")
        entities = dict(pair.partition("-")[::2] for pair in pairs if "-" in pair)
        return Name(entities=entities, suffix=suffix, extension=dot + extension)

    def applies_to(self, image: Name) -> bool:
        """The inheritance principle: a sidecar applies to an image of its suffix that has all of its entities."""
        return self.suffix == image.suffix and self.entities.items() <= image.entities.items()


def modality(file_name: str) -> str:
    """ "MR" or "CT" where the suffix says so, else ""."""
    suffix = _suffix(file_name)
    return "MR" if suffix in _MR else "CT" if suffix in _CT else ""


def no_magnitude_image(file_name: str) -> tuple[str, str] | None:
    """(code, reason) where the name says that the file is no measured CT or magnitude MR image; else None."""
    suffix = _suffix(file_name)
    for suffixes, code, reason in _VERDICTS:
        if suffix in suffixes:
            return code, reason
    if Name.parse(file_name).entities.get("part", "mag") in ("phase", "real", "imag"):
        return "NOT_MAGNITUDE", "a phase, real or imaginary image; only magnitude images are denoised"
    return None


def _suffix(file_name: str) -> str:
    """The suffix, or "" where it may just be a word of a name that is not BIDS."""
    suffix = Name.parse(file_name).suffix
    return "" if suffix in _PLAIN_WORDS and not file_name.startswith("sub-") else suffix


def is_image_name(file_name: str) -> bool:
    """Whether the file is a NIfTI image by its name."""
    return file_name.endswith(_EXTENSIONS)


def is_raw_image(relative: PurePath) -> bool:
    """Whether a path, relative to the dataset, is where and named as a raw dataset has its images:
    sub-01/[ses-2/]anat/sub-01[_ses-2]_T1w.nii.gz."""
    *folders, name = relative.parts
    if len(folders) not in (2, 3) or folders[-1] not in _DATATYPES or not _IMAGE_NAME.fullmatch(name):
        return False
    owner = "_".join(folders[:-1])
    entities = Name.parse(name).entities
    return is_part(PurePosixPath(*folders[:-1])) and name.startswith(owner + "_") and "desc" not in entities


def is_part(relative: PurePath) -> bool:
    """Whether a folder, relative to the dataset, is a participant's or a session's: sub-01 or sub-01/ses-2."""
    patterns = (_PARTICIPANT, _SESSION)[: len(relative.parts)]
    return len(relative.parts) in (1, 2) and all(
        pattern.fullmatch(part) for pattern, part in zip(patterns, relative.parts, strict=True)
    )


def denoised(relative: PurePosixPath) -> PurePosixPath:
    """The path of the copy: desc-denoised, the last of all entities, before the suffix. Other files keep theirs."""
    if not is_raw_image(relative):
        return relative
    front, _, suffix = relative.name.rpartition("_")
    return relative.with_name(f"{front}_desc-{DESCRIPTION}_{suffix}")
