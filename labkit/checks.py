"""Check your work: each check reads the state by another route than the call that changed it."""

from __future__ import annotations

import base64
import html
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import httpx
import yaml

from labkit.clusters import kube
from labkit.config import APPLICATION, GITOPS_REPO, NAMESPACE, PROJECT, SOURCE_REPO, Lab
from labkit.delivery.git import repo_path
from labkit.delivery.gitea import gitea_as
from labkit.down import lab_processes
from labkit.errors import LabError, UsageError
from labkit.kubectl import kubectl
from labkit.observability.delivery import read_incidents
from labkit.observability.panels import ENVIRONMENT
from labkit.observability.series import instant
from labkit.paths import DATA
from labkit.preflight import preflight
from labkit.process import port_is_free
from labkit.promotion import freight_table, promotion_table
from labkit.quantities import quantity
from labkit.rules import GATES, rules
from labkit.services.alerting import alertmanager_url
from labkit.services.argocd import ArgoCD
from labkit.services.pods import SERVICE_PORT, pods_proxy
from labkit.services.prometheus import prometheus_url
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
        _expect(source["targetRevision"], environment.branch, f"branch of the Application in {environment.context}")
        _expect(source["repoURL"], lab.repo_url(GITOPS_REPO), f"repo of the Application in {environment.context}")
    return f"three Argo CDs answer, each with an Application {APPLICATION} on its own branch"


@_check("repos", "run notebook 02-install-argocd, or `labkit setup`")
def _repos(lab: Lab) -> str:
    """By Gitea's API as `viewer`, where the branches were pushed with git."""
    viewer = gitea_as(lab, "viewer")
    for branch in ("main", *(environment.branch for environment in lab.environments)):
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
        head = gitea.branch_commit(repo_path(GITOPS_REPO), environment.branch)
        _expect(app["status"]["sync"]["revision"], head, f"revision that {environment.context} is synced to")
    return "each cluster is synced to the head of its own branch"


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
    viewer, prod = gitea_as(lab, "viewer"), lab.environment("prod")
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


@_check(
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
    _expect(silent, [], "panels without an answer")
    return f"Prometheus answers all {len(queries)} queries of the {len(files)} dashboards"


@_check("alert-routes", "run `labkit up`; `labkit logs alertmanager` shows what is wrong with its configuration")
def _alert_routes(lab: Lab) -> str:
    """By what Prometheus and Alertmanager have loaded, where the rules and routes are files of the lab."""
    groups = _asked(f"{prometheus_url(lab)}/api/v1/rules")["data"]["groups"]
    routes = yaml.safe_load(_asked(f"{alertmanager_url(lab)}/api/v2/status")["config"]["original"])["route"]
    reached = {
        group["name"]: sorted({_receiver(routes, rule["labels"]["severity"]) for rule in group["rules"]})
        for group in groups
    }
    _expect(reached, {"dev": ["log"], "pre": ["chat"], "prod": ["page"]}, "where the alerts of each environment go")
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


@_check("paged", "an alert has to fire in PROD: `labkit pages` shows what has reached whom")
def _paged(lab: Lab) -> str:
    """By what Alertmanager holds now and the pager has written down, where the notice was read from the pager."""
    active = [
        item
        for item in _asked(f"{alertmanager_url(lab)}/api/v2/alerts?active=true")
        if item["labels"].get("environment") == "prod"
    ]
    if not active:
        raise AssertionError("no alert of PROD is active")
    _expect({receiver["name"] for item in active for receiver in item["receivers"]}, {"page"}, "receivers of PROD")
    called = {notice["id"]: notice["notified"] for notice in _book(lab) if notice["channel"] == "page"}
    names = []
    for item in active:
        people = called.get(f"{item['fingerprint']}-{item['startsAt']}")
        if people:
            names.append(f"{item['labels']['alertname']} has called {', '.join(people)}")
    if not names:
        raise AssertionError("of the alerts that are active in PROD, none has called anybody")
    return "; ".join(names)


@_check("page-taken", "take a page while it fires: `labkit acknowledge ALERT`")
def _page_taken(lab: Lab) -> str:
    """By what the pager has written down, where the page was taken over HTTP."""
    taken = [notice for notice in _book(lab) if notice["acknowledged"]]
    if not taken:
        raise AssertionError("nobody has taken a page")
    page = max(taken, key=lambda notice: float(notice["acknowledged"]))
    _expect(page["escalate_at"], 0, f"when the next person is called for {page['alert']}")
    seconds = page["acknowledged"] - page["received"]
    return f"{page['acknowledged_by']} took {page['alert']} after {seconds:.0f} s, and nobody else is called"


@_check("drifted", "change in the cluster what Git says: scale PROD's frontend")
def _drifted(lab: Lab) -> str:
    """By Argo CD's API as `viewer`, where the cluster was changed with kubectl."""
    state, replicas = _compared(lab, "prod")
    _expect(state, "OutOfSync", "Argo CD's word for PROD")
    wanted, found = replicas["frontend"]
    if wanted == found:
        raise AssertionError(f"Git and the cluster agree on {found} frontends")
    return f"Git says {wanted} frontends, the cluster has {found}: OutOfSync"


@_check("as-git-says", "sync PROD's Application in its Argo CD")
def _as_git_says(lab: Lab) -> str:
    """By Argo CD's API as `viewer`, and by the pods that are Ready."""
    state, replicas = _compared(lab, "prod")
    _expect(state, "Synced", "Argo CD's word for PROD")
    for tier, (wanted, found) in replicas.items():
        _expect(found, wanted, f"replicas of {tier} in PROD")
    context = lab.environment("prod").context
    items = json.loads(kubectl(lab, f"kubectl --context {context} -n {NAMESPACE} get deployments -o json").output)
    ready = {item["metadata"]["name"]: item["status"].get("readyReplicas", 0) for item in items["items"]}
    _expect(ready, {tier: wanted for tier, (wanted, _) in replicas.items()}, "pods that are Ready in PROD")
    return f"PROD runs what Git says: {', '.join(f'{tier} {number}' for tier, number in ready.items())}"


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


@_check("prod-by-pull-request", "ask for a Promotion to prod, have qa sign it off, and release-manager approve it")
def _prod_by_pull_request(lab: Lab) -> str:
    """By the newest pull request in Gitea and its commit statuses, and by what runs in PROD's cluster."""
    viewer, repo, prod = gitea_as(lab, "viewer"), repo_path(GITOPS_REPO), lab.environment("prod")
    head = viewer.branch_commit(repo, prod.branch)
    numbers = [pull["number"] for pull in viewer.pull_requests(repo, "closed") if pull["merge_commit_sha"] == head]
    if not numbers:
        raise AssertionError(f"the head {head[:7]} of {prod.branch} is no merge of a pull request")
    # Who has merged it, only the pull request itself says, and no list.
    merged = viewer.request("GET", f"/repos/{repo}/pulls/{numbers[0]}")
    _expect(viewer.commit_statuses(repo, merged["head"]["sha"]), dict.fromkeys(GATES, "success"), "gates")
    newest = promotion_table(lab, "prod")[0]
    _expect(merged["head"]["label"], f"kargo/promotion/{newest.promotion}", "branch that was merged last")
    by = merged["merged_by"]["login"]
    if by == newest.requester:
        raise AssertionError(f"{by} has asked for it and merged it")
    wanted = {item.name: item.versions for item in freight_table(lab)}[newest.freight_name]
    _expect(running_versions(lab, prod), wanted, "versions in PROD")
    return f"{newest.requester} asked, {by} merged #{numbers[0]}, and PROD runs {wanted}"


@_check("rolled-back", "promote a defect that only PROD shows, and wait for its gate")
def _rolled_back(lab: Lab) -> str:
    """By the AnalysisRuns of PROD, by Gitea and by its cluster, where Kargo's Stage was waited for."""
    newest = promotion_table(lab, "prod")[0]
    _expect(newest.requester, rules().rollback_bot, f"who asked for {newest.promotion}, the newest Promotion of prod")
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
    _expect(red, {"error-rate"}, f"gates of PROD that Freight {left.alias} has failed")
    if "prod" in left.verified_in:
        raise AssertionError(f"Freight {left.alias} is verified in prod")
    merged = gitea_as(lab, "viewer").request("GET", f"/repos/{repo_path(GITOPS_REPO)}/pulls/{newest.pull_request}")
    _expect((merged["merged_by"] or {}).get("login"), rules().rollback_bot, "who merged the rollback")
    wanted = {item.name: item.versions for item in freight_table(lab)}[newest.freight_name]
    _expect(running_versions(lab, lab.environment("prod")), wanted, "versions in PROD")
    return f"error-rate was red for Freight {left.alias}; {rules().rollback_bot} took PROD back to {wanted}"


@_check("one-version-everywhere", "promote the newest Freight through all Stages")
def _one_version_everywhere(lab: Lab) -> str:
    """By the VERSION files on main in Gitea, and by each tier's own answer over HTTP."""
    viewer, repo = gitea_as(lab, "viewer"), repo_path(SOURCE_REPO)
    on_main = {}
    for tier in lab.tiers:
        file = viewer.request("GET", f"/repos/{repo}/contents/{tier}/VERSION", ref="main")
        on_main[tier] = base64.b64decode(file["content"]).decode().strip()
    for environment in lab.environments:
        with httpx.Client(proxy=pods_proxy(lab, environment, NAMESPACE), trust_env=False) as client:
            found = {tier: _version_said_by(client, tier) for tier in lab.tiers}
        _expect(found, on_main, f"versions that answer in {environment.context}")
    return "every environment answers in main's versions: " + ", ".join(f"{t} {v}" for t, v in on_main.items())


@_check("incident-recorded", "`labkit logs promotion-guard` says what was recorded")
def _incident_recorded(lab: Lab) -> str:
    """By the evidence of the newest rollback of PROD, a file, and by the delivery metrics' own record of incidents."""
    undone = next((row for row in promotion_table(lab, "prod") if row.rolled_back_from), None)
    if undone is None:
        raise AssertionError("PROD was never rolled back")
    file = lab.home.evidence / f"{undone.promotion}.json"
    if not file.exists():
        raise AssertionError(f"there is no {file}")
    record = json.loads(file.read_text())
    _expect(record["replaces"]["name"], undone.rolled_back_from, "Freight that the rollback has replaced, on record")
    _expect(len(record["exceptions"]), 1, "exceptions that the robot was allowed, on record")
    causes = [item for item in read_incidents(lab) if item.id == f"rollback {undone.promotion}"]
    _expect(len(causes), 1, "incidents that the rollback stands for")
    return f"{causes[0].promotion} counts as a failed deployment, and {file.name} says how it was undone"


@_check("recovered", "wait until people are served again: `labkit pages`, `labkit app-logs prod --level error`")
def _recovered(lab: Lab) -> str:
    """By what PROD's frontends have counted, where those who ask were asked; and by the alerts that fire."""
    where = 'http_requests_total{environment="prod", tier="frontend", route!~"/healthz|/readyz|/metrics|/version"'
    counted = instant(lab, f"sum by (status) (increase({where}}}[15s]))")
    statuses = zip(counted.get("status", []), counted["value"], strict=True)
    answered = {status: round(number, 1) for status, number in statuses if number > 0}
    if not answered or any(status.startswith("5") for status in answered):
        raise AssertionError(f"in the last 15 s PROD's frontends answered {answered or 'nothing'}")
    alerts = 'ALERTS{environment="prod", alertname=~"AppUnreachable|AppRequestsFail", alertstate="firing"}'
    _expect(list(instant(lab, alerts).get("alertname", [])), [], "alerts of PROD about requests that fail")
    return f"in the last 15 s PROD's frontends answered {answered}, and no alert says otherwise"


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
