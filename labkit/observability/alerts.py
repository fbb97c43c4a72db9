"""Alert rules for Prometheus, made from their one source, `data/observability/alerts.yaml`."""

from __future__ import annotations

from collections.abc import Iterator
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
    source = yaml.safe_load(SOURCE.read_text())
    return {
        "groups": [
            {"name": environment.name, "rules": list(_rules(source, environment.name, dashboards_url))}
            for environment in lab.environments
        ]
    }


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
