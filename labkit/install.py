"""Bringing the lab up: what notebooks 01 to 03 do, and `labkit up` does in one go."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from labkit import clusters, incluster
from labkit.clusters import ClusterTable
from labkit.config import Lab
from labkit.delivery.gitops import ensure_repos
from labkit.errors import LabError
from labkit.incluster import InstalledTable, LeftTable
from labkit.observability.alerts import alert_rules
from labkit.preflight import assert_machine
from labkit.progress import step
from labkit.services.alerting import ensure_alerting
from labkit.services.argocd import ensure_applications, ensure_argocd
from labkit.services.ci import ensure_ci
from labkit.services.dashboards import ensure_dashboards
from labkit.services.exporter import ensure_exporter
from labkit.services.gitea import ensure_gitea
from labkit.services.grafana import dashboards_url, ensure_grafana
from labkit.services.guard import ensure_guard
from labkit.services.kargo import Engine, ensure_engine, ensure_kargo, ensure_project
from labkit.services.people import ensure_people
from labkit.services.pods import end_pods, ensure_pod_runners, stop_pod_runners
from labkit.services.prometheus import ensure_prometheus
from labkit.services.rollouts import ensure_rollouts
from labkit.services.supervisor import ServiceTable, Supervisor
from labkit.services.traffic import ensure_traffic
from labkit.services.valkey import ensure_valkey
from labkit.services.watchdog import WATCHDOG, ensure_watchdog
from labkit.toolchain import Toolset, ensure_tools, link_into


def ensure_programs(lab: Lab) -> Toolset:
    """Every program the lab needs, found, downloaded or built, and linked into `$LABKIT_HOME/bin`."""
    names = incluster.needed_tools(lab) if lab.settings.in_cluster else None
    tools = ensure_tools(names, extras=lab.settings.extras)
    link_into(tools, lab.home.bin)
    return tools


def create_clusters(lab: Lab) -> ClusterTable:
    """The three clusters (notebook 01).

    Raises:
        LabError: This machine cannot carry them as it is: nothing was created.
    """
    assert_machine(lab)
    ensure_programs(lab)
    if lab.settings.in_cluster:
        return clusters.ensure_clusters(lab)
    with step("Create the clusters gitops-dev, gitops-pre and gitops-prod", expect=10):
        created = clusters.ensure_clusters(lab)
        ensure_people(lab)
        ensure_watchdog(lab)
        ensure_pod_runners(lab)
    return created


def start_clusters(lab: Lab) -> ClusterTable:
    """Start clusters that were stopped, and look after them again."""
    _assert_owned(lab)
    if lab.settings.in_cluster:
        return clusters.start_clusters(lab)
    with step("Start the clusters", expect=10):
        started = clusters.start_clusters(lab)
        ensure_watchdog(lab)
        ensure_pod_runners(lab)
    return started


def stop_clusters(lab: Lab) -> ClusterTable:
    """Stop the clusters, keeping their state; nothing starts them again by itself."""
    _assert_owned(lab)
    with step("Stop the clusters", expect=5):
        Supervisor(lab).stop_service(WATCHDOG)
        stop_pod_runners(lab)
        return clusters.stop_clusters(lab)


def delete_clusters(lab: Lab) -> ClusterTable:
    """Delete the clusters with all that is in them, and stop the services that ran for them."""
    _assert_owned(lab)
    with step("Delete the clusters", expect=10):
        Supervisor(lab).stop()
        end_pods(lab)
        return clusters.delete_clusters(lab)


def _assert_owned(lab: Lab) -> None:
    if not clusters.provider(lab).owned:
        raise LabError(
            "These clusters were there before the lab: it does not start, stop or delete them",
            todo="`labkit uninstall` takes out what the lab has installed",
        )


def install_into_clusters(lab: Lab) -> InstalledTable:
    """Everything that runs inside clusters which are not embedded.

    Returns:
        What is installed now, and what answers.

    Raises:
        LabError: The clusters are embedded; or see `labkit.incluster.install`.
    """
    if not lab.settings.in_cluster:
        raise LabError("Into embedded clusters nothing is installed this way", todo="`labkit setup`")
    return incluster.install(lab, _prepared)


def _prepared(lab: Lab) -> Toolset:
    """The lab's own contexts, and the programs, once it is known that they are of use."""
    clusters.ensure_clusters(lab)
    return ensure_programs(lab)


def uninstall(lab: Lab) -> LeftTable:
    """Take out of the clusters what the lab has installed into them.

    Raises:
        LabError: The clusters are embedded; or see `labkit.incluster.uninstall`.
    """
    if not lab.settings.in_cluster:
        raise LabError(
            "Nothing is installed into embedded clusters this way", todo="`labkit down --purge` deletes them"
        )
    return incluster.uninstall(lab)


def install_argocd(lab: Lab) -> ServiceTable:
    """Gitea with the lab's repos, and an Argo CD in each cluster (notebook 02).

    Returns:
        The host processes that run now.
    """
    lab.assert_embedded("running Argo CD on this machine")
    tools = ensure_programs(lab)
    with step("Start Gitea and three Argo CDs", expect=15), ThreadPoolExecutor() as pool:
        git = pool.submit(_ensure_git, lab, tools)
        ensure_valkey(lab, tools)
        installs = [pool.submit(ensure_argocd, lab, tools, environment) for environment in lab.environments]
        for done in [git, *installs]:
            done.result()
    with step("Create the Applications", expect=1):
        ensure_applications(lab)
    return Supervisor(lab).status()


def _ensure_git(lab: Lab, tools: Toolset) -> None:
    ensure_gitea(lab, tools)
    ensure_repos(lab)


def install_kargo(lab: Lab) -> Engine:
    """Kargo, what verifies for it and the CI that feeds it (notebook 03).

    Returns:
        The engine that reconciles Kargo's resources, and why that one.
    """
    lab.assert_embedded("running Kargo on this machine")
    tools = ensure_programs(lab)
    ensure_engine(lab)
    with step("Start Kargo, the analysis controllers and CI", expect=10):
        ensure_rollouts(lab, tools)
        engine = ensure_kargo(lab, tools)
    with step("Create the Kargo Project with its Warehouse and Stages", expect=3):
        ensure_project(lab)
        ensure_ci(lab)
        ensure_guard(lab)
    with step("Start Prometheus, Alertmanager, the pager, and traffic to the demo app", expect=3):
        _install_observability(lab, tools)
    return engine


def _install_observability(lab: Lab, tools: Toolset) -> None:
    # What nobody waits for starts beside the others.
    with ThreadPoolExecutor() as pool:
        pages = pool.submit(ensure_dashboards, lab)
        ensure_traffic(lab)
        ensure_exporter(lab)
        ensure_alerting(lab, tools)
        # After them: it asks for what the others are.
        ensure_prometheus(lab, tools, alert_rules(lab, dashboards_url(lab)))
        ensure_grafana(lab, tools)
        pages.result()


def setup(lab: Lab) -> Engine:
    """Everything that runs in and around the clusters (notebooks 02 and 03)."""
    install_argocd(lab)
    return install_kargo(lab)


def up(lab: Lab) -> Engine:
    """The whole lab: clusters, Gitea, Argo CDs, Kargo. What runs already is left alone."""
    create_clusters(lab)
    return setup(lab)
