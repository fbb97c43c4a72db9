"""Durations as Go writes them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labkit.kargolite.durations import format_duration, parse_duration

from .recordings import objects


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("10s", 10),
        ("1h0m0s", 3600),
        ("5m", 300),
        ("1m6.5s", 66.5),
        ("250ms", 0.25),
        ("0s", 0),
        ("-1h", -3600),
        ("1.5h", 5400),
    ],
)
def test_reading(text, seconds):
    assert parse_duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "10", "s", "1x", "1h 2m", "1m6"])
def test_what_is_no_duration(text):
    with pytest.raises(ValueError, match="invalid duration"):
        parse_duration(text)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0s"), (66.129944414, "1m6.129944414s"), (3600, "1h0m0s"), (0.0015, "1.5ms"), (54.167979547, "54.167979547s")],
)
def test_writing(seconds, text):
    assert format_duration(seconds) == text


def test_recorded_soaks_are_written_as_recorded():
    soaks = {
        verified["longestSoak"]
        for freight in objects("Freight")
        for verified in (freight["status"].get("verifiedIn") or {}).values()
        if "longestSoak" in verified
    }
    assert soaks
    assert {format_duration(parse_duration(soak)) for soak in soaks} == soaks


@given(st.floats(min_value=-1e6, max_value=1e6))
def test_reading_what_was_written(seconds):
    assert parse_duration(format_duration(seconds)) == pytest.approx(seconds, abs=1e-9)
