"""A pod's status from what is known of its containers, in a kubelet's words. Pure functions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from labkit.asynckube.objects import Obj

OWN_CONDITIONS = ("PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady")


@dataclass(frozen=True)
class Waiting:
    """A container that does not run yet, or again."""

    reason: str
    message: str = ""

    def as_json(self) -> Obj:
        """As in `state`."""
        return {"waiting": {"reason": self.reason, **({"message": self.message} if self.message else {})}}


@dataclass(frozen=True)
class Running:
    """A container whose process runs."""

    started_at: str

    def as_json(self) -> Obj:
        """As in `state`."""
        return {"running": {"startedAt": self.started_at}}


@dataclass(frozen=True)
class Terminated:
    """A container whose process has ended."""

    exit_code: int
    reason: str
    started_at: str
    finished_at: str
    container_id: str
    message: str = ""

    def as_json(self) -> Obj:
        """As in `state` and `lastState`."""
        return {
            "terminated": {
                "exitCode": self.exit_code,
                "reason": self.reason,
                **({"message": self.message} if self.message else {}),
                "startedAt": self.started_at,
                "finishedAt": self.finished_at,
                "containerID": self.container_id,
            }
        }


State = Waiting | Running | Terminated


@dataclass(frozen=True)
class Facts:
    """What is known of a container.

    Attributes:
        name: Its name.
        image: The image that its pod asks for.
        image_id: The image that it has, by digest.
        container_id: Its process, under a name that no other process gets.
        state: How it is.
        last: How it ended the last time.
        restarts: How often it was started again.
        ready: Whether its readiness probe succeeds.
        started: Whether its startup probe has succeeded.
    """

    name: str
    image: str
    image_id: str = ""
    container_id: str = ""
    state: State = Waiting("ContainerCreating")
    last: Terminated | None = None
    restarts: int = 0
    ready: bool = False
    started: bool = False

    def as_json(self) -> Obj:
        """As in `containerStatuses`."""
        return {
            "name": self.name,
            "image": self.image,
            "imageID": self.image_id,
            **({"containerID": self.container_id} if self.container_id else {}),
            "state": self.state.as_json(),
            "lastState": self.last.as_json() if self.last else {},
            "restartCount": self.restarts,
            "ready": self.ready,
            "started": self.started,
        }


def terminated(data: Obj | None) -> Terminated | None:
    """A container's end as its status has it (`lastState`), if there is one."""
    found: Any = (data or {}).get("terminated")
    if not found:
        return None
    return Terminated(
        exit_code=int(found["exitCode"]),
        reason=found.get("reason", ""),
        started_at=found.get("startedAt", ""),
        finished_at=found.get("finishedAt", ""),
        container_id=found.get("containerID", ""),
        message=found.get("message", ""),
    )


def restarts_after(policy: str, exit_code: int, *, is_init: bool = False) -> bool:
    """Whether a container that ended with this code is started again."""
    if policy == "Always":
        return exit_code != 0 or not is_init
    return policy == "OnFailure" and exit_code != 0


def phase(policy: str, init: Sequence[Facts], containers: Sequence[Facts], *, ending: bool = False) -> str:
    """The pod's phase.

    Args:
        policy: The pod's restart policy.
        init: Its init containers.
        containers: Its containers.
        ending: Whether the pod is being deleted, and so will not be started again.
    """
    for one in init:
        end = one.state if isinstance(one.state, Terminated) else None
        if end and end.exit_code != 0 and (policy == "Never" or ending):
            return "Failed"
        if not end or end.exit_code != 0:
            return "Failed" if ending and not isinstance(one.state, Running) else "Pending"
    ends = [one.state for one in containers if isinstance(one.state, Terminated)]
    if len(ends) == len(containers):
        succeeded = all(end.exit_code == 0 for end in ends)
        if ending or policy == "Never":
            return "Succeeded" if succeeded else "Failed"
        return "Succeeded" if policy == "OnFailure" and succeeded else "Running"
    if any(isinstance(one.state, Running) for one in containers):
        return "Running"
    if ending:
        return "Failed"
    # What waits has run before, or has not: only then is the pod still on its way.
    return "Running" if all(one.last or not isinstance(one.state, Waiting) for one in containers) else "Pending"


def pod_status(
    pod: Obj,
    init: Sequence[Facts],
    containers: Sequence[Facts],
    *,
    pod_ip: str,
    host_ip: str,
    start_time: str,
    now: str,
    ending: bool = False,
) -> Obj:
    """The status of a pod, as a patch of those parts that a kubelet writes.

    Args:
        pod: The pod; times of its conditions are kept where nothing has changed.
        init: What is known of its init containers.
        containers: What is known of its containers.
        pod_ip: Its address, if it has one.
        host_ip: Its node's address.
        start_time: When it was first seen.
        now: The time.
        ending: See `phase`.
    """
    spec = pod["spec"]
    found = phase(spec.get("restartPolicy", "Always"), init, containers, ending=ending)
    status: Obj = {
        "phase": found,
        "observedGeneration": pod["metadata"].get("generation", 1),
        "conditions": _conditions(pod, found, init, containers, bool(pod_ip), now),
        "hostIP": host_ip,
        "hostIPs": [{"ip": host_ip}],
        "startTime": start_time,
        "containerStatuses": [one.as_json() for one in containers],
        **({"initContainerStatuses": [one.as_json() for one in init]} if init else {}),
    }
    if pod_ip:
        status |= {"podIP": pod_ip, "podIPs": [{"ip": pod_ip}]}
    return status


def _conditions(
    pod: Obj, found: str, init: Sequence[Facts], containers: Sequence[Facts], has_ip: bool, now: str
) -> list[Obj]:
    known = {item["type"]: item for item in (pod.get("status") or {}).get("conditions") or []}
    ready = _containers_ready(found, containers)
    gates = _gates(pod, known) if ready["status"] == "True" else {}
    wanted = {
        "PodReadyToStartContainers": {"status": str(has_ip and found not in ("Succeeded", "Failed"))},
        "Initialized": _initialized(found, init),
        "Ready": gates or ready,
        "ContainersReady": ready,
    }
    conditions = []
    for kind, condition in wanted.items():
        before = known.get(kind, {})
        since = before.get("lastTransitionTime") if before.get("status") == condition["status"] else None
        conditions.append(
            {
                "type": kind,
                "observedGeneration": pod["metadata"].get("generation", 1),
                # A merge keeps what is not named.
                "reason": None,
                "message": None,
                **condition,
                "lastProbeTime": None,
                "lastTransitionTime": since or now,
            }
        )
    return conditions


def _containers_ready(found: str, containers: Sequence[Facts]) -> dict[str, str]:
    if found in ("Succeeded", "Failed"):
        return {"status": "False", "reason": "PodCompleted" if found == "Succeeded" else "PodFailed"}
    unready = [one.name for one in containers if not one.ready]
    if not unready:
        return {"status": "True"}
    return _false("ContainersNotReady", f"containers with unready status: [{' '.join(unready)}]")


def _initialized(found: str, init: Sequence[Facts]) -> dict[str, str]:
    if found == "Succeeded":
        return {"status": "True", "reason": "PodCompleted"}
    incomplete = [one.name for one in init if not one.ready]
    if not incomplete:
        return {"status": "True"}
    return _false("ContainersNotInitialized", f"containers with incomplete status: [{' '.join(incomplete)}]")


def _gates(pod: Obj, known: dict[str, Obj]) -> dict[str, str]:
    messages = []
    for gate in pod["spec"].get("readinessGates") or []:
        kind = gate["conditionType"]
        if kind not in known:
            messages.append(f'corresponding condition of pod readiness gate "{kind}" does not exist.')
        elif known[kind]["status"] != "True":
            messages.append(f'the status of pod readiness gate "{kind}" is not "True", but {known[kind]["status"]}')
    return _false("ReadinessGatesNotReady", ", ".join(messages)) if messages else {}


def _false(reason: str, message: str) -> dict[str, str]:
    return {"status": "False", "reason": reason, "message": message}
