"""Pods as processes: how long they take to start, and what they and their runner need at rest."""

from __future__ import annotations

import re
import statistics
import time
from collections.abc import Iterator, Mapping
from typing import Any

import httpx
import psutil

from labkit.clusters import kube
from labkit.config import Environment, Lab
from labkit.process import LOOPBACK, proportional_set_size
from labkit.services.pods import pod_processes, pod_runner
from labkit.services.supervisor import Supervisor
from labkit.wait import wait_for

PODS = 60
REST_SECONDS = 20.0
SPACE = "bench"
MIB = 2**20


def pod_figures(lab: Lab, environment: Environment, image: str) -> Iterator[tuple[str, str]]:
    """Start pods of the frontend's image beside what runs there, look at them at rest, and take them away again."""
    api = kube(lab, environment)
    others = {process.pid for process in pod_processes(lab)}
    runner = Supervisor(lab).pids()[pod_runner(environment)]
    yield f"pod runner of {environment.context}, before (PSS), MiB", f"{proportional_set_size([runner]) / MIB:.0f}"
    api.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": SPACE}})
    try:
        for count in (1, PODS):
            yield f"{count} pods, scheduled to all Ready, s", f"{_start(lab, environment, image, count):.1f}"
        yield f"of {PODS} pods each, scheduled to Ready, s", _spread(_ready_seconds(api.list("v1", "Pod", SPACE)))
        found = [process for process in pod_processes(lab) if process.pid not in others]
        memory = proportional_set_size(process.pid for process in found) / PODS / MIB
        shells = [process.pid for process in found if process.name() in ("sh", "dash", "bash")]
        yield "a pod, memory (PSS), MiB", f"{memory:.1f}"
        yield "of which the shell that waits, MiB", f"{proportional_set_size(shells) / PODS / MIB:.2f}"
        yield f"pod runner with {PODS} pods (PSS), MiB", f"{proportional_set_size([runner]) / MIB:.0f}"
        used = _cpu(found, [psutil.Process(runner)])
        yield f"CPU at rest, {PODS} pods with their probes, cores", f"{used[0]:.3f}"
        yield "CPU at rest, their runner, cores", f"{used[1]:.3f}"
        yield "the runner's metrics page, s", f"{_page_seconds(lab, environment):.2f}"
        restarts = sum(item["restartCount"] for pod in api.list("v1", "Pod", SPACE) for item in _statuses(pod))
        yield "restarts meanwhile", str(restarts)
    finally:
        api.delete("v1", "Namespace", SPACE)
    left = wait_for(
        "the pods to be gone",
        lambda: [process for process in pod_processes(lab) if process.pid not in others],
        lambda found: not found,
        describe=lambda found: f"{len(found)} processes",
        timeout=120,
    )
    yield "processes left of them", str(len(left))


def _start(lab: Lab, environment: Environment, image: str, count: int) -> float:
    api = kube(lab, environment)
    began = time.monotonic()
    api.apply(_deployment(image, count))
    wait_for(
        f"{count} pods",
        lambda: (api.need("apps/v1", "Deployment", "bench", SPACE).get("status") or {}).get("availableReplicas", 0),
        lambda available: available == count,
        timeout=180,
        interval=0.1,
    )
    return time.monotonic() - began


def _deployment(image: str, count: int) -> dict[str, Any]:
    labels = {"app": "bench", "lab.labkit.dev/run": "process"}
    ready = {"httpGet": {"path": "/readyz", "port": 8080}, "periodSeconds": 2, "timeoutSeconds": 2}
    alive = {"httpGet": {"path": "/healthz", "port": 8080}, "periodSeconds": 10, "timeoutSeconds": 3}
    container = {
        "name": "main",
        "image": image,
        "ports": [{"containerPort": 8080}],
        "env": [{"name": "DRAIN_SECONDS", "value": "0"}],
        "startupProbe": {**alive, "periodSeconds": 1, "failureThreshold": 60},
        "readinessProbe": ready,
        "livenessProbe": alive,
        "resources": {"requests": {"cpu": "1m", "memory": "1Mi"}},
    }
    spec = {"automountServiceAccountToken": False, "containers": [container]}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "bench", "namespace": SPACE},
        "spec": {
            "replicas": count,
            "selector": {"matchLabels": {"app": "bench"}},
            "template": {"metadata": {"labels": labels}, "spec": spec},
        },
    }


def _ready_seconds(pods: list[dict[str, Any]]) -> list[float]:
    return [_since(pod, "Ready") - _since(pod, "PodScheduled") for pod in pods]


def _since(pod: Mapping[str, Any], kind: str) -> float:
    text = next(item["lastTransitionTime"] for item in pod["status"]["conditions"] if item["type"] == kind)
    return time.mktime(time.strptime(re.sub(r"\..*", "", text).rstrip("Z"), "%Y-%m-%dT%H:%M:%S"))


def _statuses(pod: Mapping[str, Any]) -> list[dict[str, Any]]:
    return list(pod["status"].get("containerStatuses") or [])


def _cpu(*groups: list[psutil.Process]) -> list[float]:
    """Cores that each group of processes uses at rest."""

    def seconds(group: list[psutil.Process]) -> float:
        return sum(times.user + times.system for times in (process.cpu_times() for process in group))

    before = [seconds(group) for group in groups]
    began = time.monotonic()
    # What is measured is a span of time.
    time.sleep(REST_SECONDS)
    took = time.monotonic() - began
    return [(seconds(group) - start) / took for group, start in zip(groups, before, strict=True)]


def _page_seconds(lab: Lab, environment: Environment) -> float:
    began = time.monotonic()
    httpx.get(f"http://{LOOPBACK}:{lab.port('pods', environment)}/metrics", trust_env=False, timeout=30)
    return time.monotonic() - began


def _spread(values: list[float]) -> str:
    return f"{statistics.median(values):.0f} (median of {len(values)}; {min(values):.0f}-{max(values):.0f})"
