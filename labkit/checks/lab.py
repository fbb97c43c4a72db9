"""Checks of the lab itself: machine, clusters, Argo CD, Kargo."""

from __future__ import annotations

import json

from labkit.checks.check import expect, register
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
        expect(sum(quantity(item["cpu"]) for item in size), environment.cpu, f"CPUs of {environment.context}")
        memory = sum(quantity(item["memory"]) for item in size)
        expect(memory, quantity(environment.memory), f"bytes of memory of {environment.context}")
        disk = sum(quantity(item["ephemeral-storage"]) for item in size)
        expect(round(disk / GIB), round(quantity(environment.disk) / GIB), f"GiB of disk of {environment.context}")
    sizes = ", ".join(f"{item.context} {item.cpu} CPU/{item.memory}/{item.disk}" for item in lab.environments)
    return f"three API servers are ready, with the seed's sizes: {sizes}"


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
        )
        expect(source["repoURL"], lab.repo_url(GITOPS_REPO), f"repo of the Application in {environment.context}")
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
    raise AssertionError("viewer could sync PROD")


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


@register("stopped", "run notebook 99-clean-up, or `labkit down`")
def _stopped(lab: Lab) -> str:
    """By the machine's processes and ports."""
    left = [f"{process.name()} (pid {process.pid})" for process in lab_processes(lab)]
    expect(left, [], "processes of this lab that still run")
    expect([port for port in lab.port_range if not port_is_free(port)], [], "ports of this lab that are still used")
    return "no process of this lab runs, and its ports are free"
