"""The file of limits that `--limits` names: YAML or JSON, each key optional (medn2n/docs/gates.md shows them all). Of
the CT numbers each tissue is optional too, and null takes its limit away."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from medn2n.core.limits import CT_NUMBER_HU, Limits
from medn2n.formats.option_file import read_option_file

Region = Literal["air", "lung", "fat", "soft tissue", "bone"]  # of core.ct_numbers
Positive = Annotated[float, Field(gt=0)]


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    ct_number_hu: dict[Region, Positive | None] = Field(default_factory=dict)
    signal_share: float = Field(default=Limits().signal_share, gt=0)
    blur: float = Field(default=Limits().blur, gt=0)
    moved: float = Field(default=Limits().moved, gt=0)
    spot: float = Field(default=Limits().spot, gt=0)
    weakened: float = Field(default=Limits().weakened, gt=0)
    invented: float = Field(default=Limits().invented, gt=0)
    noise_left: float = Field(default=Limits().noise_left, gt=0)
    scope: bool = True
    lesion_contrast: float = Field(default=Limits().lesion_contrast, gt=0, le=1)
    auc_loss: float = Field(default=Limits().auc_loss, gt=0)
    error_left: float = Field(default=Limits().error_left, gt=0)
    residual_share: float = Field(default=Limits().residual_share, gt=0)


def read_limits(path: Path | None) -> Limits:
    """The limits of a file; medn2n's own for None. UsageError names the first field that is wrong."""
    if path is None:
        return Limits()
    found = read_option_file(path, "--limits", _File).model_dump()
    numbers: dict[str, float | None] = {**CT_NUMBER_HU, **found.pop("ct_number_hu")}
    return Limits(ct_number_hu={name: value for name, value in numbers.items() if value is not None}, **found)
