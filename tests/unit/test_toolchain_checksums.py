"""Checksum files of releases, in the three formats that the projects use."""

import json

from hypothesis import given
from hypothesis import strategies as st

from labkit.toolchain.release import parse_checksum

HASHES = st.text("0123456789abcdef", min_size=64, max_size=64)
NAMES = st.from_regex(r"[a-zA-Z0-9][a-zA-Z0-9._-]{0,30}", fullmatch=True)
RELEASES = st.dictionaries(NAMES, HASHES, min_size=1, max_size=6)


@given(HASHES, st.sampled_from(["", "\n", "\r\n"]), st.booleans())
def test_a_lone_value(value: str, end: str, upper: bool) -> None:
    assert parse_checksum((value.upper() if upper else value) + end, "value", "kubectl") == value


@given(RELEASES, st.sampled_from(["  ", " *", "  ./", "\t"]))
def test_a_line_for_each_file(release: dict[str, str], between: str) -> None:
    text = "\n".join(f"{value}{between}{name}" for name, value in release.items())
    for name, value in release.items():
        assert parse_checksum(text, "lines", name) == value
    assert parse_checksum(text, "lines", "no-such-file!") is None


@given(RELEASES)
def test_githubs_release_api(release: dict[str, str]) -> None:
    assets = [{"name": name, "digest": f"sha256:{value}"} for name, value in release.items()]
    text = json.dumps({"tag_name": "v1", "assets": [*assets, {"name": "old!", "digest": None}]})
    for name, value in release.items():
        assert parse_checksum(text, "github-assets", name) == value
    assert parse_checksum(text, "github-assets", "old!") is None
    assert parse_checksum(text, "github-assets", "no-such-file!") is None


@given(st.text(max_size=300), st.sampled_from(["value", "lines", "github-assets"]))
def test_a_web_page_instead_of_a_checksum_is_no_checksum(text: str, form) -> None:
    assert parse_checksum(f"<html>{text}</html>", form, "kubectl") is None


@given(
    st.recursive(
        st.none() | st.integers() | st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)
    )
)
def test_any_json_is_read_without_a_crash(value) -> None:
    assert parse_checksum(json.dumps(value), "github-assets", "kubectl") is None
    assert parse_checksum(json.dumps({"assets": value}), "github-assets", "kubectl") is None
