"""Argo Rollouts' analysis controllers: they run Kargo's verifications, one controller for each shard.

AnalysisRuns live beside Kargo in gitops-dev; the Jobs they measure with run in the cluster under test.
"""

from __future__ import annotations

from labkit.clusters import kube, provider
from labkit.config import NAMESPACE, Environment, Lab
from labkit.process import LOOPBACK
from labkit.services.supervisor import Service, Supervisor
from labkit.templates import read_manifests
from labkit.toolchain import Toolset


def ensure_rollouts(lab: Lab, tools: Toolset) -> None:
    """Install the analysis CustomResourceDefinitions into gitops-dev and run the controllers."""
    api = kube(lab, lab.control)
    crds = read_manifests(*sorted(tools.folder("argo-rollouts-crds").glob("*.yaml")))
    api.apply(*crds)
    api.wait_for_crds(crds)
    Supervisor(lab).ensure_services(_service(lab, tools, environment) for environment in lab.environments)


def _service(lab: Lab, tools: Toolset, environment: Environment) -> Service:
    metrics, health = lab.port("rollouts-metrics", environment), lab.port("rollouts-health", environment)
    clusters = provider(lab)
    return Service(
        name=f"rollouts-{environment.name}",
        about=f"Argo Rollouts: analysis for Stages of shard {environment.name}",
        command=(
            *(str(tools.path("rollouts-controller")), "--controllers=analysis", "--leader-elect=false"),
            *("--instance-id", environment.name, "--loglevel", "warn"),
            *("--kubeconfig", str(clusters.own_kubeconfig(lab.control))),
            *("--metricsport", str(metrics), "--healthzPort", str(health)),
        ),
        environment={
            "ARGO_ROLLOUTS_ANALYSIS_JOB_KUBECONFIG": str(clusters.own_kubeconfig(environment)),
            "ARGO_ROLLOUTS_ANALYSIS_JOB_NAMESPACE": NAMESPACE,
        },
        health=f"http://{LOOPBACK}:{health}/healthz",
        ports={"metrics": metrics, "health": health},
    )
