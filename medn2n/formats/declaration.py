"""What the user knows about repeats and no header tells: split or dual-source reconstructions, bare NIfTI files.

repeats:
  - scans: [first.nii.gz, second.nii.gz]      # scan references below the folder, as in a manifest
    subject: volunteer-3                       # optional; written as a keyed id only
not_repeats:
  - [a.nii.gz, b.nii.gz]
"""

from __future__ import annotations

import json
from pathlib import Path

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from medn2n.errors import UsageError


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
    try:
        text = path.read_text(encoding="utf-8")
        data = json.loads(text) if path.suffix.lower() == ".json" else yaml.safe_load(text)
        return Declaration.model_validate(data if data is not None else {})
    except FileNotFoundError:
        raise UsageError("The file given with --declare does not exist.") from None
    except (json.JSONDecodeError, yaml.YAMLError, UnicodeDecodeError):
        raise UsageError("The file given with --declare is neither YAML nor JSON.") from None
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "top level"
        raise UsageError(f"The file given with --declare is not valid: {where}: {first['msg']}.") from None
