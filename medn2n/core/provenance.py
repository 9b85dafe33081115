"""Which model made a denoised copy, and how: recorded in the copy and hashed into its new identifiers."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Provenance:
    """model: its name. model_sha256: hash of its weights. parameters: whatever else changes the pixels (strength,
    device, tile), JSON values only."""

    model: str = ""
    model_sha256: str = ""
    parameters: Mapping[str, Any] = field(default_factory=dict)

    def canonical_parameters(self) -> str:
        """The parameters as one string that does not depend on their order."""
        return json.dumps(dict(self.parameters), sort_keys=True, ensure_ascii=True, separators=(",", ":"))
