"""What every kind of cluster must offer, and what the lab shows of one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from labkit.config import Environment
from labkit.tables import Record, Table


@dataclass(frozen=True, repr=False)
class ClusterStatus(Record):
    """How one cluster is.

    Attributes:
        environment: `dev`, `pre` or `prod`.
        context: Its kubectl context.
        state: `running`, `degraded` (a component or node is down), `stopped` or `absent`.
        version: Of the API server, as it says itself; empty where it does not answer.
        server: Address of the API server.
        nodes: Ready and all nodes, such as `3/3`.
        cpu: Capacity of all nodes in cores.
        memory_gib: Capacity of all nodes.
        disk_gib: Capacity of all nodes.
        down: Components that do not run.
    """

    environment: str
    context: str
    state: str
    version: str = ""
    server: str = ""
    nodes: str = "0/0"
    cpu: float = 0
    memory_gib: float = 0
    disk_gib: float = 0
    down: tuple[str, ...] = ()


class ClusterTable(Table[ClusterStatus]):
    """The clusters of a lab, by environment."""

    title = "Clusters"
    columns = ("context", "state", "version", "nodes", "cpu", "memory_gib", "disk_gib", "server", "down")


class ClusterProvider(Protocol):
    """One way to get a cluster for an environment.

    Attributes:
        name: What it is called in `--provider`.
        owned: Whether the clusters are the lab's own: to be started, stopped and deleted.
    """

    name: str
    owned: bool

    def check(self) -> None:
        """Refuse what was chosen for the lab where it cannot be; asks no cluster, and changes nothing."""

    def ensure(self, environment: Environment) -> None:
        """Create the cluster, or start or repair what is there; a no-op where it runs."""

    def start(self, environment: Environment) -> None:
        """Start a cluster that was created."""

    def stop(self, environment: Environment) -> None:
        """Stop a cluster, keeping its state."""

    def delete(self, environment: Environment) -> None:
        """Remove the cluster and its state; a no-op where there is none."""

    def status(self, environment: Environment) -> ClusterStatus:
        """How the cluster is now."""

    def down(self, environment: Environment) -> tuple[str, ...]:
        """Components of a created cluster that do not run."""

    def own_kubeconfig(self, environment: Environment) -> Path:
        """A kubeconfig with this cluster only, for the programs that serve it."""

    def volumes(self, environment: Environment) -> Path:
        """The folder that holds the cluster's persistent volumes: part of its state, deleted with it."""

    def access(self, environment: Environment) -> Mapping[str, Any]:
        """The `cluster` and `user` entries of a kubeconfig for this cluster's administrator."""

    def inner_server(self, environment: Environment) -> str:
        """Address of the API server, as pods of another of the clusters reach it."""

    def processes(self, environment: Environment) -> Mapping[str, int]:
        """Pids of the host processes that this cluster consists of, by component."""
