"""From a real fault to whoever hears of it: Prometheus, Alertmanager and the pager, in all three environments."""

import httpx
import pytest
from _labkit import get, labkit

from labkit.kubectl import kubectl
from labkit.observability.pages import acknowledge, notice_table, wait_for_notice
from labkit.services.alerting import alertmanager_url, pager_url
from labkit.services.prometheus import prometheus_url
from labkit.wait import wait_for

CHANNELS = {"dev": "log", "pre": "chat", "prod": "page"}
FAULT = "AppUnreachable"


def firing(lab):
    alerts = httpx.get(f"{prometheus_url(lab)}/api/v1/alerts", trust_env=False).json()["data"]["alerts"]
    return {(item["labels"]["alertname"], item["labels"].get("environment")) for item in alerts}


@pytest.fixture(scope="module")
def fault(lab):
    """All frontends are gone in every environment for as long as the tests of the fault take."""
    wait_for("no alert to be on its way", lambda: firing(lab), lambda found: not found, timeout=120)
    before = {environment.name: len(notice_table(lab)) for environment in lab.environments}
    replicas = {}
    try:
        for environment in lab.environments:
            context = f"kubectl --context {environment.context} -n demo-app"
            replicas[context] = get(lab, environment, "deployment -n demo-app frontend")["spec"]["replicas"]
            kubectl(lab, f"{context} scale deployment/frontend --replicas=0")
        yield before
    finally:
        for context, count in replicas.items():
            kubectl(lab, f"{context} scale deployment/frontend --replicas={count}")


@pytest.mark.usefixtures("fault")
@pytest.mark.parametrize("name", ["prod", "pre", "dev"])
def test_a_fault_reaches_who_should_hear_of_it_in_that_environment_and_nobody_else(lab, name):
    notice = wait_for_notice(lab, FAULT, name, timeout=150)
    assert notice.channel == CHANNELS[name]
    others = {row.channel for row in notice_table(lab) if (row.alert, row.environment) == (FAULT, name)}
    assert others == {CHANNELS[name]}
    assert bool(notice.notified) == (name == "prod"), "somebody is called for PROD only"
    assert name.upper() in notice.summary
    assert notice.runbook.endswith(f"docs/runbooks/{FAULT}.md")


@pytest.mark.usefixtures("fault")
def test_a_page_is_looked_at_and_taken_in_a_terminal(lab):
    shown = labkit(lab, "pages", "--output", "json").json
    assert (FAULT, "prod", "firing") in {(row["alert"], row["environment"], row["state"]) for row in shown}
    page = httpx.get(f"{pager_url(lab)}/", trust_env=False).text
    assert f"<b>{FAULT}</b>" in page
    assert "Acknowledge as on-call-primary" in page
    assert labkit(lab, "acknowledge", FAULT).code == 0
    taken = wait_for_notice(lab, FAULT, "prod", "acknowledged", timeout=10)
    assert taken.acknowledged_by == "on-call-primary"
    assert labkit(lab, "acknowledge", FAULT).code == 1, "there is nothing left to take"


@pytest.mark.parametrize("name", ["prod", "pre", "dev"])
def test_when_the_fault_is_over_everybody_hears_of_that_too(lab, fault, name):
    context = f"kubectl --context gitops-{name} -n demo-app"
    kubectl(lab, f"{context} scale deployment/frontend --replicas={ {'dev': 1, 'pre': 2, 'prod': 3}[name] }")
    assert wait_for_notice(lab, FAULT, name, "resolved", timeout=150).channel == CHANNELS[name]


def test_prometheus_knows_all_rules_and_the_way_to_alertmanager(lab):
    groups = httpx.get(f"{prometheus_url(lab)}/api/v1/rules", trust_env=False).json()["data"]["groups"]
    assert {group["name"] for group in groups} == {"dev", "pre", "prod"}
    broken = [rule["name"] for group in groups for rule in group["rules"] if rule["health"] not in ("ok", "unknown")]
    assert broken == []
    active = httpx.get(f"{prometheus_url(lab)}/api/v1/alertmanagers", trust_env=False).json()["data"]
    assert [item["url"] for item in active["activeAlertmanagers"]] == [f"{alertmanager_url(lab)}/api/v2/alerts"]
    with pytest.raises(Exception, match="No page 'Nothing' is firing"):
        acknowledge(lab, "Nothing")
