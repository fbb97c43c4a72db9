"""What each Argo CD knows, allows and refuses: tried with its own API, on the running lab."""

import pytest
from _labkit import rollout_state

from labkit.clusters import kube
from labkit.config import APPLICATION, ARGOCD_NAMESPACE, GITOPS_REPO, NAMESPACE, PROJECT, SOURCE_REPO
from labkit.errors import LabError
from labkit.services.argocd import APPLICATION_API, ArgoCD
from labkit.wait import wait_for

ENVIRONMENTS = ("dev", "pre", "prod")
IN_CLUSTER = "https://kubernetes.default.svc"


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_a_viewer_may_look_and_is_refused_a_sync(lab, name):
    before = rollout_state(lab, name)
    viewer = ArgoCD(lab, lab.environment(name), "viewer")
    assert viewer.request("GET", f"/applications/{APPLICATION}")["status"]["sync"]["revision"] == before["revision"]
    with pytest.raises(LabError) as caught:
        viewer.sync(APPLICATION)
    assert "permission denied: applications, sync, demo-app/demo-app, sub: viewer" in caught.value.seen
    assert rollout_state(lab, name) == before


@pytest.mark.parametrize("person", ["developer", "qa", "release-manager"])
@pytest.mark.parametrize("name", ["pre", "prod"])
def test_nobody_syncs_past_kargo(lab, name, person):
    before = rollout_state(lab, name)
    with pytest.raises(LabError) as caught:
        ArgoCD(lab, lab.environment(name), person).sync(APPLICATION)
    assert "permission denied" in caught.value.seen
    assert rollout_state(lab, name) == before


@pytest.mark.parametrize("name", ENVIRONMENTS)
@pytest.mark.parametrize(
    ("method", "path"),
    [("DELETE", f"/applications/{APPLICATION}"), ("DELETE", f"/projects/{PROJECT}"), ("POST", "/applications")],
)
def test_a_viewer_changes_nothing(lab, name, method, path):
    viewer = ArgoCD(lab, lab.environment(name), "viewer")
    body = {"metadata": {"name": "other"}, "spec": {"project": PROJECT}} if method == "POST" else {}
    with pytest.raises(LabError) as caught:
        viewer.request(method, path, body)
    assert "permission denied" in caught.value.seen


def test_dev_is_the_main_manager_and_the_others_know_themselves_only(lab):
    known = {
        environment.name: {
            item["server"] for item in ArgoCD(lab, environment, "viewer").request("GET", "/clusters")["items"]
        }
        for environment in lab.environments
    }
    others = {f"https://127.0.0.1:{lab.port('apiserver', lab.environment(name))}" for name in ("pre", "prod")}
    assert known == {"dev": {IN_CLUSTER, *others}, "pre": {IN_CLUSTER}, "prod": {IN_CLUSTER}}


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_an_application_tells_where_its_freight_comes_from(lab, name):
    environment = lab.environment(name)
    spec = ArgoCD(lab, environment, "viewer").request("GET", f"/applications/{APPLICATION}")["spec"]
    info = {item["name"]: item["value"] for item in spec["info"]}
    upstream = {
        "dev": "Warehouse demo-app",
        "pre": "Stage demo-app/dev, Stage demo-app/hotfix",
        "prod": "Stage demo-app/pre",
    }[name]
    assert (info["Stage"], info["Takes Freight from"]) == (f"demo-app/{name}", upstream)
    assert info["Promotions"].endswith(f"kargo.akuity.io/stage={name}")
    assert "automated" not in spec["syncPolicy"], "Argo CD would move without a promotion"


@pytest.fixture
def complaint(lab):
    """Create a throwaway Application and give what Argo CD says against it."""
    made = []

    def try_application(environment, repo, namespace):
        api = kube(lab, environment)
        api.create(
            {
                "apiVersion": APPLICATION_API,
                "kind": "Application",
                "metadata": {"name": "throwaway", "namespace": ARGOCD_NAMESPACE},
                "spec": {
                    "project": PROJECT,
                    "source": {
                        "repoURL": repo,
                        "targetRevision": lab.destination(environment.name).branch,
                        "path": ".",
                    },
                    "destination": {"server": IN_CLUSTER, "namespace": namespace},
                },
            }
        )
        made.append(environment)

        def conditions():
            app = api.need(APPLICATION_API, "Application", "throwaway", ARGOCD_NAMESPACE)
            return [f"{item['type']}: {item['message']}" for item in app.get("status", {}).get("conditions", [])]

        found = wait_for("Argo CD's word on the Application", conditions, timeout=60)
        assert api.get("apps/v1", "Deployment", "frontend", "elsewhere") is None
        return " ".join(found)

    yield try_application
    for environment in made:
        kube(lab, environment).delete(APPLICATION_API, "Application", "throwaway", ARGOCD_NAMESPACE)


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_only_the_gitops_repo_is_accepted(lab, complaint, name):
    said = complaint(lab.environment(name), lab.repo_url(SOURCE_REPO), NAMESPACE)
    assert f"InvalidSpecError: application repo {lab.repo_url(SOURCE_REPO)} is not permitted in project" in said


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_only_the_apps_own_namespace_is_accepted(lab, complaint, name):
    said = complaint(lab.environment(name), lab.repo_url(GITOPS_REPO), "elsewhere")
    assert "InvalidSpecError: application destination" in said
    assert "elsewhere" in said
