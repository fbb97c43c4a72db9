"""Defects of the demo app, as commits that a developer could have pushed: for seeing what a gate stops."""

from __future__ import annotations

from dataclasses import dataclass

import semver
import yaml

from labkit.config import SOURCE_REPO, Lab
from labkit.delivery.git import WorkingCopy, working_copy
from labkit.errors import LabError, UsageError
from labkit.paths import DATA
from labkit.tables import Record, Table

_AUTHOR = "developer"
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


@dataclass(frozen=True)
class Pushed:
    """A commit on `main`, and the versions of the tiers that it says."""

    commit: str
    versions: dict[str, str]


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
    patch = _FOLDER / f"{find_defect(name).defect}.patch"
    copy = working_copy(lab, SOURCE_REPO, _AUTHOR)
    try:
        copy.git("apply", "--check", "--reverse", str(patch))
    except LabError:
        return None
    return Pushed(copy.head, _versions(lab, copy))


def push_defect(lab: Lab, name: str) -> Pushed:
    """Push a defect to `main` of the demo app's repo, as the developer.

    Raises:
        LabError: It is there already, or does not fit what `main` holds.
    """
    defect = find_defect(name)
    return _push(lab, defect, f"{defect.tier}: {defect.about}", [])


def push_fix(lab: Lab, name: str) -> Pushed:
    """Push the commit that takes a defect back, as the developer.

    Raises:
        LabError: It is not there.
    """
    defect = find_defect(name)
    return _push(lab, defect, f"{defect.tier}: fix {defect.defect}", ["--reverse"])


def _push(lab: Lab, defect: Defect, message: str, options: list[str]) -> Pushed:
    copy = working_copy(lab, SOURCE_REPO, _AUTHOR)
    try:
        copy.git("apply", *options, str(_FOLDER / f"{defect.defect}.patch"))
    except LabError as error:
        wanted = "be taken back from" if options else "be put on top of"
        raise LabError(
            f"Defect {defect.defect} cannot {wanted} main of {SOURCE_REPO}",
            seen=error.seen,
            todo="deploy the newest release first, and fix what was introduced before",
        ) from error
    _raise_version(copy, defect.tier)
    commit = copy.commit_and_push(message)
    return Pushed(commit, _versions(lab, copy))


def _versions(lab: Lab, copy: WorkingCopy) -> dict[str, str]:
    return {tier: _version(copy, tier) for tier in lab.tiers}


def _version(copy: WorkingCopy, tier: str) -> str:
    return (copy.folder / tier / "VERSION").read_text().strip()


def _raise_version(copy: WorkingCopy, tier: str) -> None:
    raised = semver.Version.parse(_version(copy, tier)).bump_patch()
    copy.write({f"{tier}/VERSION": f"{raised}\n".encode()})
