"""What the notebooks show: a panel, the environments side by side, Promotions over time, delivery metrics."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pandas as pd
import plotly.graph_objects as go

from labkit.config import Lab
from labkit.errors import UsageError
from labkit.observability.delivery import delivery_metrics, read_deployments, read_incidents
from labkit.observability.figures import latency_figure, panel_figure
from labkit.observability.panels import Panel, find_dashboard
from labkit.observability.series import panel_frame
from labkit.promotion import promotion_table
from labkit.tables import Record, Table
from labkit.theme import themed

_COMPARISON = "performance-comparison"
_QUANTILES = ("p50", "p95", "p99")


def find_panel(dashboard: str, title: str) -> Panel:
    """A panel of one of the dashboards.

    Raises:
        UsageError: There is none of that title.
    """
    titles = {panel.title: panel for panel in find_dashboard(dashboard).panels}
    if title not in titles:
        raise UsageError(f"Dashboard {dashboard} has no panel {title!r}", todo=f"use one of: {', '.join(titles)}")
    return titles[title]


def _colours(lab: Lab) -> dict[str, str]:
    return {environment.name: environment.colour for environment in lab.environments}


def panel_chart(lab: Lab, dashboard: str, title: str, *, environment: str = "prod", minutes: float = 15) -> go.Figure:
    """A dashboard's panel, drawn from what Prometheus has measured.

    Args:
        lab: The lab.
        dashboard: The dashboard, such as `performance-comparison`.
        title: The panel's title.
        environment: Which one, where the dashboard shows one at a time.
        minutes: How far back.
    """
    panel = find_panel(dashboard, title)
    return panel_figure(panel, panel_frame(lab, panel, environment, minutes), _colours(lab))


@dataclass(frozen=True, repr=False)
class Query(Record):
    """A query of a panel: what its series are called, their unit as Grafana names it, and PromQL."""

    shows: str
    unit: str
    promql: str


class QueryTable(Table[Query]):
    """The queries of a panel."""

    title = "Queries"
    columns = ("shows", "unit", "promql")


def panel_queries(lab: Lab, dashboard: str, title: str, *, environment: str = "prod") -> QueryTable:
    """What a dashboard's panel asks of Prometheus.

    Args:
        lab: The lab.
        dashboard: The dashboard, such as `performance-comparison`.
        title: The panel's title.
        environment: Which one, where the dashboard shows one at a time.
    """
    panel = find_panel(dashboard, title)
    filled = panel.filled(lab.environment(environment).name)
    return QueryTable(
        tuple(Query(legend, panel.unit, query) for legend, query in zip(panel.legends, filled, strict=True))
    )


def latency_chart(lab: Lab, *, minutes: float = 15) -> go.Figure:
    """The environments' latencies: p50, p95 and p99 side by side."""
    frames = [
        panel_frame(lab, find_panel(_COMPARISON, f"Latency ({quantile})"), minutes=minutes).assign(quantile=quantile)
        for quantile in _QUANTILES
    ]
    return latency_figure(pd.concat(frames, ignore_index=True), _colours(lab))


def promotion_frame(lab: Lab) -> pd.DataFrame:
    """The Promotions that have ended, oldest first.

    Returns:
        Columns: `promotion`, `stage`, `freight`, `phase`, `actor` (object), `created`, `finished`
        (datetime64[ns, UTC]), `seconds` (float64).
    """
    rows = [
        (row.promotion, row.stage, row.freight, row.phase, row.requester, row.created, row.finished, row.seconds)
        for row in reversed(promotion_table(lab).rows)
        if row.done
    ]
    names = ["promotion", "stage", "freight", "phase", "actor", "created", "finished", "seconds"]
    frame = pd.DataFrame(rows, columns=names)
    for name in ("created", "finished"):
        frame[name] = pd.to_datetime(frame[name], utc=True)
    return frame.astype({"seconds": "float64"})


def promotion_figure(frame: pd.DataFrame, colours: dict[str, str]) -> go.Figure:
    """Promotions over time: a bar for each, in its Stage's row and colour; those that failed are hollow.

    Args:
        frame: As `promotion_frame` returns it.
        colours: The environments' colours by their names, in their order.
    """
    figure = go.Figure()
    for stage, colour in colours.items():
        rows = frame[frame["stage"] == stage]
        good = rows["phase"] == "Succeeded"
        figure.add_bar(
            name=stage,
            orientation="h",
            y=rows["stage"],
            base=rows["created"],
            x=(rows["finished"] - rows["created"]).dt.total_seconds() * 1000,
            width=0.5,
            marker={
                "color": [colour if item else "rgba(0,0,0,0)" for item in good],
                "line": {"color": colour, "width": 2},
            },
            customdata=rows[["freight", "phase", "actor", "seconds"]],
            hovertemplate="%{customdata[0]} to %{y}: %{customdata[1]} after %{customdata[3]:.0f} s"
            "<br>asked for by %{customdata[2]}<extra></extra>",
        )
    themed(figure).update_layout(
        title="Promotions over time",
        barmode="overlay",
        height=300,
        xaxis={"type": "date", "title": "time (UTC)"},
        yaxis={
            "title": "Stage",
            "categoryorder": "array",
            "categoryarray": list(reversed(colours)),
            "automargin": True,
        },
        legend={"orientation": "h", "y": 1.12, "x": 1, "xanchor": "right"},
    )
    return figure


def promotion_chart(lab: Lab) -> go.Figure:
    """All Promotions of the lab over time."""
    return promotion_figure(promotion_frame(lab), _colours(lab))


def delivery_frame(lab: Lab, *, hours: float = 24) -> pd.DataFrame:
    """The delivery metrics of the lab's environments, from its own records.

    Args:
        lab: The lab.
        hours: How far back.

    Returns:
        See `labkit.observability.delivery.delivery_metrics`.
    """
    until = datetime.now(UTC)
    return delivery_metrics(
        read_deployments(lab),
        read_incidents(lab),
        until - timedelta(hours=hours),
        until,
        environments=[environment.name for environment in lab.environments],
    )
