"""The lab's three Kubernetes clusters, whichever way they are made."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path

from labkit.clusters.base import ClusterProvider, ClusterStatus, ClusterTable
from labkit.clusters.existing import ExistingClusters
from labkit.clusters.kubeconfig import write_kubeconfig
from labkit.clusters.kwok import KwokClusters
from labkit.clusters.look import reached
from labkit.clusters.minikube import MinikubeClusters
from labkit.config import Environment, Lab
from labkit.kube import Kube

__all__ = [
    "ClusterProvider",
    "ClusterStatus",
    "ClusterTable",
    "cluster_status",
    "delete_clusters",
    "ensure_clusters",
    "kube",
    "provider",
    "reach",
    "start_clusters",
    "stop_clusters",
]


_PROVIDERS: dict[str, Callable[[Lab], ClusterProvider]] = {
    clusters.name: clusters for clusters in (KwokClusters, MinikubeClusters, ExistingClusters)
}


def provider(lab: Lab) -> ClusterProvider:
    """The lab's way to get clusters."""
    return _PROVIDERS[lab.settings.provider](lab)


def reach(lab: Lab, environment: Environment) -> Kube:
    """The API server of an environment, asked whether it is there; nothing is started.

    Raises:
        LabError: It does not answer, or refuses the credentials.
    """
    clusters = provider(lab)
    return reached(clusters.own_kubeconfig(environment), environment.context, clusters.access(environment))


def kube(lab: Lab, environment: Environment, *, as_user: str = "") -> Kube:
    """The API server of an environment, as one of the lab's people; as its administrator where nobody is named."""
    file = lab.home.kubeconfig
    changed = file.stat().st_mtime_ns if file.exists() else 0
    return _kube(file, changed, environment.context, as_user)


@lru_cache(maxsize=32)
def _kube(kubeconfig: Path, changed: int, context: str, as_user: str) -> Kube:
    """One client for each user of each cluster, as long as the kubeconfig is the same: connections are kept."""
    return Kube(kubeconfig, context, as_user=as_user)


def _side_by_side(environments: Iterable[Environment], act: Callable[[Environment], None]) -> None:
    with ThreadPoolExecutor() as pool:
        for done in [pool.submit(act, environment) for environment in environments]:
            done.result()


def _write_contexts(lab: Lab) -> None:
    clusters = provider(lab)
    write_kubeconfig(
        lab.home.kubeconfig,
        {environment.context: clusters.access(environment) for environment in lab.environments},
    )


def ensure_clusters(lab: Lab) -> ClusterTable:
    """Create the three clusters side by side; what exists is started or repaired, what runs is left alone.

    Returns:
        The clusters as they are now. `$LABKIT_HOME/kubeconfig` has their contexts.

    Raises:
        LabError: A cluster could not be brought up; what is left can be removed with `labkit down`.
    """
    lab.home.ensure()
    _side_by_side(lab.environments, provider(lab).ensure)
    _write_contexts(lab)
    return cluster_status(lab)


def start_clusters(lab: Lab) -> ClusterTable:
    """Start clusters that were created and stopped."""
    _side_by_side(lab.environments, provider(lab).start)
    _write_contexts(lab)
    return cluster_status(lab)


def stop_clusters(lab: Lab) -> ClusterTable:
    """Stop the clusters, keeping their state."""
    _side_by_side(lab.environments, provider(lab).stop)
    return cluster_status(lab)


def delete_clusters(lab: Lab) -> ClusterTable:
    """Delete the clusters and their contexts: the lab's own, and nothing else."""
    _side_by_side(lab.environments, provider(lab).delete)
    lab.home.kubeconfig.unlink(missing_ok=True)
    return cluster_status(lab)


def cluster_status(lab: Lab) -> ClusterTable:
    """How the three clusters are now."""
    clusters = provider(lab)
    with ThreadPoolExecutor() as pool:
        return ClusterTable(tuple(pool.map(clusters.status, lab.environments)))
