"""Drift between environments: how far each is behind, and whether it runs what Git says."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import pandas as pd
import plotly.graph_objects as go
import semver

from labkit.config import Lab
from labkit.errors import LabError
from labkit.observability.versions import version_frame
from labkit.promotion import Freight, StageTable, freight_table, stage_table
from labkit.quantities import duration
from labkit.status import ApplicationStatus, application_table
from labkit.theme import themed

_DTYPES = {
    "since": "datetime64[ns, UTC]",
    "behind_newest": "Int64",
    "newest_seconds": "float64",
    "behind_upstream": "Int64",
    "upstream_seconds": "float64",
    "as_promoted": "bool",
}
_COLUMNS = (
    *("environment", "tier", "version", "since", "newest", "behind_newest", "newest_seconds"),
    *("upstream", "behind_upstream", "upstream_seconds", "sync", "as_promoted"),
)


def drift_between(
    lab: Lab,
    applications: Mapping[str, ApplicationStatus],
    stages: StageTable,
    freight: Iterable[Freight],
    history: pd.DataFrame,
    now: pd.Timestamp,
) -> pd.DataFrame:
    """How far each environment is behind, from records.

    A tier's *releases* are its versions in Freight that is verified in some Stage, in the order of SemVer
    (https://semver.org/#spec-item-11). An environment is behind another version by the releases that are newer than
    what runs there and not newer than that version. How long is counted since the first of those releases was there:
    an environment that goes back is as far behind as if it had never moved.

    Args:
        lab: The lab; its environments, their upstreams and the tiers.
        applications: The Applications by their environments' names; environments without one have no rows.
        stages: The Stages.
        freight: All Freight. The newest that is verified somewhere is what everybody is compared with.
        history: As `labkit.observability.versions.version_history` returns it.
        now: Until when times are counted.

    Returns:
        A row for each environment and tier. Columns: `environment`, `tier`, `version` (object; what the cluster's
        Deployment runs), `since` (datetime64[ns, UTC]; NaT where no Promotion brought it), `newest` (object; the
        version in the newest verified Freight), `behind_newest` (Int64; releases, <NA> where nothing compares),
        `newest_seconds` (float64; since the Warehouse found the first of them; 0 where it is not behind), `upstream`
        (object; the version that runs upstream, empty where there is no upstream), `behind_upstream` (Int64),
        `upstream_seconds` (float64; since the first of them ran upstream), `sync` (object; Argo CD's word for whether
        the cluster is as Git says), `as_promoted` (bool; whether the version is the one of the Stage's Freight).
    """
    verified = sorted((item for item in freight if item.verified_in), key=lambda item: item.created)
    promoted = {stage.stage: stage.versions for stage in stages}
    rows = []
    for environment in lab.environments:
        app = applications.get(environment.name)
        for tier in lab.tiers if app else ():
            assert app is not None
            version = app.versions.get(tier, "")
            newest = verified[-1].versions.get(tier, "") if verified else ""
            above = applications.get(environment.upstream)
            upstream = above.versions.get(tier, "") if above else ""
            found = {
                item.versions[tier]: pd.Timestamp(item.created) for item in reversed(verified) if tier in item.versions
            }
            ran = _first_times(history, environment.upstream, tier)
            mine = history[(history["environment"] == environment.name) & (history["tier"] == tier)]
            here = mine[(mine["version"] == version) & mine["until"].isna()]["since"]
            rows.append(
                (
                    *(environment.name, tier, version, here.iloc[-1] if len(here) else pd.NaT),
                    *(newest, *_behind(version, newest, found, found, now)),
                    *(upstream, *_behind(version, upstream, found, ran, now)),
                    *(app.sync, version == promoted.get(environment.name, {}).get(tier)),
                )
            )
    frame = pd.DataFrame(rows, columns=list(_COLUMNS), dtype=object)
    frame["since"] = pd.to_datetime(frame["since"], utc=True)
    return frame.astype(_DTYPES)


def _found_times(verified: Iterable[Freight], tier: str) -> dict[str, pd.Timestamp]:
    """When the Warehouse first found each version of a tier."""
    times: dict[str, pd.Timestamp] = {}
    for item in verified:
        times.setdefault(item.versions.get(tier, ""), pd.Timestamp(item.created))
    return times


def _first_times(history: pd.DataFrame, environment: str, tier: str) -> dict[str, pd.Timestamp]:
    """When each version of a tier first came to an environment."""
    rows = history[(history["environment"] == environment) & (history["tier"] == tier)]
    return {str(version): since for version, since in rows.groupby("version")["since"].min().items()}


def _behind(
    version: str, target: str, releases: Iterable[str], times: Mapping[str, pd.Timestamp], now: pd.Timestamp
) -> tuple[object, float]:
    """Releases between a version and its target, and for how many seconds the first of them has been there."""
    if not (semver.Version.is_valid(version) and semver.Version.is_valid(target)):
        return pd.NA, float("nan")
    here, there = semver.Version.parse(version), semver.Version.parse(target)
    known = {item for item in (*releases, target) if semver.Version.is_valid(item)}
    newer = [item for item in known if here < semver.Version.parse(item) <= there]
    begins = [times[item] for item in newer if item in times]
    return len(newer), (now - min(begins)).total_seconds() if begins else 0.0


def drift_frame(lab: Lab) -> pd.DataFrame:
    """How far each environment of the lab is behind, as `drift_between` returns it.

    Raises:
        LabError: A cluster has no Application, or does not answer: what it runs is not known.
    """
    by_context = {row.context: row for row in application_table(lab)}
    missing = [item.context for item in lab.environments if item.context not in by_context]
    if missing:
        what = f"What {' and '.join(missing)} runs is not known"
        raise LabError(what, seen="no Application", todo="`labkit up`, then `labkit status`")
    applications = {item.name: by_context[item.context] for item in lab.environments}
    now = pd.Timestamp.now("UTC")
    return drift_between(lab, applications, stage_table(lab), freight_table(lab), version_frame(lab), now)


def drift_figure(frame: pd.DataFrame, colours: Mapping[str, str]) -> go.Figure:
    """Releases behind: two bars for each environment and tier, against the newest verified and against upstream.

    Args:
        frame: As `drift_between` returns it.
        colours: The environments' colours by their names, in their order.
    """
    columns = (frame[column] for column in ("environment", "tier", "version", "sync", "as_promoted"))
    names = list(map(_named, *columns))
    of_row = [colours[name] for name in frame["environment"]]
    figure = themed(go.Figure())
    for against, column, seconds, opacity in (
        ("the newest verified Freight", "behind_newest", "newest_seconds", 1.0),
        ("the environment upstream", "behind_upstream", "upstream_seconds", 0.4),
    ):
        counts = frame[column]
        figure.add_bar(
            orientation="h",
            y=names,
            x=counts.astype("float64"),
            text=[_said(count, lasted) for count, lasted in zip(counts, frame[seconds], strict=True)],
            textposition="outside",
            cliponaxis=False,
            marker={"color": of_row, "opacity": opacity},
            hovertemplate=f"%{{y}}<br>%{{text}} behind {against}<extra></extra>",
            showlegend=False,
        )
        # The bars have their environments' colours: the legend tells strong from faint.
        figure.add_scatter(
            name=f"behind {against}",
            x=[None],
            y=[None],
            mode="markers",
            marker={"color": figure.layout.font.color, "opacity": opacity, "symbol": "square", "size": 12},
        )
    widest = max((1.0, *frame["behind_newest"].dropna(), *frame["behind_upstream"].dropna()))
    return figure.update_layout(
        title="Drift: how far each environment is behind",
        barmode="group",
        bargap=0.25,
        height=200 + 48 * len(names),
        xaxis={"title": "releases behind", "range": [0, 1.3 * widest], "dtick": 1},
        yaxis={"type": "category", "autorange": "reversed", "automargin": True},
        legend={"orientation": "h", "x": 0, "y": -0.14, "yanchor": "top"},
    )


def _named(environment: str, tier: str, version: str, sync: str, as_promoted: bool) -> str:
    marks = [*([sync] if sync != "Synced" else []), *([] if as_promoted else ["not as promoted"])]
    return " · ".join([f"{environment} {tier} <b>{version or '–'}</b>", *marks])


def _said(count: Any, seconds: float) -> str:
    if count is pd.NA:
        return "–"
    return f"{count}, for {duration(seconds)}" if count else "0"


def drift_chart(lab: Lab) -> go.Figure:
    """How far each environment of the lab is behind."""
    return drift_figure(drift_frame(lab), {item.name: item.colour for item in lab.environments})
