"""Releases of the demo app: commits to its repo, which CI tests, builds and pushes."""

from __future__ import annotations

from pathlib import Path

from labkit.config import SOURCE_REPO, Lab, Release
from labkit.delivery.git import repo_path, working_copy
from labkit.delivery.gitea import ADMIN, gitea_as
from labkit.paths import DATA
from labkit.tables import as_text
from labkit.wait import wait_for

AUTHOR = "developer"


def publish_release(lab: Lab, release: Release) -> str:
    """Commit a release to the demo app's repo and push it, as the developer.

    Args:
        lab: The lab.
        release: One of the lab's releases; those before it have to be published already.

    Returns:
        The commit; the one that is there already where nothing changes.
    """
    number = lab.releases.index(release)
    copy = working_copy(lab, SOURCE_REPO, AUTHOR)
    copy.write(_files(DATA / "demo-app") if number == 0 else _files(_overlay(number)))
    versions = as_text(release.versions)
    return copy.commit_and_push(f"Release {versions}")


def _overlay(number: int) -> Path:
    return sorted(path for path in (DATA / "demo-app-releases").iterdir() if path.is_dir())[number - 1]


def _files(root: Path) -> dict[str, bytes]:
    return {
        path.relative_to(root).as_posix(): path.read_bytes()
        for path in sorted(root.rglob("*"))
        if path.is_file() and not {"__pycache__", ".pytest_cache"} & set(path.parts)
    }


def wait_for_build(lab: Lab, commit: str) -> dict[str, str]:
    """Wait until CI has tested and built a commit.

    Returns:
        The commit's statuses in Gitea by their context.

    Raises:
        LabError: A status is red; its page in Gitea says why.
    """
    gitea, repo = gitea_as(lab, ADMIN), repo_path(SOURCE_REPO)
    return wait_for(
        f"CI to build commit {commit[:7]}",
        lambda: gitea.commit_statuses(repo, commit),
        lambda states: {"ci/unit-tests", "ci/build"} <= set(states) and set(states.values()) == {"success"},
        failed=lambda states: bool({"failure", "error"} & set(states.values())),
        describe=lambda states: as_text(states) or "no status yet",
        timeout=lab.limits.build_seconds,
        todo=f"see {lab.gitea_url}/{repo}/commit/{commit} and `labkit logs ci`",
    )
