"""DataFrame in, figure out: the panels as charts for a notebook, in the lab's one look."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import count, cycle
from typing import Any

import pandas as pd
import plotly.graph_objects as go

from labkit.observability.panels import Kind, Panel, State
from labkit.theme import themed

Colours = Mapping[str, str]

_LOOK = themed(go.Figure()).layout
_NEUTRAL: str = _LOOK.font.color
_GRID: str = _LOOK.xaxis.gridcolor
_CLEAR: str = _LOOK.paper_bgcolor

# For what belongs to no environment: none of these is close to an environment's colour.
_PALETTE = ("#8e5bc7", "#c2457a", "#a0703f", "#5f8f9f", "#b59a1b", "#6c6fd1")
# The names that states have for their colours, as they can be read on light and on dark.
_STATES = {"green": "#4caf50", "yellow": "#d4a017", "red": "#d9483b"}
# Of an environment's first series, its second, …: they share its colour.
_DASHES = ("solid", "dash", "dot")
_OPACITIES = (1.0, 0.7, 0.45)
_HEIGHT = 360
_LINE = 19  # of a legend
_NARROW = 400  # a legend's width in a third of a page


@dataclass(frozen=True)
class _Unit:
    """What numbers are shown in: its name, and what they are multiplied by."""

    name: str
    factor: float = 1.0


@dataclass(frozen=True)
class _Series:
    """One series: its name and colour, its place among the series of that colour, and its rows."""

    name: str
    colour: str
    place: int
    rows: pd.DataFrame

    @property
    def newest(self) -> float:
        """Its newest value that is a number, if there is one."""
        values = self.rows.sort_values("time")["value"].dropna()
        return float(values.iloc[-1]) if len(values) else math.nan


def panel_figure(panel: Panel, frame: pd.DataFrame, colours: Colours) -> go.Figure:
    """A panel as a chart: lines, bars of the newest values, states over time, or a table.

    Args:
        panel: What is shown.
        frame: As `labkit.observability.series.panel_frame` returns it: columns `time` (datetime64[ns, UTC]), `value`
            (float64, in the panel's unit), `series` (object) and one for each label (object).
        colours: The environments' colours by their names, in their order.

    Returns:
        The figure; one that says so where there is no data.
    """
    drawn = _nothing() if frame.empty else _KINDS[panel.kind](panel, frame, colours)
    return drawn.update_layout(title=panel.title)


def latency_figure(frame: pd.DataFrame, colours: Colours) -> go.Figure:
    """The environments' latencies side by side: a group of bars for each quantile, a bar for each environment.

    Args:
        frame: Columns `time` (datetime64[ns, UTC]), `value` (float64, seconds), `environment` (object) and `quantile`
            (object), such as `p95`. The newest of each is shown.
        colours: The environments' colours by their names, in their order.
    """
    if frame.empty:
        figure = _nothing()
    else:
        unit = _unit("s", frame["value"])
        figure = go.Figure(
            [
                go.Bar(
                    name=name,
                    x=[quantile for quantile, _ in bars],
                    y=[unit.factor * value for _, value in bars],
                    text=[_said(value, unit) for _, value in bars],
                    marker={"color": colours.get(name, _NEUTRAL)},
                    textposition="outside",
                    cliponaxis=False,
                    hovertemplate="%{x}: %{text}<extra>%{fullData.name}</extra>",
                )
                for name, bars in _latencies(frame, colours)
            ]
        )
        themed(figure).update_layout(
            barmode="group",
            height=_HEIGHT,
            legend=_LEGEND,
            xaxis={"title": "quantile", "type": "category"},
            yaxis={"title": f"time to answer ({unit.name})", "automargin": True, "rangemode": "tozero"},
        )
    return figure.update_layout(title="Latency of the environments")


def _latencies(frame: pd.DataFrame, colours: Colours) -> Iterator[tuple[str, list[tuple[str, float]]]]:
    newest = frame.sort_values("time").groupby(["environment", "quantile"])["value"].last()
    quantiles = sorted(frame["quantile"].unique())
    for name in _ordered(frame["environment"], colours):
        yield name, [(quantile, float(newest.get((name, quantile), math.nan))) for quantile in quantiles]


# What the kinds of panels look like


def _timeseries(panel: Panel, frame: pd.DataFrame, colours: Colours) -> go.Figure:
    unit = _unit(panel.unit, frame["value"])
    figure = go.Figure(
        [
            go.Scatter(
                name=series.name,
                x=rows["time"],
                y=unit.factor * rows["value"],
                # One value makes no line.
                mode="lines" if len(rows) > 1 else "markers",
                line={"color": series.colour, "width": 2, "dash": _DASHES[series.place % len(_DASHES)]},
                hovertemplate=f"%{{y:,.4~r}} {unit.name}<br>%{{x|%H:%M:%S}}<extra>%{{fullData.name}}</extra>",
            )
            for series in _all_series(panel, frame, colours)
            for rows in [series.rows.sort_values("time")]
        ]
    )
    return _over_time(figure).update_layout(
        height=_HEIGHT + _LINE * (_legend_lines([trace.name for trace in figure.data]) - 1),
        yaxis={"title": _axis_title(panel, unit), "automargin": True, "rangemode": "tozero"},
    )


def _bars(panel: Panel, frame: pd.DataFrame, colours: Colours) -> go.Figure:
    shown = _all_series(panel, frame, colours)
    unit = _unit(panel.unit, pd.Series([series.newest for series in shown]))
    states = [_state(panel, series.newest) for series in shown] if panel.states else []
    # A state is no length: all of its bars are equally long.
    lengths = [1.0 if states else unit.factor * series.newest for series in shown]
    texts = [state.text for state in states] or [_said(series.newest, unit) for series in shown]
    figure = go.Figure(
        go.Bar(
            x=lengths,
            y=[series.name for series in shown],
            text=texts,
            orientation="h",
            marker={
                "color": [_visible(state) for state in states] or [series.colour for series in shown],
                "opacity": [_OPACITIES[series.place % len(_OPACITIES)] for series in shown],
            },
            textposition="inside" if states else "outside",
            cliponaxis=False,
            hovertemplate="%{y}: %{text}<extra></extra>",
            showlegend=False,
        )
    )
    # With room for the text beside the longest.
    room = 1.0 if states else 1.4 * max((length for length in lengths if math.isfinite(length)), default=0.0)
    return themed(figure).update_layout(
        height=130 + 36 * len(shown),
        xaxis={"title": _axis_title(panel, unit), "range": [0, room or 1.0], "visible": not states},
        yaxis={"type": "category", "autorange": "reversed", "automargin": True},
    )


def _state_timeline(panel: Panel, frame: pd.DataFrame, colours: Colours) -> go.Figure:
    step = _step(frame["time"])
    shown = _all_series(panel, frame, colours)
    runs = [(series.name, *run) for series in shown for run in _runs(panel, series.rows, step)]
    figure = go.Figure()
    for state in dict.fromkeys(state for _, state, _, _ in runs):
        mine = [(name, start, end) for name, other, start, end in runs if other == state]
        figure.add_trace(
            go.Bar(
                name=state.text,
                y=[name for name, _, _ in mine],
                base=[start for _, start, _ in mine],
                x=[(end - start) / pd.Timedelta(milliseconds=1) for _, start, end in mine],
                orientation="h",
                marker={"color": _visible(state)},
                customdata=[[f"{start:%H:%M:%S}", f"{end:%H:%M:%S}"] for _, start, end in mine],
                hovertemplate="%{y}: %{fullData.name}<br>%{customdata[0]} to %{customdata[1]}<extra></extra>",
            )
        )
    return _over_time(figure).update_layout(
        barmode="overlay",
        showlegend=True,
        height=210 + 36 * len(shown),
        # As far below the axis' title as that of a higher chart.
        legend={**_LEGEND, "y": -75 / (20 + 36 * len(shown))},
        xaxis={"type": "date"},
        yaxis={
            "type": "category",
            "categoryorder": "array",
            "categoryarray": [series.name for series in shown],
            "autorange": "reversed",
            "automargin": True,
        },
    )


def _table(panel: Panel, frame: pd.DataFrame, colours: Colours) -> go.Figure:
    matrix = panel.matrix
    assert matrix is not None
    unit = _unit(panel.unit, frame["value"])
    now = frame[frame["time"] == frame["time"].max()]
    by_row, by_column = matrix.row, matrix.column
    if by_row == "environment":  # environments are columns in all of the lab's own tables
        by_row, by_column = by_column, by_row
    names, heads = (_ordered(now[label], colours) for label in (by_row, by_column))

    def cell(name: str, head: str) -> str:
        found = now[(now[by_row] == name) & (now[by_column] == head)]
        if matrix.value in found:
            return ", ".join(sorted(set(found[matrix.value]))) or "–"
        return ", ".join(_said(value, unit) for value in found["value"]) or "–"

    cells = [[f"<b>{name}</b>" for name in names], *([cell(name, head) for name in names] for head in heads)]
    texts = [(by_row, *names), *((head, *column) for head, column in zip(heads, cells[1:], strict=True))]
    of_rows = [colours.get(name, _NEUTRAL) for name in names]
    look = {"fill": {"color": _CLEAR}, "line": {"color": _GRID}, "align": "left"}
    figure = go.Figure(
        go.Table(
            columnwidth=[3 + max(map(len, column)) for column in texts],
            header={
                "values": [by_row, *(f"<b>{head}</b>" for head in heads)],
                "font": {"color": [_NEUTRAL, *(colours.get(head, _NEUTRAL) for head in heads)], "size": 14},
                "height": 30,
                **look,
            },
            cells={
                "values": cells,
                "font": {"color": [of_rows, *([_NEUTRAL] * len(names) for _ in heads)], "size": 14},
                "height": 30,
                **look,
            },
        )
    )
    return themed(figure).update_layout(height=150 + 30 * len(names))


_KINDS: Mapping[Kind, Callable[[Panel, pd.DataFrame, Colours], go.Figure]] = {
    "stat": _bars,
    "bargauge": _bars,
    "timeseries": _timeseries,
    "state-timeline": _state_timeline,
    "table": _table,
}

# Below the axis' title, where it is in nobody's way however many lines it has.
_LEGEND = {"orientation": "h", "x": 0, "y": -0.36, "yanchor": "top"}


def _legend_lines(names: list[str]) -> int:
    """How many lines a legend has in a third of a page; the chart is higher by them, or they would squeeze it."""
    in_a_line = max(1, _NARROW // (45 + 7 * max(map(len, names), default=0)))
    return max(1, math.ceil(len(names) / in_a_line))


def _over_time(figure: go.Figure) -> go.Figure:
    return themed(figure).update_layout(
        xaxis={"title": "time (UTC)", "automargin": True}, legend=_LEGEND, showlegend=True
    )


def _nothing() -> go.Figure:
    figure = themed(go.Figure()).update_layout(height=160, xaxis={"visible": False}, yaxis={"visible": False})
    return figure.add_annotation(x=0.5, y=0.5, xref="paper", yref="paper", showarrow=False, text="no data yet")


# Series and states


def _all_series(panel: Panel, frame: pd.DataFrame, colours: Colours) -> list[_Series]:
    """The series: environments in their order and colours, then what belongs to none of them."""
    others, found = cycle(_PALETTE), []
    for name, rows in frame.groupby("series", sort=True):
        environment = str(rows["environment"].iloc[0]) if "environment" in rows else ""
        if panel.by_environment and environment in colours:
            legends = [legend.replace("{{environment}}", environment) for legend in panel.legends]
            place = legends.index(str(name)) if name in legends else 0
            found.append(_Series(str(name), colours[environment], place, rows))
        else:
            found.append(_Series(str(name), next(others), 0, rows))
    ranks = dict(zip(colours.values(), count(), strict=False))
    return sorted(found, key=lambda series: (ranks.get(series.colour, len(ranks)), series.place))


def _ordered(values: Iterable[str], colours: Colours) -> list[str]:
    """What there is of a label's values: environments in their order, then others by their names."""
    ranks = dict(zip(colours, count(), strict=False))
    return sorted(set(values), key=lambda value: (ranks.get(value, len(ranks)), value))


def _step(times: pd.Series[Any]) -> pd.Timedelta:
    """The time between two values of a series; a second where there is but one."""
    between = pd.Series(times.sort_values().unique()).diff().dropna()
    return between.min() if len(between) else pd.Timedelta(seconds=1)


def _runs(panel: Panel, rows: pd.DataFrame, step: pd.Timedelta) -> Iterator[tuple[State, pd.Timestamp, pd.Timestamp]]:
    """From when to when a series was in which state; a value counts until the next would be due."""
    open_run: tuple[State, pd.Timestamp, pd.Timestamp] | None = None
    known = rows.dropna(subset="value").sort_values("time")
    for start, value in zip(known["time"], known["value"], strict=True):
        state, end = _state(panel, value), start + step
        if open_run and open_run[0] == state and start <= open_run[2] + step / 2:
            open_run = (state, open_run[1], end)
            continue
        if open_run:
            yield open_run
        open_run = (state, start, end)
    if open_run:
        yield open_run


def _state(panel: Panel, value: float) -> State:
    if math.isfinite(value):
        named = (state for state in panel.states if state.value == value)
        return next(named, State(round(value), f"{value:g}", _NEUTRAL))
    return State(0, "–", _NEUTRAL)


def _visible(state: State) -> str:
    return _STATES.get(state.colour, state.colour)


# Numbers and units


def _unit(unit: str, values: pd.Series[Any]) -> _Unit:
    """How a Grafana unit is shown, for numbers of this size."""
    if unit == "s":
        return _Unit("s") if values.abs().max() >= 1 else _Unit("ms", 1000)
    return {"percentunit": _Unit("%", 100), "bytes": _Unit("MiB", 2.0**-20), "reqps": _Unit("requests/s")}.get(
        unit, _Unit("")
    )


def _axis_title(panel: Panel, unit: _Unit) -> str:
    if not panel.axis or panel.unit == "reqps":
        return unit.name or "number"
    return f"{panel.axis} ({unit.name})" if unit.name else panel.axis


def _said(value: float, unit: _Unit) -> str:
    """A number with its unit, to three digits."""
    if math.isnan(value):
        return "–"
    shown = unit.factor * value
    digits = f"{shown:,.0f}" if abs(shown) >= 100 else f"{shown:.3g}"
    return f"{digits} {unit.name}".rstrip()
