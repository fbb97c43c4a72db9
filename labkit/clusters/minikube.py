"""Clusters that minikube makes: a profile for each environment, in a folder of the lab's own, on one network."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import psutil
from filelock import FileLock

from labkit.clusters.base import ClusterStatus
from labkit.clusters.kubeconfig import read_access
from labkit.clusters.look import observed, reached
from labkit.config import Environment, Lab
from labkit.errors import LabError, UsageError
from labkit.kube import Kube
from labkit.process import run
from labkit.quantities import quantity
from labkit.toolchain import ensure_tools

_MIB = 2**20
_GIB = 2**30
_PORT = 8443


@dataclass(frozen=True)
class NodeSize:
    """What minikube is to give each node of a cluster."""

    cpus: int
    memory_mib: int
    disk_mib: int
    nodes: int


def node_size(lab: Lab, environment: Environment) -> NodeSize:
    """The share of each node in an environment's size, scaled; no node is smaller than minikube takes."""
    scale = lab.settings.minikube.scale / environment.nodes
    least = quantity(lab.minikube.least_memory) / _MIB
    return NodeSize(
        cpus=max(math.ceil(environment.cpu * scale), lab.minikube.least_cpus),
        memory_mib=math.ceil(max(quantity(environment.memory) / _MIB * scale, least)),
        disk_mib=math.ceil(quantity(environment.disk) / _MIB * scale),
        nodes=environment.nodes,
    )


def _size(mib: int) -> str:
    return f"{mib // 1024}g" if mib % 1024 == 0 else f"{mib}m"


def start_arguments(lab: Lab, environment: Environment, driver: str) -> tuple[str, ...]:
    """The arguments of `minikube` that start an environment's cluster."""
    size = node_size(lab, environment)
    return (
        "start",
        f"--profile={environment.context}",
        f"--cpus={size.cpus}",
        f"--memory={_size(size.memory_mib)}",
        f"--disk-size={_size(size.disk_mib)}",
        f"--nodes={size.nodes}",
        f"--kubernetes-version=v{lab.minikube.kubernetes}",
        f"--driver={driver}",
        f"--network={network(lab)}",
        "--keep-context",
        "--interactive=false",
        "--wait=all",
    )


def network(lab: Lab) -> str:
    """The network that the lab's clusters share."""
    return f"labkit-{lab.settings.port_base}"


@dataclass(frozen=True)
class Host:
    """What a machine can give to clusters."""

    cpus: int
    memory_gib: float
    disk_gib: float


def this_host(folder: Path) -> Host:
    """What this machine can give now, its disk where a folder is or is to be."""
    place = folder
    while not place.exists():
        place = place.parent
    return Host(
        cpus=psutil.cpu_count() or 1,
        memory_gib=psutil.virtual_memory().available / _GIB,
        disk_gib=shutil.disk_usage(place).free / _GIB,
    )


def shortfall(lab: Lab, host: Host, environments: Sequence[Environment] | None = None) -> tuple[str, ...]:
    """What a host lacks for clusters: a line for each of processors, memory and disk that it has too little of.

    Args:
        lab: The lab, with its scale.
        host: What there is.
        environments: Those whose cluster is to start; all of them where None is given.
    """
    sizes = [node_size(lab, item) for item in (lab.environments if environments is None else environments)]
    wanted = {
        "CPU": sum(size.cpus * size.nodes for size in sizes),
        "GiB of memory": sum(size.memory_mib * size.nodes for size in sizes) / 1024,
        "GiB of disk": sum(size.disk_mib * size.nodes for size in sizes) / 1024,
    }
    there = {"CPU": host.cpus, "GiB of memory": host.memory_gib, "GiB of disk": host.disk_gib}
    return tuple(
        f"{wanted[what] - there[what]:.3g} {what} too little ({wanted[what]:.3g} wanted, {there[what]:.3g} there)"
        for what in wanted
        if there[what] < wanted[what]
    )


class MinikubeClusters:
    """The clusters of a lab as minikube's profiles, in a `MINIKUBE_HOME` of the lab's own.

    That folder is the mark of ownership: profiles of the same name in another one are never seen.
    """

    name = "minikube"
    owned = True

    def __init__(self, lab: Lab) -> None:
        self._lab = lab
        self._root = lab.home.clusters

    def check(self) -> None:
        """Refuse a driver that cannot put three clusters on one network.

        Raises:
            UsageError: Names those that can.
        """
        driver, known = self._lab.settings.minikube.driver, self._lab.minikube.drivers
        if driver and driver not in known:
            raise UsageError(
                f"minikube's driver {driver!r} is not one that puts three clusters on one network",
                todo=f"use one of: {', '.join(known)}",
            )

    def driver(self) -> str:
        """The driver that was chosen; else the first that is there.

        Raises:
            LabError: It is not there; says what it said.
        """
        chosen = self._lab.settings.minikube.driver
        reasons = []
        for name, command in self._lab.minikube.drivers.items():
            if chosen in ("", name):
                try:
                    run(command, timeout=20)
                except LabError as error:
                    reasons.append(f"{error.what}: {error.seen.splitlines()[-1] if error.seen else ''}")
                else:
                    return name
        raise LabError(
            f"minikube's driver {chosen} is not there" if chosen else "There is no driver for minikube",
            seen="; ".join(reasons),
            todo=f"install and start one of: {', '.join(self._lab.minikube.drivers)}",
        )

    def to_start(self) -> tuple[Environment, ...]:
        """The environments whose cluster does not run."""
        return tuple(item for item in self._lab.environments if self._profile(item).get("Status") not in _RUNNING)

    def _minikube(self, environment: Environment, *arguments: str, seconds: float = 120) -> str:
        return run(
            [ensure_tools(["minikube"]).path("minikube"), *arguments],
            env={
                "MINIKUBE_HOME": str(self._root),
                "KUBECONFIG": str(self._minikubes_kubeconfig(environment)),
                "MINIKUBE_WANTUPDATENOTIFICATION": "false",
            },
            timeout=seconds,
            todo=f"`MINIKUBE_HOME={self._root} minikube logs --profile={environment.context}`; "
            "`labkit clusters delete` starts afresh",
        )

    def _minikubes_kubeconfig(self, environment: Environment) -> Path:
        return self._root / f"{environment.context}.minikube.kubeconfig"

    def _folder(self, environment: Environment) -> Path:
        return self._root / ".minikube" / "profiles" / environment.context

    def _profile(self, environment: Environment) -> dict[str, Any]:
        """What minikube says of a profile; nothing where there is none."""
        if not self._folder(environment).exists():
            return {}
        listed = json.loads(self._minikube(environment, "profile", "list", "--output=json"))
        profiles = [*(listed.get("valid") or []), *(listed.get("invalid") or [])]
        return next((item for item in profiles if item.get("Name") == environment.context), {})

    def ensure(self, environment: Environment) -> None:
        """Create the cluster, or start what is there; a no-op where it runs."""
        if self._profile(environment).get("Status") not in _RUNNING:
            self._start(environment)

    def start(self, environment: Environment) -> None:
        """Start a cluster that was created, and wait until its API server answers."""
        if not self._folder(environment).exists():
            raise LabError(f"Cluster {environment.context} was not created", todo="`labkit clusters create` creates it")
        self.ensure(environment)
        self._reached(environment)

    def _start(self, environment: Environment) -> None:
        self._root.mkdir(parents=True, exist_ok=True)
        seconds = self._lab.minikube.start_seconds
        # One after another: the first makes the network that the others join.
        with FileLock(self._root / "minikube.lock", timeout=seconds * len(self._lab.environments)):
            lacking = shortfall(self._lab, this_host(self._root), [environment])
            if lacking:
                raise LabError(
                    f"This machine is too small for {environment.context}; it was not started",
                    seen="; ".join(lacking),
                    todo=SMALLER,
                )
            self._minikube(environment, *start_arguments(self._lab, environment, self.driver()), seconds=seconds)

    def stop(self, environment: Environment) -> None:
        """Stop the cluster, keeping its state."""
        if self._folder(environment).exists():
            self._minikube(environment, "stop", f"--profile={environment.context}")

    def delete(self, environment: Environment) -> None:
        """Remove the cluster and its state."""
        if self._folder(environment).exists():
            self._minikube(environment, "delete", f"--profile={environment.context}")
        for file in self._root.glob(f"*{environment.context}.*"):
            file.unlink()

    def status(self, environment: Environment) -> ClusterStatus:
        """How the cluster is now, as minikube and its API server say."""
        known = ClusterStatus(environment.name, environment.context, "absent")
        profile = self._profile(environment)
        if not profile:
            return known
        if profile.get("Status") not in _RUNNING:
            return replace(known, state="stopped", down=(str(profile.get("Status")),))
        try:
            server = str(self.access(environment)["cluster"]["server"])
            api = self._reached(environment)
        except LabError as error:
            return replace(known, state="degraded", down=(error.what,))
        return observed(api, replace(known, server=server))

    def _reached(self, environment: Environment) -> Kube:
        return reached(self.own_kubeconfig(environment), environment.context, self.access(environment))

    def down(self, environment: Environment) -> tuple[str, ...]:
        """Nothing: minikube looks after its components."""
        return ()

    def own_kubeconfig(self, environment: Environment) -> Path:
        """A kubeconfig with this cluster only."""
        return self._root / f"{environment.context}.kubeconfig"

    def volumes(self, environment: Environment) -> Path:
        """There is no such folder on this machine.

        Raises:
            LabError: Always.
        """
        raise LabError(f"The volumes of {environment.context} are inside its nodes")

    def processes(self, environment: Environment) -> Mapping[str, int]:
        """None: they run in containers or virtual machines."""
        return {}

    def inner_server(self, environment: Environment) -> str:
        """The API server on the network that the clusters share."""
        return f"https://{self._minikube(environment, 'ip', f'--profile={environment.context}').strip()}:{_PORT}"

    def access(self, environment: Environment) -> Mapping[str, Any]:
        """The `cluster` and `user` entries that minikube has written for this cluster's administrator."""
        return read_access(
            self._minikubes_kubeconfig(environment), environment.context, todo="`labkit clusters start` writes it"
        )


# minikube's words for a profile whose cluster runs.
_RUNNING = ("Running", "OK")
SMALLER = "`labkit init --provider minikube --scale 0.5` for smaller clusters, or a larger machine"
