"""The program's configuration file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from labkit.errors import UsageError


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
    try:
        data: Any = yaml.safe_load(path.read_text())
        return Settings(
            port=int(data["port"]),
            file=Path(data["file"]),
            on_call=tuple(map(str, data["onCall"])),
            escalate_seconds=float(data["escalateSeconds"]),
        )
    except (OSError, yaml.YAMLError, KeyError, TypeError, ValueError) as error:
        raise UsageError(f"{path} does not configure the pager", seen=f"{type(error).__name__}: {error}") from error
