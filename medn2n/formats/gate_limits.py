"""The file of limits that `--limits` names: YAML or JSON, each key optional (medn2n/docs/gates.md shows them all)."""

from __future__ import annotations

import json
from pathlib import Path

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from medn2n.core.gates import CT_NUMBER_HU, Limits
from medn2n.errors import UsageError


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    ct_number_hu: dict[str, float] = Field(default_factory=lambda: dict(CT_NUMBER_HU))
    signal_share: float = Field(default=Limits().signal_share, gt=0)
    blur: float = Field(default=Limits().blur, gt=0)
    spot: float = Field(default=Limits().spot, gt=0)
    weakened: float = Field(default=Limits().weakened, gt=0)
    invented: float = Field(default=Limits().invented, gt=0)
    noise_left: float = Field(default=Limits().noise_left, gt=0)
    scope: bool = True
    lesion_contrast: float = Field(default=Limits().lesion_contrast, gt=0, le=1)
    auc_loss: float = Field(default=Limits().auc_loss, gt=0)


def read_limits(path: Path | None) -> Limits:
    """The limits of a file; medn2n's own for None. UsageError names the first field that is wrong."""
    if path is None:
        return Limits()
    try:
        text = path.read_text(encoding="utf-8")
        data = json.loads(text) if path.suffix.lower() == ".json" else yaml.safe_load(text)
        return Limits(**_File.model_validate(data if data is not None else {}).model_dump())
    except OSError:
        raise UsageError("The file given with --limits cannot be read.") from None
    except (json.JSONDecodeError, yaml.YAMLError, UnicodeDecodeError):
        raise UsageError("The file given with --limits is neither YAML nor JSON.") from None
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "top level"
        raise UsageError(f"The file given with --limits is not valid: {where}: {first['msg']}.") from None
