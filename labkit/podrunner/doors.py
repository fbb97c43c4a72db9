"""How kubectl gets in: KWOK's Logs, Exec and PortForward objects of a pod, which KWOK's kubelet API follows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from labkit.asynckube.objects import Obj, Resource, name_of, namespace_of
from labkit.podrunner.container import Container
from labkit.podrunner.model import EXEC, LOGS, PORT_FORWARD, uid_of
from labkit.podrunner.sandbox import Sandbox
from labkit.process import LOOPBACK


@dataclass(frozen=True)
class Door:
    """One of KWOK's objects for a pod."""

    resource: Resource
    obj: Obj


def doors(pod: Obj, sandbox: Sandbox, containers: list[Container], port: int, declared: int | None) -> Iterator[Door]:
    """What KWOK has to know of a pod.

    What a Secret gives to the process is left out of Exec: those who may read Exec may not read Secrets.

    Args:
        pod: The pod.
        sandbox: Its folder.
        containers: Its containers, those that have not started yet too.
        port: Its own port on this machine.
        declared: The port that it says it listens on.
    """
    logs = [
        {
            "containers": [one.name],
            "logsFile": str(sandbox.log(one.name)),
            "previousLogsFile": str(sandbox.previous_log(one.name)),
        }
        for one in containers
    ]
    yield _door(LOGS, pod, {"logs": logs})
    execs = [
        {
            "containers": [one.name],
            "local": {
                "workDir": str(one.prepared.folder),
                "envs": [{"name": name, "value": value} for name, value in one.prepared.public.items()],
            },
        }
        for one in containers
        if one.prepared
    ]
    if execs:
        yield _door(EXEC, pod, {"execs": execs})
    if declared is not None:
        forward = {"ports": [declared], "target": {"port": port, "address": LOOPBACK}}
        yield _door(PORT_FORWARD, pod, {"forwards": [forward]})


def _door(resource: Resource, pod: Obj, spec: Obj) -> Door:
    owner = {"apiVersion": "v1", "kind": "Pod", "name": name_of(pod), "uid": uid_of(pod)}
    return Door(
        resource,
        {
            "apiVersion": resource.api_version,
            "kind": resource.kind,
            "metadata": {"name": name_of(pod), "namespace": namespace_of(pod), "ownerReferences": [owner]},
            "spec": spec,
        },
    )
