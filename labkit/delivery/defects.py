"""Defects of the demo app, as commits that a developer could have pushed: for seeing what a gate stops."""

from __future__ import annotations

from dataclasses import dataclass

import yaml

from labkit.config import SOURCE_REPO, Lab
from labkit.delivery.changes import Pushed, add_migration, apply, fits, has_migration, head, push, source_of_the_app
from labkit.delivery.git import WorkingCopy
from labkit.errors import LabError, UsageError
from labkit.paths import DATA
from labkit.tables import Record, Table

_FOLDER = DATA / "demo-app-defects"


@dataclass(frozen=True, repr=False)
class Defect(Record):
    """A change that passes its unit tests and is wrong.

    Attributes:
        defect: Its name.
        tier: The tier whose image it changes.
        about: What is wrong.
        stopped_in: The Stage where it is stopped; empty where no gate does.
        stopped_by: The metric of the Stage's verification that stops it.
    """

    defect: str
    tier: str
    about: str
    stopped_in: str
    stopped_by: str


class DefectTable(Table[Defect]):
    """The defects that the lab knows."""

    title = "Defects"
    columns = ("defect", "tier", "about", "stopped_in", "stopped_by")


def defect_table() -> DefectTable:
    """The defects that the lab knows, in the order in which a gate would stop them."""
    items = yaml.safe_load((_FOLDER / "defects.yaml").read_text())
    return DefectTable(
        tuple(Defect(item["name"], item["tier"], item["about"], item["stoppedIn"], item["stoppedBy"]) for item in items)
    )


def find_defect(name: str) -> Defect:
    """One defect.

    Raises:
        UsageError: There is none of that name.
    """
    table = defect_table()
    for row in table:
        if row.defect == name:
            return row
    raise UsageError(f"There is no defect {name!r}", todo=f"use one of: {', '.join(row.defect for row in table)}")


def pushed_defect(lab: Lab, name: str) -> Pushed | None:
    """The head of `main`, where it has a defect; nothing where it has not."""
    patch = (_FOLDER / f"{find_defect(name).defect}.patch").read_text()
    copy = source_of_the_app(lab)
    return None if fits(copy, patch, "--reverse") else head(lab, copy)


def push_defect(lab: Lab, name: str) -> Pushed:
    """Push a defect to `main` of the demo app's repo, as the developer.

    Raises:
        LabError: It is there already, or does not fit what `main` holds.
    """
    defect = find_defect(name)
    copy = source_of_the_app(lab)
    _apply(copy, defect, "be put on top of")
    migration = _FOLDER / f"{name}.sql"
    # One that was out stays: the files of the environments have it.
    if migration.exists() and not has_migration(copy, name):
        add_migration(copy, name, migration.read_text())
    return push(lab, copy, [defect.tier], f"{defect.tier}: {defect.about}")


def push_fix(lab: Lab, name: str) -> Pushed:
    """Push the commit that takes a defect back, as the developer; a migration of it stays, as migrations do.

    Raises:
        LabError: It is not there.
    """
    defect = find_defect(name)
    copy = source_of_the_app(lab)
    _apply(copy, defect, "be taken back from", "--reverse")
    return push(lab, copy, [defect.tier], f"{defect.tier}: fix {defect.defect}")


def _apply(copy: WorkingCopy, defect: Defect, what: str, *options: str) -> None:
    patch = (_FOLDER / f"{defect.defect}.patch").read_text()
    if seen := fits(copy, patch, *options):
        raise LabError(
            f"Defect {defect.defect} cannot {what} main of {SOURCE_REPO}",
            seen=seen,
            todo="deploy the newest release first, and fix what was introduced before",
        )
    apply(copy, patch, *options)
