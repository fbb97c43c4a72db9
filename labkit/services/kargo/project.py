"""The lab's Kargo Project: Warehouse, Stages and what they refer to."""

from __future__ import annotations

from typing import Any

from labkit.clusters import kube
from labkit.config import BOT, EMERGENCY, HELD, NAMESPACE, ORGANISATION, PROJECT, Lab
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
    """The lab's Kargo resources: Project, ProjectConfig, Warehouse, Stages and what they refer to."""
    api = kube(lab, lab.control)
    values = _values(lab)
    api.apply(*manifests("kargo/project.yaml", **values))
    wait_for(
        f"Project {PROJECT} to be Ready",
        lambda: conditions(api.need(KARGO_API, "Project", PROJECT)).get("Ready", "Unknown"),
        lambda ready: ready == "True",
        timeout=lab.limits.service_seconds,
        todo="`labkit status` shows whether Kargo runs",
    )
    for file in ("credentials", "analysis-templates", "roles", "freeze", "warehouse", "stages"):
        api.apply(*manifests(f"kargo/{file}.yaml", **values))
    config = api.get(KARGO_API, "ProjectConfig", PROJECT, PROJECT) or {"metadata": {}}
    # A hold that somebody asked for outlasts a restart of the lab.
    if HELD not in (config["metadata"].get("annotations") or {}):
        api.apply(*manifests("kargo/project-config.yaml", **values))


def _values(lab: Lab) -> dict[str, Any]:
    return {
        "registry": lab.registry,
        "gitea_url": lab.gitea_url,
        "gitea_localhost_url": lab.gitea_url.replace(LOOPBACK, "localhost"),
        "organisation": ORGANISATION,
        "bot": BOT,
        "bot_token": gitea_token(lab, BOT),
        "environments": [
            {
                "name": environment.name,
                "branch": environment.branch,
                "upstream": environment.upstream,
                "app_url": lab.app_url(environment),
                "database_url": lab.database_url(environment),
                "argocd_url": argocd_url(lab, environment),
                "argocd_token": verification_token(lab, environment),
            }
            for environment in lab.environments
        ],
        "project": PROJECT,
        "namespace": NAMESPACE,
        "tiers": list(lab.tiers),
        "pods": lab.settings.pods,
        "acceptance_image": lab.acceptance_image,
        "prometheus_url": prometheus_url(lab),
        "rollback_bot": rules().rollback_bot,
        "emergency": EMERGENCY,
    }
