"""Checks of the lab itself: machine, clusters, Argo CD, Kargo."""

from __future__ import annotations

import json

from labkit.checks.check import Mistake, expect, register
from labkit.clusters import kube
from labkit.config import APPLICATION, GITOPS_REPO, PROJECT, Lab
from labkit.delivery.git import repo_path
from labkit.delivery.gitea import gitea_as
from labkit.down import lab_processes
from labkit.errors import LabError
from labkit.kubectl import kubectl
from labkit.preflight import preflight
from labkit.process import port_is_free
from labkit.quantities import quantity
from labkit.services.argocd import ArgoCD

GIB = 2**30


@register("machine", "see the column TODO of `labkit preflight`")
def _machine(lab: Lab) -> str:
    """By what preflight found, which asks the system."""
    failed = [f"{finding.check}: {finding.found}" for finding in preflight(lab) if finding.result == "failed"]
    expect(failed, [], "what this machine lacks")
    return "this machine has what the lab needs"


@register("clusters", "run notebook 01-create-clusters, or `labkit clusters create`")
def _clusters(lab: Lab) -> str:
    """By kubectl, where the clusters were made by kwokctl and the Python client."""
    names = kubectl(lab, "kubectl config get-contexts --output name").output.split()
    expect(names, [environment.context for environment in lab.environments], "contexts of the lab's kubeconfig")
    for environment in lab.environments:
        context = f"--context {environment.context}"
        expect(kubectl(lab, f"kubectl {context} get --raw /readyz").output, "ok", f"{environment.context} /readyz")
        nodes = json.loads(kubectl(lab, f"kubectl {context} get nodes -o json").output)["items"]
        expect(len(nodes), environment.nodes, f"nodes of {environment.context}")
        size = [node["status"]["capacity"] for node in nodes]
        cpus, memory, disk = (
            sum(quantity(item[name]) for item in size) for name in ("cpu", "memory", "ephemeral-storage")
        )
        expect(cpus, environment.cpu, f"CPUs of {environment.context}", else_wrong=True)
        expect(memory, quantity(environment.memory), f"bytes of memory of {environment.context}", else_wrong=True)
        # Three nodes do not divide 100 GiB into whole bytes.
        wanted = round(quantity(environment.disk) / GIB)
        expect(round(disk / GIB), wanted, f"GiB of disk of {environment.context}", else_wrong=True)
    sizes = ", ".join(f"{item.context} {item.cpu} CPU/{item.memory}/{item.disk}" for item in lab.environments)
    return f"three API servers are ready, in the sizes of this lab: {sizes}"


@register("argocd", "run notebook 02-install-argocd, or `labkit setup`")
def _argocd(lab: Lab) -> str:
    """By each Argo CD's own API as `viewer`, where the Applications were applied with kubectl's verbs."""
    for environment in lab.environments:
        viewer = ArgoCD(lab, environment, "viewer")
        app = viewer.request("GET", f"/applications/{APPLICATION}")
        source = app["spec"]["source"]
        expect(
            source["targetRevision"],
            lab.destination(environment.name).branch,
            f"branch of the Application in {environment.context}",
            else_wrong=True,
        )
        expect(
            source["repoURL"],
            lab.repo_url(GITOPS_REPO),
            f"repo of the Application in {environment.context}",
            else_wrong=True,
        )
    return f"three Argo CDs answer, each with an Application {APPLICATION} on its own branch"


@register("repos", "run notebook 02-install-argocd, or `labkit setup`")
def _repos(lab: Lab) -> str:
    """By Gitea's API as `viewer`, where the branches were pushed with git."""
    viewer = gitea_as(lab, "viewer")
    for branch in ("main", *(destination.branch for destination in lab.destinations)):
        if not viewer.branch_commit(repo_path(GITOPS_REPO), branch):
            raise AssertionError(f"repo {GITOPS_REPO} has no branch {branch}")
    return "the gitops repo has the branch main, and one for each Stage"


@register("read-only", "run notebook 02-install-argocd, or `labkit setup`")
def _read_only(lab: Lab) -> str:
    """By trying it."""
    prod = lab.environment("prod")
    try:
        ArgoCD(lab, prod, "viewer").sync(APPLICATION)
    except LabError as error:
        if "permission denied" in error.seen:
            return f"viewer may look at PROD's Argo CD and was refused a sync: {error.seen}"
        raise
    raise Mistake("viewer could sync PROD")


@register("kargo", "run notebook 03-install-kargo, or `labkit setup`")
def _kargo(lab: Lab) -> str:
    """By kubectl, where the resources were applied with the Python client."""
    where = f"--context {lab.control.context} -n {PROJECT}"
    _ready(lab, f"kubectl --context {lab.control.context} get project {PROJECT} -o json", "Project")
    _ready(lab, f"kubectl {where} get projectconfig {PROJECT} -o json", "ProjectConfig")
    stages = kubectl(lab, f"kubectl {where} get stages -o name").output.split()
    wanted = [f"stage.kargo.akuity.io/{item.stage}" for item in lab.destinations if item.project == PROJECT]
    missing = sorted(set(wanted) - set(stages))
    expect(missing, [], "Stages that are missing")
    return "Project and ProjectConfig are Ready, the Stages dev, pre, prod and hotfix are there"


def _ready(lab: Lab, command: str, what: str) -> None:
    conditions = json.loads(kubectl(lab, command).output).get("status", {}).get("conditions", [])
    found = {item["type"]: item["status"] for item in conditions}
    expect(found.get("Ready"), "True", f"Ready condition of the {what}")


@register("pipeline", "`labkit setup` applies the Stages again, as `data/lab.yaml` describes them")
def _pipeline(lab: Lab) -> str:
    """By the Stages as kubectl shows them, where their order is in `data/lab.yaml`."""
    where = f"kubectl --context {lab.control.context} -n {PROJECT}"
    stages = {
        item["metadata"]["name"]: item["spec"]["requestedFreight"][0]["sources"]
        for item in json.loads(kubectl(lab, f"{where} get stages -o json").output)["items"]
    }
    wanted = {"dev": [], "hotfix": [], "pre": ["dev", "hotfix"], "prod": ["pre"]}
    expect(sorted(wanted.keys() - stages.keys()), [], "Stages that are missing")
    found = {name: sorted(stages[name].get("stages") or []) for name in wanted}
    expect(found, wanted, "Stages that each Stage takes Freight from", else_wrong=True)
    config = json.loads(kubectl(lab, f"{where} get projectconfig {PROJECT} -o json").output)
    policies = config["spec"]["promotionPolicies"]
    by_itself = [item["stageSelector"]["name"] for item in policies if item["autoPromotionEnabled"]]
    expect(
        by_itself, ["dev"], "Stages that take Freight by themselves (one that is held does not: `labkit unhold dev`)"
    )
    return "dev takes new Freight by itself, pre what is verified in dev or hotfix, prod what is verified in pre"


@register("gates", "`labkit setup` applies the AnalysisTemplates again, and the Stages that name them")
def _gates(lab: Lab) -> str:
    """By the Stages and the AnalysisTemplates as kubectl shows them, where both were applied from files."""
    where = f"kubectl --context {lab.control.context} -n {PROJECT}"
    templates = kubectl(lab, f"{where} get analysistemplates -o jsonpath={{.items[*].metadata.name}}").output.split()
    items = json.loads(kubectl(lab, f"{where} get stages -o json").output)["items"]
    named = {
        item["metadata"]["name"]: [gate["name"] for gate in item["spec"]["verification"]["analysisTemplates"]]
        for item in items
        if item["metadata"]["name"] in [environment.name for environment in lab.environments]
    }
    expect(sorted(named), sorted(environment.name for environment in lab.environments), "Stages with gates")
    unknown = sorted({gate for gates in named.values() for gate in gates} - set(templates))
    expect(unknown, [], "gates without an AnalysisTemplate", else_wrong=True)
    return "; ".join(f"{name}: {', '.join(gates)}" for name, gates in sorted(named.items()))


@register("rights", "`labkit setup` applies the roles again")
def _rights(lab: Lab) -> str:
    """By asking the API server what each person may do, where the roles were applied from a file."""
    stages = [stage.stage for stage in lab.destinations if stage.project == PROJECT]
    people = ("developer", "qa", "release-manager", "viewer")
    may = {person: [stage for stage in stages if _may(lab, person, stage)] for person in people}
    wanted = {"developer": stages, "qa": stages, "release-manager": stages, "viewer": []}
    expect(may, wanted, "Stages that each person may promote to", else_wrong=any(may.values()))
    return "developer, qa and release-manager may ask for a Promotion, viewer may not"


def _may(lab: Lab, person: str, stage: str) -> bool:
    """Whether a person may promote to a Stage."""
    asked = {"group": "kargo.akuity.io", "resource": "stages", "name": stage, "namespace": PROJECT, "verb": "promote"}
    review = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SubjectAccessReview",
        "metadata": {},
        "spec": {"user": person, "groups": ["system:authenticated"], "resourceAttributes": asked},
    }
    return bool(kube(lab, lab.control).create(review)["status"].get("allowed"))


@register("stopped", "run notebook 99-clean-up, or `labkit down`")
def _stopped(lab: Lab) -> str:
    """By the machine's processes and ports."""
    left = [f"{process.name()} (pid {process.pid})" for process in lab_processes(lab)]
    expect(left, [], "processes of this lab that still run")
    expect([port for port in lab.port_range if not port_is_free(port)], [], "ports of this lab that are still used")
    return "no process of this lab runs, and its ports are free"
