"""What was found out before anything is changed."""

from __future__ import annotations

from dataclasses import dataclass

from labkit.tables import Record


@dataclass(frozen=True, repr=False)
class Finding(Record):
    """One thing that was looked at: `ok`, `note` (the lab works, but mind it) or `failed`."""

    check: str
    result: str
    found: str
    todo: str = ""
