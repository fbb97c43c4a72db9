"""A lab of clusters and pod runners only, with images from a registry of the suite's own."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import psutil
import yaml
from _images import ImageRegistry, file, layer
from _ports import ports_of_a_lab

from labkit.clusters import ensure_clusters, kube
from labkit.config import NAMESPACE, BackOff, Environment, Lab, choose, load_lab
from labkit.delivery.gitops import gitops_files
from labkit.delivery.oci import Image, build_image
from labkit.down import down
from labkit.install import ensure_programs
from labkit.kube import Kube
from labkit.paths import DATA, LabHome
from labkit.services.pods import ensure_pod_runners
from labkit.wait import wait_for

MOMENT = "2026-01-01T00:00:00Z"
# Shorter than a kubelet's, so that a test sees several.
PAUSES = BackOff(2, 4)


def publish(registry: ImageRegistry, image: Image) -> str:
    """Put an image that labkit has built into a registry; gives its address."""
    content = registry.content
    for blob in (image.layer, image.config):
        content.blobs[blob.digest] = blob.data
    content.manifests[image.manifest.digest] = (image.manifest.media_type, image.manifest.data)
    content.tags[image.version] = image.digest
    return registry.address(image.version)


@dataclass
class Bench:
    """What the tests of the pod runner work with."""

    lab: Lab
    tiers: Mapping[str, str]
    box: ImageRegistry
    made: list[tuple[str, str]] = field(default_factory=list)

    def api(self, name: str) -> Kube:
        """An environment's API server."""
        return kube(self.lab, self.lab.environment(name))

    def kubectl(self, environment: str, *words: str, check: bool = True, timeout: float = 60) -> str:
        """What kubectl prints; what it complains about, where it may fail."""
        done = subprocess.run(
            self.command(environment, *words), env=self.variables, capture_output=True, text=True, timeout=timeout
        )
        assert done.returncode == 0 or not check, f"kubectl {' '.join(words)}: {done.stdout}{done.stderr}"
        return done.stdout + ("" if check else done.stderr)

    def command(self, environment: str, *words: str) -> list[str]:
        """A kubectl command in the app's namespace."""
        return [str(self.lab.home.bin / "kubectl"), "--context", f"gitops-{environment}", "-n", NAMESPACE, *words]

    @property
    def variables(self) -> dict[str, str]:
        """The variables of kubectl's process."""
        return {**os.environ, "KUBECONFIG": str(self.lab.home.kubeconfig)}

    def run(self, environment: str, name: str, *command: str, kind: str = "Pod", **spec: Any) -> None:
        """Create a pod (or Job) that is run as a process, with the test's own image."""
        container = {
            "name": "main",
            "image": self.box.address("1"),
            "command": list(command),
            **spec.pop("container", {}),
        }
        labels = {"lab.labkit.dev/run": "process", "app": name}
        pod = {
            "automountServiceAccountToken": False,
            "terminationGracePeriodSeconds": 2,
            "containers": [container],
            **spec,
        }
        metadata = {"name": name, "namespace": NAMESPACE}
        if kind == "Job":
            backoff = pod.pop("backoffLimit", 0)
            body = {"template": {"metadata": {"labels": labels}, "spec": pod}, "backoffLimit": backoff}
            manifest = {"apiVersion": "batch/v1", "kind": "Job", "metadata": metadata, "spec": body}
        else:
            manifest = {"apiVersion": "v1", "kind": "Pod", "metadata": {**metadata, "labels": labels}, "spec": pod}
        self.api(environment).apply(manifest)

    def pod(self, environment: str, name: str) -> dict[str, Any]:
        """A pod as its API server has it."""
        return self.api(environment).need("v1", "Pod", name, NAMESPACE)

    def container(self, environment: str, name: str) -> dict[str, Any]:
        """The status of a pod's container; nothing before there is one."""
        statuses = (self.pod(environment, name).get("status") or {}).get("containerStatuses") or [{}]
        found: dict[str, Any] = statuses[0]
        return found

    def wait_container(
        self, environment: str, name: str, ready: Callable[[dict[str, Any]], bool], *, timeout: float = 30
    ) -> dict[str, Any]:
        """Wait for a pod's container to be in a state."""
        return wait_for(
            f"container of {name}",
            lambda: self.container(environment, name),
            ready,
            describe=lambda status: json.dumps(status),
            timeout=timeout,
            interval=0.1,
        )

    def events(self, environment: str, name: str) -> list[tuple[str, str, str]]:
        """A pod's events: type, reason, message."""
        return [
            (item["type"], item["reason"], item["message"])
            for item in self.api(environment).list("v1", "Event", NAMESPACE)
            if item["involvedObject"]["name"] == name
        ]

    def pods_of(self, environment: str, tier: str) -> list[dict[str, Any]]:
        """The pods of a tier that are not being deleted."""
        pods = self.api(environment).list("v1", "Pod", NAMESPACE, selector=f"app.kubernetes.io/name={tier}")
        return [pod for pod in pods if not pod["metadata"].get("deletionTimestamp")]

    def deploy(self, environment: str) -> None:
        """Apply the demo app as the gitops repo has it, and wait until it is available."""
        self.api(environment).apply(*manifests(self.lab, self.lab.environment(environment), self.tiers))
        for tier in self.tiers:
            self.kubectl(environment, "rollout", "status", f"deploy/{tier}", "--timeout=60s")


def process_of(status: Mapping[str, Any]) -> psutil.Process:
    """The program of a container: what the shell that waits for it has started."""
    shell = psutil.Process(int(status["containerID"].removeprefix("process://").partition("-")[0]))
    return wait_for("the container's program", shell.children, timeout=5, interval=0.01)[0]


def manifests(lab: Lab, environment: Environment, tiers: Mapping[str, str]) -> list[dict[str, Any]]:
    """What the overlay of an environment says, with these images."""
    folder = lab.home.work / "overlays"
    for name, content in gitops_files(lab).items():
        file_of_repo = folder / name
        file_of_repo.parent.mkdir(parents=True, exist_ok=True)
        file_of_repo.write_bytes(content)
    kustomize = str(lab.home.bin / "kustomize")
    built = subprocess.run(
        [kustomize, "build", str(folder / "overlays" / environment.name)], capture_output=True, text=True, check=True
    ).stdout
    # The CronJob's image is not in the test's registry.
    found = [item for item in yaml.safe_load_all(built) if item and item["kind"] != "CronJob"]
    for item in found:
        if item["kind"] == "Deployment":
            container = item["spec"]["template"]["spec"]["containers"][0]
            container["image"] = tiers[item["metadata"]["name"]]
    return found


@contextmanager
def bench(folder: Path) -> Iterator[Bench]:
    """Clusters with pod runners, and the demo app's images; taken down afterwards."""
    registries = {name: ImageRegistry(f"tests/{name}") for name in ("frontend", "backend", "database", "box")}
    for registry in registries.values():
        registry.wants_token = False
    box = registries.pop("box")
    box.content.tags["1"] = box.content.image([layer(file("app/greeting", "hello\n"))])["digest"]
    tiers = {
        tier: publish(registry, build_image(DATA / "demo-app", tier, "1.2.3", "f" * 40, created=MOMENT))
        for tier, registry in registries.items()
    }
    with ports_of_a_lab() as first_port:
        lab = choose(load_lab(LabHome(folder / "lab")), port_base=first_port, pods="process")
        lab = replace(lab, pods=replace(lab.pods, restarts=PAUSES, pulls=PAUSES))
        try:
            ensure_programs(lab)
            ensure_clusters(lab)
            ensure_pod_runners(lab)
            for environment in lab.environments:
                kube(lab, environment).apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}})
            yield Bench(lab, tiers, box)
        finally:
            down(lab, purge=True)
            for registry in (*registries.values(), box):
                registry.close()
