"""Cards of public data sets: what a set holds, under which licence, how repeats arise in it, and the commands that turn
a downloaded copy into a manifest. They lie in `data_manifests/cards`; the scans never do.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from medn2n.errors import UsageError


class DatasetCard(BaseModel):
    """One data set.

    licence: SPDX name, or "see the site" where it is an agreement or is not certain. repeats: "acquired" (real repeats
    of one object), "simulated" (second views are drawn, here or by the authors), "none". how_pairs_arise, not_for: what
    is a pair in it and what only looks like one. prepare: what is to be done before the first command; commands: on a
    copy in a folder named in capitals.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    schema_: Literal["medn2n.dataset/1"] = Field(alias="schema")
    name: str = Field(pattern=r"^[a-z0-9-]+$")
    title: str = Field(min_length=1)
    modality: Literal["CT", "MR"]
    url: str = Field(pattern=r"^https://\S+$")
    licence: str = Field(min_length=1)
    citation: str = Field(min_length=1)
    holds: str = Field(min_length=1)
    files: str = Field(min_length=1)
    repeats: Literal["acquired", "simulated", "none"]
    how_pairs_arise: str = Field(min_length=1)
    not_for: str = Field(min_length=1)
    prepare: list[str]
    commands: list[str] = Field(min_length=1)


def read_card(path: Path) -> DatasetCard:
    """Parse and validate. UsageError names the first field that is wrong."""
    try:
        return DatasetCard.model_validate(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, json.JSONDecodeError, UnicodeDecodeError):
        raise UsageError("The data set's card does not exist or is not JSON.") from None
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "top level"
        raise UsageError(f"The data set's card is not valid: {where}: {first['msg']}.") from None
