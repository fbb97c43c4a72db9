"""Who may promote, who lets it pass, what stops it and what takes it back: on a lab of its own, from top to bottom.

Every test leaves the environments as it found them: the seed's versions.
"""

import json
import subprocess
from datetime import UTC, datetime, timedelta

import httpx
import pytest
from _labkit import assert_refused, deployed, labkit, rollout_state
from _labs import lab_of_its_own

from labkit.clusters import kube
from labkit.config import GATE_BOT, GITOPS_REPO, SOURCE_REPO
from labkit.delivery.git import repo_path, working_copy
from labkit.delivery.gitea import CI, gitea_as
from labkit.errors import LabError, UsageError
from labkit.kubectl import kubectl
from labkit.promotion import (
    approve,
    evidence,
    find_stage,
    freeze,
    freight_table,
    gate_table,
    get_promotion,
    hold,
    promotion_diff,
    promotion_table,
    pull_request,
    reject,
    request_promotion,
    rollback,
    rollback_candidates,
    unfreeze,
    unhold,
    validate,
    verification_table,
    wait_for_promotion,
    wait_for_pull_request,
    wait_for_stage,
)
from labkit.promotion.verification import measured_since
from labkit.status import running_versions
from labkit.wait import wait_for

GITOPS, SOURCE = repo_path(GITOPS_REPO), repo_path(SOURCE_REPO)


@pytest.fixture(scope="module")
def ruled(tmp_path_factory):
    """A lab with the seed's versions deployed."""
    with lab_of_its_own(tmp_path_factory.mktemp("rules")) as lab:
        yield deployed(lab, "--pods", "simulated")


def _freight(lab):
    """Freight from the oldest to the newest."""
    return [next(item for item in freight_table(lab) if item.versions == release.versions) for release in lab.releases]


@pytest.fixture
def before(ruled):
    """What PROD runs; a test that uses this must not move it."""
    state = rollout_state(ruled, "prod")
    yield state
    assert rollout_state(ruled, "prod") == state, "PROD moved"


@pytest.fixture
def asked(ruled):
    """A Promotion of PRE's Freight to PROD, asked for by the developer; rejected afterwards where it still waits."""
    promotion = wait_for_pull_request(ruled, request_promotion(ruled, "prod", _freight(ruled)[1]))
    yield promotion
    now = get_promotion(ruled, promotion.promotion)
    if not now.done:
        reject(ruled, now, "the test is over")


def _refused_merge(lab, promotion, user="release-manager"):
    """Gitea's words when somebody merges without labkit."""
    with pytest.raises(LabError) as caught:
        gitea_as(lab, user).merge(GITOPS, promotion.pull_request)
    return caught.value.seen


def _gates_shown(lab, promotion):
    head = pull_request(lab, promotion)[0].head
    return gitea_as(lab, "viewer").commit_statuses(GITOPS, head)


def _wait_for_gates(lab, promotion, **wanted):
    names = {f"gate/{name}": state for name, state in wanted.items()}
    wait_for("the gates", lambda: _gates_shown(lab, promotion), lambda shown: shown == names, timeout=20, describe=str)


# People


@pytest.mark.parametrize(
    ("person", "verb", "what", "allowed"),
    [
        ("developer", "create", "promotions.kargo.akuity.io", True),
        ("developer", "promote", "stages.kargo.akuity.io/prod", True),
        ("qa", "create", "promotions.kargo.akuity.io", True),
        ("viewer", "get", "promotions.kargo.akuity.io", True),
        ("viewer", "create", "promotions.kargo.akuity.io", False),
        ("viewer", "promote", "stages.kargo.akuity.io/dev", False),
        ("developer", "get", "secrets", False),
        ("release-manager", "get", "secrets", False),
        ("developer", "patch", "stages.kargo.akuity.io/prod", False),
        ("developer", "delete", "promotions.kargo.akuity.io", False),
        ("developer", "patch", "configmaps/freeze-prod", False),
        ("release-manager", "patch", "configmaps/freeze-prod", True),
        ("release-manager", "patch", "configmaps/other", False),
        ("release-manager", "patch", "projectconfigs.kargo.akuity.io/demo-app", True),
        ("developer", "patch", "deployments", False),
    ],
)
def test_people_are_kubernetes_users_with_rights_of_their_own(ruled, person, verb, what, allowed):
    words = ["--context", "gitops-dev", "-n", "demo-app", "--as", person, "auth", "can-i", verb, what, "--quiet"]
    kubectl_program = [ruled.home.bin / "kubectl", "--kubeconfig", ruled.home.kubeconfig]
    answer = subprocess.run([*kubectl_program, *words], capture_output=True, text=True, check=False)
    assert answer.returncode == (0 if allowed else 1), answer


@pytest.mark.parametrize("context", ["gitops-pre", "gitops-prod"])
def test_people_look_at_other_clusters_and_change_nothing(ruled, context):
    assert kubectl(ruled, f"kubectl --context {context} -n demo-app --as developer get pods").output
    with pytest.raises(LabError, match="forbidden") as caught:
        kubectl(ruled, f"kubectl --context {context} -n demo-app --as developer delete pods --all")
    assert 'User "developer" cannot delete' in caught.value.seen or "forbidden" in caught.value.seen


def test_a_viewer_cannot_promote(ruled, before):
    known = {row.promotion for row in promotion_table(ruled)}
    done = labkit(ruled, "promote", "--from", "pre", "--to", "prod", "--as", "viewer")
    assert_refused(done, 1, 'User "viewer" cannot create resource "promotions"')
    assert {row.promotion for row in promotion_table(ruled)} == known


# The gates of PROD


def test_without_sign_off_nothing_moves(ruled, before, asked):
    with pytest.raises(LabError) as caught:
        approve(ruled, asked)
    assert "gate/validated is pending: qa has not signed it off in pre" in caught.value.seen
    assert "labkit validate pre" in caught.value.todo
    assert "required status checks" in _refused_merge(ruled, asked)
    assert pull_request(ruled, asked)[0].state == "open"


def test_a_sign_off_counts_only_from_one_who_may_give_it(ruled, before, asked):
    assert_refused(labkit(ruled, "validate", "pre", "--as", "developer"), 1, "developer may not sign off", "ask qa")
    commit = gitea_as(ruled, "viewer").branch_commit(GITOPS, "stage/pre")
    gitea_as(ruled, "developer").set_commit_status(GITOPS, commit, "validation/pre", "success", "looks fine to me")
    gates = {row.gate: row.state for row in gate_table(ruled, asked)}
    assert gates["gate/validated"] == "pending", "the developer's own status was taken for QA's"


def test_what_qa_rejects_does_not_pass(ruled, before, asked):
    with pytest.raises(UsageError, match="needs its reason"):
        validate(ruled, "pre", reject=True)
    validate(ruled, "pre", reject=True, reason="totals are off by one")
    _wait_for_gates(ruled, asked, validated="failure", approved="pending")
    with pytest.raises(LabError) as caught:
        approve(ruled, asked)
    assert "gate/validated is failure: totals are off by one" in caught.value.seen


def test_without_approval_nothing_moves(ruled, before, asked):
    said = validate(ruled, "pre")
    assert (said.by, said.state, said.freight_name) == ("qa", "success", asked.freight_name)
    _wait_for_gates(ruled, asked, validated="success", approved="pending")
    assert "required status checks" in _refused_merge(ruled, asked)
    assert pull_request(ruled, asked)[0].state == "open"


def test_an_approval_counts_only_from_one_who_may_give_it(ruled, before, asked):
    gitea_as(ruled, "qa").review(GITOPS, asked.pull_request, "APPROVED", "fine")
    _wait_for_gates(ruled, asked, validated="success", approved="pending")
    assert "not allowed to merge" in _refused_merge(ruled, asked, "qa")


def test_who_asked_cannot_approve(ruled, before):
    promotion = wait_for_pull_request(
        ruled, request_promotion(ruled, "prod", _freight(ruled)[1], as_user="release-manager")
    )
    with pytest.raises(LabError) as caught:
        approve(ruled, promotion, as_user="release-manager")
    why = "gate/approved is failure: release-manager requested this Promotion: another person has to approve it"
    assert why in caught.value.seen
    _wait_for_gates(ruled, promotion, validated="success", approved="failure")
    assert "required status checks" in _refused_merge(ruled, promotion)

    ended = reject(ruled, promotion, "asked for and approved by one person")
    assert ended.phase == "Failed", ended
    assert ended.reason == "rejected by release-manager: asked for and approved by one person"
    (closed,) = pull_request(ruled, promotion)
    assert closed.state == "closed"
    reviews = gitea_as(ruled, "viewer").request("GET", f"/repos/{GITOPS}/pulls/{closed.number}/reviews")
    assert "asked for and approved by one person" in [review["body"] for review in reviews]


def test_only_who_may_write_can_reject(ruled, before, asked):
    with pytest.raises(LabError, match="Gitea refused viewer"):
        reject(ruled, asked, "I do not like it", as_user="viewer")
    assert not get_promotion(ruled, asked.promotion).done


def test_a_forged_gate_is_overwritten(ruled, before, asked):
    head = pull_request(ruled, asked)[0].head
    _wait_for_gates(ruled, asked, validated="success", approved="pending")
    gitea_as(ruled, "developer").set_commit_status(GITOPS, head, "gate/approved", "success", "let me through")
    _wait_for_gates(ruled, asked, validated="success", approved="pending")
    shown = gitea_as(ruled, "viewer").request("GET", f"/repos/{GITOPS}/commits/{head}/status")["statuses"]
    assert {item["creator"]["login"] for item in shown} == {GATE_BOT}


def test_a_branch_that_was_changed_does_not_pass(ruled, before, asked):
    branch = pull_request(ruled, asked)[0].source
    copy = working_copy(ruled, GITOPS_REPO, "developer", branch)
    copy.write({"more.yaml": b"# not rendered by the Promotion\n"})
    copy.commit_and_push("One more thing", branch)
    _wait_for_gates(ruled, asked, validated="failure", approved="failure")
    with pytest.raises(LabError, match="may not be merged") as caught:
        approve(ruled, asked)
    assert "is not what the Promotion pushed" in caught.value.seen


def test_a_pull_request_that_no_promotion_opened_does_not_pass(ruled, before):
    copy = working_copy(ruled, GITOPS_REPO, "developer", "stage/prod")
    copy.write({"note.txt": b"by hand\n"})
    copy.commit_and_push("By hand", "by-hand")
    developer = gitea_as(ruled, "developer")
    body = {"head": "by-hand", "base": "stage/prod", "title": "By hand"}
    number = developer.request("POST", f"/repos/{GITOPS}/pulls", body)["number"]
    head = copy.git("rev-parse", "HEAD")
    wait_for(
        "the gates",
        lambda: developer.commit_statuses(GITOPS, head),
        lambda shown: shown == {"gate/validated": "failure", "gate/approved": "failure"},
        timeout=20,
    )
    developer.request("PATCH", f"/repos/{GITOPS}/pulls/{number}", {"state": "closed"})


def test_the_pull_request_says_what_changes_and_how_it_was_verified(ruled, asked):
    text = wait_for(
        "the text", lambda: pull_request(ruled, asked)[0].text, lambda now: "### Rendered diff" in now, timeout=20
    )
    assert "| frontend | 0.9.0 | 0.9.5 |" in text
    assert "| backend | 2.0.5 | 2.0.8 |" in text
    for stage in ("dev", "pre"):
        (run,) = verification_table(ruled, stage, freight_name=asked.freight_name)[:1]
        assert f"| {stage} | Successful | {run.analysis_run} | {run.finished} |" in text
    registry = ruled.registry
    assert f"-        image: {registry}/lab/database:1.4.7\n+        image: {registry}/lab/database:1.4.9" in text
    assert "requested by developer" in text


# See before you promote


def test_diff_shows_what_would_change_and_changes_nothing(ruled, before):
    pre = rollout_state(ruled, "pre")
    diff = promotion_diff(ruled, "dev", "pre")
    assert {(item.kind, item.name, item.action) for item in diff.changes} == {
        ("Deployment", tier, "change") for tier in ruled.tiers
    }
    (frontend,) = [item for item in diff.changes if item.name == "frontend"]
    changed = [line.strip() for line in frontend.lines if line[0] in "+-"]
    image = ruled.image("frontend")
    assert changed == [f"-        image: {image}:0.9.5", f"+        image: {image}:1.0.0"]
    assert rollout_state(ruled, "pre") == pre
    assert promotion_diff(ruled, "pre", "prod", freight=_freight(ruled)[0].alias).changes == ()


# Freeze


@pytest.fixture
def frozen(ruled):
    """PROD, frozen for an hour."""
    yield freeze(ruled, "prod", "1h", reason="inventory week")
    unfreeze(ruled, "prod")


def test_a_frozen_stage_refuses_with_the_reason(ruled, before, frozen):
    known = {row.promotion for row in promotion_table(ruled)}
    for person in ("developer", "release-manager"):
        done = labkit(ruled, "promote", "--from", "pre", "--to", "prod", "--as", person)
        assert_refused(done, 1, "Stage prod is frozen until", "by release-manager: inventory week")
    # Not even the clusters' administrator passes.
    manifest = {
        "apiVersion": "kargo.akuity.io/v1alpha1",
        "kind": "Promotion",
        "metadata": {"generateName": "prod-", "namespace": "demo-app"},
        "spec": {"stage": "prod", "freight": _freight(ruled)[1].name},
    }
    with pytest.raises(LabError, match="refused Promotion") as caught:
        kube(ruled, ruled.control).create(manifest)
    assert "is frozen until" in caught.value.seen
    assert {row.promotion for row in promotion_table(ruled)} == known


def test_other_stages_are_not_frozen(ruled, frozen):
    candidate = _freight(ruled)[1]
    assert wait_for_promotion(ruled, request_promotion(ruled, "pre", candidate)).phase == "Succeeded"
    wait_for_stage(ruled, "pre", candidate)


def test_an_emergency_passes_a_freeze_but_not_the_gates(ruled, before, frozen):
    words = ("promote", "--from", "pre", "--to", "prod", "--emergency")
    assert_refused(labkit(ruled, *words), 2, "An emergency needs its reason")
    done = labkit(ruled, *words, "--reason", "orders are lost", "--output", "json")
    (promotion,) = done.json
    assert promotion["emergency"] == "orders are lost"
    waiting = get_promotion(ruled, promotion["promotion"])
    assert _refused_merge(ruled, waiting)
    record = evidence(ruled, waiting.promotion)
    assert record.exceptions == ("an emergency may pass a freeze: orders are lost",)
    reject(ruled, waiting, "it was no emergency")


def test_a_freeze_ends_by_itself(ruled):
    candidate = _freight(ruled)[1]
    end = freeze(ruled, "prod", "6s", reason="a short one").until
    with pytest.raises(LabError) as caught:
        request_promotion(ruled, "prod", candidate)
    assert "is frozen until" in caught.value.seen
    wait_for("the freeze to be over", lambda: datetime.now(UTC) > end + timedelta(seconds=1), timeout=15)
    promotion = wait_for_pull_request(ruled, request_promotion(ruled, "prod", candidate))
    reject(ruled, promotion, "the test is over")
    assert unfreeze(ruled, "prod").until is None


# Waiting


def test_who_waits_for_freight_to_come_back_is_not_told_of_its_first_time(ruled):
    oldest, candidate, _ = _freight(ruled)
    for freight in (oldest, candidate):
        assert "pre" in next(item for item in freight_table(ruled) if item.name == freight.name).verified_in
        request_promotion(ruled, "pre", freight)
        assert wait_for_stage(ruled, "pre", freight).freight_name == freight.name


# The robot that rolls back


def test_the_robot_is_not_pre_authorised_for_other_freight(ruled, before):
    candidate = _freight(ruled)[1]
    if "prod" in candidate.verified_in:
        pytest.fail("the candidate was verified in PROD: this test would show nothing")
    promotion = wait_for_pull_request(ruled, request_promotion(ruled, "prod", candidate, as_user="rollback-bot"))
    states = {row.gate: row.state for row in gate_table(ruled, promotion)}
    assert states["gate/approved"] == "pending"
    assert "required status checks" in _refused_merge(ruled, promotion, "rollback-bot")
    reject(ruled, promotion, "not verified in PROD")


# Automatic rollback


@pytest.fixture
def broken(ruled):
    """Call it with a Freight: from then on its verification fails, because of a late finding at its commit."""
    marked = []

    def mark(freight):
        gitea_as(ruled, CI).set_commit_status(SOURCE, freight.revision, "scan/late", "failure", "found late")
        marked.append(freight)

    yield mark
    for freight in marked:
        gitea_as(ruled, CI).set_commit_status(SOURCE, freight.revision, "scan/late", "success", "a false alarm")


def _rolled_back(lab, stage, known):
    """The Promotion by which the lab took a Stage back, once it is done and verified afresh."""
    found = wait_for(
        f"{stage} to be rolled back",
        lambda: next((row for row in promotion_table(lab, stage) if row.promotion not in known and row.done), None),
        timeout=90,
    )
    wait_for(
        f"{stage} to be verified afresh",
        lambda: [
            row
            for row in verification_table(lab, stage, freight_name=found.freight_name)
            if row.phase == "Successful" and measured_since(lab, row, found.finished)
        ],
        timeout=60,
    )
    return found


def test_pre_is_rolled_back_when_its_verification_fails(ruled, before, broken):
    _, candidate, newest = _freight(ruled)
    broken(newest)
    promotion = wait_for_promotion(ruled, request_promotion(ruled, "pre", newest))
    with pytest.raises(LabError, match="it failed") as caught:
        wait_for_stage(ruled, "pre", newest)
    assert "verification Failed" in caught.value.seen
    known = {row.promotion for row in promotion_table(ruled, "pre") if row.created <= promotion.created}
    back = _rolled_back(ruled, "pre", known)
    assert (back.requester, back.freight_name, back.phase) == ("rollback-bot", candidate.name, "Succeeded")
    assert back.reason.startswith(f"automatic rollback: Freight {newest.alias} failed its verification")
    assert back.rolled_back_from == newest.name
    wait_for_stage(ruled, "pre", candidate)


def test_an_earlier_failure_is_not_held_against_freight_that_comes_again(ruled, before):
    _, candidate, newest = _freight(ruled)
    assert "pre" not in next(item for item in freight_table(ruled) if item.name == newest.name).verified_in
    for freight in (newest, candidate):
        request_promotion(ruled, "pre", freight)
        assert wait_for_stage(ruled, "pre", freight).freight_name == freight.name


def test_pre_is_rolled_back_when_it_becomes_unhealthy_and_a_rollback_is_not(ruled, before):
    oldest, candidate, _ = _freight(ruled)
    pre = ruled.environment("pre")
    wait_for_promotion(ruled, request_promotion(ruled, "pre", oldest))
    wait_for_stage(ruled, "pre", oldest)
    known = {row.promotion for row in promotion_table(ruled, "pre")}
    kubectl(ruled, f"kubectl --context {pre.context} -n demo-app delete service backend")
    back = _rolled_back(ruled, "pre", known)
    assert (back.requester, back.freight_name) == ("rollback-bot", candidate.name)
    assert "made the Application Missing" in back.reason
    wait_for_stage(ruled, "pre", candidate)

    known.add(back.promotion)
    kubectl(ruled, f"kubectl --context {pre.context} -n demo-app delete service backend")
    wait_for("the Stage to be Unhealthy", lambda: find_stage(ruled, "pre").health == "Unhealthy", timeout=60)
    settle = datetime.now(UTC) + timedelta(seconds=10)
    wait_for("the rule's time to be over", lambda: datetime.now(UTC) > settle, timeout=20)
    assert {row.promotion for row in promotion_table(ruled, "pre")} == known, "a rollback was rolled back"
    wait_for_promotion(ruled, request_promotion(ruled, "pre", candidate))
    wait_for_stage(ruled, "pre", candidate)


def test_prod_is_rolled_back_under_a_freeze_and_nothing_else_passes_by_that(ruled, broken):
    oldest, candidate, newest = _freight(ruled)
    broken(candidate)
    assert labkit(ruled, "promote", "--from", "pre", "--to", "prod").code == 0
    waiting = next(row for row in promotion_table(ruled, "prod") if not row.done)
    freeze(ruled, "prod", "1h", reason="inventory week")
    try:
        assert approve(ruled, waiting).phase == "Succeeded", "a freeze stops what was asked for before it"
        known = {row.promotion for row in promotion_table(ruled, "prod")}
        back = _rolled_back(ruled, "prod", known)
        assert (back.requester, back.freight_name, back.phase) == ("rollback-bot", oldest.name, "Succeeded")
        (merged,) = pull_request(ruled, back)
        assert (merged.state, merged.merged_by) == ("merged", "rollback-bot")
        assert running_versions(ruled, ruled.environment("prod")) == oldest.versions
        for freight in (candidate, newest):
            with pytest.raises(LabError) as caught:
                request_promotion(ruled, "prod", freight, as_user="rollback-bot")
            assert "is frozen until" in caught.value.seen or "not available to this Stage" in caught.value.seen
        with pytest.raises(LabError) as caught:
            request_promotion(ruled, "prod", oldest, as_user="developer")
        assert "is frozen until" in caught.value.seen
    finally:
        unfreeze(ruled, "prod")

    record = _kept_record(ruled, back)
    assert record["exceptions"] == ["rollback-bot is pre-authorised for Freight that was verified in prod"]
    assert {gate["by"] for gate in record["gates"]} == {"rollback-bot"}


# Go, and go back


def test_promote_with_approve_names_who_asked_and_who_merged_and_rollback_goes_back(ruled):
    oldest, candidate, _ = _freight(ruled)
    done = labkit(ruled, "promote", "--from", "pre", "--to", "prod", "--app", "demo-app", "--approve")
    assert done.code == 0, done
    assert "Requested as developer, merged as release-manager." in done.err
    assert running_versions(ruled, ruled.environment("prod")) == candidate.versions
    assert [item.name for item in rollback_candidates(ruled, "prod")] == [oldest.name]

    known = {row.id for row in verification_table(ruled, "prod")}
    done = labkit(ruled, "rollback", "stage", "prod", "--to-revision", "previous", "--approve")
    assert done.code == 0, done
    assert find_stage(ruled, "prod").freight_name == oldest.name
    (newest, *_) = verification_table(ruled, "prod")
    assert newest.id not in known
    assert newest.phase == "Successful"
    back = promotion_table(ruled, "prod")[0]
    assert back.rolled_back_from == candidate.name
    assert rollback_candidates(ruled, "prod").rows == (), "what was rolled back from is a candidate again"


def test_pre_goes_back_to_previous(ruled):
    """The source document's own command."""
    _, candidate, newest = _freight(ruled)
    assert labkit(ruled, "promote", "--from", "dev", "--to", "pre", "--app", "demo-app").code == 0
    assert find_stage(ruled, "pre").freight_name == newest.name
    done = labkit(ruled, "rollback", "stage", "pre", "--to-revision", "previous")
    assert done.code == 0, done
    assert find_stage(ruled, "pre").freight_name == candidate.name


def test_dev_goes_back_by_number_and_by_name_and_nowhere_it_has_not_been(ruled):
    oldest, candidate, newest = _freight(ruled)
    with pytest.raises(UsageError, match="never verified in prod"):
        rollback(ruled, "prod", newest.alias)
    with pytest.raises(UsageError, match="no revision 7"):
        rollback(ruled, "dev", "7")
    rollback(ruled, "dev", "2")
    assert find_stage(ruled, "dev").freight_name == oldest.name
    rollback(ruled, "dev", candidate.alias)
    assert find_stage(ruled, "dev").freight_name == candidate.name
    assert unhold(ruled, "dev").freight_name == newest.name


def test_a_hold_keeps_dev_where_it_is(ruled):
    oldest, _, newest = _freight(ruled)
    hold(ruled, "dev")
    assert labkit(ruled, "up").code == 0
    assert not find_stage(ruled, "dev").auto_promotion, "`up` lifted the hold"
    unhold(ruled, "dev")
    rollback(ruled, "dev", oldest.alias)
    held = find_stage(ruled, "dev")
    assert held.held, "Kargo holds a Stage to which older Freight was promoted by hand"
    assert held.freight_name == oldest.name
    lifted = unhold(ruled, "dev")
    assert (lifted.freight_name, lifted.held, lifted.auto_promotion) == (newest.name, False, True)
    with pytest.raises(UsageError, match="takes nothing by itself"):
        hold(ruled, "pre")


# Evidence


def _kept_record(lab, promotion):
    file = lab.home.evidence / f"{promotion.promotion}.json"
    wait_for(f"the record of {promotion.promotion}", file.exists, timeout=60)
    return json.loads(file.read_text())


def test_every_promotion_that_ended_left_a_record(ruled):
    for promotion in promotion_table(ruled):
        if not promotion.done:
            continue
        record = _kept_record(ruled, promotion)
        assert record["promotion"]["phase"] == promotion.phase
        assert record["promotion"]["requester"] == promotion.requester
        assert (ruled.home.evidence / f"{promotion.promotion}.html").stat().st_size > 500


def test_the_record_of_a_merged_promotion_holds_who_what_and_how_it_was_checked(ruled):
    merged = next(
        row for row in reversed(promotion_table(ruled, "prod")) if row.phase == "Succeeded" and row.pull_request
    )
    record = _kept_record(ruled, merged)
    assert record["pull_request"]["merged_by"] == "release-manager"
    assert {gate["gate"]: gate["by"] for gate in record["gates"]} == {
        "gate/validated": "qa",
        "gate/approved": "release-manager",
    }
    digest = httpx.head(
        f"{ruled.gitea_url}/v2/lab/frontend/manifests/{record['freight']['versions']['frontend']}",
        headers={"Accept": "application/vnd.oci.image.manifest.v1+json"},
        auth=("viewer", (ruled.home.secrets / "viewer").read_text()),
        trust_env=False,
    ).headers["docker-content-digest"]
    assert record["digests"]["frontend"] == digest
    gitea = gitea_as(ruled, "viewer")
    assert gitea.request("GET", f"/repos/{SOURCE}/git/commits/{record['commits']['source']}")
    assert gitea.request("GET", f"/repos/{GITOPS}/git/commits/{record['commits']['synced']}")
    steps = {step["step"]: step["status"] for step in record["steps"]}
    assert steps["wait-pr"] == "Succeeded"
    assert {metric["phase"] for metric in record["metrics"]} == {"Successful"}
    done = labkit(ruled, "report", "promotion", merged.promotion, "--output", "json")
    assert done.json["promotion"]["promotion"] == merged.promotion


def test_the_environments_are_as_they_were(ruled):
    oldest, candidate, newest = _freight(ruled)
    found = {name: find_stage(ruled, name).freight_name for name in ("dev", "pre", "prod")}
    assert found == {"dev": newest.name, "pre": candidate.name, "prod": oldest.name}
