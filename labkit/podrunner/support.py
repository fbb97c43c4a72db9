"""What of a pod a process can be: anything else is refused visibly, before it is started."""

from __future__ import annotations

from collections.abc import Iterator

from labkit.asynckube.objects import Obj
from labkit.podrunner.environment import ConfigError

_VOLUMES = ("emptyDir", "configMap", "secret", "persistentVolumeClaim")
_PROBES = ("startupProbe", "readinessProbe", "livenessProbe")


def assert_supported(pod: Obj) -> None:
    """Refuse a pod that cannot be run as a process.

    Raises:
        ConfigError: Names all that cannot be had.
    """
    if problems := list(_problems(pod)):
        raise ConfigError("the pod runner has no support for " + "; ".join(problems))


def container_port(pod: Obj) -> int | None:
    """The one port that the pod's container says it listens on, if it says so."""
    ports = pod["spec"]["containers"][0].get("ports") or []
    return int(ports[0]["containerPort"]) if ports else None


def _problems(pod: Obj) -> Iterator[str]:
    spec = pod["spec"]
    if len(spec["containers"]) > 1:
        yield "several containers, which would share an address"
    for field in ("hostNetwork", "hostPID", "hostIPC", "activeDeadlineSeconds"):
        if spec.get(field):
            yield field
    for volume in spec.get("volumes") or []:
        kind = next((kind for kind in volume if kind != "name"), "emptyDir")
        if kind == "projected" and volume["name"].startswith("kube-api-access-"):
            yield "a service account's token (set automountServiceAccountToken: false)"
        elif kind not in _VOLUMES:
            yield f"volume {volume['name']} of kind {kind}"
    for container in [*(spec.get("initContainers") or []), *spec["containers"]]:
        for problem in _container_problems(container):
            yield f"{problem} of container {container['name']}"


def _container_problems(container: Obj) -> Iterator[str]:
    if container.get("restartPolicy"):
        yield "a restart policy"
    if container.get("lifecycle"):
        yield "lifecycle hooks"
    if len(container.get("ports") or []) > 1:
        yield "more than one port"
    if any(port.get("protocol", "TCP") != "TCP" for port in container.get("ports") or []):
        yield "a port that is not TCP"
    if container.get("stdin") or container.get("tty"):
        yield "stdin and tty"
    for mount in container.get("volumeMounts") or []:
        if mount.get("subPath") or mount.get("subPathExpr"):
            yield f"subPath at {mount['mountPath']}"
    for kind in _PROBES:
        probe = container.get(kind) or {}
        if "grpc" in probe or (probe.get("httpGet") or {}).get("scheme", "HTTP") != "HTTP":
            yield f"{kind} by gRPC or HTTPS"
