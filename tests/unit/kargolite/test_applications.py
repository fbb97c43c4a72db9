"""What an Application's state means for a Stage."""

import copy

import pytest

from labkit.kargolite.applications import (
    NotAuthorizedError,
    assess,
    authorize,
    desired_revisions,
    needs_reconciliation,
    sync_patch,
    worst,
)

from .recordings import objects

REPO = "http://127.0.0.1:13000/lab/gitops.git"


def application(**status):
    return {
        "metadata": {"name": "demo-app", "namespace": "argocd", "annotations": {}},
        "spec": {"source": {"repoURL": REPO, "targetRevision": "stage/dev", "path": "."}},
        "status": {
            "health": {"status": "Healthy", "lastTransitionTime": "2026-11-23T06:22:14Z"},
            "sync": {"status": "Synced", "revision": "abc", "comparedTo": {"source": {}}},
            "reconciledAt": "2026-11-23T06:22:20Z",
            "operationState": {"phase": "Succeeded", "finishedAt": "2026-11-23T06:22:14Z", "operation": {}},
            **status,
        },
    }


CHECK = {"name": "demo-app", "namespace": "argocd", "desiredRevisions": ["abc"]}
WHERE = 'Argo CD Application "demo-app" in namespace "argocd"'


def test_a_recorded_health_output_comes_out_again():
    (recorded,) = next(objects("Stage"))["status"]["health"]["output"][0]["applicationStatuses"]
    app = application(
        **{key: value for key, value in copy.deepcopy(recorded).items() if key.islower() or key == "operationState"}
    )
    app["status"]["health"]["lastTransitionTime"] = "2026-11-23T06:22:14Z"
    app["status"]["operationState"]["syncResult"]["source"]["path"] = "."
    app["status"]["operationState"]["startedAt"] = "2026-11-23T06:22:13Z"
    app["status"]["operationState"]["operation"].pop("retry")
    app["status"]["resources"] = [{"kind": "Deployment"}]
    check = CHECK | {"desiredRevisions": [recorded["sync"]["revision"]]}
    assert assess(app, check, "argocd") == ("Healthy", [], recorded)


@pytest.mark.parametrize(
    ("status", "state", "issue"),
    [
        ({"health": {"status": "Progressing"}}, "Progressing", f"{WHERE} is progressing"),
        ({"health": {"status": "Suspended"}}, "Progressing", f"{WHERE} is suspended"),
        ({"health": {"status": "Degraded"}}, "Unhealthy", f'{WHERE} has health state "Degraded"'),
        ({"reconciledAt": "2026-11-23T06:22:13Z"}, "Unknown", "was not reconciled after its most recent operation"),
        ({"operationState": {"phase": "Running"}}, "Unknown", f"{WHERE} is being synced"),
        (
            {"sync": {"status": "OutOfSync", "revision": "def"}},
            "Unhealthy",
            'does not match the desired revision "abc"',
        ),
        (
            {"conditions": [{"type": "ComparisonError", "message": "no repo"}]},
            "Unhealthy",
            f'{WHERE} has "ComparisonError" condition: no repo',
        ),
    ],
)
def test_states(status, state, issue):
    found, issues, _ = assess(application(**status), CHECK, "argocd")
    assert (found, len(issues)) == (state, 1)
    assert issue in issues[0]


def test_a_missing_application_is_unknown():
    assert assess(None, {"name": "demo-app"}, "argocd")[:2] == ("Unknown", [f"unable to find {WHERE}"])


def test_the_worst_state_counts():
    assert worst(["Healthy", "Unhealthy", "Progressing"]) == "Unhealthy"
    assert worst([]) == "Healthy"


@pytest.mark.parametrize("value", ["demo-app:dev", "other:dev, demo-app:dev"])
def test_named_stages_are_authorized(value):
    app = application()
    app["metadata"]["annotations"]["kargo.akuity.io/authorized-stage"] = value
    authorize(app, "demo-app", "dev")


@pytest.mark.parametrize("value", ["", "demo-app:pre", "demo-app:*", "dev"])
def test_other_stages_are_not(value):
    app = application()
    app["metadata"]["annotations"]["kargo.akuity.io/authorized-stage"] = value
    with pytest.raises(NotAuthorizedError, match="does not permit mutation by Kargo Stage dev in namespace demo-app"):
        authorize(app, "demo-app", "dev")


def test_a_sync_names_the_promotion_and_who_asked():
    app = application()
    app["spec"]["syncPolicy"] = {"syncOptions": ["ServerSideApply=true"], "retry": {"limit": 2}}
    operation = sync_patch(app, "dev.01x.abc", "developer")["operation"]
    assert operation["initiatedBy"] == {"username": "developer"}
    assert {"name": "kargo.akuity.io/promotion", "value": "dev.01x.abc"} in operation["info"]
    assert operation["sync"]["syncOptions"] == ["ServerSideApply=true"]
    assert operation["retry"] == {"limit": 2}


def test_revisions_are_wanted_for_the_matching_source_only():
    update = [{"repoURL": REPO.removesuffix(".git").upper().replace("HTTP", "http"), "desiredRevision": "abc"}]
    assert desired_revisions(application(), update) == ["abc"]
    assert desired_revisions(application(), [{"repoURL": "http://other", "desiredRevision": "abc"}]) == []


def test_stale_health_is_noticed():
    assert not needs_reconciliation(application())
    assert needs_reconciliation(application(reconciledAt=None))
