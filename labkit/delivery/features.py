"""A visible feature of the demo app: an announcement on its page, with its test, on a branch of its own."""

from __future__ import annotations

import re

from labkit.config import Lab
from labkit.delivery.branches import Branch, push_branch, switch_to
from labkit.delivery.changes import source_of_the_app, version_of, write_version
from labkit.delivery.git import WorkingCopy
from labkit.paths import DATA
from labkit.templates import render

_TIER = "frontend"
_FOLDER = "demo-app-features"
_ANNOUNCEMENT = re.compile(r'^ *<p class="announcement">.*</p>\n', re.MULTILINE)


def announcement_of(version: str, feature: str) -> str:
    """What the page of a version says about a feature."""
    return f"New in {version}: {feature}"


def push_feature(lab: Lab, feature: str) -> Branch:
    """Begin a branch at `main`, put the announcement of a feature on the page, and push it, as the developer.

    Args:
        lab: The lab.
        feature: What is new, in a few words.

    Returns:
        The branch; its images are pre-releases of the frontend's next minor version.
    """
    copy = source_of_the_app(lab)
    version = version_of(copy, _TIER).bump_minor()
    branch = f"feature/announce-{version.major}-{version.minor}"
    switch_to(copy, branch)
    text = announcement_of(str(version), feature)
    _announce(copy, text)
    write_version(copy, _TIER, version)
    return push_branch(lab, copy, branch, f"{_TIER}: announce {feature}")


def _announce(copy: WorkingCopy, text: str) -> None:
    page, theme = copy.folder / _TIER / "page.html", copy.folder / _TIER / "theme.css"
    line = render(f"{_FOLDER}/announcement.html", text=text)
    without = _ANNOUNCEMENT.sub("", page.read_text())
    page.write_text(without.replace("    <main>\n", f"    <main>\n{line}", 1))
    style = (DATA / _FOLDER / "announcement.css").read_text()
    if style not in theme.read_text():
        theme.write_text(theme.read_text() + style)
    test = f"{_TIER}/tests/test_announcement.py"
    copy.write({test: render(f"{_FOLDER}/test_announcement.py.jinja", text=text).encode()})
