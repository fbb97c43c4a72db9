"""Every panel of every dashboard, asked of the lab's own Prometheus; and a real Grafana, where there is one."""

from dataclasses import replace

import httpx
import pytest

from labkit.observability.panels import dashboard_plans
from labkit.observability.series import instant
from labkit.services.grafana import GRAFANA, ensure_grafana, grafana_url
from labkit.services.supervisor import Supervisor
from labkit.toolchain import find_tools
from labkit.wait import wait_for


@pytest.mark.parametrize("plan", dashboard_plans(), ids=lambda plan: plan.uid)
def test_every_query_has_an_answer(lab, plan):
    environments = [item.name for item in lab.environments] if plan.asks_for_environment else ["prod"]
    queries = {
        f"{panel.title} ({environment})": query
        for panel in plan.panels
        for environment in environments
        for query in panel.filled(environment)
    }

    def unanswered():
        answers = {name: instant(lab, query)["value"] for name, query in queries.items()}
        return [name for name, values in answers.items() if values.dropna().empty]

    # What counts in a window of a minute has to have been there for a minute.
    wait_for(f"answers of {plan.uid}", unanswered, lambda missing: not missing, describe=", ".join, timeout=90)


@pytest.fixture(scope="module")
def grafana(lab):
    """A client of a Grafana that runs beside the lab's Prometheus."""
    tools = find_tools([GRAFANA])
    if tools.missing:
        why = "; ".join(tools[0].notes) or "none is on PATH or in the program cache"
        pytest.skip(f"no Grafana {tools[0].version}: {why}")
    with_grafana = replace(lab, settings=replace(lab.settings, extras=(GRAFANA,)))
    try:
        ensure_grafana(with_grafana, tools)
        with httpx.Client(base_url=grafana_url(lab), trust_env=False) as client:
            yield client
    finally:
        Supervisor(lab).stop_service(GRAFANA)


@pytest.mark.parametrize("plan", dashboard_plans(), ids=lambda plan: plan.uid)
def test_grafana_has_a_dashboard_and_asks_the_labs_prometheus_for_it(grafana, plan):
    def answer():
        return grafana.get(f"/api/dashboards/uid/{plan.uid}")

    dashboard = wait_for(plan.uid, answer, lambda found: found.status_code == 200, timeout=30).json()["dashboard"]
    assert dashboard["title"] == plan.title
    for uid in {panel["datasource"]["uid"] for panel in dashboard["panels"] if panel["type"] != "row"}:
        address = f"/api/datasources/proxy/uid/{uid}/api/v1/query"
        series = grafana.get(address, params={"query": "labkit_stage_info"}).json()["data"]["result"]
        assert {item["metric"]["environment"] for item in series} >= {"dev", "pre", "prod"}
