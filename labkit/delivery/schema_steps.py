"""A schema change of the demo app in steps, as commits that a developer could have pushed: one column replaces another.

Each run of the change goes the other way, so that it can be told again and again on one lab.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import permutations
from typing import Any

import yaml

from labkit.config import SOURCE_REPO, Lab
from labkit.delivery.changes import Pushed, add_migration, apply, fits, push, source_of_the_app
from labkit.delivery.git import WorkingCopy
from labkit.errors import LabError, UsageError
from labkit.paths import DATA
from labkit.tables import Record, Table
from labkit.templates import render

_FOLDER = "demo-app-schema"


@dataclass(frozen=True, repr=False)
class SchemaStep(Record):
    """One step of the change.

    Attributes:
        step: Its name.
        tiers: The tiers whose images it changes.
        reads: Which of the two columns the program reads.
        writes: Which it writes.
        migration: What becomes of the schema; empty where nothing does.
        back: Whether one can go back to the step before, and why.
    """

    step: str
    tiers: tuple[str, ...]
    reads: str
    writes: str
    migration: str
    back: str


class SchemaStepTable(Table[SchemaStep]):
    """The steps of the change, in their order."""

    title = "Schema change"
    columns = ("step", "tiers", "migration", "writes", "reads", "back")


def _data() -> dict[str, Any]:
    data: dict[str, Any] = yaml.safe_load((DATA / _FOLDER / "steps.yaml").read_text())
    return data


def schema_columns() -> tuple[str, ...]:
    """The columns of which one replaces the other."""
    return tuple(_data()["columns"])


def schema_step_table() -> SchemaStepTable:
    """The steps of the change, in their order."""
    return SchemaStepTable(
        tuple(
            SchemaStep(
                item["name"], tuple(item["tiers"]), item["reads"], item["writes"], item["migration"], item["back"]
            )
            for item in _data()["steps"]
        )
    )


def find_schema_step(name: str) -> SchemaStep:
    """One step.

    Raises:
        UsageError: There is none of that name.
    """
    table = schema_step_table()
    for row in table:
        if row.step == name:
            return row
    raise UsageError(f"There is no step {name!r}", todo=f"use one of: {', '.join(row.step for row in table)}")


def push_schema_step(lab: Lab, name: str) -> Pushed:
    """Push a step to `main` of the demo app's repo, as the developer.

    Raises:
        LabError: `main` does not hold the step before.
    """
    step = find_schema_step(name)
    copy = source_of_the_app(lab)
    old, new = _direction(copy, name)
    apply(copy, render(f"{_FOLDER}/{name}.patch", old=old, new=new))
    if step.migration:
        add_migration(copy, name, render(f"{_FOLDER}/{name}.sql", old=old, new=new))
    return push(lab, copy, step.tiers, f"{', '.join(step.tiers)}: {name}, from {old} to {new}")


def _direction(copy: WorkingCopy, name: str) -> tuple[str, str]:
    """The column that is replaced, and the one that replaces it: the patch fits in one direction only."""
    seen = ""
    for old, new in permutations(schema_columns()):
        seen = fits(copy, render(f"{_FOLDER}/{name}.patch", old=old, new=new))
        if not seen:
            return old, new
    names = ", ".join(row.step for row in schema_step_table())
    raise LabError(
        f"The step {name} cannot be put on top of main of {SOURCE_REPO}",
        seen=seen,
        todo=f"the steps have an order, and follow the newest release: {names}",
    )
