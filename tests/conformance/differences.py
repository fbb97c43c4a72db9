"""The differences that are allowed, and why: read from `differences.yaml`, the one place for them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from conformance.compare import Difference

FILE = Path(__file__).parent / "differences.yaml"
STAND_IN = "kargolite"


@dataclass(frozen=True)
class Field:
    """Where a difference is allowed.

    Attributes:
        situations: The situations' numbers.
        object: Regular expression for the object, such as `Stage dev`.
        path: Regular expression for the field.
        found: Regular expression for what was found there, as JSON.
    """

    situations: tuple[str, ...]
    object: str
    path: str
    found: str

    def fits(self, situation: str, difference: Difference) -> bool:
        """Whether it is this difference."""
        return situation in self.situations and all(
            re.fullmatch(pattern, text, re.DOTALL)
            for pattern, text in (
                (self.object, difference.object),
                (self.path, difference.field),
                (self.found, json.dumps(difference.found, ensure_ascii=False)),
            )
        )


@dataclass(frozen=True)
class Reason:
    """A difference that is meant.

    Attributes:
        what: What differs.
        here: How it is here.
        why: Why that is well.
        engines: Which engines may differ so; all, where it is empty.
        allowed: Where the recordings show it.
    """

    what: str
    here: str
    why: str
    engines: tuple[str, ...]
    allowed: tuple[Field, ...]


@cache
def reasons(section: str) -> tuple[Reason, ...]:
    """The entries of a section: `on-purpose`, `moment` or `set-up`."""
    engines = (STAND_IN,) if section == "on-purpose" else ()
    return tuple(_reason(entry, engines) for entry in yaml.safe_load(FILE.read_text())[section])


def _reason(entry: dict[str, Any], engines: tuple[str, ...]) -> Reason:
    allowed = tuple(
        Field(tuple(item["situations"]), item["object"], item["field"], item.get("found", ".*"))
        for item in entry.get("allowed", [])
    )
    return Reason(entry["what"], entry["here"], entry["why"], engines, allowed)


def all_reasons() -> tuple[Reason, ...]:
    """The whole list."""
    return (*reasons("on-purpose"), *reasons("moment"), *reasons("set-up"))


def judge(
    engine: str, situation: str, found: Iterable[Difference]
) -> tuple[list[tuple[Difference, Reason]], list[Difference]]:
    """Tell the differences that are allowed, each with its reason, from those that are not."""
    allowed, others = [], []
    for difference in found:
        reason = next((reason for reason in all_reasons() if _allows(reason, engine, situation, difference)), None)
        if reason:
            allowed.append((difference, reason))
        else:
            others.append(difference)
    return allowed, others


def _allows(reason: Reason, engine: str, situation: str, difference: Difference) -> bool:
    return (not reason.engines or engine in reason.engines) and any(
        field.fits(situation, difference) for field in reason.allowed
    )
