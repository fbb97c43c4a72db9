"""What an API server says of its cluster."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from labkit.clusters.base import ClusterStatus
from labkit.clusters.kubeconfig import write_kubeconfig
from labkit.errors import LabError
from labkit.kube import UNREACHABLE, Kube, conditions
from labkit.quantities import quantity

GIB = 2**30
_PROBE_SECONDS = 5


def reached(file: Path, context: str, access: Mapping[str, Any]) -> Kube:
    """An API server that answers.

    Args:
        file: Where the kubeconfig with this cluster only is written to.
        context: The lab's name for it.
        access: Its `cluster` and `user` entries.

    Raises:
        LabError: It does not answer, or refuses the credentials.
    """
    write_kubeconfig(file, {context: access})
    kube = Kube(file, context)
    kube.probe(seconds=_PROBE_SECONDS)
    return kube


def observed(kube: Kube, known: ClusterStatus) -> ClusterStatus:
    """A cluster's status with what its API server says: version, nodes, sizes.

    Args:
        kube: The API server.
        known: What is known without it; with components that are down, the cluster is `degraded` whatever it says.

    Returns:
        `running` where it answers and every node is ready, else `degraded`.
    """
    try:
        nodes = kube.list("v1", "Node")
        version = kube.version()
    except (*UNREACHABLE, LabError):
        return replace(known, state="degraded")
    ready = sum(conditions(node).get("Ready") == "True" for node in nodes)
    capacity = [node["status"].get("capacity", {}) for node in nodes]

    def total(resource: str) -> float:
        return sum(quantity(size.get(resource, "0")) for size in capacity)

    return replace(
        known,
        state="running" if nodes and ready == len(nodes) and not known.down else "degraded",
        version=version,
        nodes=f"{ready}/{len(nodes)}",
        cpu=round(total("cpu"), 2),
        memory_gib=round(total("memory") / GIB, 1),
        disk_gib=round(total("ephemeral-storage") / GIB, 1),
    )
