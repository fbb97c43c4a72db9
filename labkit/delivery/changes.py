"""Changes of the demo app that the lab keeps as patches, pushed as the commits that a developer could have pushed."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import semver

from labkit.config import SOURCE_REPO, Lab
from labkit.delivery.git import WorkingCopy, working_copy
from labkit.errors import LabError

_AUTHOR = "developer"
_MIGRATIONS = "database/migrations"


@dataclass(frozen=True)
class Pushed:
    """A commit on `main`, and the versions of the tiers that it says."""

    commit: str
    versions: dict[str, str]


def source_of_the_app(lab: Lab) -> WorkingCopy:
    """A fresh clone of the demo app's repo, used by the developer."""
    return working_copy(lab, SOURCE_REPO, _AUTHOR)


def fits(copy: WorkingCopy, patch: str, *options: str) -> str:
    """Why a patch cannot be applied to a working copy; empty where it can."""
    try:
        copy.git("apply", "--check", *options, str(_kept(copy, patch)))
    except LabError as error:
        return error.seen
    return ""


def apply(copy: WorkingCopy, patch: str, *options: str) -> None:
    """Apply a patch to a working copy."""
    copy.git("apply", *options, str(_kept(copy, patch)))


def _kept(copy: WorkingCopy, patch: str) -> str:
    """The patch as a file that git does not take for content of the repo."""
    file = copy.folder / ".git" / "change.patch"
    file.write_text(patch)
    return str(file)


def has_migration(copy: WorkingCopy, name: str) -> bool:
    """Whether a migration of that name is in the source."""
    return any((copy.folder / _MIGRATIONS).glob(f"[0-9]*_{name}.sql"))


def add_migration(copy: WorkingCopy, name: str, statements: str) -> None:
    """Add a migration under the next free number.

    A number is given once: an environment's file remembers which ones it has.
    """
    newest = max(int(path.name[:4]) for path in (copy.folder / _MIGRATIONS).glob("[0-9]*.sql"))
    copy.write({f"{_MIGRATIONS}/{newest + 1:04}_{name}.sql": statements.encode()})


def push(lab: Lab, copy: WorkingCopy, tiers: Iterable[str], message: str) -> Pushed:
    """Raise the versions of the tiers that were changed, commit, and push to `main`."""
    for tier in tiers:
        write_version(copy, tier, version_of(copy, tier).bump_patch())
    copy.commit_and_push(message)
    return head(lab, copy)


def push_release(lab: Lab, tier: str) -> Pushed:
    """Push a new version of a tier with nothing new in it, to `main` of the demo app's repo, as the developer."""
    return push(lab, source_of_the_app(lab), [tier], f"{tier}: release it again")


def head(lab: Lab, copy: WorkingCopy) -> Pushed:
    """The commit that a working copy holds."""
    return Pushed(copy.head, {tier: str(version_of(copy, tier)) for tier in lab.tiers})


def version_of(copy: WorkingCopy, tier: str) -> semver.Version:
    """The version that a tier's VERSION file says."""
    return semver.Version.parse((copy.folder / tier / "VERSION").read_text().strip())


def write_version(copy: WorkingCopy, tier: str, version: semver.Version) -> None:
    """Write a tier's VERSION file."""
    copy.write({f"{tier}/VERSION": f"{version}\n".encode()})
