"""What a story finds when it begins, what it has measured, and what it leaves."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from rich.console import Group

from labkit.config import PRODUCTION, Lab
from labkit.errors import LabError
from labkit.observability.events import EventTable
from labkit.promotion import Freight, StageTable, find_freight, find_stage
from labkit.tables import Record, Table, plain


@dataclass(frozen=True, repr=False)
class Beginning(Record):
    """What a story found.

    Attributes:
        began: When it began.
        freight: Alias of the Freight that PROD ran.
        freight_name: Name of that Freight.
        taken_back: What an earlier telling had left, and was taken back before this one.
    """

    began: datetime
    freight: str
    freight_name: str
    taken_back: tuple[str, ...]


@dataclass(frozen=True, repr=False)
class Fact(Record):
    """Something that was measured.

    Attributes:
        fact: What.
        value: How much; NaN where nothing is recorded that says so.
        unit: In what.
        definition: From which recorded event to which, or of which record.
    """

    fact: str
    value: float
    unit: str
    definition: str


def seconds_between(begin: datetime | None, end: datetime | None) -> float:
    """The time between two moments; NaN where one of them is not recorded."""
    return round((end - begin).total_seconds(), 1) if begin and end else math.nan


def built_from(freight: Iterable[Freight], commit: str) -> Freight | None:
    """The first Freight with an image that was built from a commit; nothing where there is none."""
    found = (item for item in freight if commit in item.revisions.values())
    return min(found, key=lambda item: item.created, default=None)


class FactTable(Table[Fact]):
    """The measured facts of a story."""

    title = "Measured"
    columns = ("fact", "value", "unit", "definition")


def production_freight(lab: Lab) -> Freight:
    """The Freight that PROD runs.

    Raises:
        LabError: It runs nothing yet.
    """
    prod = find_stage(lab, PRODUCTION)
    if not prod.freight_name:
        raise LabError("PROD runs nothing yet", todo="run notebook 04-deploy-demo-app, or `labkit deploy`")
    return find_freight(lab, prod.freight_name)


@dataclass(frozen=True, repr=False)
class Story:
    """A story that was told to its end.

    Attributes:
        beginning: What it found.
        facts: What was measured.
        events: What happened, in order.
        left: What the Stages run in the end.
    """

    beginning: Beginning
    facts: FactTable
    events: EventTable
    left: StageTable

    def as_json(self) -> dict[str, Any]:
        """The story as plain values."""
        return {
            "beginning": self.beginning.as_json(),
            "facts": self.facts.as_json(),
            "events": self.events.as_json(),
            "left": self.left.as_json(),
        }

    def __rich__(self) -> Group:
        return Group(self.events, "", self.facts, "", self.left)

    def __repr__(self) -> str:
        return plain(self)

    def _repr_html_(self) -> str:
        return "".join(table._repr_html_() for table in (self.events, self.facts, self.left))
