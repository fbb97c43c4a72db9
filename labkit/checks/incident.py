"""Checks of an incident: rolled back, fixed, recorded, recovered from."""

from __future__ import annotations

import json

from labkit.checks.check import Mistake, expect, register
from labkit.checks.delivery import versions_on_main, versions_that_answer
from labkit.config import GITOPS_REPO, PROJECT, Lab
from labkit.delivery.git import repo_path
from labkit.delivery.gitea import gitea_as
from labkit.kubectl import kubectl
from labkit.observability.delivery import read_incidents
from labkit.observability.people import frontends_counter
from labkit.observability.series import instant
from labkit.promotion import freight_table, promotion_table
from labkit.rules import rules
from labkit.status import running_versions
from labkit.tables import as_text


@register("rolled-back", "promote a defect that only PROD shows, and wait for its gate")
def _rolled_back(lab: Lab) -> str:
    """By the AnalysisRuns of PROD, by Gitea and by its cluster, where Kargo's Stage was waited for."""
    newest = promotion_table(lab, "prod")[0]
    expect(newest.requester, rules().rollback_bot, f"who asked for {newest.promotion}, the newest Promotion of prod")
    left = {item.name: item for item in freight_table(lab)}[newest.rolled_back_from]
    where = f"kubectl --context {lab.control.context} -n {PROJECT}"
    runs = json.loads(kubectl(lab, f"{where} get analysisruns -l kargo.akuity.io/stage=prod -o json").output)["items"]
    red = {
        item["name"]
        for run in runs
        if left.name in [owner["name"] for owner in run["metadata"].get("ownerReferences") or []]
        for item in run["status"].get("metricResults") or []
        if item["phase"] == "Failed"
    }
    expect(red, {"error-rate"}, f"gates of PROD that Freight {left.alias} has failed")
    if "prod" in left.verified_in:
        raise Mistake(f"Freight {left.alias} is verified in prod")
    merged = gitea_as(lab, "viewer").request("GET", f"/repos/{repo_path(GITOPS_REPO)}/pulls/{newest.pull_request}")
    expect((merged["merged_by"] or {}).get("login"), rules().rollback_bot, "who merged the rollback")
    wanted = {item.name: item.versions for item in freight_table(lab)}[newest.freight_name]
    expect(running_versions(lab, lab.environment("prod")), wanted, "versions in PROD")
    return f"error-rate was red for Freight {left.alias}; {rules().rollback_bot} took PROD back to {as_text(wanted)}"


@register("one-version-everywhere", "promote the newest Freight through all Stages")
def _one_version_everywhere(lab: Lab) -> str:
    """By the VERSION files on main in Gitea, and by each tier's own answer over HTTP."""
    on_main = versions_on_main(lab)
    for environment in lab.environments:
        expect(versions_that_answer(lab, environment), on_main, f"versions that answer in {environment.context}")
    return "every environment answers in main's versions: " + as_text(on_main)


@register("incident-recorded", "`labkit logs promotion-guard` says what was recorded")
def _incident_recorded(lab: Lab) -> str:
    """By the evidence of the newest rollback of PROD, a file, and by the delivery metrics' own record of incidents."""
    undone = next((row for row in promotion_table(lab, "prod") if row.rolled_back_from), None)
    if undone is None:
        raise AssertionError("PROD was never rolled back")
    file = lab.home.evidence / f"{undone.promotion}.json"
    if not file.exists():
        raise AssertionError(f"there is no {file}")
    record = json.loads(file.read_text())
    expect(record["replaces"]["name"], undone.rolled_back_from, "Freight that the rollback has replaced, on record")
    robot = rules().rollback_bot
    allowed = [text for text in record["exceptions"] if text.startswith(robot)]
    expect(len(allowed), 1, f"exceptions that {robot} was allowed, on record")
    causes = [item for item in read_incidents(lab) if item.id == f"rollback {undone.promotion}"]
    expect(len(causes), 1, "incidents that the rollback stands for")
    return f"{causes[0].promotion} counts as a failed deployment, and {file.name} says how it was undone"


@register("recovered", "wait until people are served again: `labkit pages`, `labkit app-logs prod --level error`")
def _recovered(lab: Lab) -> str:
    """By what PROD's frontends have counted, where those who ask were asked; and by the alerts that fire."""
    counted = instant(lab, f"sum by (status) (increase({frontends_counter('prod')}[15s]))")
    statuses = zip(counted.get("status", []), counted["value"], strict=True)
    answered = {status: max(1, round(number)) for status, number in statuses if number > 0}
    if not answered or any(status.startswith("5") for status in answered):
        raise AssertionError(f"in the last 15 s PROD's frontends answered {as_text(answered) or 'nothing'}")
    alerts = 'ALERTS{environment="prod", alertname=~"AppUnreachable|AppRequestsFail", alertstate="firing"}'
    expect(list(instant(lab, alerts).get("alertname", [])), [], "alerts of PROD about requests that fail")
    return f"in the last 15 s PROD's frontends answered {as_text(answered)}, and no alert says otherwise"
