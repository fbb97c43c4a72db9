"""Checks of what is measured, and who hears of it."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

import httpx
import yaml

from labkit.checks.check import expect, register
from labkit.config import APPLICATION, NAMESPACE, Lab
from labkit.errors import LabError
from labkit.kubectl import kubectl
from labkit.observability.panels import ENVIRONMENT
from labkit.observability.series import instant
from labkit.paths import DATA
from labkit.services.alerting import alertmanager_url
from labkit.services.argocd import ArgoCD
from labkit.services.prometheus import prometheus_url
from labkit.tables import as_text


@register(
    "dashboards", "wait a minute: what counts in a window has to have been there for it; or `labkit logs prometheus`"
)
def _dashboards(lab: Lab) -> str:
    """By the dashboards' files as Grafana reads them, where the charts are drawn from labkit's panels."""
    files = sorted((DATA / "observability" / "dashboards").glob("*.json"))
    queries = [
        (file.stem, panel["title"], target["expr"].replace(ENVIRONMENT, "prod"))
        for file in files
        for panel in json.loads(file.read_text())["panels"]
        for target in panel.get("targets") or []
    ]
    silent = [f"{name}: {title}" for name, title, query in queries if instant(lab, query)["value"].dropna().empty]
    expect(silent, [], "panels without an answer")
    return f"Prometheus answers all {len(queries)} queries of the {len(files)} dashboards"


@register("alert-routes", "run `labkit up`; `labkit logs alertmanager` shows what is wrong with its configuration")
def _alert_routes(lab: Lab) -> str:
    """By what Prometheus and Alertmanager have loaded, where the rules and routes are files of the lab."""
    groups = _asked(f"{prometheus_url(lab)}/api/v1/rules")["data"]["groups"]
    routes = yaml.safe_load(_asked(f"{alertmanager_url(lab)}/api/v2/status")["config"]["original"])["route"]
    reached = {
        group["name"]: sorted({_receiver(routes, rule["labels"]["severity"]) for rule in group["rules"]})
        for group in groups
    }
    wanted = {"dev": ["log"], "pre": ["chat"], "prod": ["page"]}
    expect(reached, wanted, "where the alerts of each environment go", else_wrong=bool(reached))
    return (
        f"{sum(len(group['rules']) for group in groups)} rules: DEV's reach the log, PRE's the chat, PROD's the pager"
    )


def _receiver(route: dict[str, Any], severity: str) -> str:
    """Where Alertmanager's routing tree leads an alert of a severity."""
    for child in route.get("routes") or []:
        if f'severity="{severity}"' in child["matchers"]:
            return _receiver({"receiver": route["receiver"], **child}, severity)
    return str(route["receiver"])


def _asked(url: str) -> Any:
    try:
        return httpx.get(url, timeout=10, trust_env=False).raise_for_status().json()
    except httpx.HTTPError as error:
        raise LabError(f"{url} does not answer", seen=str(error), todo="`labkit status`") from error


def _book(lab: Lab) -> list[dict[str, Any]]:
    """What the pager has written down, newest first."""
    file = lab.home.services / "pager" / "notices.json"
    if not file.exists():
        raise AssertionError("the pager has received nothing yet")
    return sorted(json.loads(file.read_text()), key=lambda notice: float(notice["received"]), reverse=True)


@register("paged", "an alert has to fire in PROD: `labkit pages` shows what has reached whom")
def _paged(lab: Lab) -> str:
    """By what Alertmanager holds now and the pager has written down, where the notice was read from the pager."""
    active = [
        item
        for item in _asked(f"{alertmanager_url(lab)}/api/v2/alerts?active=true")
        if item["labels"].get("environment") == "prod"
    ]
    if not active:
        raise AssertionError("no alert of PROD is active")
    expect({receiver["name"] for item in active for receiver in item["receivers"]}, {"page"}, "receivers of PROD")
    pages = [notice for notice in _book(lab) if notice["channel"] == "page"]
    called = {(page["id"].partition("-")[0], _moment(page["started"])): page["notified"] for page in pages}
    names = []
    for item in active:
        people = called.get((item["fingerprint"], _moment(item["startsAt"])))
        if people:
            names.append(f"{item['labels']['alertname']} has called {', '.join(people)}")
    if not names:
        raise AssertionError("of the alerts that are active in PROD, none has called anybody")
    return "; ".join(names)


def _moment(text: str) -> datetime:
    """A time as Alertmanager writes it: its API gives it three digits after the second, its notices leave out zeros."""
    return datetime.fromisoformat(text)


@register("page-taken", "take a page while it fires: `labkit acknowledge ALERT`")
def _page_taken(lab: Lab) -> str:
    """By what the pager has written down, where the page was taken over HTTP."""
    taken = [notice for notice in _book(lab) if notice["acknowledged"]]
    if not taken:
        raise AssertionError("nobody has taken a page")
    page = max(taken, key=lambda notice: float(notice["acknowledged"]))
    expect(page["escalate_at"], 0, f"when the next person is called for {page['alert']}")
    seconds = page["acknowledged"] - page["received"]
    return f"{page['acknowledged_by']} took {page['alert']} after {seconds:.0f} s, and nobody else is called"


@register("drifted", "change in the cluster what Git says: scale PROD's frontend")
def _drifted(lab: Lab) -> str:
    """By Argo CD's API as `viewer`, where the cluster was changed with kubectl."""
    state, replicas = _compared(lab, "prod")
    expect(state, "OutOfSync", "Argo CD's word for PROD")
    wanted, found = replicas["frontend"]
    if wanted == found:
        raise AssertionError(f"Git and the cluster agree on {found} frontends")
    return f"Git says {wanted} frontends, the cluster has {found}: OutOfSync"


@register("undrifted", "sync PROD's Application in its Argo CD")
def _undrifted(lab: Lab) -> str:
    """By Argo CD's API as `viewer`, and by the pods that are Ready."""
    state, replicas = _compared(lab, "prod")
    expect(state, "Synced", "Argo CD's word for PROD")
    for tier, (wanted, found) in replicas.items():
        expect(found, wanted, f"replicas of {tier} in PROD")
    context = lab.environment("prod").context
    items = json.loads(kubectl(lab, f"kubectl --context {context} -n {NAMESPACE} get deployments -o json").output)
    ready = {item["metadata"]["name"]: item["status"].get("readyReplicas", 0) for item in items["items"]}
    expect(ready, {tier: wanted for tier, (wanted, _) in replicas.items()}, "pods that are Ready in PROD")
    return f"PROD runs what Git says: {as_text(ready)}"


def _compared(lab: Lab, environment: str) -> tuple[str, dict[str, tuple[int, int]]]:
    """The sync status of an Application; of each of its Deployments the replicas in Git and in the cluster."""
    viewer = ArgoCD(lab, lab.environment(environment), "viewer")
    state = viewer.request("GET", f"/applications/{APPLICATION}")["status"]["sync"]["status"]
    resources = viewer.request("GET", f"/applications/{APPLICATION}/managed-resources")["items"]
    replicas = {
        item["name"]: tuple(json.loads(item[side])["spec"]["replicas"] for side in ("targetState", "liveState"))
        for item in resources
        if item["kind"] == "Deployment"
    }
    return str(state), replicas
