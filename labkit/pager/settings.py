"""The program's configuration file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from labkit.settings_file import read_settings


@dataclass(frozen=True)
class Settings:
    """How the pager is set up.

    Attributes:
        port: Where it answers, on 127.0.0.1.
        file: Where notices are kept.
        on_call: Who is called for a page, and who next.
        escalate_seconds: How long each of them has to acknowledge it.
    """

    port: int
    file: Path
    on_call: tuple[str, ...]
    escalate_seconds: float


def load_settings(path: Path) -> Settings:
    """Read the configuration file.

    Raises:
        UsageError: It cannot be read, or a value is missing.
    """
    return read_settings(path, "the pager", _settings)


def _settings(data: Any) -> Settings:
    return Settings(
        port=int(data["port"]),
        file=Path(data["file"]),
        on_call=tuple(map(str, data["onCall"])),
        escalate_seconds=float(data["escalateSeconds"]),
    )
