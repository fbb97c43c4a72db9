"""Versions over time: what each environment has run, and since when."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import pandas as pd
import plotly.graph_objects as go

from labkit.config import Lab
from labkit.promotion import Promotion, freight_table, promotion_table
from labkit.theme import themed

_TIMES = ("since", "until")
# Of an environment's first version, its second, …: they share its hue, and neighbours differ.
_SHADES = (1.0, 0.7)


def version_history(
    promotions: Iterable[Promotion],
    versions: Mapping[str, Mapping[str, str]],
    environments: Iterable[str],
    tiers: Iterable[str],
) -> pd.DataFrame:
    """What each tier's version was, and from when to when, by the Promotions that succeeded.

    Args:
        promotions: In any order. What did not succeed changed nothing.
        versions: Version of each tier, by the name of the Freight. A Promotion whose Freight is not among them says
            nothing: Kargo has forgotten what it brought.
        environments: Which, in their order.
        tiers: Which, in their order.

    Returns:
        A row for each time that a tier ran a version, by environment and tier, oldest first. Columns: `environment`,
        `tier`, `version`, `freight` (object; the alias of the Freight that brought it), `since`, `until`
        (datetime64[ns, UTC]; `until` is NaT where it still runs).
    """
    made = sorted((item for item in promotions if item.phase == "Succeeded"), key=lambda item: item.finished)
    rows: list[dict[str, object]] = []
    for environment in environments:
        mine = [item for item in made if item.stage == environment and item.freight_name in versions]
        for tier in tiers:
            known: dict[str, object] | None = None
            for item in mine:
                version = versions[item.freight_name].get(tier, "")
                if known and known["version"] == version:
                    continue
                if known:
                    known["until"] = item.finished
                known = {
                    "environment": environment,
                    "tier": tier,
                    "version": version,
                    "freight": item.freight,
                    "since": item.finished,
                    "until": pd.NaT,
                }
                rows.append(known)
    frame = pd.DataFrame(rows, columns=["environment", "tier", "version", "freight", *_TIMES], dtype=object)
    for name in _TIMES:
        frame[name] = pd.to_datetime(frame[name], utc=True).astype("datetime64[ns, UTC]")
    return frame


def version_frame(lab: Lab) -> pd.DataFrame:
    """What each tier's version was in each environment, as `version_history` returns it."""
    versions = {item.name: item.versions for item in freight_table(lab)}
    return version_history(promotion_table(lab), versions, [item.name for item in lab.environments], lab.tiers)


def version_figure(frame: pd.DataFrame, colours: Mapping[str, str], now: pd.Timestamp) -> go.Figure:
    """Versions over time: a row for each environment and tier, a bar for each version that it ran.

    Args:
        frame: As `version_history` returns it.
        colours: The environments' colours by their names, in their order.
        now: Where the bars of what still runs end.
    """
    figure = go.Figure()
    for environment, colour in colours.items():
        rows = frame[frame["environment"] == environment]
        until = rows["until"].fillna(now)
        shades = [_shade(colour, _SHADES[place % len(_SHADES)]) for place in rows.groupby("tier").cumcount()]
        figure.add_bar(
            name=environment,
            orientation="h",
            y=[f"{environment} {tier}" for tier in rows["tier"]],
            base=rows["since"],
            x=(until - rows["since"]).dt.total_seconds() * 1000,
            width=0.75,
            marker={"color": shades},
            text=rows["version"],
            textposition="inside",
            insidetextanchor="middle",
            textangle=0,
            customdata=[
                [tier, version, freight, f"{start:%Y-%m-%d %H:%M:%S}", "now" if pd.isna(end) else f"{end:%H:%M:%S}"]
                for tier, version, freight, start, end in rows[["tier", "version", "freight", *_TIMES]].itertuples(
                    index=False
                )
            ],
            hovertemplate="%{customdata[0]} %{customdata[1]}, by Freight %{customdata[2]}"
            "<br>%{customdata[3]} to %{customdata[4]}<extra>%{fullData.name}</extra>",
        )
    names = [f"{name} {tier}" for name in colours for tier in frame["tier"].unique()]
    return themed(figure).update_layout(
        title="Versions over time",
        barmode="overlay",
        uniformtext={"mode": "hide", "minsize": 9},  # no text where a version ran too shortly for it
        height=170 + 32 * len(names),
        xaxis={"type": "date", "title": "time (UTC)", "automargin": True},
        yaxis={"categoryorder": "array", "categoryarray": names, "autorange": "reversed", "automargin": True},
        showlegend=False,
    )


def _shade(colour: str, light: float) -> str:
    """A colour as it is in less light; opaque, so that plotly knows which text is read on it."""
    red, green, blue = (round(light * int(colour[start : start + 2], 16)) for start in (1, 3, 5))
    return f"rgb({red},{green},{blue})"


def version_chart(lab: Lab) -> go.Figure:
    """What each environment of the lab has run, over time."""
    colours = {environment.name: environment.colour for environment in lab.environments}
    return version_figure(version_frame(lab), colours, pd.Timestamp.now("UTC"))
