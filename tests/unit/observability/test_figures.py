"""Panels as charts, from made-up frames."""

import math
import re

import pandas as pd
import plotly.graph_objects as go
import pytest

from labkit.config import load_lab
from labkit.observability.figures import latency_figure, panel_figure
from labkit.observability.panels import dashboard_plans
from labkit.observability.series import fill_legend

PANELS = {(plan.uid, panel.title): panel for plan in dashboard_plans() for panel in plan.panels}
ALL = [pytest.param(panel, id=f"{uid}: {title}") for (uid, title), panel in PANELS.items()]
TIMES = pd.date_range("2026-01-01T12:00:00Z", periods=4, freq="5s")
COLOURS = {environment.name: environment.colour for environment in load_lab().environments}
OTHERS = ("beta", "alpha")
AXES = {
    "s": {"ms", "s"},
    "reqps": {"requests/s"},
    "percentunit": {"%"},
    "bytes": {"MiB"},
}


def _labels(panel):
    """Labels of series as the panel's legends have them, in no good order."""
    for query, legend in enumerate(panel.legends):
        names = re.findall(r"\{\{(\w+)\}\}", legend)
        environments = ("prod", "dev", "pre") if "environment" in names else ("",)
        for environment in environments:
            for other in OTHERS if set(names) - {"environment"} else ("",):
                yield query, legend, {name: environment if name == "environment" else other for name in names}


def _frame(panel, values=(0.5, 0.25, 2, 1)):
    rows = [
        {"time": time, "value": float(value) + query, "series": fill_legend(legend, labels), **labels}
        for query, legend, labels in _labels(panel)
        for time, value in zip(TIMES, values, strict=True)
    ]
    frame = pd.DataFrame(rows)
    return frame.fillna(dict.fromkeys(frame.columns[3:], "")).sample(frac=1, random_state=7)


def _figure(uid, title, frame=None):
    panel = PANELS[uid, title]
    return panel_figure(panel, _frame(panel) if frame is None else frame, COLOURS)


def _titles(figure):
    return {axis.title.text for axis in (figure.layout.xaxis, figure.layout.yaxis)}


@pytest.mark.parametrize("panel", ALL)
def test_every_panel_gives_a_figure(panel):
    frame = _frame(panel)
    before = frame.copy()
    figure = panel_figure(panel, frame, COLOURS)
    pd.testing.assert_frame_equal(frame, before)
    assert figure.layout.title.text == panel.title
    assert figure.data
    names = set(frame["series"])
    match panel.kind:
        case "timeseries":
            assert {trace.name for trace in figure.data} == names
            assert all(isinstance(trace, go.Scatter) for trace in figure.data)
        case "stat" | "bargauge":
            (bars,) = figure.data
            assert bars.orientation == "h"
            assert set(bars.y) == names
        case "state-timeline":
            assert {name for trace in figure.data for name in trace.y} == names
        case "table":
            assert isinstance(figure.data[0], go.Table)
    assert go.Figure(figure.to_dict()).to_json()


@pytest.mark.parametrize("panel", ALL)
def test_every_panel_without_data_says_so(panel):
    empty = pd.DataFrame({"time": TIMES[:0], "value": pd.Series(dtype="float64"), "series": pd.Series(dtype=object)})
    figure = panel_figure(panel, empty, COLOURS)
    assert figure.layout.title.text == panel.title
    assert [annotation.text for annotation in figure.layout.annotations] == ["no data yet"]


@pytest.mark.parametrize("panel", ALL)
@pytest.mark.parametrize("value", [math.nan, math.inf, 0.0])
def test_every_panel_bears_what_is_no_number(panel, value):
    assert panel_figure(panel, _frame(panel, [value] * 4), COLOURS).to_json()


@pytest.mark.parametrize("panel", ALL)
def test_every_figure_can_be_read_on_light_and_on_dark(panel):
    layout = panel_figure(panel, _frame(panel), COLOURS).layout
    assert {layout.paper_bgcolor, layout.plot_bgcolor} == {"rgba(0,0,0,0)"}
    assert layout.font.color == "#7a7f87"
    if panel.kind != "table":
        assert layout.xaxis.gridcolor == layout.yaxis.gridcolor == "rgba(122,127,135,0.25)"


@pytest.mark.parametrize("panel", ALL)
def test_every_figure_has_hover_text(panel):
    for trace in panel_figure(panel, _frame(panel), COLOURS).data:
        if panel.kind != "table":
            assert "%{" in trace.hovertemplate


# Axes


@pytest.mark.parametrize("panel", [item for item in ALL if item.values[0].unit in AXES])
def test_axes_have_readable_units(panel):
    titles = [title or "" for title in _titles(panel_figure(panel, _frame(panel), COLOURS))]
    units = {re.sub(r".*\((.+)\)", r"\1", title) for title in titles if title != "time (UTC)"}
    assert units & AXES[panel.unit]


@pytest.mark.parametrize("panel", [item for item in ALL if item.values[0].kind == "timeseries"])
def test_lines_have_two_titled_axes(panel):
    layout = panel_figure(panel, _frame(panel), COLOURS).layout
    assert layout.xaxis.title.text == "time (UTC)"
    assert layout.yaxis.title.text
    assert layout.legend.y < 0, "the legend is below, where no title is"


@pytest.mark.parametrize(
    ("values", "title", "drawn"),
    [([0.1, 0.2, 0.3, 0.02], "time to answer (ms)", 20), ([0.1, 0.2, 3, 2], "time to answer (s)", 2)],
)
def test_seconds_are_shown_in_their_size(values, title, drawn):
    panel = PANELS["performance-comparison", "Latency (p95)"]
    figure = panel_figure(panel, _frame(panel, values), COLOURS)
    assert figure.layout.yaxis.title.text == title
    assert figure.data[0].y[-1] == pytest.approx(drawn)


def test_numbers_are_in_their_unit():
    panel = PANELS["performance-comparison", "Memory of a pod"]
    figure = panel_figure(panel, _frame(panel, [2**20, 2**21, 2**22, 2**23]), COLOURS)
    assert list(figure.data[0].y) == [1, 2, 4, 8]
    assert figure.layout.yaxis.title.text == "memory (MiB)"
    panel = PANELS["performance-comparison", "Errors now"]
    (bars,) = panel_figure(panel, _frame(panel, [1, 1, 1, 0.125]), COLOURS).data
    assert list(bars.x) == [12.5] * 3
    assert list(bars.text) == ["12.5 %"] * 3


# Colours


@pytest.mark.parametrize("panel", [item for item in ALL if item.values[0].by_environment])
def test_an_environment_has_its_one_colour(panel):
    drawn = {}
    for trace in panel_figure(panel, _frame(panel), COLOURS).data:
        if panel.kind == "timeseries":
            drawn[trace.name] = trace.line.color
        else:
            drawn |= dict(zip(trace.y, trace.marker.color, strict=True))
    for name, colour in drawn.items():
        environment = name.partition(" ")[0]
        if environment in COLOURS:
            assert colour == COLOURS[environment]
        else:
            assert colour not in COLOURS.values()
    assert list(dict.fromkeys(colour for colour in drawn.values() if colour in COLOURS.values())) == list(
        COLOURS.values()
    )


@pytest.mark.parametrize("panel", [item for item in ALL if not item.values[0].by_environment])
def test_what_is_no_environment_has_no_environments_colour(panel):
    for trace in panel_figure(panel, _frame(panel), COLOURS).data:
        if panel.kind == "timeseries":
            assert trace.line.color not in COLOURS.values()
        elif panel.kind != "table":
            assert not {trace.marker.color} & set(COLOURS.values())


def test_series_of_one_environment_are_told_apart():
    figure = _figure("cluster-overview", "CPU of pods")
    assert [(trace.name, trace.line.dash) for trace in figure.data[:3]] == [
        ("dev used", "solid"),
        ("dev requests", "dash"),
        ("dev limits", "dot"),
    ]
    (bars,) = _figure("cluster-overview", "Start of pods").data
    assert list(bars.y) == ["dev p50", "dev p95", "pre p50", "pre p95", "prod p50", "prod p95"]
    assert list(bars.marker.opacity) == [1, 0.7] * 3


def test_one_value_can_be_seen():
    panel = PANELS["performance-comparison", "Throughput"]
    frame = _frame(panel)
    figure = panel_figure(panel, frame[frame["time"] == TIMES[0]], COLOURS)
    assert {trace.mode for trace in figure.data} == {"markers"}


def test_lines_of_other_things_differ_in_colour():
    figure = _figure("application-health", "Latency")
    assert [trace.name for trace in figure.data] == ["p50", "p95", "p99"]
    assert len({trace.line.color for trace in figure.data}) == 3


# Bars, states and tables


def test_bars_are_of_the_newest_value_that_is_a_number():
    panel = PANELS["cluster-overview", "Nodes"]
    (bars,) = panel_figure(panel, _frame(panel, [1, 2, 3, math.nan]), COLOURS).data
    assert list(bars.x) == [3, 3, 3]
    (bars,) = panel_figure(panel, _frame(panel, [math.nan] * 4), COLOURS).data
    assert list(bars.text) == ["–"] * 3


def test_a_stat_of_states_says_which():
    panel = PANELS["cluster-overview", "API servers"]
    frame = _frame(panel, [1, 1, 1, 1])
    frame.loc[frame["environment"] == "pre", "value"] = 0
    figure = panel_figure(panel, frame, COLOURS)
    (bars,) = figure.data
    assert dict(zip(bars.y, bars.text, strict=True)) == {"dev": "up", "pre": "down", "prod": "up"}
    assert len(set(bars.marker.color)) == 2
    assert list(bars.x) == [1, 1, 1]
    assert not figure.layout.xaxis.visible


def test_states_last_from_value_to_value():
    figure = _figure("promotion-pipeline", "Verified", _frame(PANELS["promotion-pipeline", "Verified"], [0, 1, 1, 0]))
    runs = {
        (trace.name, name): [
            (pd.Timestamp(start), length)
            for start, length, other in zip(trace.base, trace.x, trace.y, strict=True)
            if other == name
        ]
        for trace in figure.data
        for name in trace.y
    }
    assert runs["verified", "dev"] == [(TIMES[1], 10_000)]
    assert runs["not verified", "dev"] == [(TIMES[0], 5_000), (TIMES[3], 5_000)]
    assert len({trace.marker.color for trace in figure.data}) == 2
    assert figure.layout.xaxis.type == "date"


def test_a_state_ends_where_there_are_no_values():
    panel = PANELS["application-health", "Alerts that fire"]
    rows = [("x", 0), ("x", 1), ("y", 0), ("y", 1), ("y", 2), ("y", 3), ("x", 3)]
    frame = pd.DataFrame([{"time": TIMES[at], "value": 1.0, "series": name, "alertname": name} for name, at in rows])
    (trace,) = panel_figure(panel, frame, COLOURS).data
    assert trace.name == "firing"
    assert list(zip(trace.y, trace.x, strict=True)) == [("x", 10_000), ("x", 5_000), ("y", 20_000)]


def test_a_state_without_a_name_is_its_number():
    panel = PANELS["promotion-pipeline", "Frozen"]
    assert {trace.name for trace in panel_figure(panel, _frame(panel, [7, 7, 7, 7]), COLOURS).data} == {"7"}


def test_a_table_has_environments_in_their_order_and_colours():
    panel = PANELS["promotion-pipeline", "Versions"]
    rows = [("prod", "backend", "1.0.0"), ("dev", "backend", "2.0.0"), ("dev", "database", "3.0.0")]
    frame = pd.DataFrame(
        [
            {"time": TIMES[0], "value": 1.0, "series": "", "environment": name, "tier": tier, "version": version}
            for name, tier, version in rows
        ]
    )
    (table,) = panel_figure(panel, frame, COLOURS).data
    assert list(table.header["values"]) == ["tier", "<b>dev</b>", "<b>prod</b>"]
    assert list(table.header.font.color)[1:] == [COLOURS["dev"], COLOURS["prod"]]
    assert [list(column) for column in table.cells["values"]] == [
        ["<b>backend</b>", "<b>database</b>"],
        ["2.0.0", "3.0.0"],
        ["1.0.0", "–"],
    ]


def test_a_table_of_numbers_has_them():
    panel = PANELS["promotion-pipeline", "Promotions by phase"]
    (table,) = panel_figure(panel, _frame(panel, [1, 1, 1, 1234]), COLOURS).data
    assert list(table.header["values"]) == ["phase", "<b>dev</b>", "<b>pre</b>", "<b>prod</b>"], (
        "environments are columns"
    )
    assert list(table.cells["values"][0]) == ["<b>alpha</b>", "<b>beta</b>"]
    assert [list(column) for column in table.cells["values"][1:]] == [["1,234"] * 2] * 3
    assert list(table.header.font.color[1:]) == list(COLOURS.values())


# Latencies


def _latencies(factor=1.0):
    return pd.DataFrame(
        [
            {"time": time, "value": factor * (0.1 + number / 100), "environment": name, "quantile": quantile}
            for number, quantile in enumerate(("p99", "p50", "p95"))
            for name in ("prod", "dev", "pre")
            for time in TIMES
        ]
    )


def test_latencies_are_grouped_bars_of_environments():
    figure = latency_figure(_latencies(), COLOURS)
    assert figure.layout.barmode == "group"
    assert {trace.name: trace.marker.color for trace in figure.data} == COLOURS
    assert [trace.name for trace in figure.data] == list(COLOURS)
    for trace in figure.data:
        assert list(trace.x) == ["p50", "p95", "p99"]
        assert list(trace.y) == pytest.approx([110, 120, 100])
    assert figure.layout.yaxis.title.text == "time to answer (ms)"
    assert latency_figure(_latencies(100), COLOURS).layout.yaxis.title.text == "time to answer (s)"


def test_latencies_of_nobody_say_so():
    figure = latency_figure(_latencies().iloc[:0], COLOURS)
    assert [annotation.text for annotation in figure.layout.annotations] == ["no data yet"]
