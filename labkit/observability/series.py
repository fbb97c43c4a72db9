"""What Prometheus has measured, as tables: the answer to a query, and what a panel shows.

Source of the HTTP API: https://prometheus.io/docs/prometheus/latest/querying/api/.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from typing import Any

import httpx
import pandas as pd

from labkit.config import Lab
from labkit.errors import LabError
from labkit.observability.panels import Kind, Panel
from labkit.services.prometheus import prometheus_url

STEP_SECONDS = 5

_TIMEOUT = 30
_RANGES: frozenset[Kind] = frozenset({"timeseries", "state-timeline"})
# Columns of the tables. A label of such a name gets the prefix that Prometheus itself has for labels in the way.
_OWN = ("time", "value", "series")
_PLACEHOLDER = re.compile(r"\{\{\s*(\w+)\s*\}\}")

Sample = dict[str, Any]


def instant(lab: Lab, query: str) -> pd.DataFrame:
    """What a query says now.

    Args:
        lab: The lab; Prometheus runs.
        query: PromQL.

    Returns:
        A row for each series. Columns: `time` (datetime64[ns, UTC]), `value` (float64, in the query's own unit) and one
        for each label (object; empty where a series does not have it). Labels called as one of these columns, or
        `series`, begin with `exported_`.

    Raises:
        LabError: Prometheus does not answer, or refuses the query.
    """
    return _frame(_instant(lab, query), "time", "value")


def ranged(
    lab: Lab, query: str, minutes: float, step_seconds: float = STEP_SECONDS, *, until: datetime | None = None
) -> pd.DataFrame:
    """What a query has said in the last minutes, or in the minutes before a moment.

    Args:
        lab: The lab; Prometheus runs.
        query: PromQL.
        minutes: How far to look back.
        step_seconds: Seconds between two values of a series.
        until: The moment, with its zone; now where there is none.

    Returns:
        A row for each value of each series, series by series, oldest first; columns as those of `instant`.

    Raises:
        LabError: Prometheus does not answer, or refuses the query.
    """
    end = until.timestamp() if until else time.time()
    return _frame(_ranged(lab, query, minutes, step_seconds, end), "time", "value")


def panel_frame(lab: Lab, panel: Panel, environment: str = "prod", minutes: float = 15) -> pd.DataFrame:
    """What a panel shows: the last minutes where it is drawn over time, else what is so now.

    Args:
        lab: The lab; Prometheus runs.
        panel: The panel.
        environment: The environment that is looked at, where the panel asks for one.
        minutes: How far to look back.

    Returns:
        The answers to all of its queries, in their order. Columns as those of `instant`, and `series` (object): what
        the panel calls the series.

    Raises:
        LabError: Prometheus does not answer, or refuses a query.
        UsageError: There is no such environment.
    """
    name = lab.environment(environment).name
    samples: list[Sample] = []
    for query, legend in zip(panel.filled(name), panel.legends, strict=True):
        over_time = panel.kind in _RANGES
        found = _ranged(lab, query, minutes, STEP_SECONDS, time.time()) if over_time else _instant(lab, query)
        samples += ({**sample, "series": fill_legend(legend, sample)} for sample in found)
    return _frame(samples, "time", "value", "series")


def fill_legend(legend: str, labels: Mapping[str, Any]) -> str:
    """A legend with labels' values in the place of `{{label}}`, and nothing in that of labels that are not there.

    Args:
        legend: Grafana's format of legends.
        labels: The labels by the names of their columns.
    """
    return _PLACEHOLDER.sub(lambda found: str(labels.get(_column(found[1]), "")), legend)


def _instant(lab: Lab, query: str) -> Iterator[Sample]:
    return _samples(query, _ask(lab, "query", query))


def _ranged(lab: Lab, query: str, minutes: float, step_seconds: float, end: float) -> Iterator[Sample]:
    return _samples(query, _ask(lab, "query_range", query, start=end - 60 * minutes, end=end, step=step_seconds))


def _ask(lab: Lab, path: str, query: str, **when: float) -> Mapping[str, Any]:
    """The `data` of Prometheus' answer."""
    url = f"{prometheus_url(lab)}/api/v1/{path}"
    try:
        answer = httpx.get(url, params={"query": query, **when}, timeout=_TIMEOUT, trust_env=False)
        body = answer.json()
        if body["status"] == "success":
            data: Mapping[str, Any] = body["data"]
            return data
        refusal = f"{body['errorType']}: {body['error']}"
    except (httpx.HTTPError, ValueError, KeyError, TypeError) as error:
        # What is no answer of Prometheus' comes from something else at its address.
        raise LabError(
            f"Prometheus does not answer the query {query}",
            seen=str(error) or type(error).__name__,
            todo="`labkit up` starts it, `labkit logs prometheus` shows its log",
        ) from error
    raise LabError(f"Prometheus refuses the query {query}", seen=refusal)


def _samples(query: str, data: Mapping[str, Any]) -> Iterator[Sample]:
    match data["resultType"]:
        case "vector":
            pairs = [(item["metric"], [item["value"]]) for item in data["result"] if "value" in item]
        case "matrix":
            pairs = [(item["metric"], item["values"]) for item in data["result"] if "values" in item]
        case "scalar":
            pairs = [({}, [data["result"]])]
        case kind:
            raise LabError(f"The answer to the query {query} is no number", seen=f"a {kind}")
    for metric, values in pairs:
        labels = {_column(label): value for label, value in metric.items()}
        for seconds, value in values:
            # To the millisecond, which is all that Prometheus has.
            yield {"time": round(1000 * seconds), "value": float(value), **labels}


def _column(label: str) -> str:
    return f"exported_{label}" if label in _OWN else label


def _frame(samples: Iterable[Sample], *own: str) -> pd.DataFrame:
    rows = list(samples)
    labels = sorted({name for row in rows for name in row} - set(own))
    columns = {name: pd.Series([row.get(name, "") for row in rows], dtype=object) for name in (*own, *labels)}
    columns["time"] = pd.to_datetime(columns["time"].astype("int64"), unit="ms", utc=True).astype("datetime64[ns, UTC]")
    columns["value"] = columns["value"].astype("float64")
    return pd.DataFrame(columns)
