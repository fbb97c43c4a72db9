"""Branches of the demo app's repo: where somebody works, and how that comes to `main`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from fnmatch import fnmatch
from typing import Any

from labkit.config import SOURCE_REPO, Lab
from labkit.delivery.changes import version_of
from labkit.delivery.git import WorkingCopy, repo_path
from labkit.delivery.gitea import gitea_as
from labkit.delivery.tags import RELEASE_BRANCH, image_tag
from labkit.errors import LabError
from labkit.tables import Record

REVIEWER = "qa"
_REPO = repo_path(SOURCE_REPO)


@dataclass(frozen=True, repr=False)
class Branch(Record):
    """A branch with work that was pushed.

    Attributes:
        branch: Its name.
        commit: The commit at its head.
        message: What that commit says of itself.
        author: Who pushed it.
        versions: The tags of the images that CI builds from it, by tier.
        url: Its page.
    """

    branch: str
    commit: str
    message: str
    author: str
    versions: Mapping[str, str]
    url: str


@dataclass(frozen=True, repr=False)
class Merge(Record):
    """A pull request of the demo app's repo that was merged.

    Attributes:
        number: Its number.
        title: Its title.
        author: Who opened it.
        merged_by: Who reviewed and merged it.
        branch: The branch that was merged.
        head: The commit at its head.
        commit: The merge's commit on `main`.
        url: Its page.
    """

    number: int
    title: str
    author: str
    merged_by: str
    branch: str
    head: str
    commit: str
    url: str


def versions_on(lab: Lab, copy: WorkingCopy, branch: str, commit: str) -> dict[str, str]:
    """The tags of the images that CI builds from a commit, by tier."""
    return {tier: image_tag(str(version_of(copy, tier)), branch, commit) for tier in lab.tiers}


def switch_to(copy: WorkingCopy, branch: str) -> None:
    """Check out a branch: as it was pushed, where somebody has worked on it before; else a new one at this commit."""
    pushed = copy.git("branch", "--remotes", "--list", f"origin/{branch}")
    copy.git("checkout", "--quiet", "-B", branch, *([f"origin/{branch}"] if pushed else []))


def push_branch(lab: Lab, copy: WorkingCopy, branch: str, message: str) -> Branch:
    """Commit a working copy and push it as a branch."""
    commit = copy.commit_and_push(message, branch)
    return Branch(
        branch=branch,
        commit=commit,
        message=message,
        author=copy.user,
        versions=versions_on(lab, copy, branch, commit),
        url=f"{lab.gitea_url}/{_REPO}/src/branch/{branch}",
    )


def merge_branch(lab: Lab, branch: Branch, *, reviewer: str = REVIEWER) -> Merge:
    """Open a pull request for a branch as its author, and have somebody else review and merge it.

    Raises:
        LabError: The reviewer is its author, or Gitea refuses.
    """
    if reviewer == branch.author:
        raise LabError(f"{reviewer} has written {branch.branch}", todo="have somebody else review it")
    author, other = gitea_as(lab, branch.author), gitea_as(lab, reviewer)
    body = {"head": branch.branch, "base": RELEASE_BRANCH, "title": branch.message}
    pull: dict[str, Any] = author.request("POST", f"/repos/{_REPO}/pulls", body)
    number = int(pull["number"])
    other.review(_REPO, number, "APPROVED", f"Seen working, built from {branch.commit[:7]}")
    other.merge(_REPO, number)
    return _merge_of(other.request("GET", f"/repos/{_REPO}/pulls/{number}"))


def merged_branches(lab: Lab, pattern: str) -> tuple[Merge, ...]:
    """The pull requests that merged a branch into `main`, newest first, of those that Gitea lists at once.

    Args:
        lab: The lab.
        pattern: Which branches, such as `feature/*`.
    """
    gitea = gitea_as(lab, "viewer")
    merged = (item for item in gitea.pull_requests(_REPO, "closed") if item["merged"])
    # Who has merged it, only the pull request itself says, and no list.
    return tuple(
        _merge_of(gitea.request("GET", f"/repos/{_REPO}/pulls/{item['number']}"))
        for item in merged
        if fnmatch(item["head"]["label"], pattern) and item["base"]["label"] == RELEASE_BRANCH
    )


def _merge_of(pull: Mapping[str, Any]) -> Merge:
    return Merge(
        number=int(pull["number"]),
        title=pull["title"],
        author=pull["user"]["login"],
        merged_by=pull["merged_by"]["login"],
        branch=pull["head"]["label"],
        head=pull["head"]["sha"],
        commit=pull["merge_commit_sha"],
        url=pull["html_url"],
    )


def merge_commit(lab: Lab, commit: str) -> str:
    """The newest commit of `main` that has merged another; empty where none of those that Gitea lists at once has."""
    for item in gitea_as(lab, "viewer").commits(_REPO, RELEASE_BRANCH):
        if commit in [parent["sha"] for parent in item["parents"][1:]]:
            return str(item["sha"])
    return ""


def commit_time(lab: Lab, commit: str) -> datetime:
    """When a commit of the demo app's repo was made."""
    found = gitea_as(lab, "viewer").request("GET", f"/repos/{_REPO}/git/commits/{commit}", stat=False, files=False)
    return datetime.fromisoformat(found["commit"]["committer"]["date"]).astimezone(UTC)
