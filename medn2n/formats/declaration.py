"""What the user knows about repeats and no header tells: split or dual-source reconstructions, bare NIfTI files.

repeats:
  - scans: [first.nii.gz, second.nii.gz]      # scan references below the folder, as in a manifest
    subject: volunteer-3                       # optional; written as a keyed id only
not_repeats:
  - [a.nii.gz, b.nii.gz]
"""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, model_validator

from medn2n.formats.option_file import read_option_file


class DeclaredGroup(BaseModel):
    """≥ 2 scan references that show one object, measured independently."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)
    scans: list[str] = Field(min_length=2)
    subject: str = ""


class Declaration(BaseModel):
    """The whole file. Header rules do not apply to declared repeats; the voxel check does."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)
    repeats: list[DeclaredGroup] = Field(default_factory=list)
    not_repeats: list[list[str]] = Field(default_factory=list)

    @model_validator(mode="after")
    def _each_scan_once(self) -> Declaration:
        named = [scan for group in self.repeats for scan in group.scans]
        if len(named) != len(set(named)):
            raise ValueError("a scan is named twice among the repeats")
        return self

    def keeps_apart(self, first: str, second: str) -> bool:
        """True where the two references are declared as no repeats."""
        return any(first in scans and second in scans for scans in self.not_repeats)


def read_declaration(path: Path) -> Declaration:
    """Parse YAML (.yaml, .yml) or JSON. UsageError names the first field that is wrong."""
    return read_option_file(path, "--declare", Declaration)
