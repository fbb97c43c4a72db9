"""A program's configuration file: YAML to its settings, or one clear refusal."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import yaml

from labkit.errors import UsageError

Settings = TypeVar("Settings")


def read_settings(path: Path, program: str, made_of: Callable[[Any], Settings]) -> Settings:
    """Read a configuration file.

    Args:
        path: The file.
        program: Whom it configures.
        made_of: What the settings are, of the file's content.

    Raises:
        UsageError: It cannot be read, or a value is missing or senseless.
    """
    try:
        return made_of(yaml.safe_load(path.read_text()))
    except (OSError, yaml.YAMLError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise UsageError(f"{path} does not configure {program}", seen=f"{type(error).__name__}: {error}") from error
