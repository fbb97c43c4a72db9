"""What has happened, over time: as a table for pandas, and as a Gantt."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

import pandas as pd
import plotly.graph_objects as go

from labkit.config import PROJECT, Lab
from labkit.observability.events import ARGOCD, CI, GIT, KARGO, PAGER, ROLLOUTS, SOURCES, Event, read_events
from labkit.theme import themed

_COLUMNS = ("time", "end", "source", "environment", "event", "actor", "detail")
_TIMES = ("time", "end")
_NEUTRAL: str = themed(go.Figure()).layout.font.color
_CLEAR: str = themed(go.Figure()).layout.paper_bgcolor
_BAD = ("Failed", "Errored", "Error", "Aborted", "Inconclusive", "closed", "failure", "refused", "changes requested")
_LANES = {GIT: "Git", CI: "CI", KARGO: "Kargo", ROLLOUTS: "verification", ARGOCD: "Argo CD", PAGER: "alerts"}
_LANE_PIXELS = 34


def timeline_frame(lab: Lab, *, since: datetime | None = None, until: datetime | None = None) -> pd.DataFrame:
    """Everything that has happened in a lab, in order of time.

    Args:
        lab: The lab.
        since: Begin, with its zone; from the first on where there is none.
        until: End, with its zone; now where there is none.

    Returns:
        As `events_frame` returns it; see `labkit.observability.events` for what is in it.

    Raises:
        LabError: Kargo, an Argo CD, Gitea or the pager does not answer.
    """
    return events_frame(read_events(lab, since=since, until=until))


def events_frame(events: Iterable[Event]) -> pd.DataFrame:
    """Events as a table, in their order.

    Returns:
        A row for each. Columns: `time`, `end` (datetime64[ns, UTC]; NaT where it was a moment, or lasts), `source`,
        `environment`, `event`, `actor`, `detail` (object; empty where there is nothing to say).
    """
    rows = [[getattr(item, name) for name in _COLUMNS] for item in events]
    frame = pd.DataFrame(rows, columns=list(_COLUMNS), dtype=object)
    for name in _TIMES:
        frame[name] = pd.to_datetime(frame[name], utc=True).astype("datetime64[ns, UTC]")
    return frame


def timeline_chart(lab: Lab, *, since: datetime | None = None, until: datetime | None = None) -> go.Figure:
    """Everything that has happened in a lab as a Gantt, from `since` to `until`: see `timeline_frame`."""
    colours = {item.stage: item.colour for item in lab.destinations if item.project == PROJECT}
    return timeline_figure(timeline_frame(lab, since=since, until=until), colours)


def timeline_figure(frame: pd.DataFrame, colours: Mapping[str, str]) -> go.Figure:
    """Events over time: a bar for what took its time, a mark for a moment; what went wrong is hollow.

    Args:
        frame: As `events_frame` returns it.
        colours: The environments' colours by their names, in their order.
    """
    figure = go.Figure()
    lanes = list(_lanes(frame, colours))
    for environment in ("", *colours):
        colour = colours.get(environment, _NEUTRAL)
        mine = frame[frame["environment"] == environment]
        name = environment or "all environments"
        bars, moments = mine[mine["end"].notna()], mine[mine["end"].isna()]
        _add_bars(figure, bars, name, colour)
        _add_marks(figure, moments, name, colour, legend=bars.empty)
    return themed(figure).update_layout(
        title={"text": "What happened", "x": 0.02, "xanchor": "left"},
        barmode="overlay",
        height=150 + _LANE_PIXELS * len(lanes),
        xaxis={"type": "date", "title": "time (UTC)"},
        yaxis={
            "categoryorder": "array",
            "categoryarray": lanes,
            "autorange": "reversed",
            "automargin": True,
            "type": "category",
        },
        legend={"orientation": "h", "x": 0, "y": -0.18, "yanchor": "top"},
        showlegend=True,
    )


def _lane(environment: str, source: str) -> str:
    return f"{environment.upper()} {_LANES[source]}".strip()


def _lanes(frame: pd.DataFrame, colours: Mapping[str, str]) -> Iterable[str]:
    """The chart's rows from top to bottom: what belongs to no environment, then the environments in their order."""
    there = set(zip(frame["environment"], frame["source"], strict=True))
    for environment in ("", *colours):
        for source in SOURCES:
            if (environment, source) in there:
                yield _lane(environment, source)


def _add_bars(figure: go.Figure, rows: pd.DataFrame, name: str, colour: str) -> None:
    if rows.empty:
        return
    figure.add_bar(
        name=name,
        legendgroup=name,
        orientation="h",
        y=_lanes_of(rows),
        base=rows["time"],
        x=(rows["end"] - rows["time"]).dt.total_seconds() * 1000,
        width=0.6,
        marker={
            "color": [_CLEAR if _went_wrong(event) else colour for event in rows["event"]],
            # What took no second is seen by its frame.
            "line": {"color": colour, "width": 2},
        },
        customdata=_said(rows),
        hovertemplate=_HOVER,
    )


def _add_marks(figure: go.Figure, rows: pd.DataFrame, name: str, colour: str, *, legend: bool) -> None:
    if rows.empty:
        return
    figure.add_scatter(
        name=name,
        legendgroup=name,
        showlegend=legend,
        mode="markers",
        x=rows["time"],
        y=_lanes_of(rows),
        marker={
            "symbol": ["diamond-open" if _went_wrong(event) else "diamond" for event in rows["event"]],
            "size": 10,
            "color": colour,
            "line": {"color": _NEUTRAL, "width": 1},
        },
        customdata=_said(rows),
        hovertemplate=_HOVER,
    )


_HOVER = "<b>%{customdata[0]}</b> %{customdata[1]}<br>%{customdata[2]}<br>%{customdata[3]}<extra></extra>"


def _lanes_of(rows: pd.DataFrame) -> list[str]:
    return [_lane(environment, source) for environment, source in zip(rows["environment"], rows["source"], strict=True)]


def _said(rows: pd.DataFrame) -> list[list[str]]:
    known: list[dict[str, Any]] = [dict(row) for _, row in rows.iterrows()]
    return [
        [row["event"], f"by {row['actor']}" if row["actor"] else "", row["detail"], _when(row["time"], row["end"])]
        for row in known
    ]


def _when(time: Any, end: Any) -> str:
    if pd.isna(end):
        return f"{time:%H:%M:%S}"
    return f"{time:%H:%M:%S} to {end:%H:%M:%S}, {(end - time).total_seconds():.0f} s"


def _went_wrong(event: str) -> bool:
    return event.startswith("alert ") or any(word in event for word in _BAD)
