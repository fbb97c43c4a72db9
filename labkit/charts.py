"""DataFrame in, figure out: the lab's charts, pure functions of what they show."""

from __future__ import annotations

from itertools import pairwise

import pandas as pd
import plotly.graph_objects as go

from labkit.config import Lab
from labkit.promotion import StageTable, stage_table
from labkit.theme import NEUTRAL, themed

_FRAME = {"Healthy": "solid", "Progressing": "dash", "Unhealthy": "dot", "Unknown": "dot"}
_LINE = 56  # characters that all boxes together have room for in a line, in the narrowest figure: 760 pixels


def pipeline_frame(lab: Lab, stages: StageTable) -> pd.DataFrame:
    """The pipeline as a table.

    Returns:
        A row for each Stage and tier, in order. Columns (all of dtype object, but `order`: int64): `stage`, `order`,
        `tier`, `version` (empty where there is none), `freight`, `health`, `verified`, `takes_from` (Stages, with
        commas), `colour`.
    """
    colours = {item.stage: item.colour for item in lab.destinations}
    return pd.DataFrame(
        [
            {
                "stage": stage.stage,
                "order": order,
                "tier": tier,
                "version": stage.versions.get(tier, ""),
                "freight": stage.freight,
                "health": stage.health,
                "verified": stage.verified,
                "takes_from": ", ".join(stage.takes_from),
                "colour": colours.get(stage.stage, NEUTRAL),
            }
            for order, stage in enumerate(stages)
            for tier in lab.tiers
        ],
        columns=["stage", "order", "tier", "version", "freight", "health", "verified", "takes_from", "colour"],
        dtype=object,
    ).astype({"order": "int64"})


def pipeline_figure(frame: pd.DataFrame) -> go.Figure:
    """Stages from left to right with their versions; a solid frame is a healthy Stage, a tick a verified one.

    A text that is wider than its box has two lines, and a long version is shortened; pointing at it shows all of it.
    An arrow leads to a Stage from the one beside it, where it takes Freight from there.

    Args:
        frame: As `pipeline_frame` returns it.
    """
    figure = go.Figure()
    stages = list(frame.groupby("order", sort=True))
    for x, (_, rows) in enumerate(stages):
        first = rows.iloc[0]
        figure.add_shape(
            type="rect",
            x0=x - 0.4,
            x1=x + 0.4,
            y0=0,
            y1=1,
            line={"color": first.colour, "width": 3, "dash": _FRAME.get(first.health, "dot")},
            fillcolor=_faint(first.colour),
            layer="below",
        )
        tick = "✓ verified" if first.verified == "True" else "not verified"
        figure.add_annotation(
            x=x,
            y=1.12,
            showarrow=False,
            text=f"<b>{first.stage.upper()}</b>",
            font={"color": first.colour, "size": 18},
        )
        figure.add_annotation(
            x=x, y=-0.12, showarrow=False, text=f"{first.health} · {tick}<br>{first.freight or 'no Freight yet'}"
        )
    room = _LINE // max(1, len(stages))
    for position, (tier, rows) in enumerate(frame.groupby("tier", sort=False)):
        y = 0.8 - 0.3 * position
        figure.add_trace(
            go.Scatter(
                x=rows.order,
                y=[y] * len(rows),
                mode="text",
                text=[_within(room, str(tier), version or "–") for version in rows.version],
                textfont={"size": 13},
                customdata=rows[["stage", "freight", "tier", "version"]],
                hovertemplate="%{customdata[2]} <b>%{customdata[3]}</b><br>"
                "Stage %{customdata[0]}<br>Freight %{customdata[1]}<extra></extra>",
                showlegend=False,
            )
        )
    for left, ((_, before), (_, after)) in enumerate(pairwise(stages)):
        if before.iloc[0].stage not in after.iloc[0].takes_from.split(", "):
            continue
        figure.add_annotation(
            x=left + 0.58, ax=left + 0.42, y=0.5, ay=0.5, axref="x", ayref="y", showarrow=True, arrowwidth=3,
            arrowhead=2, arrowcolor=NEUTRAL,
        )  # fmt: skip
    return themed(figure).update_layout(
        title="Promotion pipeline: what each Stage runs",
        xaxis={"visible": False, "range": [-0.6, len(stages) - 0.4]},
        yaxis={"visible": False, "range": [-0.35, 1.3]},
        height=340,
    )


def _within(room: int, tier: str, version: str) -> str:
    if len(tier) + 1 + len(version) <= room:
        return f"{tier} <b>{version}</b>"
    # Both ends tell builds apart: the release it is of, and the commit it is from.
    end = (room - 1) // 2
    short = version if len(version) <= room else f"{version[: room - 1 - end]}…{version[-end:]}"
    return f"{tier}<br><b>{short}</b>"


def pipeline_chart(lab: Lab) -> go.Figure:
    """The pipeline as it is now: the environments' Stages, and others that run something."""
    main = {environment.name for environment in lab.environments}
    shown = tuple(row for row in stage_table(lab) if row.stage in main or row.freight)
    return pipeline_figure(pipeline_frame(lab, StageTable(shown)))


def _faint(colour: str) -> str:
    red, green, blue = (int(colour[start : start + 2], 16) for start in (1, 3, 5))
    return f"rgba({red},{green},{blue},0.12)"
