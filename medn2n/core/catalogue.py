"""The Catalogue: the series found below a folder, and each thing passed over or refused with its reason."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from medn2n.errors import InputError, Medn2nError, NothingToDo

Scalar = str | int | float | bool | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Geometry:
    """Grid of a series. affine: 4 rows, voxel (i,j,k,1) → RAS mm. shape: (I,J,K) or (I,J,K,T)."""

    shape: tuple[int, ...]
    spacing_mm: tuple[float, float, float]
    affine: tuple[tuple[float, float, float, float], ...]
    evenly_spaced: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """One volume that can be loaded.

    id: keyed id, the only name of it that may be printed or logged.
    path: scan reference relative to the catalogue's root, "scan.nii.gz" or "folder#series=1.2.3" (and "&part=2"
        where one DICOM series holds several volumes); `formats.scan.load` reads it.
    files: relative paths of its files; for DICOM in slice order, so files[k] holds slice k.
    acquisition: what the pairing rules compare; keys in `medn2n.core.catalogue.ACQUISITION_KEYS`, absent = unknown.
    slice_wise: True where slices are unevenly spaced, so that only a 2D network may touch it.
    """

    id: str
    path: str
    files: tuple[str, ...]
    format: Literal["dicom", "nifti", "itk", "photo"]
    modality: str
    geometry: Geometry
    acquisition: Mapping[str, Scalar] = field(default_factory=dict)
    slice_wise: bool = False


ACQUISITION_KEYS = (
    "patient", "study_uid", "series_uid", "frame_of_reference_uid", "series_number", "acquisition_number",
    "acquisition_time", "series_time", "protocol", "series_description", "image_type", "manufacturer", "scanner",
    "kernel", "kvp", "exposure_mas", "thickness_mm", "contrast_agent", "sequence", "scanning_sequence", "echo_time_ms",
    "repetition_time_ms", "inversion_time_ms", "flip_angle_deg", "field_t", "b_value", "temporal_position", "derived",
)  # fmt: skip


UNNAMED = "u"  # prefix of the keyed id that stands for a patient whom the headers do not name: it is the study's


@dataclass(frozen=True, slots=True, kw_only=True)
class PassedOver:
    """Files that will not be denoised. status "passed": not a CT/MR image series, nothing is wrong with it;
    "refused": it is, or claims to be, an image, and something is wrong. code: the rule, e.g. "LOCALIZER"."""

    id: str
    files: tuple[str, ...]
    status: Literal["passed", "refused"]
    code: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Catalogue:
    """What is below one folder (or what one file is). Iterating gives the series, in order of their path."""

    series: tuple[Series, ...]
    passed_over: tuple[PassedOver, ...]

    def __iter__(self) -> Iterator[Series]:
        return iter(self.series)

    def __len__(self) -> int:
        return len(self.series)

    @property
    def refused(self) -> tuple[PassedOver, ...]:
        """What is wrong among the files, without what is merely no series."""
        return tuple(item for item in self.passed_over if item.status == "refused")

    def nothing(self, sentence: str) -> Medn2nError:
        """What to raise where it holds no series of the kind that was wanted: what is wrong with the first refused one,
        else that there is nothing to do."""
        for one in self.refused:
            return InputError(one.code, one.reason if one.id in one.reason else f"Series {one.id}: {one.reason}")
        return NothingToDo(sentence)

    def with_pictures_refused(self) -> Catalogue:
        """Beside scans a damaged picture is nobody's matter, and passed; where pictures are what is asked for, it is
        refused."""
        told = (replace(one, status="refused") if one.code.startswith("PHOTO_") else one for one in self.passed_over)
        return replace(self, passed_over=tuple(told))

    def without_photographs(self) -> Catalogue:
        """The scans alone, for what photographs have no part in: repeats, physics, benchmarks."""
        return replace(self, series=tuple(series for series in self.series if series.format != "photo"))
