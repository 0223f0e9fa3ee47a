"""Settings: plain values that are checked by name, type and range, from flags, Python or a YAML file."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Self

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from ostinato.errors import SettingsError, nearest


class Settings(BaseModel):
    """Base of every group of settings. An unknown name is an error that names the nearest known one."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)

    @classmethod
    def checked(cls, values: dict[str, Any]) -> Self:
        """Settings from `values`.

        Raises:
            SettingsError: naming each value that is unknown or wrong, and what would be right.
        """
        try:
            return cls(**values)
        except ValidationError as error:
            raise SettingsError("; ".join(cls._explain(problem) for problem in error.errors())) from None

    @classmethod
    def _explain(cls, problem: Any) -> str:
        name = ".".join(str(part) for part in problem["loc"])
        if problem["type"] == "extra_forbidden":
            return f"unknown setting {name!r}{nearest(name, cls.model_fields)}"
        message = problem["msg"].removeprefix("Value error, ")
        return f"{name} = {problem['input']!r}: {message}" if name else message

    def plain(self) -> dict[str, Any]:
        """The values as JSON has them."""
        return self.model_dump(mode="json")


def read_yaml(path: Path) -> dict[str, Any]:
    """The mapping in a YAML file.

    Raises:
        SettingsError: if there is no such file, it is not YAML (with line and column), or it holds no mapping.
    """
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError(f"{path}: {error.strerror}") from None
    except (yaml.YAMLError, ValueError) as error:  # ValueError: not UTF-8, or no such day as 2024-13-01
        raise SettingsError(f"{path}: not YAML: {' '.join(str(error).split())}") from None
    if not isinstance(values, dict):
        raise SettingsError(f"{path}: expected lines such as 'hidden_size: 256', found {type(values).__name__}")
    return {str(name): value for name, value in values.items()}
