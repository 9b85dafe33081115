"""A file that an option names, YAML or JSON, checked against its model; one sentence where it says something else."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from medn2n.errors import UsageError

Model = TypeVar("Model", bound=BaseModel)


def read_option_file(path: Path, option: str, model: type[Model]) -> Model:
    """What `path` (.json is JSON, anything else YAML; an empty file says nothing) holds. option: "--limits", say.
    UsageError names the first field that is wrong."""
    said = f"The file given with {option}"
    try:
        text = path.read_text(encoding="utf-8")
        data = json.loads(text) if path.suffix.lower() == ".json" else yaml.safe_load(text)
        return model.model_validate(data if data is not None else {})
    except FileNotFoundError:
        raise UsageError(f"{said} does not exist.") from None
    except OSError:
        raise UsageError(f"{said} cannot be read.") from None
    except (json.JSONDecodeError, yaml.YAMLError, UnicodeDecodeError):
        raise UsageError(f"{said} is neither YAML nor JSON.") from None
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "top level"
        raise UsageError(f"{said} is not valid: {where}: {first['msg']}.") from None
