"""The lab's Kargo Projects: Warehouses, Stages and what they refer to."""

from __future__ import annotations

from typing import Any

from labkit.clusters import kube
from labkit.config import BOT, EMERGENCY, HELD, ORGANISATION, PREVIEW_PROJECT, PROJECT, Destination, Lab
from labkit.delivery.gitea import gitea_token
from labkit.kube import conditions
from labkit.process import LOOPBACK
from labkit.rules import rules
from labkit.services.argocd import argocd_url, verification_token
from labkit.services.prometheus import prometheus_url
from labkit.templates import manifests
from labkit.wait import wait_for

KARGO_API = "kargo.akuity.io/v1alpha1"


def ensure_project(lab: Lab) -> None:
    """The lab's Kargo resources: the Projects with their Warehouse, Stages and what they refer to."""
    for project in (PROJECT, PREVIEW_PROJECT):
        _ensure(lab, project)
    # Who may do what, and when nobody may, is about the way to PROD.
    for file in ("roles", "freeze"):
        kube(lab, lab.control).apply(*manifests(f"kargo/{file}.yaml", **_values(lab, PROJECT)))


def ensure_bare_project(lab: Lab, project: str) -> None:
    """A Kargo Project with nothing in it yet, and Ready.

    Args:
        lab: The lab, with Kargo.
        project: Its name.

    Raises:
        LabError: It does not become Ready.
    """
    api = kube(lab, lab.control)
    api.apply(*manifests("kargo/project.yaml", project=project))
    wait_for(
        f"Project {project} to be Ready",
        lambda: conditions(api.need(KARGO_API, "Project", project)).get("Ready", "Unknown"),
        lambda ready: ready == "True",
        timeout=lab.limits.service_seconds,
        todo="`labkit status` shows whether Kargo runs",
    )


def _ensure(lab: Lab, project: str) -> None:
    api = kube(lab, lab.control)
    values = _values(lab, project)
    ensure_bare_project(lab, project)
    for file in ("credentials", "analysis-templates", "warehouse", "stages"):
        api.apply(*manifests(f"kargo/{file}.yaml", **values))
    config = api.get(KARGO_API, "ProjectConfig", project, project) or {"metadata": {}}
    # A hold that somebody asked for outlasts a restart of the lab.
    if HELD not in (config["metadata"].get("annotations") or {}):
        api.apply(*manifests("kargo/project-config.yaml", **values))


def _values(lab: Lab, project: str) -> dict[str, Any]:
    return {
        "registry": lab.registry,
        "gitea_url": lab.gitea_url,
        "gitea_localhost_url": lab.gitea_url.replace(LOOPBACK, "localhost"),
        "organisation": ORGANISATION,
        "bot": BOT,
        "bot_token": gitea_token(lab, BOT),
        "stages": [_stage(lab, item) for item in lab.destinations if item.project == project],
        "environments": [
            {
                "name": environment.name,
                "database_url": lab.database_url(environment),
                "argocd_token": verification_token(lab, environment),
            }
            for environment in lab.environments
        ],
        "production_url": lab.app_url(lab.environments[-1].name),
        "project": project,
        "preview": project == PREVIEW_PROJECT,
        "tiers": list(lab.tiers),
        "pods": lab.settings.pods,
        "acceptance_image": lab.acceptance_image,
        "prometheus_url": prometheus_url(lab),
        "rollback_bot": rules().rollback_bot,
        "emergency": EMERGENCY,
    }


def _stage(lab: Lab, destination: Destination) -> dict[str, Any]:
    return {
        "name": destination.stage,
        "environment": destination.environment.name,
        "namespace": destination.namespace,
        "application": destination.application,
        "branch": destination.branch,
        "sources": list(destination.sources),
        "app_url": lab.app_url(destination.stage),
        "argocd_url": argocd_url(lab, destination.environment),
    }
