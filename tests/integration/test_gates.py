"""What a gate is there for: real defects, pushed as commits, each stopped by one gate and by nothing else.

The tests are one story on one lab, told in the order of the file: each begins with the newest release in DEV, without
the defect of the test before.
"""

import json
from contextlib import contextmanager
from datetime import UTC, datetime

import httpx
import pytest
from _labkit import deployed, get, labkit, rollout_state
from _labs import lab_of_its_own

from labkit.checks import Wrong, check
from labkit.config import SOURCE_REPO
from labkit.delivery.ci import UNIT_TESTS
from labkit.delivery.defects import defect_table
from labkit.delivery.git import repo_path
from labkit.delivery.gitea import CI, gitea_as
from labkit.demo_app import find_orders, place_order
from labkit.deploy import fix_defect, introduce_defect, promote_freight, take_schema_step
from labkit.down import lab_processes
from labkit.errors import LabError
from labkit.kubectl import kubectl
from labkit.observability.events import SOURCES
from labkit.observability.pages import notice_table
from labkit.promotion import (
    Refusal,
    find_freight,
    find_stage,
    gate_log,
    gate_results,
    promotion_table,
    reverify,
    rollback,
    try_promotion,
    try_rollback,
    unhold,
    wait_for_stage,
    wait_for_verification,
)
from labkit.rules import rules
from labkit.runner import run_notebooks
from labkit.scenarios.rollback import rollback_facts
from labkit.services.pods import pod_processes
from labkit.services.supervisor import Supervisor
from labkit.services.traffic import TRAFFIC, ensure_traffic
from labkit.status import running_versions
from labkit.wait import wait_for

NEXT = {"dev": "pre", "pre": "prod"}


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
    "defect", [row for row in defect_table() if row.stopped_in == "pre"], ids=lambda row: row.defect
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


TOLD = "failing-names"  # by notebook 07


@pytest.mark.parametrize(
    "defect",
    [row for row in defect_table() if row.stopped_in == "prod" and row.defect != TOLD],
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
    orders = [place_order(lab, "dev", "Ada")]
    steps = {}
    for name in ("expand", "backfill", "switch"):
        steps[name] = promote_freight(lab, "dev", take_schema_step(lab, name))
        orders.append(place_order(lab, "dev", name))

    # In the middle, one can go back: the version before finds what the one after it has written.
    rollback(lab, "dev", steps["backfill"].alias)
    orders.append(place_order(lab, "dev", "Zoë"))
    assert find_orders(lab, "dev", orders).rows == tuple(orders)
    assert check(lab, "orders-kept").found
    assert unhold(lab, "dev").freight_name == steps["switch"].name

    # Too early, the contract is refused, for the reason that is the case.
    contract = take_schema_step(lab, "contract")
    assert wait_for_verification(lab, "dev", contract).phase == "Failed"
    assert red(lab, "dev", contract) == ["schema-contract"]
    said = gate_log(lab, "dev", contract, "schema-contract").output
    for environment in lab.environments[1:]:
        version = running_versions(lab, environment)["database"]
        assert f"FAILED: {environment.name} runs database {version}: it needs orders.customer, which migration" in said
    assert_ends_here(lab, "dev", contract)
    assert check(lab, "contract-refused").found

    # What it keeps from happening: across a contract, no rollback of the program helps.
    undone = try_rollback(lab, "dev", steps["backfill"].alias)
    assert (undone.freight_name, undone.phase) == (steps["backfill"].name, "Failed")
    assert red(lab, "dev", steps["backfill"]) == ["smoke-test"]
    assert {order.answer.partition(" ")[0] for order in find_orders(lab, "dev", orders)} == {"502"}
    with pytest.raises(Wrong, match="needs and the file in dev lacks"):
        check(lab, "schemas")
    rollback(lab, "dev", steps["switch"].alias)
    assert find_orders(lab, "dev", orders).rows == tuple(orders)

    # In time, the very same Freight passes.
    for stage in ("pre", "prod"):
        promote_freight(lab, stage, steps["switch"])
    assert unhold(lab, "dev").freight_name == contract.name
    assert "schema-contract" not in red(lab, "dev", contract)
    assert "pre" in promote_freight(lab, "pre", contract).verified_in
    for name in ("schemas", "orders-kept"):
        assert check(lab, name).found


def test_prod_is_taken_back_from_what_only_its_customers_see_and_the_story_is_on_record(lab):
    began = datetime.now(UTC)
    folder = run_notebooks(lab, ["07-rollback"])
    assert (folder / "07-rollback.html").stat().st_size > 10_000
    newest, undone, broken = promotion_table(lab, "prod")[:3]
    assert undone.rolled_back_from == broken.freight_name
    assert red(lab, "prod", find_freight(lab, broken.freight_name)) == ["error-rate"]
    facts = {row.fact: row.value for row in rollback_facts(lab, *_freight_of(lab, broken, newest))}
    (page,) = [row for row in notice_table(lab) if row.alert == "AppRequestsFail" and row.received > began]
    assert page.received < undone.created, "who is on call hears of it before PROD goes back"
    assert 0 < facts["detection time"] < 45
    assert 0 < facts["time to restore"] < 120
    assert facts["requests failed"] > 0
    assert 0 < facts["lead time of the fix"] < 240
    shown = labkit(lab, "timeline", "--since", "10", "--output", "json").json
    assert {row["source"] for row in shown} == set(SOURCES)
    assert [row["time"] for row in shown] == sorted(row["time"] for row in shown)


def _freight_of(lab, *promotions):
    return [find_freight(lab, row.freight_name) for row in promotions]


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
