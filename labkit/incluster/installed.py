"""What the lab has installed into its clusters: what is ready, and what answers."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from labkit.clusters import reach
from labkit.config import Environment, Lab
from labkit.errors import LabError
from labkit.incluster.components import installations, rules
from labkit.incluster.mark import COMPONENT, selector
from labkit.kube import UNREACHABLE, Kube
from labkit.tables import Record, Table

_PROBE_SECONDS = 3
WORKLOADS = ("Deployment", "StatefulSet", "DaemonSet")
SIMULATED = "no: its pods are simulated, nothing runs in them"


@dataclass(frozen=True)
class WorkloadState:
    """A Deployment, StatefulSet or DaemonSet, and how many of its pods are ready."""

    component: str
    kind: str
    namespace: str
    name: str
    pods_ready: int
    pods_wanted: int

    @property
    def ready(self) -> bool:
        """Whether all its pods are."""
        return self.pods_ready >= self.pods_wanted

    def __str__(self) -> str:
        return f"{self.kind} {self.namespace}/{self.name}: {self.pods_ready}/{self.pods_wanted} ready"


@dataclass(frozen=True, repr=False)
class Installed(Record):
    """A component in one cluster.

    Attributes:
        context: The cluster.
        component: The component.
        version: Of the component.
        namespaces: Where its workloads are.
        workloads: Ready and all of them, such as `7/7`; Kubernetes' word.
        answers: Its own word, asked through the API server: `yes`, or why not; empty where it has no address to ask.
    """

    context: str
    component: str
    version: str
    namespaces: tuple[str, ...]
    workloads: str
    answers: str


class InstalledTable(Table[Installed]):
    """What the lab has installed."""

    title = "Installed"
    columns = ("context", "component", "version", "namespaces", "workloads", "answers")

    @property
    def healthy(self) -> bool:
        """Whether all is ready, and all that can be asked answers."""
        return all(row.answers in ("", "yes") and len(set(row.workloads.split("/"))) == 1 for row in self.rows)


def workload_states(lab: Lab, api: Kube) -> list[WorkloadState]:
    """The workloads that the lab has installed into a cluster."""
    return [
        WorkloadState(
            component=item["metadata"]["labels"].get(COMPONENT, ""),
            kind=kind,
            namespace=item["metadata"]["namespace"],
            name=item["metadata"]["name"],
            pods_ready=_pods_ready(item),
            pods_wanted=_pods_wanted(item),
        )
        for kind in WORKLOADS
        for item in api.list("apps/v1", kind, selector=selector(lab))
    ]


def _pods_ready(item: dict[str, Any]) -> int:
    status = item.get("status") or {}
    if status.get("observedGeneration", 0) < item["metadata"].get("generation", 0):
        return 0
    return int(status.get("numberReady") or status.get("readyReplicas") or 0)


def _pods_wanted(item: dict[str, Any]) -> int:
    if item["kind"] == "DaemonSet":
        return int((item.get("status") or {}).get("desiredNumberScheduled") or 0)
    return int(item["spec"].get("replicas", 1))


def installed_table(lab: Lab) -> InstalledTable:
    """What is installed, cluster by cluster; a cluster that does not answer has no rows."""
    with ThreadPoolExecutor() as pool:
        return InstalledTable(
            tuple(row for rows in pool.map(lambda item: list(_rows(lab, item)), lab.environments) for row in rows)
        )


def _rows(lab: Lab, environment: Environment) -> Iterator[Installed]:
    try:
        api = reach(lab, environment)
        states = workload_states(lab, api)
        simulated = _is_simulated(api)
    except (LabError, *UNREACHABLE):
        return
    versions = {item.component: item.version for item in installations(lab) if item.version}
    for component in dict.fromkeys(state.component for state in states):
        mine = [state for state in states if state.component == component]
        yield Installed(
            context=environment.context,
            component=component,
            version=versions.get(component, ""),
            namespaces=tuple(sorted({state.namespace for state in mine})),
            workloads=f"{sum(state.ready for state in mine)}/{len(mine)}",
            answers=_answer(api, component, simulated=simulated),
        )


def _is_simulated(api: Kube) -> bool:
    """Whether the nodes are KWOK's."""
    versions = [
        ((node.get("status") or {}).get("nodeInfo") or {}).get("kubeletVersion", "") for node in api.list("v1", "Node")
    ]
    return bool(versions) and all(version.startswith("kwok") for version in versions)


def _answer(api: Kube, component: str, *, simulated: bool) -> str:
    door = rules()["doors"].get(component)
    if door is None:
        return ""
    namespace, service, path = door["namespace"], door["service"], door["path"]
    if api.get("v1", "Service", service.split(":")[1], namespace) is None:
        return ""
    if simulated:
        return SIMULATED
    try:
        api.raw(f"/api/v1/namespaces/{namespace}/services/{service}/proxy{path}", timeout=_PROBE_SECONDS)
    except UNREACHABLE as error:
        return f"no: {str(error).splitlines()[0]}"
    return "yes"
