"""Alert rules for Prometheus, made from their one source, `data/observability/alerts.yaml`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from typing import Any

import jinja2
import yaml

from labkit.config import Lab
from labkit.errors import UsageError
from labkit.paths import DATA, REPO
from labkit.tables import Record, Table

SOURCE = DATA / "observability" / "alerts.yaml"
RUNBOOKS = "docs/runbooks"
_templates = jinja2.Environment(
    variable_start_string="<<", variable_end_string=">>", undefined=jinja2.StrictUndefined, autoescape=False
)


@dataclass(frozen=True, repr=False)
class AlertRule(Record):
    """An alert in one environment.

    Attributes:
        alert: Its name.
        environment: Where.
        severity: `info`, `warning` or `critical`: by this Alertmanager decides who hears of it.
        lasting: How long it must have been so.
        threshold: The number that it compares with, in the unit of its query.
        query: PromQL.
    """

    alert: str
    environment: str
    severity: str
    lasting: str
    threshold: float
    query: str


class AlertRuleTable(Table[AlertRule]):
    """Alerts by environment."""

    title = "Alert rules"
    columns = ("alert", "environment", "severity", "lasting", "threshold", "query")


def alert_table(lab: Lab, alert: str = "") -> AlertRuleTable:
    """The alert rules by environment.

    Args:
        lab: The lab.
        alert: The rules of this alert only.

    Raises:
        UsageError: There is no such alert.
    """
    source = yaml.safe_load(SOURCE.read_text())
    names = [item["name"] for item in source["alerts"]]
    if alert and alert not in names:
        raise UsageError(f"There is no alert {alert!r}", todo=f"use one of: {', '.join(names)}")
    return AlertRuleTable(
        tuple(
            AlertRule(
                alert=item["name"],
                environment=environment.name,
                severity=source["severities"][environment.name],
                lasting=item["for"][environment.name],
                threshold=item["threshold"][environment.name],
                query=rule["expr"],
            )
            for environment in lab.environments
            for item, rule in zip(source["alerts"], _rules(source, environment.name, ""), strict=True)
            if alert in ("", item["name"])
        )
    )


def alert_rules(lab: Lab, dashboards_url: str) -> dict[str, Any]:
    """The rules as Prometheus reads them: a group for each environment, a rule for each alert in it.

    Args:
        lab: The lab.
        dashboards_url: Where dashboards are; `/d/NAME` is added.

    Source: https://prometheus.io/docs/prometheus/latest/configuration/alerting_rules/.
    """
    source = _source()
    return {
        "groups": [
            {"name": environment.name, "rules": list(_rules(source, environment.name, dashboards_url))}
            for environment in lab.environments
        ]
    }


def alert_hold(name: str, environment: str) -> timedelta:
    """How long trouble has to last in an environment before an alert fires; no time for an alert that has no rule."""
    holds = {alert["name"]: alert["for"] for alert in _source()["alerts"]}
    text = holds.get(name, {}).get(environment, "0s")
    return timedelta(seconds=int(text[:-1]) * {"s": 1, "m": 60, "h": 3600}[text[-1]])


@cache
def _source() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(SOURCE.read_text())
    return found


def _rules(source: dict[str, Any], environment: str, dashboards_url: str) -> Iterator[dict[str, Any]]:
    for alert in source["alerts"]:
        values = {"environment": environment, "threshold": alert["threshold"][environment]}
        values["traffic"] = source["traffic"]
        yield {
            "alert": alert["name"],
            "expr": _filled(alert["expr"], values),
            "for": alert["for"][environment],
            **({"keep_firing_for": alert["keepFiringFor"]} if "keepFiringFor" in alert else {}),
            "labels": {"environment": environment, "severity": source["severities"][environment]},
            "annotations": {
                "summary": _filled(alert["summary"], values),
                "runbook_url": (REPO / RUNBOOKS / f"{alert['name']}.md").as_uri(),
                "dashboard": f"{dashboards_url}/d/{alert['dashboard']}?var-environment={environment}",
            },
        }


def _filled(text: str, values: dict[str, Any]) -> str:
    return _templates.from_string(text).render(values)
