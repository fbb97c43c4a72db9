"""Check your work: each check reads the state by another route than the call that changed it."""

from __future__ import annotations

import html
import json
import sqlite3
from base64 import b64decode
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import httpx
import yaml

from labkit.clusters import kube, provider
from labkit.config import APPLICATION, GITOPS_REPO, NAMESPACE, PROJECT, SOURCE_REPO, Environment, Lab
from labkit.delivery.git import repo_path
from labkit.delivery.gitea import gitea_as
from labkit.delivery.schema_steps import schema_columns
from labkit.demo_app import Schema, schema_table
from labkit.down import lab_processes
from labkit.errors import LabError, UsageError
from labkit.kubectl import kubectl
from labkit.preflight import preflight
from labkit.process import port_is_free
from labkit.promotion import freight_table, promotion_table
from labkit.quantities import quantity
from labkit.services.argocd import ArgoCD
from labkit.services.pods import SERVICE_PORT, pods_proxy
from labkit.status import running_versions

_checks: dict[str, tuple[Callable[[Lab], str], str]] = {}
GIB = 2**30


@dataclass(frozen=True)
class Checked:
    """A check that held."""

    name: str
    found: str

    def __str__(self) -> str:
        return f"✓ {self.name}: {self.found}"

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return f"<div style='color:#1f9d63'><b>✓ {html.escape(self.name)}</b>: {html.escape(self.found)}</div>"


class NotYet(LabError):  # noqa: N818 (it reads as what it says to a learner)
    """A check that did not hold: what is missing, and a hint."""


def _check(name: str, hint: str) -> Callable[[Callable[[Lab], str]], Callable[[Lab], str]]:
    def register(function: Callable[[Lab], str]) -> Callable[[Lab], str]:
        _checks[name] = (function, hint)
        return function

    return register


def check_names() -> tuple[str, ...]:
    """The names that `check` knows."""
    return tuple(_checks)


def check(lab: Lab, name: str) -> Checked:
    """Check a piece of work.

    Args:
        lab: The lab.
        name: Which piece.

    Returns:
        What was found.

    Raises:
        NotYet: The work is not done, or not right; says what was seen and gives a hint.
        UsageError: There is no such check.
    """
    if name not in _checks:
        raise UsageError(f"There is no check {name!r}", todo=f"use one of: {', '.join(_checks)}")
    function, hint = _checks[name]
    try:
        return Checked(name, function(lab))
    except AssertionError as error:
        raise NotYet(f"Check {name!r} does not hold", seen=str(error), todo=hint) from error
    except NotYet:
        raise
    except LabError as error:
        raise NotYet(f"Check {name!r} could not be made: {error.what}", seen=error.seen, todo=hint) from error


def _expect(found: object, wanted: object, what: str) -> None:
    if found != wanted:
        raise AssertionError(f"{what}: found {found}, expected {wanted}")


@_check("machine", "see the column TODO of `labkit preflight`")
def _machine(lab: Lab) -> str:
    """By what preflight found, which asks the system."""
    failed = [f"{finding.check}: {finding.found}" for finding in preflight(lab) if finding.result == "failed"]
    _expect(failed, [], "what this machine lacks")
    return "this machine has what the lab needs"


@_check("clusters", "run notebook 01-create-clusters, or `labkit clusters create`")
def _clusters(lab: Lab) -> str:
    """By kubectl, where the clusters were made by kwokctl and the Python client."""
    names = kubectl(lab, "kubectl config get-contexts --output name").output.split()
    _expect(names, [environment.context for environment in lab.environments], "contexts of the lab's kubeconfig")
    for environment in lab.environments:
        context = f"--context {environment.context}"
        _expect(kubectl(lab, f"kubectl {context} get --raw /readyz").output, "ok", f"{environment.context} /readyz")
        nodes = json.loads(kubectl(lab, f"kubectl {context} get nodes -o json").output)["items"]
        _expect(len(nodes), environment.nodes, f"nodes of {environment.context}")
        size = [node["status"]["capacity"] for node in nodes]
        _expect(sum(quantity(item["cpu"]) for item in size), environment.cpu, f"CPUs of {environment.context}")
        memory = sum(quantity(item["memory"]) for item in size)
        _expect(memory, quantity(environment.memory), f"bytes of memory of {environment.context}")
        disk = sum(quantity(item["ephemeral-storage"]) for item in size)
        _expect(round(disk / GIB), round(quantity(environment.disk) / GIB), f"GiB of disk of {environment.context}")
    sizes = ", ".join(f"{item.context} {item.cpu} CPU/{item.memory}/{item.disk}" for item in lab.environments)
    return f"three API servers are ready, with the seed's sizes: {sizes}"


@_check("argocd", "run notebook 02-install-argocd, or `labkit setup`")
def _argocd(lab: Lab) -> str:
    """By each Argo CD's own API as `viewer`, where the Applications were applied with kubectl's verbs."""
    for environment in lab.environments:
        viewer = ArgoCD(lab, environment, "viewer")
        app = viewer.request("GET", f"/applications/{APPLICATION}")
        source = app["spec"]["source"]
        _expect(
            source["targetRevision"],
            lab.destination(environment.name).branch,
            f"branch of the Application in {environment.context}",
        )
        _expect(source["repoURL"], lab.repo_url(GITOPS_REPO), f"repo of the Application in {environment.context}")
    return f"three Argo CDs answer, each with an Application {APPLICATION} on its own branch"


@_check("repos", "run notebook 02-install-argocd, or `labkit setup`")
def _repos(lab: Lab) -> str:
    """By Gitea's API as `viewer`, where the branches were pushed with git."""
    viewer = gitea_as(lab, "viewer")
    for branch in ("main", *(lab.destination(environment.name).branch for environment in lab.environments)):
        if not viewer.branch_commit(repo_path(GITOPS_REPO), branch):
            raise AssertionError(f"repo {GITOPS_REPO} has no branch {branch}")
    return "the gitops repo has the branches main, stage/dev, stage/pre and stage/prod"


@_check("read-only", "run notebook 02-install-argocd, or `labkit setup`")
def _read_only(lab: Lab) -> str:
    """By trying it."""
    prod = lab.environment("prod")
    try:
        ArgoCD(lab, prod, "viewer").sync(APPLICATION)
    except LabError as error:
        if "permission denied" in error.seen:
            return f"viewer may look at PROD's Argo CD and was refused a sync: {error.seen}"
        raise
    raise AssertionError("viewer could sync PROD")


@_check("kargo", "run notebook 03-install-kargo, or `labkit setup`")
def _kargo(lab: Lab) -> str:
    """By kubectl, where the resources were applied with the Python client."""
    where = f"--context {lab.control.context} -n {PROJECT}"
    _ready(lab, f"kubectl --context {lab.control.context} get project {PROJECT} -o json", "Project")
    _ready(lab, f"kubectl {where} get projectconfig {PROJECT} -o json", "ProjectConfig")
    stages = kubectl(lab, f"kubectl {where} get stages -o name").output.split()
    wanted = sorted(f"stage.kargo.akuity.io/{environment.name}" for environment in lab.environments)
    _expect(sorted(stages), wanted, "Stages")
    return "Project and ProjectConfig are Ready, the Stages dev, pre and prod are there"


def _ready(lab: Lab, command: str, what: str) -> None:
    conditions = json.loads(kubectl(lab, command).output).get("status", {}).get("conditions", [])
    found = {item["type"]: item["status"] for item in conditions}
    _expect(found.get("Ready"), "True", f"Ready condition of the {what}")


def seed_versions(lab: Lab) -> dict[str, dict[str, str]]:
    """The seed's version table: for each environment the versions of the tiers."""
    return {release.promoted_to: dict(release.versions) for release in lab.releases}


@_check("versions", "run notebook 04-deploy-demo-app, or `labkit deploy`")
def _versions(lab: Lab) -> str:
    """By the Deployments and pods of each cluster, where Kargo only wrote to Git."""
    for environment in lab.environments:
        wanted = seed_versions(lab)[environment.name]
        _expect(running_versions(lab, environment), wanted, f"versions in {environment.context}")
        deployments = kube(lab, environment).list("apps/v1", "Deployment", NAMESPACE)
        for item in deployments:
            ready, replicas = (item.get("status") or {}).get("readyReplicas") or 0, item["spec"]["replicas"]
            _expect(ready, replicas, f"ready pods of {item['metadata']['name']} in {environment.context}")
    table = "; ".join(
        f"{name} " + ", ".join(f"{tier} {version}" for tier, version in versions.items())
        for name, versions in sorted(seed_versions(lab).items())
    )
    return f"every cluster runs the seed's versions: {table}"


@_check("answers", "wait until the pods are Ready: `labkit status`; in a lab with simulated pods nothing answers")
def _answers(lab: Lab) -> str:
    """By each tier's own answer over HTTP, where Kubernetes only says what should run."""
    for environment in lab.environments:
        with httpx.Client(proxy=pods_proxy(lab, environment, NAMESPACE), trust_env=False) as client:
            found = {tier: _version_said_by(client, tier) for tier in lab.tiers}
        _expect(found, running_versions(lab, environment), f"versions that answer in {environment.context}")
    return "every tier answers, in the version that its Deployment names"


def _version_said_by(client: httpx.Client, tier: str) -> str:
    try:
        answer = client.get(f"http://{tier}:{SERVICE_PORT}/version")
        return str(answer.raise_for_status().json()["version"])
    except httpx.HTTPError as error:
        return f"no answer ({error})"


@_check("gate-held", "introduce slow-query, wait for DEV, and promote it to PRE")
def _gate_held(lab: Lab) -> str:
    """By the AnalysisRuns of PRE and by what its cluster runs, where the gate's verdict came from a Job."""
    where = f"kubectl --context {lab.control.context} -n {PROJECT}"
    runs = json.loads(kubectl(lab, f"{where} get analysisruns -l kargo.akuity.io/stage=pre -o json").output)["items"]
    results = [item for run in runs for item in (run.get("status") or {}).get("metricResults") or []]
    if ("performance-test", "Failed") not in [(item["name"], item["phase"]) for item in results]:
        raise AssertionError("no AnalysisRun of pre has a failed performance-test")
    newest = promotion_table(lab, "pre")[0]
    if not newest.rolled_back_from:
        raise AssertionError(f"the newest Promotion of pre, {newest.promotion}, is no rollback")
    left = {item.name: item for item in freight_table(lab)}[newest.rolled_back_from]
    if "pre" in left.verified_in:
        raise AssertionError(f"Freight {left.alias} is verified in pre")
    running = running_versions(lab, lab.environment("pre"))
    if running == left.versions:
        raise AssertionError(f"PRE still runs Freight {left.alias}")
    return f"PRE refused Freight {left.alias}, went back, and runs {running}"


def _ask_file(lab: Lab, environment: Environment, question: str) -> list[tuple[Any, ...]]:
    """What an environment's database file says, read beside the program that keeps it."""
    claim = kube(lab, environment).need("v1", "PersistentVolumeClaim", "database", NAMESPACE)
    file = provider(lab).volumes(environment) / claim["spec"]["volumeName"] / "orders.sqlite"
    with closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True, timeout=10)) as connection:
        return connection.execute(question).fetchall()


def _columns(lab: Lab, schema: Schema) -> set[str]:
    environment = lab.environment(schema.environment)
    return {f"orders.{row[1]}" for row in _ask_file(lab, environment, "PRAGMA table_info(orders)")}


@_check("schemas", "`labkit schema show` says what each database needs; roll forward where one lacks a column")
def _schemas(lab: Lab) -> str:
    """By the files of the databases, where the gate asked their programs."""
    rows = schema_table(lab)
    for row in rows:
        lacking = sorted(set(row.needs) - _columns(lab, row))
        _expect(lacking, [], f"columns that database {row.database} needs and the file in {row.environment} lacks")
    found = ", ".join(f"{row.environment} runs database {row.database}" for row in rows)
    return f"every file has what its program needs: {found}"


@_check("contract-refused", "push the contract while PROD still runs the old version, and wait for DEV")
def _contract_refused(lab: Lab) -> str:
    """By DEV's newest measured AnalysisRun, and by the files of PRE and PROD."""
    where = f"kubectl --context {lab.control.context} -n {PROJECT}"
    shown = kubectl(
        lab,
        f"{where} get analysisruns -l kargo.akuity.io/stage=dev --sort-by=.metadata.creationTimestamp -o json",
    )
    status = json.loads(shown.output)["items"][-1].get("status") or {}
    phases = {item["name"]: item["phase"] for item in status.get("metricResults") or []}
    _expect(phases.get("schema-contract"), "Failed", "schema-contract in DEV's newest AnalysisRun")
    for row in schema_table(lab)[1:]:
        lacking = sorted(set(row.needs) - _columns(lab, row))
        _expect(lacking, [], f"columns that database {row.database} needs and the file in {row.environment} lacks")
    return "DEV's gate is red, and the files of PRE and PROD have every column that what runs there needs"


@_check("orders-kept", "an order has been lost or changed: `labkit app-logs dev --level error`")
def _orders_kept(lab: Lab) -> str:
    """By DEV's database file: orders are numbered without gaps, and its page shows what the file holds."""
    columns = _ask_file(lab, lab.control, "PRAGMA table_info(orders)")
    named = [row[1] for row in columns if row[1] in schema_columns()]
    with httpx.Client(trust_env=False) as client:
        shown = client.get(f"{lab.app_url(lab.control.name)}/api/orders").raise_for_status().json()["orders"]
    rows = _ask_file(lab, lab.control, f"SELECT id, {', '.join(named)} FROM orders ORDER BY id")
    # A column that is not filled yet is empty; those that are filled agree.
    kept = {number: {value for value in values if value} for number, *values in rows}
    _expect(list(kept), list(range(1, len(kept) + 1)), "numbers of the orders in DEV")
    _expect([number for number, values in kept.items() if len(values) != 1], [], "orders without one customer in DEV")
    wrong = [order["id"] for order in shown if {order["customer"]} != kept[order["id"]]]
    _expect(wrong, [], "orders on DEV's page with another customer than in its file")
    return f"all {len(rows)} orders of DEV are there, each with its customer"


@_check("branches", "run notebook 04-deploy-demo-app, or `labkit deploy`")
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
        _expect(app["status"]["sync"]["revision"], head, f"revision that {environment.context} is synced to")
    return "each cluster is synced to the head of its own branch"


@_check("as-git-says", "`labkit status` says which Application is OutOfSync; Argo CD's page shows the difference")
def _as_git_says(lab: Lab) -> str:
    """By the manifests on each branch and the objects in each cluster, where Argo CD compared them itself."""
    for environment in lab.environments:
        promised = {
            item["metadata"]["name"]: item["spec"]["template"]["spec"]["containers"][0]["image"].rsplit(":", 1)[1]
            for item in _manifests_in_git(lab, lab.destination(environment.name).branch)
            if item["kind"] == "Deployment"
        }
        _expect(running_versions(lab, environment), promised, f"versions in {environment.context}")
    return "every cluster runs the versions that its branch in Git says"


def _manifests_in_git(lab: Lab, branch: str) -> Iterator[dict[str, Any]]:
    gitea, contents = gitea_as(lab, "viewer"), f"/repos/{repo_path(GITOPS_REPO)}/contents"
    for file in gitea.request("GET", contents, ref=branch):
        if file["name"].endswith(".yaml"):
            found = gitea.request("GET", f"{contents}/{file['path']}", ref=branch)
            yield from filter(None, yaml.safe_load_all(b64decode(found["content"])))


@_check("ci", "push to the demo app's repo, and see `labkit logs ci`")
def _ci(lab: Lab) -> str:
    """By Gitea's statuses of the newest commit."""
    viewer, repo = gitea_as(lab, "viewer"), repo_path(SOURCE_REPO)
    commit = viewer.branch_commit(repo, "main")
    if not commit:
        raise AssertionError(f"repo {SOURCE_REPO} has no commit on main")
    states = viewer.commit_statuses(repo, commit)
    _expect(states, {"ci/unit-tests": "success", "ci/build": "success"}, f"statuses of commit {commit[:7]}")
    return f"commit {commit[:7]} on main passed its unit tests and was built"


@_check("prod-refuses-unverified", "PROD must run Freight that was verified in PRE, and nothing else")
def _prod_refuses_unverified(lab: Lab) -> str:
    """By all Promotions that exist, and by what runs in PROD's cluster."""
    freight = {item.name: item for item in freight_table(lab)}
    for promotion in promotion_table(lab, "prod"):
        if "pre" not in freight[promotion.freight_name].verified_in:
            raise AssertionError(f"{promotion.promotion} was accepted, though its Freight is not verified in pre")
    newest = dict(lab.releases[-1].versions)
    if running_versions(lab, lab.environment("prod")) == newest:
        raise AssertionError(f"PROD runs {newest}")
    return "no Promotion exists that takes unverified Freight to prod, and PROD runs what it ran"


@_check("prod-not-moved", "nothing may reach PROD but by a merged pull request: `labkit get promotions --stage prod`")
def _prod_not_moved(lab: Lab) -> str:
    """By the commits of PROD's branch, and by what runs in its cluster."""
    oldest = dict(lab.releases[0].versions)
    _expect(running_versions(lab, lab.environment("prod")), oldest, "versions in PROD")
    viewer, prod = gitea_as(lab, "viewer"), lab.destination("prod")
    pulls = viewer.pull_requests(repo_path(GITOPS_REPO), "closed")
    merged = {pull["merge_commit_sha"] for pull in pulls if pull["merged"]}
    head = viewer.branch_commit(repo_path(GITOPS_REPO), prod.branch)
    if head not in merged:
        raise AssertionError(f"the head {head[:7]} of {prod.branch} is no merge of a pull request")
    return "PROD runs what it ran, and its branch holds merged pull requests only"


@_check("prod-runs-candidate", "run notebook 10-promotion-in-depth, up to its third Promotion")
def _prod_runs_candidate(lab: Lab) -> str:
    """By the Deployments in PROD's cluster, where Kargo only wrote to Git."""
    wanted = dict(lab.releases[1].versions)
    _expect(running_versions(lab, lab.environment("prod")), wanted, "versions in PROD")
    return "PROD runs " + ", ".join(f"{tier} {version}" for tier, version in wanted.items())


@_check("evidence", "run notebook 10-promotion-in-depth; `labkit logs promotion-guard` says what was recorded")
def _evidence(lab: Lab) -> str:
    """By the files, where the Promotions are Kargo's."""
    records = [json.loads(file.read_text()) for file in lab.home.evidence.glob("prod.*.json")]
    merged = [item for item in records if item["promotion"]["phase"] == "Succeeded" and item["pull_request"]]
    if not merged:
        raise AssertionError("there is no record of a Promotion that was merged into PROD")
    for item in merged:
        name, people = (
            item["promotion"]["promotion"],
            (item["promotion"]["requester"], item["pull_request"]["merged_by"]),
        )
        if people[0] == people[1] and not item["exceptions"]:
            raise AssertionError(f"{name} was requested and merged by {people[0]}")
        _expect({gate["state"] for gate in item["gates"]}, {"success"}, f"gates of {name}")
    rejected = [item for item in records if item["promotion"]["reason"].startswith("rejected")]
    return f"{len(records)} records of Promotions to PROD: {len(merged)} merged, {len(rejected)} rejected with a reason"


@_check("stopped", "run notebook 99-clean-up, or `labkit down`")
def _stopped(lab: Lab) -> str:
    """By the machine's processes and ports."""
    left = [f"{process.name()} (pid {process.pid})" for process in lab_processes(lab)]
    _expect(left, [], "processes of this lab that still run")
    _expect([port for port in lab.port_range if not port_is_free(port)], [], "ports of this lab that are still used")
    return "no process of this lab runs, and its ports are free"


@_check("verified", "run notebook 04-deploy-demo-app, or `labkit deploy`")
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
        _expect(phases[-1], "Successful", f"newest AnalysisRun of Stage {environment.name}")
    return "the newest AnalysisRun of each Stage was successful"
