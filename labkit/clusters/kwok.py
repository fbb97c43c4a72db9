"""Embedded clusters: real control planes as plain processes, made by kwokctl; KWOK keeps the nodes alive."""

from __future__ import annotations

import base64
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
from filelock import FileLock

from labkit.clusters.base import ClusterStatus
from labkit.clusters.kubeconfig import write_kubeconfig
from labkit.clusters.look import observed
from labkit.config import Environment, Lab
from labkit.errors import LabError
from labkit.kube import Kube, conditions
from labkit.paths import DATA
from labkit.process import LOOPBACK, MARK, OTHER_PORTS, assert_ports_free, end_processes, run, running_processes
from labkit.quantities import quantity
from labkit.templates import manifests, read_manifests, render
from labkit.toolchain import Toolset, ensure_tools
from labkit.wait import wait_for

COMPONENTS = ("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kwok-controller")
PROGRAMS = (
    "kube-apiserver",
    "kube-controller-manager",
    "kube-scheduler",
    "kwok",
    "kwokctl",
    "etcd",
    "etcdctl",
    "etcdutl",
    "kubectl",
)
# What each component listens on.
PORTS = {
    "etcd": ("etcd", "etcd-peer"),
    "kube-apiserver": ("apiserver",),
    "kube-controller-manager": ("controller-manager",),
    "kube-scheduler": ("scheduler",),
    "kwok-controller": ("kwok",),
}


class KwokClusters:
    """The clusters of a lab as host processes under `$LABKIT_HOME/clusters`.

    That folder is the mark of ownership: only what lives in it is ever stopped or deleted.
    """

    name = "kwok"
    owned = True

    def __init__(self, lab: Lab) -> None:
        self._lab = lab
        self._root = lab.home.clusters
        self._tools: Toolset | None = None

    def _folder(self, environment: Environment) -> Path:
        return self._root / "clusters" / environment.context

    def _finished(self, environment: Environment) -> Path:
        """Written when creation ended: a folder without it is half-created."""
        return self._folder(environment) / "labkit-created"

    def _kwokctl(self, environment: Environment, *arguments: str) -> None:
        if self._tools is None:
            self._tools = ensure_tools(PROGRAMS)
        kwokctl = self._tools.path("kwokctl")
        run(
            [kwokctl, "--name", environment.context, *arguments],
            env={
                "KWOK_WORKDIR": str(self._root),
                "PATH": f"{self._tools.path('kubectl').parent}:/usr/bin:/bin",
                # The watchdog is a service, the components that it starts are not.
                MARK: "",
            },
            timeout=self._lab.limits.cluster_seconds,
            todo=f"read the logs in {self._folder(environment) / 'logs'}; `labkit clusters delete` starts afresh",
        )

    def processes(self, environment: Environment) -> Mapping[str, int]:
        """Pids of this cluster's components; a pid that now belongs to another process is left out."""
        found = {}
        for component in COMPONENTS:
            pid_file = self._folder(environment) / "pids" / f"{component}.pid"
            try:
                process = psutil.Process(int(pid_file.read_text()))
            except (OSError, ValueError, psutil.Error):
                continue
            if self._owns(environment, process):
                found[component] = process.pid
        return found

    def _owns(self, environment: Environment, process: psutil.Process) -> bool:
        """Whether a process runs a program of this cluster's folder."""
        try:
            command = process.cmdline()
        except (OSError, psutil.Error):
            return False
        return bool(command) and Path(command[0]).parent == self._folder(environment) / "bin"

    def _own_processes(self, environment: Environment) -> list[psutil.Process]:
        """All components that run, also those that no pid file names, as an interrupted kwokctl leaves them."""
        return [process for process in running_processes() if self._owns(environment, process)]

    def down(self, environment: Environment) -> tuple[str, ...]:
        """Components of a created cluster that do not run."""
        if not self._finished(environment).exists():
            return ()
        running = self.processes(environment)
        return tuple(component for component in COMPONENTS if component not in running)

    def _forget_dead_processes(self, environment: Environment) -> None:
        """After a reboot a pid may be somebody else's: kwokctl must not take it for a component, nor kill it."""
        running = self.processes(environment)
        for pid_file in (self._folder(environment) / "pids").glob("*.pid"):
            if pid_file.stem not in running:
                pid_file.unlink()

    def _assert_ports_free(self, environment: Environment, running: Mapping[str, int]) -> None:
        assert_ports_free(
            {
                f"{name} of {environment.context}": self._lab.port(name, environment)
                for component, names in PORTS.items()
                if component not in running
                for name in names
            },
            todo=OTHER_PORTS,
        )

    def check(self) -> None:
        """What was chosen for the lab is all there is to choose."""

    def ensure(self, environment: Environment) -> None:
        """Create the cluster, or start or repair what is there; a no-op where it runs."""
        folder = self._folder(environment)
        if folder.exists() and not self._finished(environment).exists():
            self.delete(environment)
        if not folder.exists():
            self._create(environment)
        self.start(environment)

    def _create(self, environment: Environment) -> None:
        self._assert_ports_free(environment, {})
        self._tools = self._tools or ensure_tools(PROGRAMS)
        self._root.mkdir(parents=True, exist_ok=True)
        config = self._root / f"{environment.context}.yaml"
        config.write_text(
            render(
                "kwok/cluster.yaml",
                programs={name: str(self._tools.path(name)) for name in PROGRAMS},
                pods=self._lab.settings.pods,
                kubernetes_version=self._tools.version("kube-apiserver"),
                ports={name: self._lab.port(name, environment) for names in PORTS.values() for name in names},
            )
        )
        self._kwokctl(
            environment,
            *("create", "cluster", "--config", str(config)),
            *("--kubeconfig", str(self._root / f"{environment.context}.kwokctl.kubeconfig")),
            *("--wait", f"{self._lab.limits.cluster_seconds}s"),
        )
        self._finished(environment).touch()

    def start(self, environment: Environment) -> None:
        """Start a cluster that was created, and wait until its API server and nodes are ready."""
        if not self._finished(environment).exists():
            raise LabError(f"Cluster {environment.context} was not created", todo="`labkit clusters create` creates it")
        # The watchdog may be at it too.
        with FileLock(self._root / f"{environment.context}.lock", timeout=self._lab.limits.cluster_seconds):
            self._forget_dead_processes(environment)
            running = self.processes(environment)
            if len(running) < len(COMPONENTS):
                known = running.values()
                end_processes(process for process in self._own_processes(environment) if process.pid not in known)
                self._assert_ports_free(environment, running)
                self._kwokctl(environment, "start", "cluster")
        self._write_own_kubeconfig(environment)
        kube = self._kube(environment)
        wait_for(
            f"API server of {environment.context}",
            kube.ready,
            timeout=self._lab.limits.cluster_seconds,
            todo=f"read the logs in {self._folder(environment) / 'logs'}",
        )
        kube.apply(*self._stages())
        kube.apply(*self._nodes(environment), *self._volumes(environment))
        wait_for(
            f"nodes of {environment.context} to be Ready",
            lambda: [conditions(node).get("Ready", "Unknown") for node in kube.list("v1", "Node")],
            lambda ready: len(ready) == environment.nodes and set(ready) == {"True"},
            timeout=self._lab.limits.cluster_seconds,
        )

    def _stages(self) -> list[dict[str, Any]]:
        """What KWOK does with nodes and pods, where it is not to simulate all of them as it does by itself."""
        if self._lab.settings.pods == "simulated":
            return []
        # Not filled in as other manifests are: KWOK's templates are its own.
        return read_manifests(DATA / "kwok" / "stages.yaml")

    def _nodes(self, environment: Environment) -> list[dict[str, Any]]:
        share = environment.nodes
        return [
            manifest
            for number in range(1, share + 1)
            for manifest in manifests(
                "kwok/node.yaml",
                node=f"{environment.context}-{number}",
                zone=number,
                environment=environment.name,
                milli_cpu=environment.cpu * 1000 // share,
                memory_bytes=int(quantity(environment.memory)) // share,
                disk_bytes=int(quantity(environment.disk)) // share,
            )
        ]

    def volumes(self, environment: Environment) -> Path:
        """The folder that holds the cluster's persistent volumes: part of its state, deleted with it."""
        return self._folder(environment) / "volumes"

    def _volumes(self, environment: Environment) -> list[dict[str, Any]]:
        names = [f"{environment.context}-disk-{number}" for number in range(1, self._lab.pods.volumes + 1)]
        folders = {name: self.volumes(environment) / name for name in names}
        for folder in folders.values():
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        volumes = {name: str(folder) for name, folder in folders.items()}
        return manifests("kwok/volumes.yaml", volumes=volumes, size=self._lab.pods.volume_size)

    def _write_own_kubeconfig(self, environment: Environment) -> None:
        write_kubeconfig(self.own_kubeconfig(environment), {environment.context: self.access(environment)})

    def own_kubeconfig(self, environment: Environment) -> Path:
        """A kubeconfig with this cluster only."""
        return self._root / f"{environment.context}.kubeconfig"

    def _kube(self, environment: Environment) -> Kube:
        return Kube(self.own_kubeconfig(environment), environment.context)

    def stop(self, environment: Environment) -> None:
        """Stop the cluster's processes, keeping its state."""
        end_processes(self._own_processes(environment))

    def delete(self, environment: Environment) -> None:
        """Remove the cluster, its processes and its state."""
        self.stop(environment)
        if self._folder(environment).exists():
            shutil.rmtree(self._folder(environment))
        for file in self._root.glob(f"*{environment.context}.*"):
            file.unlink()

    def inner_server(self, environment: Environment) -> str:
        """The address on this machine: pods that run as processes are on it too."""
        return f"https://{LOOPBACK}:{self._lab.port('apiserver', environment)}"

    def access(self, environment: Environment) -> Mapping[str, Any]:
        """The `cluster` and `user` entries of a kubeconfig for this cluster's administrator."""
        pki = self._folder(environment) / "pki"

        def data(file: str) -> str:
            return base64.b64encode((pki / file).read_bytes()).decode()

        return {
            "cluster": {
                "server": self.inner_server(environment),
                "certificate-authority-data": data("ca.crt"),
            },
            "user": {
                "client-certificate-data": data("admin.crt"),
                "client-key-data": data("admin.key"),
            },
        }

    def status(self, environment: Environment) -> ClusterStatus:
        """How the cluster is now, as its API server and its processes say."""
        absent = ClusterStatus(environment.name, environment.context, "absent")
        if not self._folder(environment).exists():
            return absent
        down = self.down(environment)
        if len(down) == len(COMPONENTS):
            return replace(absent, state="stopped", down=down)
        known = replace(absent, server=self.inner_server(environment), down=down)
        try:
            kube = self._kube(environment)
        except LabError:
            return replace(known, state="degraded")
        return observed(kube, known)
