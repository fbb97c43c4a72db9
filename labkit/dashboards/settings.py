"""The program's configuration file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from labkit.settings_file import read_settings


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
    return read_settings(path, "the dashboards", _settings)


def _settings(data: Any) -> Settings:
    return Settings(
        port=int(data["port"]),
        environments=tuple(map(str, data["environments"])),
        draw_seconds=float(data["drawSeconds"]),
    )
