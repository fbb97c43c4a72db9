"""Alert rules for Prometheus, made from their one source, `data/observability/alerts.yaml`."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from functools import cache
from typing import Any

import jinja2
import yaml

from labkit.config import Lab
from labkit.paths import DATA, REPO

SOURCE = DATA / "observability" / "alerts.yaml"
RUNBOOKS = "docs/runbooks"
_templates = jinja2.Environment(
    variable_start_string="<<", variable_end_string=">>", undefined=jinja2.StrictUndefined, autoescape=False
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
            "labels": {"environment": environment, "severity": source["severities"][environment]},
            "annotations": {
                "summary": _filled(alert["summary"], values),
                "runbook_url": (REPO / RUNBOOKS / f"{alert['name']}.md").as_uri(),
                "dashboard": f"{dashboards_url}/d/{alert['dashboard']}?var-environment={environment}",
            },
        }


def _filled(text: str, values: dict[str, Any]) -> str:
    return _templates.from_string(text).render(values)
