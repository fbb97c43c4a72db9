"""`labkit status`: clusters, services, Applications, Stages, and who reconciles Kargo's resources."""

from __future__ import annotations

import html
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from rich.console import Group

from labkit.clusters import ClusterTable, cluster_status, kube
from labkit.config import APPLICATION, ARGOCD_NAMESPACE, NAMESPACE, Environment, Lab
from labkit.errors import LabError
from labkit.incluster import InstalledTable, installed_table
from labkit.kube import UNREACHABLE
from labkit.promotion import StageTable, stage_table
from labkit.services.argocd import APPLICATION_API, application_state
from labkit.services.kargo import recorded_engine, running_engine
from labkit.services.pods import what_pods_are
from labkit.services.supervisor import ServiceTable, Supervisor
from labkit.tables import Record, Table, plain


@dataclass(frozen=True, repr=False)
class ApplicationStatus(Record):
    """The Application of one environment, as Argo CD describes it, and what its cluster runs.

    Attributes:
        context: The kubectl context.
        sync: Argo CD's word for whether the cluster is as Git says.
        health: Argo CD's word for the health of the objects.
        branch: The branch it follows.
        revision: The commit that was synced last, shortened.
        versions: Image tag of each Deployment, read from the cluster itself.
        ready: Ready and wanted pods, such as `7/7`.
    """

    context: str
    sync: str
    health: str
    branch: str
    revision: str
    versions: Mapping[str, str]
    ready: str


class ApplicationTable(Table[ApplicationStatus]):
    """The Applications of a lab, by environment."""

    title = "Applications"
    columns = ("context", "sync", "health", "branch", "revision", "versions", "ready")


@dataclass(frozen=True, repr=False)
class LabStatus:
    """How a lab is.

    Attributes:
        home: Its folder.
        engine: Who reconciles Kargo's resources: `kargo`, `kargolite`, or nothing yet.
        engine_why: Why that one.
        pods: What pods are.
        clusters: The clusters.
        installed: What is installed into clusters that are not embedded.
        services: The host processes.
        applications: The Applications; none where Argo CD is not installed.
        stages: The Stages; none where Kargo is not installed.
    """

    home: str
    engine: str
    engine_why: str
    pods: str
    clusters: ClusterTable
    installed: InstalledTable
    services: ServiceTable
    applications: ApplicationTable
    stages: StageTable

    def as_json(self) -> dict[str, Any]:
        """The status as plain values."""
        return {
            "home": self.home,
            "engine": self.engine,
            "engine_why": self.engine_why,
            "pods": self.pods,
            "clusters": self.clusters.as_json(),
            "installed": self.installed.as_json(),
            "services": self.services.as_json(),
            "applications": self.applications.as_json(),
            "stages": self.stages.as_json(),
        }

    @property
    def healthy(self) -> bool:
        """Whether all clusters run, all services are healthy, all Applications and Stages are as they should be."""
        return (
            all(cluster.state == "running" for cluster in self.clusters)
            and self.installed.healthy
            and all(service.healthy for service in self.services)
            and all((app.sync, app.health) == ("Synced", "Healthy") for app in self.applications)
            and all((stage.health, stage.verified) == ("Healthy", "True") for stage in self.stages)
        )

    @property
    def _engine(self) -> str:
        return f"{self.engine} ({self.engine_why})" if self.engine else "nothing yet"

    def __rich__(self) -> Group:
        tables = (self.clusters, self.installed, self.services, self.applications, self.stages)
        engine = f"Kargo's resources are reconciled by: {self._engine}"
        return Group(*(part for table in tables if table for part in (table, "")), engine, f"Pods: {self.pods}")

    def __repr__(self) -> str:
        return plain(self)

    def _repr_html_(self) -> str:
        tables = (self.clusters, self.installed, self.services, self.applications, self.stages)
        engine = (
            f"<p>Kargo's resources are reconciled by: <b>{html.escape(self._engine)}</b>.<br>Pods: {self.pods}.</p>"
        )
        return "".join(table._repr_html_() for table in tables if table) + engine


def running_versions(lab: Lab, environment: Environment) -> dict[str, str]:
    """What an environment's cluster runs: the image tag of each Deployment, read from the pods' templates."""
    deployments = kube(lab, environment).list("apps/v1", "Deployment", NAMESPACE)
    return {
        item["metadata"]["name"]: item["spec"]["template"]["spec"]["containers"][0]["image"].rsplit(":", 1)[1]
        for item in deployments
    }


def application_status(lab: Lab, environment: Environment) -> ApplicationStatus | None:
    """How an environment's Application is; nothing where there is none."""
    api = kube(lab, environment)
    app = api.get(APPLICATION_API, "Application", APPLICATION, ARGOCD_NAMESPACE)
    if app is None:
        return None
    deployments = api.list("apps/v1", "Deployment", NAMESPACE)
    ready = sum((item.get("status") or {}).get("readyReplicas") or 0 for item in deployments)
    wanted = sum(item["spec"].get("replicas") or 0 for item in deployments)
    sync, health = application_state(app)
    return ApplicationStatus(
        context=environment.context,
        sync=sync,
        health=health,
        branch=app["spec"]["source"]["targetRevision"],
        revision=str(((app.get("status") or {}).get("sync") or {}).get("revision") or "")[:7],
        versions=running_versions(lab, environment),
        ready=f"{ready}/{wanted}",
    )


def application_table(lab: Lab) -> ApplicationTable:
    """The Applications of all environments whose cluster answers."""

    def look(environment: Environment) -> ApplicationStatus | None:
        try:
            return application_status(lab, environment)
        except (LabError, *UNREACHABLE):
            return None

    with ThreadPoolExecutor() as pool:
        return ApplicationTable(tuple(row for row in pool.map(look, lab.environments) if row))


def lab_status(lab: Lab) -> LabStatus:
    """Look at everything; what does not answer is shown as such, never guessed."""
    clusters = cluster_status(lab)
    control_runs = any(row.context == lab.control.context and row.state == "running" for row in clusters)
    engine, recorded = running_engine(lab), recorded_engine(lab)
    return LabStatus(
        home=str(lab.home.root),
        engine=engine,
        engine_why=recorded.why if engine and recorded else "",
        pods=what_pods_are(lab),
        clusters=clusters,
        installed=installed_table(lab) if lab.settings.in_cluster else InstalledTable(()),
        services=Supervisor(lab).status(),
        applications=application_table(lab),
        stages=stage_table(lab) if control_runs else StageTable(()),
    )
