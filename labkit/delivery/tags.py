"""Which tag an image gets: its version on `main`, a pre-release of it on every other branch.

Source: https://semver.org, without build metadata (a tag has no `+`), and without a leading `v`.
"""

from __future__ import annotations

import re

import semver

from labkit.errors import LabError

RELEASE_BRANCH = "main"
FEATURE_BRANCHES = "feature/*"
_MAX_SLUG = 40  # a tag has at most 128 characters


def image_tag(version: str, branch: str, commit: str) -> str:
    """The tag of an image.

    Args:
        version: Content of the tier's VERSION file.
        branch: The branch that was pushed.
        commit: The full id of the commit.

    Returns:
        `1.2.3` on `main`; `1.2.3-my-branch.g0a1b2c3` on the branch `my/branch`.

    Raises:
        LabError: It is no version, or on `main` no release.
    """
    text = version.strip()
    try:
        parsed = semver.Version.parse(text)
    except ValueError as error:
        raise LabError(
            f"VERSION says {text[:60]!r}, which is no SemVer version", todo="write MAJOR.MINOR.PATCH, such as 1.2.3"
        ) from error
    if parsed.build:
        raise LabError(f"VERSION says {text}: build metadata (after +) cannot be part of a tag")
    if branch == RELEASE_BRANCH:
        if parsed.prerelease:
            raise LabError(
                f"VERSION says {text}: {RELEASE_BRANCH} takes releases only",
                todo="write MAJOR.MINOR.PATCH; other branches get pre-release tags by themselves",
            )
        return str(parsed)
    before = f"{parsed.prerelease}." if parsed.prerelease else ""
    # The g, as in `git describe`, keeps an id of digits only from being a number with a leading zero.
    return str(parsed.replace(prerelease=f"{before}{_slug(branch)}.g{commit[:7]}"))


def _slug(branch: str) -> str:
    slug = re.sub(r"[^0-9a-z]+", "-", branch.lower())[:_MAX_SLUG].strip("-")
    return f"b{slug}" if not slug or slug.isdecimal() else slug
