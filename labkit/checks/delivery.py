"""Checks of what was built and deployed, and whether it runs."""

from __future__ import annotations

import json
from base64 import b64decode
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any

import httpx
import yaml

from labkit.checks.check import expect, register
from labkit.clusters import kube
from labkit.config import APPLICATION, GITOPS_REPO, NAMESPACE, PROJECT, SOURCE_REPO, Environment, Lab
from labkit.delivery.git import repo_path
from labkit.delivery.gitea import gitea_as
from labkit.kubectl import kubectl
from labkit.services.pods import SERVICE_PORT, pods_proxy
from labkit.status import running_versions
from labkit.tables import as_text


def seed_versions(lab: Lab) -> dict[str, dict[str, str]]:
    """The seed's version table: for each environment the versions of the tiers."""
    return {release.promoted_to: dict(release.versions) for release in lab.releases}


@register(
    "versions", "run notebook 04-deploy-demo-app, or `labkit deploy`; after other releases only a new lab has them"
)
def _versions(lab: Lab) -> str:
    """By the Deployments and pods of each cluster, where Kargo only wrote to Git."""
    for environment in lab.environments:
        wanted = seed_versions(lab)[environment.name]
        expect(running_versions(lab, environment), wanted, f"versions in {environment.context}")
        deployments = kube(lab, environment).list("apps/v1", "Deployment", NAMESPACE)
        for item in deployments:
            ready, replicas = (item.get("status") or {}).get("readyReplicas") or 0, item["spec"]["replicas"]
            expect(ready, replicas, f"ready pods of {item['metadata']['name']} in {environment.context}")
    table = "; ".join(f"{name} " + as_text(versions) for name, versions in sorted(seed_versions(lab).items()))
    return f"every cluster runs the versions of the table: {table}"


def _release(number: int, stage: str) -> Callable[[Lab], str]:
    def _verified_in(lab: Lab) -> str:
        """By the Freight as kubectl shows it, where the Stage was waited for."""
        versions = lab.releases[number - 1].versions
        shown = kubectl(lab, f"kubectl --context {lab.control.context} -n {PROJECT} get freight -o json").output
        for item in json.loads(shown)["items"]:
            if sorted(image["tag"] for image in item["images"]) == sorted(versions.values()):
                verified = (item.get("status") or {}).get("verifiedIn") or {}
                expect(stage in verified, True, f"whether release {number} is verified in {stage}")
                return f"{as_text(versions)}: one Freight, verified in {stage}"
        raise AssertionError(f"there is no Freight with {', '.join(versions.values())}")

    return _verified_in


for _number, _stages in ((1, ("dev", "pre", "prod")), (2, ("dev", "pre")), (3, ("dev",))):
    for _stage in _stages:
        _hint = f"run notebook 04-deploy-demo-app until {_stage} has release {_number}, or `labkit deploy`"
        register(f"release-{_number}-in-{_stage}", _hint)(_release(_number, _stage))


def _newest(name: str) -> Callable[[Lab], str]:
    def _answers_as_main(lab: Lab) -> str:
        """By the VERSION files on main in Gitea, and by each tier's own answer over HTTP."""
        environment = lab.environment(name)
        on_main = versions_on_main(lab)
        expect(versions_that_answer(lab, environment), on_main, f"versions that answer in {environment.context}")
        return f"{name} answers in main's versions: {as_text(on_main)}"

    return _answers_as_main


for _name, _how in (("dev", "wait until DEV has taken it"), ("pre", "promote it to PRE")):
    register(f"newest-in-{_name}", f"build what is on main, and {_how}: `labkit get stages`")(_newest(_name))


def versions_on_main(lab: Lab) -> dict[str, str]:
    """What `main` of the demo app's repo says which version each tier is."""
    viewer, repo, found = gitea_as(lab, "viewer"), repo_path(SOURCE_REPO), {}
    for tier in lab.tiers:
        file = viewer.request("GET", f"/repos/{repo}/contents/{tier}/VERSION", ref="main")
        found[tier] = b64decode(file["content"]).decode().strip()
    return found


@register("answers", "wait until the pods are Ready: `labkit status`; in a lab with simulated pods nothing answers")
def _answers(lab: Lab) -> str:
    """By each tier's own answer over HTTP, where Kubernetes only says what should run."""
    for environment in lab.environments:
        found = versions_that_answer(lab, environment)
        expect(found, running_versions(lab, environment), f"versions that answer in {environment.context}")
    return "every tier answers, in the version that its Deployment names"


def versions_that_answer(lab: Lab, environment: Environment) -> dict[str, str]:
    """What each tier of an environment says over HTTP which version it is."""
    with httpx.Client(proxy=pods_proxy(lab, environment, NAMESPACE), trust_env=False) as client:
        return {tier: _version_said_by(client, tier) for tier in lab.tiers}


def _version_said_by(client: httpx.Client, tier: str) -> str:
    try:
        answer = client.get(f"http://{tier}:{SERVICE_PORT}/version")
        return str(answer.raise_for_status().json()["version"])
    except httpx.HTTPError as error:
        return f"no answer ({error})"


@register("branches", "run notebook 04-deploy-demo-app, or `labkit deploy`")
def _branches(lab: Lab) -> str:
    """By what Git holds, where the clusters were synced by Argo CD."""
    gitea = gitea_as(lab, "viewer")
    for environment in lab.environments:
        app = json.loads(
            kubectl(
                lab,
                f"kubectl --context {environment.context} -n argocd get application {APPLICATION} -o json",
            ).output
        )
        head = gitea.branch_commit(repo_path(GITOPS_REPO), lab.destination(environment.name).branch)
        expect(app["status"]["sync"]["revision"], head, f"revision that {environment.context} is synced to")
    return "each cluster is synced to the head of its own branch"


@register("as-git-says", "`labkit status` says which Application is OutOfSync; Argo CD's page shows the difference")
def _as_git_says(lab: Lab) -> str:
    """By the manifests on each branch and the objects in each cluster, where Argo CD compared them itself."""
    for environment in lab.environments:
        promised = {
            item["metadata"]["name"]: item["spec"]["template"]["spec"]["containers"][0]["image"].rsplit(":", 1)[1]
            for item in _manifests_in_git(lab, lab.destination(environment.name).branch)
            if item["kind"] == "Deployment"
        }
        expect(running_versions(lab, environment), promised, f"versions in {environment.context}", else_wrong=True)
    return "every cluster runs the versions that its branch in Git says"


def _manifests_in_git(lab: Lab, branch: str) -> Iterator[dict[str, Any]]:
    gitea, contents = gitea_as(lab, "viewer"), f"/repos/{repo_path(GITOPS_REPO)}/contents"
    for file in gitea.request("GET", contents, ref=branch):
        if file["name"].endswith(".yaml"):
            found = gitea.request("GET", f"{contents}/{file['path']}", ref=branch)
            yield from filter(None, yaml.safe_load_all(b64decode(found["content"])))


@register("ci", "push to the demo app's repo, and see `labkit logs ci`")
def _ci(lab: Lab) -> str:
    """By Gitea's statuses of the newest commit."""
    viewer, repo = gitea_as(lab, "viewer"), repo_path(SOURCE_REPO)
    commit = viewer.branch_commit(repo, "main")
    if not commit:
        raise AssertionError(f"repo {SOURCE_REPO} has no commit on main")
    expect_built(lab, commit)
    return f"commit {commit[:7]} on main passed its unit tests and was built"


@register("branch-built", "push a branch of the demo app's repo, and see `labkit logs ci`")
def _branch_built(lab: Lab) -> str:
    """By Gitea's branches and the statuses of the newest, where CI was waited for."""
    viewer, repo = gitea_as(lab, "viewer"), repo_path(SOURCE_REPO)
    branches = [
        branch
        for branch in viewer.request("GET", f"/repos/{repo}/branches", limit=50)
        if branch["name"].startswith(("feature/", "hotfix/"))
    ]
    if not branches:
        raise AssertionError(f"repo {SOURCE_REPO} has no feature or hotfix branch")
    newest = max(branches, key=lambda branch: datetime.fromisoformat(branch["commit"]["timestamp"]))
    expect_built(lab, newest["commit"]["id"])
    return f"{newest['name']} passed its unit tests at {newest['commit']['id'][:7]} and was built"


def expect_built(lab: Lab, commit: str) -> None:
    """Fail a check where CI has not tested and built a commit."""
    states = gitea_as(lab, "viewer").commit_statuses(repo_path(SOURCE_REPO), commit)
    wanted = {"ci/unit-tests": "success", "ci/build": "success"}
    failed = bool({"failure", "error"} & set(states.values()))
    expect(states, wanted, f"statuses of commit {commit[:7]}", else_wrong=failed)


@register("verified", "wait while one is Running; where nothing was deployed, run notebook 04-deploy-demo-app")
def _verified(lab: Lab) -> str:
    """By the AnalysisRuns that measured, where the Stages say so of themselves."""
    runs = kube(lab, lab.control).list("argoproj.io/v1alpha1", "AnalysisRun", PROJECT)
    for environment in lab.environments:
        phases = [
            run["status"]["phase"]
            for run in sorted(runs, key=lambda run: str(run["metadata"]["creationTimestamp"]))
            if run["metadata"]["name"].startswith(f"{environment.name}.")
        ]
        if not phases:
            raise AssertionError(f"no AnalysisRun for Stage {environment.name}")
        over = phases[-1] in ("Failed", "Error", "Inconclusive")
        expect(phases[-1], "Successful", f"newest AnalysisRun of Stage {environment.name}", else_wrong=over)
    return "the newest AnalysisRun of each Stage was successful"
