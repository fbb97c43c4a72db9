"""The program's configuration file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from labkit.errors import UsageError


@dataclass(frozen=True)
class Settings:
    """How the dashboards are served.

    Attributes:
        port: Where they are, on 127.0.0.1.
        environments: The environments' names, in their order.
        draw_seconds: How long drawing a page may take.
    """

    port: int
    environments: tuple[str, ...]
    draw_seconds: float


def load_settings(path: Path) -> Settings:
    """Read the configuration file.

    Raises:
        UsageError: It cannot be read, or a value is missing.
    """
    try:
        data: Any = yaml.safe_load(path.read_text())
        return Settings(
            port=int(data["port"]),
            environments=tuple(map(str, data["environments"])),
            draw_seconds=float(data["drawSeconds"]),
        )
    except (OSError, yaml.YAMLError, KeyError, TypeError, ValueError) as error:
        raise UsageError(
            f"{path} does not configure the dashboards", seen=f"{type(error).__name__}: {error}"
        ) from error
