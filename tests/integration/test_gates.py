"""What a gate is there for: real defects, pushed as commits, each stopped by one gate and by nothing else.

The tests are one story on one lab, told in the order of the file: each begins with the newest release in DEV, without
the defect of the test before.
"""

import json
import re
import time
from contextlib import contextmanager
from datetime import UTC, datetime

import httpx
import pytest
from _labkit import deployed, get, labkit, rollout_state
from _labs import lab_of_its_own

from labkit.checks import NotYet, check
from labkit.clusters import kube
from labkit.config import NAMESPACE, SOURCE_REPO
from labkit.delivery.ci import UNIT_TESTS
from labkit.delivery.defects import defect_table
from labkit.delivery.git import repo_path
from labkit.delivery.gitea import CI, gitea_as
from labkit.deploy import ensure_releases_apart, fix_defect, introduce_defect, promote_freight
from labkit.down import lab_processes
from labkit.errors import LabError
from labkit.kube import conditions
from labkit.kubectl import kubectl
from labkit.observability.events import SOURCES
from labkit.observability.pages import notice_table
from labkit.observability.series import instant
from labkit.promotion import (
    Refusal,
    find_freight,
    find_stage,
    freight_table,
    gate_log,
    gate_results,
    promotion_table,
    reverify,
    try_promotion,
    wait_for_stage,
)
from labkit.rules import rules
from labkit.runner import run_notebooks
from labkit.scenarios.rollback import rollback_facts
from labkit.scenarios.told import told_stories
from labkit.services.pods import pod_processes
from labkit.services.supervisor import Supervisor
from labkit.services.traffic import TRAFFIC, ensure_traffic
from labkit.status import running_versions
from labkit.wait import wait_for

NEXT = {"dev": "pre", "pre": "prod"}
RESTART = {"spec": {"template": {"metadata": {"annotations": {"tests.labkit.dev/restart": "now"}}}}}
PATIENCE_SECONDS = 20  # of the app with its database, and what it takes until Prometheus has read the counters
TOLD = {"slow-query", "failing-names"}  # by notebooks 11 and 07


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    with lab_of_its_own(tmp_path_factory.mktemp("gates")) as made:
        yield deployed(made)


@contextmanager
def introduced(lab, defect):
    """The Freight with a defect; afterwards it is fixed, and DEV runs what has no defect."""
    freight = introduce_defect(lab, defect)
    try:
        yield freight
    finally:
        wait_for_stage(lab, "dev", fix_defect(lab, defect))


def metrics(lab, stage, freight):
    """Name and phase of the metrics by which a Stage verified a Freight last."""
    return {row.metric: row.phase for row in gate_results(lab, stage, freight)}


def red(lab, stage, freight):
    """The metrics that failed; all others passed."""
    phases = metrics(lab, stage, freight)
    assert set(phases.values()) <= {"Successful", "Failed"}, phases
    return [name for name, phase in phases.items() if phase == "Failed"]


def judgements(lab, stage, since):
    """Of each AnalysisRun of a Stage since then, in order: the alias of the Freight, and the metrics that failed."""
    found = []
    for run in get(lab, lab.control, f"analysisruns -n demo-app -l kargo.akuity.io/stage={stage}")["items"]:
        (freight,) = [owner["name"] for owner in run["metadata"]["ownerReferences"] if owner["kind"] == "Freight"]
        failed = [item["name"] for item in run["status"]["metricResults"] if item["phase"] == "Failed"]
        found.append((run["metadata"]["creationTimestamp"], find_freight(lab, freight).alias, failed))
    return [row[1:] for row in sorted(found) if datetime.fromisoformat(row[0]) >= since.replace(microsecond=0)]


def assert_ends_here(lab, stage, freight):
    """It is verified up to the Stage before, is refused in the next, and a Stage with a rule is taken back."""
    assert stage not in find_freight(lab, freight.name).verified_in
    if stage in NEXT:
        assert isinstance(try_promotion(lab, NEXT[stage], freight), Refusal)
    if stage in rules().automatic_rollback:
        wait_for(
            f"{stage} to be taken back",
            lambda: promotion_table(lab, stage)[0],
            lambda newest: newest.requester == rules().rollback_bot,
            timeout=30,
        )


def test_what_each_stage_asks(lab):
    asked = {
        stage: set(metrics(lab, stage, find_freight(lab, find_stage(lab, stage).freight_name)))
        for stage in ("dev", "pre", "prod")
    }
    common = {"application", "commit-status-frontend", "commit-status-backend", "commit-status-database"}
    assert asked == {
        "dev": common | {"smoke-test", "schema-contract"},
        "pre": common | {"integration-test", "performance-test", "schema-contract"},
        "prod": common | {"smoke-test", "error-rate"},
    }


def test_the_commit_status_of_every_tiers_own_commit_is_asked(lab):
    freight = find_freight(lab, find_stage(lab, "dev").freight_name)
    gitea, repo = gitea_as(lab, CI), repo_path(SOURCE_REPO)
    gitea.set_commit_status(repo, freight.revision, UNIT_TESTS, "failure", "somebody has seen a test fail", "")
    try:
        with pytest.raises(LabError, match="Failed"):
            reverify(lab, "dev")
        assert {name.rpartition("-")[0] for name in red(lab, "dev", freight)} == {"commit-status"}
    finally:
        gitea.set_commit_status(repo, freight.revision, UNIT_TESTS, "success", "it was another test", "")
        assert reverify(lab, "dev").phase == "Successful"


def test_what_crashes_at_start_never_becomes_healthy_in_dev(lab):
    before = {name: rollout_state(lab, name) for name in ("pre", "prod")}
    with introduced(lab, "crash-at-start") as freight:
        crashing = wait_for(
            "a pod that crashes again and again",
            lambda: [
                item["metadata"]["name"]
                for item in get(lab, lab.control, "pods -n demo-app -l app.kubernetes.io/name=backend")["items"]
                for status in item["status"].get("containerStatuses") or []
                if (status["state"].get("waiting") or {}).get("reason") == "CrashLoopBackOff"
            ],
            timeout=60,
        )
        context = f"kubectl --context {lab.control.context} -n demo-app"
        assert "KeyError: 'TAX_RATE'" in kubectl(lab, f"{context} logs {crashing[0]}").output
        stage = find_stage(lab, "dev")
        assert (stage.freight_name, stage.health, stage.verified) == (freight.name, "Progressing", "Unknown")
        with httpx.Client(base_url=lab.app_url("dev"), trust_env=False) as client:
            assert client.get("/api/orders").status_code == 200, "the version before still serves"
        assert_ends_here(lab, "dev", freight)
    assert {name: rollout_state(lab, name) for name in before} == before


@pytest.mark.parametrize(
    "defect", [row for row in defect_table() if row.stopped_in == "dev"][1:], ids=lambda row: row.defect
)
def test_dev(lab, defect):
    with introduced(lab, defect.defect) as freight:
        with pytest.raises(LabError, match="Failed"):
            wait_for_stage(lab, "dev", freight)
        assert red(lab, "dev", freight) == [defect.stopped_by]
        assert "FAILED smoke.py::test_the_page_has_its_style" in gate_log(lab, "dev", freight, defect.stopped_by).output
        assert_ends_here(lab, "dev", freight)


@pytest.mark.parametrize(
    "defect",
    [row for row in defect_table() if row.stopped_in == "pre" and row.defect not in TOLD],
    ids=lambda row: row.defect,
)
def test_pre(lab, defect):
    prod = rollout_state(lab, "prod")
    with introduced(lab, defect.defect) as freight:
        wait_for_stage(lab, "dev", freight)
        with pytest.raises(LabError, match="Failed"):
            promote_freight(lab, "pre", freight)
        assert red(lab, "pre", freight) == [defect.stopped_by], gate_log(lab, "pre", freight, defect.stopped_by).output
        assert "FAILED" in gate_log(lab, "pre", freight, defect.stopped_by).output
        assert_ends_here(lab, "pre", freight)
    assert rollout_state(lab, "prod") == prod


def test_what_is_slower_is_stopped_in_pre_and_a_notebook_tells_it(lab):
    prod, began = rollout_state(lab, "prod"), datetime.now(UTC)
    assert (run_notebooks(lab, ["11-gates"]) / "11-gates.html").stat().st_size > 10_000
    slow, fixed = sorted(freight_table(lab)[:2], key=lambda item: item.created)
    assert judgements(lab, "dev", began) == [(slow.alias, []), (fixed.alias, [])]
    taken_back = find_freight(lab, promotion_table(lab, "pre")[1].freight_name)
    assert judgements(lab, "pre", began) == [
        (slow.alias, ["performance-test"]),
        (taken_back.alias, []),
        (fixed.alias, []),
    ]
    assert isinstance(try_promotion(lab, "prod", slow), Refusal)
    assert rollout_state(lab, "prod") == prod


@pytest.mark.parametrize(
    "defect",
    [row for row in defect_table() if row.stopped_in == "prod" and row.defect not in TOLD],
    ids=lambda row: row.defect,
)
def test_prod(lab, defect):
    prod = lab.environment("prod")
    before = running_versions(lab, prod)
    with introduced(lab, defect.defect) as freight:
        for stage in ("dev", "pre"):
            promote_freight(lab, stage, freight)
        with pytest.raises(LabError, match="Failed"):
            promote_freight(lab, "prod", freight)
        assert red(lab, "prod", freight) == [defect.stopped_by]
        assert_ends_here(lab, "prod", freight)
        wait_for("PROD to run what it ran", lambda: running_versions(lab, prod), lambda found: found == before)


def test_a_schema_change_in_four_freights(lab):
    """PROD runs the first release: what it needs, nothing may take away."""
    began = datetime.now(UTC)
    folder = run_notebooks(lab, ["12-schema-change"])
    contract, switch, backfill, expand = freight_table(lab)[:4]
    told = judgements(lab, "dev", began)
    assert told == [
        (expand.alias, []),
        (backfill.alias, []),
        (switch.alias, []),
        (backfill.alias, []),  # In the middle, one can go back …
        (switch.alias, []),
        (contract.alias, ["schema-contract"]),  # … too early, the contract is refused …
        (backfill.alias, ["smoke-test"]),  # … which keeps this from happening …
        (switch.alias, []),
        (contract.alias, []),  # … and in time, the very same Freight passes.
    ]
    assert judgements(lab, "pre", began) == [(switch.alias, []), (contract.alias, [])]
    assert "pre" in find_freight(lab, contract.name).verified_in
    said = (folder / "12-schema-change.ipynb").read_text()
    assert re.search(r"FAILED: prod runs database [\d.]+: it needs orders.customer, which migration", said)


def test_prod_is_taken_back_from_what_only_its_customers_see_and_the_story_is_on_record(lab):
    began = datetime.now(UTC)
    folder = run_notebooks(lab, ["07-rollback"])
    assert (folder / "07-rollback.html").stat().st_size > 10_000
    _, undone, broken = promotion_table(lab, "prod")[:3]
    assert undone.rolled_back_from == broken.freight_name
    assert red(lab, "prod", find_freight(lab, broken.freight_name)) == ["error-rate"]
    facts = {row.fact: row.value for row in rollback_facts(lab, find_freight(lab, broken.freight_name))}
    pages = [row for row in notice_table(lab) if row.channel == "page" and row.received > began]
    assert [(row.alert, row.environment) for row in pages] == [("AppRequestsFail", "prod")]
    (page,) = pages
    assert page.received < undone.created, "who is on call hears of it before PROD goes back"
    assert 0 < facts["detection time"] < 45
    assert 0 < facts["time to restore"] < 120
    assert facts["requests failed"] > 0
    assert 0 < facts["lead time of the fix"] < 240
    told = next(row for row in told_stories(lab) if row.story == "rollback")
    assert {row.fact: row.value for row in told.facts} == facts
    shown = labkit(lab, "timeline", "--since", "10", "--output", "json").json
    assert {row["source"] for row in shown} == set(SOURCES)
    assert [row["time"] for row in shown] == sorted(row["time"] for row in shown)


def test_releases_are_set_apart_where_a_story_has_left_the_same_one_everywhere(lab):
    with pytest.raises(NotYet, match="releases-apart"):
        check(lab, "releases-apart")
    prod = rollout_state(lab, "prod")
    ensure_releases_apart(lab)
    assert check(lab, "releases-apart").found
    assert rollout_state(lab, "prod") == prod
    apart = [find_stage(lab, name).freight for name in ("dev", "pre", "prod")]
    ensure_releases_apart(lab)
    assert [find_stage(lab, name).freight for name in ("dev", "pre", "prod")] == apart


def asked_in_prod(lab):
    """How often PROD's customers have asked for something by now, and how often that has failed."""
    counted = instant(lab, 'sum by (outcome) (traffic_requests_total{environment="prod"})')
    failed = counted["value"][counted["outcome"] != "ok"].sum()
    return counted["value"].sum(), failed


def test_customers_wait_while_the_database_is_replaced_and_do_not_fail(lab):
    prod = lab.environment("prod")
    (before,) = get(lab, prod, "pods -n demo-app -l app.kubernetes.io/name=database")["items"]
    requests, failed = asked_in_prod(lab)
    kube(lab, prod).patch("apps/v1", "Deployment", "database", RESTART, NAMESPACE)
    wait_for(
        "another database pod that is ready",
        lambda: [
            pod["metadata"]["name"]
            for pod in get(lab, prod, "pods -n demo-app -l app.kubernetes.io/name=database")["items"]
            if conditions(pod).get("Ready") == "True"
        ],
        lambda names: len(names) == 1 and names != [before["metadata"]["name"]],
    )
    # All who asked before it was there have their answer within as long as the app is patient, and were counted.
    later = time.monotonic() + PATIENCE_SECONDS
    now = wait_for("customers to be counted", lambda: asked_in_prod(lab), lambda _: time.monotonic() > later)
    assert now[0] > requests
    assert now[1] == failed


def test_without_traffic_the_error_rate_is_inconclusive_and_not_passed(lab):
    freight = find_freight(lab, find_stage(lab, "prod").freight_name)
    Supervisor(lab).stop_service(TRAFFIC)
    try:
        with pytest.raises(LabError, match="Inconclusive"):
            reverify(lab, "prod")
        phases = metrics(lab, "prod", freight)
        assert (phases["error-rate"], phases["smoke-test"]) == ("Inconclusive", "Successful")
    finally:
        ensure_traffic(lab)


def test_the_smoke_test_is_repeated_all_the_time_in_dev_only(lab):
    cron = {
        environment.name: [item["metadata"]["name"] for item in get(lab, environment, "cronjobs -n demo-app")["items"]]
        for environment in lab.environments
    }
    assert cron == {"dev": ["smoke-test"], "pre": [], "prod": []}
    last = wait_for(
        "a run of the CronJob that succeeded",
        lambda: get(lab, lab.control, "cronjob -n demo-app smoke-test")["status"].get("lastSuccessfulTime"),
        timeout=90,
    )
    assert last


def test_each_pod_is_a_process_and_down_ends_them_all(lab):
    pods = json.loads(
        kubectl(
            lab, "kubectl --context gitops-prod -n demo-app get pods --field-selector status.phase=Running -o json"
        ).output
    )["items"]
    marked = [process for process in pod_processes(lab) if f"{lab.home.pods}/prod/" in " ".join(process.cmdline())]
    programs = [process for process in marked if process.name() not in ("sh", "dash", "bash")]
    assert len(programs) == len(pods) == 7
    assert labkit(lab, "down").code == 0
    assert lab_processes(lab) == []
