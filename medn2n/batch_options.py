"""What a call of `medn2n denoise` asks for, and whether it can be."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from medn2n.core.limits import Limits
from medn2n.errors import InputError, UsageError
from medn2n.formats.bundle_dir import find_bundle, read_bundle
from medn2n.formats.dicom_write import DicomOptions
from medn2n.formats.gate_limits import read_limits
from medn2n.formats.scan_write import Dtype, Format

__all__ = ["DicomOptions", "Options", "check_options", "read_limits"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What the command line of `medn2n denoise` says. modality: "CT", "MR" or "". sigma: noise of MR magnitudes in the
    scan's unit, for rician "correct"; None: measured."""

    model: str = "auto"
    modality: str = ""
    strength: float = 1.0
    rician: Literal["keep", "correct"] = "keep"
    sigma: float | None = None
    dtype: Dtype = "same"
    format: Format = "same"
    device: str = "auto"
    threads: int | None = None
    memory_gb: float | None = None
    dicom: DicomOptions = field(default_factory=DicomOptions)
    dry_run: bool = False
    overwrite: bool = False
    report: bool = True
    limits: Limits = field(default_factory=Limits)


def check_options(options: Options) -> bool:
    """UsageError where strength or model cannot be; else whether the model is one of photographs."""
    if not 0.0 <= options.strength <= 1.0:
        raise UsageError(f"--strength is between 0 and 1, found {options.strength}.")
    if options.sigma is not None and options.rician == "keep":
        raise UsageError("--sigma is for --rician correct. Give both, or neither.")
    if options.rician == "correct" and options.modality == "CT":
        raise UsageError("--rician correct is for MR magnitude images, --modality says CT.")
    if options.model != "auto":
        try:
            find_bundle(options.model)
        except InputError as error:
            raise UsageError(str(error)) from None
        try:
            return read_bundle(options.model).info.modality == "PHOTO"
        except InputError:
            pass  # a damaged model is each series' own refusal
    return False
