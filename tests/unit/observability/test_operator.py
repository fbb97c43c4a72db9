"""Dashboards and alert rules as objects for kube-prometheus-stack; no cluster has read them here."""

import json
import re

import pytest
import yaml

from labkit.config import load_lab
from labkit.observability.alerts import alert_rules
from labkit.observability.dashboards import FOLDER
from labkit.observability.operator import dashboard_config_maps, prometheus_rule
from labkit.observability.panels import dashboard_plans
from labkit.paths import LabHome

MIB = 2**20
DNS_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
CONFIG_MAPS = dashboard_config_maps("monitoring")
UIDS = [plan.uid for plan in dashboard_plans()]


@pytest.fixture
def lab(tmp_path):
    return load_lab(LabHome(tmp_path / "lab"))


def test_there_is_one_for_each_dashboard():
    assert sorted(item["metadata"]["name"] for item in CONFIG_MAPS) == sorted(f"dashboard-{uid}" for uid in UIDS)


@pytest.mark.parametrize("config_map", CONFIG_MAPS, ids=lambda item: item["metadata"]["name"])
def test_grafanas_sidecar_finds_a_dashboard_in_it(config_map):
    assert (config_map["apiVersion"], config_map["kind"]) == ("v1", "ConfigMap")
    metadata = config_map["metadata"]
    assert DNS_LABEL.fullmatch(metadata["name"])
    assert metadata["namespace"] == "monitoring"
    # A label's value is text: a bare 1 in YAML would be refused.
    assert metadata["labels"] == {"grafana_dashboard": "1"}
    ((file, content),) = config_map["data"].items()
    assert re.fullmatch(r"[-._a-zA-Z0-9]+\.json", file)
    assert f"dashboard-{json.loads(content)['uid']}.json" == f"{metadata['name']}.json" == f"dashboard-{file}"
    assert content == (FOLDER / file).read_text(), "nothing was changed on the way through YAML"


@pytest.mark.parametrize("config_map", CONFIG_MAPS, ids=lambda item: item["metadata"]["name"])
def test_it_is_smaller_than_a_config_map_may_be(config_map):
    assert len(yaml.safe_dump(config_map, allow_unicode=True).encode()) < MIB


def test_the_rules_are_those_of_prometheus(lab):
    rule = prometheus_rule(lab, "http://grafana.test", namespace="monitoring", release="stack")
    assert (rule["apiVersion"], rule["kind"]) == ("monitoring.coreos.com/v1", "PrometheusRule")
    assert rule["metadata"] == {"name": "labkit", "namespace": "monitoring", "labels": {"release": "stack"}}
    assert rule["spec"] == alert_rules(lab, "http://grafana.test")
    assert all(group["rules"] for group in rule["spec"]["groups"])
