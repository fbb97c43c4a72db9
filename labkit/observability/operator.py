"""What is measured and who hears of it, as objects for kube-prometheus-stack: for clusters that run that chart."""

from __future__ import annotations

from typing import Any

from labkit.config import Lab
from labkit.observability.alerts import alert_rules
from labkit.observability.dashboards import FOLDER
from labkit.templates import manifests


def dashboard_config_maps(namespace: str) -> list[dict[str, Any]]:
    """The dashboards as ConfigMaps, one for each, labelled for the sidecar of the chart's Grafana.

    Args:
        namespace: The chart's namespace.

    Source: https://github.com/prometheus-community/helm-charts/tree/main/charts/kube-prometheus-stack,
    `grafana.sidecar.dashboards`.
    """
    return [
        manifest
        for file in sorted(FOLDER.glob("*.json"))
        for manifest in manifests(
            "observability/operator/dashboard.yaml", uid=file.stem, namespace=namespace, dashboard=file.read_text()
        )
    ]


def prometheus_rule(lab: Lab, dashboards_url: str, *, namespace: str, release: str) -> dict[str, Any]:
    """The alert rules as a PrometheusRule; the same ones as in `alert_rules`.

    Args:
        lab: The lab.
        dashboards_url: Where dashboards are; `/d/NAME` is added.
        namespace: The chart's namespace.
        release: The name that the chart was installed under.

    Source: https://prometheus-operator.dev/docs/api-reference/api/#monitoring.coreos.com/v1.PrometheusRule.
    """
    (rule,) = manifests("observability/operator/rules.yaml", namespace=namespace, release=release)
    return {**rule, "spec": alert_rules(lab, dashboards_url)}
