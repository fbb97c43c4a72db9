"""SemVer tags and constraints."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from semver import Version

from labkit.kargolite.registry import select_versions
from labkit.kargolite.versions import parse_constraint, parse_version


@pytest.mark.parametrize(
    ("tag", "strict", "version"),
    [
        ("1.2.3", True, "1.2.3"),
        ("v1.2.3", True, "1.2.3"),
        ("1.2.3-rc.1", True, "1.2.3-rc.1"),
        ("1.2", True, None),
        ("1.2", False, "1.2.0"),
        ("1", False, "1.0.0"),
        ("latest", False, None),
        ("01.2.3", False, None),
    ],
)
def test_tags(tag, strict, version):
    found = parse_version(tag, strict=strict)
    assert (str(found) if found else None) == version


@pytest.mark.parametrize(
    ("constraint", "admitted", "refused"),
    [
        ("1.2.3", ["1.2.3"], ["1.2.4"]),
        ("=1.2.3", ["1.2.3"], ["1.2.2"]),
        ("!=1.2.3", ["1.2.4"], ["1.2.3"]),
        ("^1.2.0", ["1.2.0", "1.9.9"], ["2.0.0", "1.1.9"]),
        ("^0.9", ["0.9.0", "0.9.5"], ["1.0.0", "0.10.0"]),
        ("^0.0.3", ["0.0.3"], ["0.0.4"]),
        ("~1.2.3", ["1.2.9"], ["1.3.0", "1.2.2"]),
        ("~1", ["1.9.0"], ["2.0.0"]),
        ("1.x", ["1.0.0", "1.7.3"], ["2.0.0"]),
        ("*", ["0.0.1", "9.9.9"], []),
        (">=1.0.0 <2.0.0", ["1.0.0", "1.9.9"], ["2.0.0", "0.9.9"]),
        (">=1.0.0, <2.0.0", ["1.5.0"], ["2.0.0"]),
        ("<1.0.0 || >=2.0.0", ["0.9.0", "2.1.0"], ["1.5.0"]),
        (">1.2", ["1.3.0"], ["1.2.9"]),
        ("<=1.2", ["1.2.9"], ["1.3.0"]),
        ("1.2 - 1.4", ["1.2.0", "1.4.9"], ["1.5.0"]),
        (">=1.0.0", ["1.0.1"], ["1.1.0-rc.1"]),
        (">=1.0.0-0", ["1.1.0-rc.1"], ["0.9.0"]),
    ],
)
def test_constraints(constraint, admitted, refused):
    admits = parse_constraint(constraint)
    assert [text for text in admitted if not admits(Version.parse(text))] == []
    assert [text for text in refused if admits(Version.parse(text))] == []


@pytest.mark.parametrize("constraint", ["", "abc", ">=", "1.2.3 ||", "^^1"])
def test_what_is_no_constraint(constraint):
    with pytest.raises(ValueError, match="improper constraint"):
        parse_constraint(constraint)


_VERSIONS = st.tuples(*[st.integers(0, 30)] * 3).map(lambda parts: Version(*parts))


@given(_VERSIONS, _VERSIONS)
def test_comparisons_agree_with_the_order_of_versions(left, right):
    assert parse_constraint(f">={left}")(right) == (right >= left)
    assert parse_constraint(f"<{left}")(right) == (right < left)
    assert parse_constraint(f"!={left}")(right) == (right != left)


@given(st.lists(_VERSIONS.map(str), unique=True, max_size=15))
def test_tags_are_selected_newest_first(tags):
    assert select_versions([*tags, "latest", "1.0"], {}) == sorted(tags, key=Version.parse, reverse=True)


def test_a_subscription_selects_by_regexes_and_constraint():
    tags = ["1.0.0", "1.1.0", "1.2.0-rc.1", "2.0.0", "v1.3.0", "latest"]
    assert select_versions(tags, {"allowTagsRegexes": [r"^\d+\.\d+\.\d+$"]}) == ["2.0.0", "1.1.0", "1.0.0"]
    assert select_versions(tags, {"ignoreTagsRegexes": ["^v", "^2"], "constraint": "^1.0"}) == ["1.1.0", "1.0.0"]
