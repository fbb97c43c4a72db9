"""The timeline: events as a table and as a Gantt."""

from datetime import UTC, datetime, timedelta

import pandas as pd
import pytest

from labkit.config import load_lab
from labkit.observability.events import SOURCES, Event
from labkit.observability.timeline import events_frame, timeline_figure

START = datetime(2026, 1, 1, 12, tzinfo=UTC)
COLOURS = {environment.name: environment.colour for environment in load_lab().environments}
COLUMNS = {
    "time": "datetime64[ns, UTC]",
    "end": "datetime64[ns, UTC]",
    **dict.fromkeys(("source", "environment", "event", "actor", "detail"), "object"),
}


def event(begin, end=None, source="Kargo", environment="prod", what="Promotion Succeeded"):
    moments = [None if seconds is None else START + timedelta(seconds=seconds) for seconds in (begin, end)]
    return Event(*moments, source, environment, what, "developer", "Freight brisk-otter")


EVENTS = [
    event(0, None, "Git", "", "commit"),
    event(2, 9, environment="dev"),
    event(10, 30),
    event(31, 70, "Argo Rollouts", what="verification Failed"),
    event(50, None, "pager", what="paged"),
    event(50, 90, "pager", what="alert AppRequestsFail"),
]


@pytest.fixture
def frame():
    return events_frame(EVENTS)


@pytest.mark.parametrize("rows", [EVENTS, []], ids=["events", "none"])
def test_the_frame_has_its_columns_and_types(rows):
    assert {name: str(kind) for name, kind in events_frame(rows).dtypes.items()} == COLUMNS


def test_the_frame_holds_the_events_in_their_order(frame):
    assert list(frame["event"]) == [item.event for item in EVENTS]
    assert list(frame["end"].isna()) == [item.end is None for item in EVENTS]
    assert (frame["time"] == pd.DatetimeIndex([item.time for item in EVENTS])).all()


def traces(frame, kind):
    return [trace for trace in timeline_figure(frame, COLOURS).data if trace.type == kind]


def test_what_took_its_time_is_a_bar_in_its_environments_colour(frame):
    bars = {trace.name: trace for trace in traces(frame, "bar")}
    assert set(bars) == {"dev", "prod"}
    for name, bar in bars.items():
        assert bar.marker.line.color == COLOURS[name]
    assert list(bars["prod"].x) == [20_000, 39_000, 40_000], "milliseconds"
    assert list(bars["prod"].y) == ["PROD Kargo", "PROD verification", "PROD alerts"]


def test_what_went_wrong_is_hollow(frame):
    (prod,) = [trace for trace in traces(frame, "bar") if trace.name == "prod"]
    assert [colour == COLOURS["prod"] for colour in prod.marker.color] == [True, False, False]


def test_a_moment_is_a_mark(frame):
    marks = {trace.name: list(trace.y) for trace in traces(frame, "scatter")}
    assert marks == {"all environments": ["Git"], "prod": ["PROD alerts"]}


def test_each_environment_stands_in_the_legend_once(frame):
    shown = [trace.name for trace in timeline_figure(frame, COLOURS).data if trace.showlegend is not False]
    assert sorted(shown) == ["all environments", "dev", "prod"]


def test_the_lanes_are_in_the_order_of_the_pipeline(frame):
    lanes = list(timeline_figure(frame.sample(frac=1, random_state=3), COLOURS).layout.yaxis.categoryarray)
    assert lanes == ["Git", "DEV Kargo", "PROD Kargo", "PROD verification", "PROD alerts"]


def test_every_source_has_a_lane():
    frame = events_frame([event(0, 1, source, environment) for source in SOURCES for environment in ("", *COLOURS)])
    lanes = list(timeline_figure(frame, COLOURS).layout.yaxis.categoryarray)
    assert len(lanes) == len(set(lanes)) == len(SOURCES) * 4


def test_a_bar_says_who_did_what_when(frame):
    (prod,) = [trace for trace in traces(frame, "bar") if trace.name == "prod"]
    assert list(prod.customdata[0]) == [
        "Promotion Succeeded",
        "by developer",
        "Freight brisk-otter",
        "12:00:10 to 12:00:30, 20 s",
    ]


def test_nothing_that_happened_is_an_empty_chart():
    assert not timeline_figure(events_frame([]), COLOURS).data


def test_the_frame_is_not_changed(frame):
    before = frame.copy()
    timeline_figure(frame, COLOURS)
    pd.testing.assert_frame_equal(frame, before)
