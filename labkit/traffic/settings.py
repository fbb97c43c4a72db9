"""The program's configuration file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from labkit.settings_file import read_settings


@dataclass(frozen=True)
class Crowd:
    """The people who use one environment's demo app.

    Attributes:
        environment: The environment's name.
        url: The demo app's page, without a slash at the end.
        requests_per_second: How often somebody asks for something, on average.
        customers: The names that orders are placed under.
    """

    environment: str
    url: str
    requests_per_second: float
    customers: tuple[str, ...]


@dataclass(frozen=True)
class Settings:
    """Who uses what, and where the program's metrics are (a port of 127.0.0.1)."""

    port: int
    crowds: tuple[Crowd, ...]


def load_settings(path: Path) -> Settings:
    """Read the configuration file.

    Raises:
        UsageError: It cannot be read, or a value is missing or senseless.
    """
    return read_settings(path, "the traffic", _settings)


def _settings(data: Any) -> Settings:
    crowds = tuple(
        Crowd(
            str(item["name"]),
            str(item["url"]),
            float(item["requestsPerSecond"]),
            tuple(map(str, item["customers"])),
        )
        for item in data["environments"]
    )
    if not all(crowd.requests_per_second > 0 and crowd.customers for crowd in crowds):
        raise ValueError("a rate is not above 0, or there are no customers")
    return Settings(int(data["port"]), crowds)
