"""Bugs that the demo app has had from its first release, and their fixes: on a hotfix branch, and back on `main`."""

from __future__ import annotations

from dataclasses import dataclass

import yaml

from labkit.config import Lab
from labkit.delivery.branches import Branch, push_branch, switch_to, versions_on
from labkit.delivery.changes import Pushed, source_of_the_app, version_of, write_version
from labkit.delivery.git import WorkingCopy
from labkit.delivery.tags import RELEASE_BRANCH
from labkit.errors import LabError, UsageError
from labkit.paths import DATA
from labkit.tables import Record, Table
from labkit.templates import render

_FOLDER = "demo-app-bugs"


@dataclass(frozen=True, repr=False)
class Bug(Record):
    """A bug that no test and no gate looks for.

    Attributes:
        bug: Its name.
        tier: The tier that has it.
        field: The field of an order that is put on the page as markup.
        file: Where it is.
        wrong: What stands there.
        right: What a fix puts in its place.
    """

    bug: str
    tier: str
    field: str
    file: str
    wrong: str
    right: str


class BugTable(Table[Bug]):
    """The bugs that the lab knows."""

    title = "Bugs"
    columns = ("bug", "tier", "file", "wrong", "right")


def bug_table() -> BugTable:
    """The bugs that the lab knows."""
    items = yaml.safe_load((DATA / _FOLDER / "bugs.yaml").read_text())
    return BugTable(
        tuple(
            Bug(item["name"], item["tier"], item["field"], item["file"], item["wrong"], item["right"]) for item in items
        )
    )


def find_bug(name: str) -> Bug:
    """One bug.

    Raises:
        UsageError: There is none of that name.
    """
    table = bug_table()
    for row in table:
        if row.bug == name:
            return row
    raise UsageError(f"There is no bug {name!r}", todo=f"use one of: {', '.join(row.bug for row in table)}")


def push_hotfix(lab: Lab, bug: Bug, version: str, revision: str) -> Branch:
    """Begin a hotfix branch where a version was built from, fix a bug there, and push it, as the developer.

    Args:
        lab: The lab.
        bug: The bug.
        version: The version of the bug's tier that has it.
        revision: The commit that this version was built from; a release has the tag `TIER/VERSION` there.

    Raises:
        LabError: That version does not have it.
    """
    branch = f"hotfix/{bug.bug}-{revision[:7]}"
    copy = source_of_the_app(lab)
    copy.git("checkout", "--quiet", "--detach", revision)
    fixed = version_of(copy, bug.tier).bump_patch()
    switch_to(copy, branch)
    if bug.right not in (copy.folder / bug.file).read_text():
        _replace(copy, bug, bug.wrong, bug.right, f"{bug.tier} {version}")
    test = f"{bug.tier}/tests/test_escaping_{bug.field}.py"
    copy.write({test: render(f"{_FOLDER}/test_escaping.py.jinja", field=bug.field).encode()})
    write_version(copy, bug.tier, fixed)
    return push_branch(lab, copy, branch, f"{bug.tier}: fix {bug.bug}")


def merge_back(lab: Lab, hotfix: Branch, bug: Bug) -> Pushed:
    """Merge a hotfix into `main` as a new version of its tier, and push it, as the developer.

    Both have raised the version since they parted: the merge takes what `main` says, raised once more.

    Raises:
        LabError: The two cannot be merged.
    """
    copy = source_of_the_app(lab)
    raised = version_of(copy, bug.tier).bump_patch()
    message = f"Merge {hotfix.branch}: {hotfix.message}"
    merge = ("merge", "--quiet", "--no-ff", "--no-commit", "--strategy-option", "ours", f"origin/{hotfix.branch}")
    copy.git(*merge)
    if bug.wrong in (copy.folder / bug.file).read_text():
        raise LabError(f"Merging {hotfix.branch} does not fix {bug.bug} on {RELEASE_BRANCH}", todo="merge it by hand")
    write_version(copy, bug.tier, raised)
    commit = copy.commit_and_push(message)
    return Pushed(commit, versions_on(lab, copy, RELEASE_BRANCH, commit))


def push_bug(lab: Lab, bug: Bug) -> Pushed:
    """Push a commit to `main` that brings a bug back, as the developer who takes an old version for a tidier one.

    Raises:
        LabError: `main` has it already.
    """
    copy = source_of_the_app(lab)
    _replace(copy, bug, bug.right, bug.wrong, RELEASE_BRANCH)
    (copy.folder / bug.tier / "tests" / f"test_escaping_{bug.field}.py").unlink(missing_ok=True)
    write_version(copy, bug.tier, version_of(copy, bug.tier).bump_patch())
    commit = copy.commit_and_push(f"{bug.tier}: tidy up the page")
    return Pushed(commit, versions_on(lab, copy, RELEASE_BRANCH, commit))


def _replace(copy: WorkingCopy, bug: Bug, old: str, new: str, where: str) -> None:
    file = copy.folder / bug.file
    text = file.read_text()
    if old not in text:
        raise LabError(f"{bug.file} of {where} does not hold {old}", todo="`labkit scenario hotfix` looks for a bug")
    file.write_text(text.replace(old, new))
