import re

import pytest
import semver
from hypothesis import given
from hypothesis import strategies as st

from labkit.delivery.tags import image_tag
from labkit.errors import LabError

COMMIT = "0123456789abcdef0123456789abcdef01234567"
TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")  # OCI distribution specification, "Pulling manifests"
NUMBER = st.integers(0, 9999)
COMMITS = st.text("0123456789abcdef", min_size=40, max_size=40)


@pytest.mark.parametrize(
    ("version", "branch", "tag"),
    [
        ("1.2.3\n", "main", "1.2.3"),
        ("1.2.3", "feature/Blue_page", "1.2.3-feature-blue-page.g0123456"),
        ("1.2.3-rc.1", "fix", "1.2.3-rc.1.fix.g0123456"),
        ("1.2.3", "007", "1.2.3-b007.g0123456"),
        ("1.2.3", "äöü", "1.2.3-b.g0123456"),
    ],
)
def test_examples(version, branch, tag):
    assert image_tag(version, branch, COMMIT) == tag


@pytest.mark.parametrize("version", ["", "v1.2.3", "1.2", "01.2.3", "1.2.3+build", "latest", "1.2.3\n4.5.6", "1.2.3-"])
@pytest.mark.parametrize("branch", ["main", "feature"])
def test_what_is_no_version_is_refused(version, branch):
    with pytest.raises(LabError, match="VERSION says"):
        image_tag(version, branch, COMMIT)


def test_main_takes_releases_only():
    with pytest.raises(LabError, match="main takes releases only"):
        image_tag("1.2.3-rc.1", "main", COMMIT)


@given(NUMBER, NUMBER, NUMBER, st.text(min_size=1).filter(lambda name: name != "main"), COMMITS)
def test_a_branchs_tag_is_a_pre_release_of_its_version(major, minor, patch, branch, commit):
    version = f"{major}.{minor}.{patch}"
    tag = image_tag(version, branch, commit)
    parsed = semver.Version.parse(tag)
    assert parsed.finalize_version() == semver.Version.parse(version)
    assert parsed < semver.Version.parse(version)
    assert TAG.fullmatch(tag)
    assert tag.endswith(f".g{commit[:7]}")


@given(st.text())
def test_any_text_is_a_version_or_refused(text):
    try:
        tag = image_tag(text, "main", COMMIT)
    except LabError:
        return
    assert tag == text.strip()
    assert TAG.fullmatch(tag)
