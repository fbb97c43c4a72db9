"""Where the lab's pages are, and who may sign in there."""

from __future__ import annotations

from dataclasses import dataclass

from labkit.config import GITOPS_REPO, ORGANISATION, SOURCE_REPO, Environment, Lab
from labkit.services.alerting import alertmanager_url, pager_url
from labkit.services.argocd import argocd_url
from labkit.services.dashboards import dashboard_pages_url
from labkit.services.grafana import ADMIN, GRAFANA, grafana_url, has_grafana
from labkit.services.kargo import ADMIN_PASSWORD, kargo_pages
from labkit.services.pods import runs_pods
from labkit.services.prometheus import prometheus_url
from labkit.tables import Record, Table


@dataclass(frozen=True, repr=False)
class Address(Record):
    """One page or API of the lab.

    Attributes:
        what: What is there.
        url: Its address.
        account: An account that may sign in; empty where none is needed.
        password_file: The file that holds its password.
    """

    what: str
    url: str
    account: str = ""
    password_file: str = ""


class AddressTable(Table[Address]):
    """The lab's addresses."""

    title = "Addresses"
    columns = ("what", "url", "account", "password_file")


def lab_urls(lab: Lab) -> AddressTable:
    """The lab's addresses, with an account for each and the file that holds its password."""
    lab.assert_embedded("page on this machine")
    secrets = lab.home.secrets

    def argocd(name: str, about: str) -> Address:
        environment = lab.environment(name)
        return Address(about, argocd_url(lab, environment), "viewer", str(secrets / "argocd-viewer"))

    def repo(name: str, about: str) -> Address:
        return Address(about, f"{lab.gitea_url}/{ORGANISATION}/{name}", "developer", str(secrets / "developer"))

    def app(environment: Environment) -> Address:
        return Address(f"demo app in {environment.name.upper()}", lab.app_url(environment.name))

    pages = kargo_pages(lab)
    kargo = (Address("Kargo", pages, "admin", str(secrets / ADMIN_PASSWORD)),) if pages else ()
    grafana = (Address("Grafana", grafana_url(lab), ADMIN, str(secrets / GRAFANA)),) if has_grafana(lab) else ()
    return AddressTable(
        (
            repo(SOURCE_REPO, "source of the demo app"),
            repo(GITOPS_REPO, "manifests, stage branches, pull requests"),
            argocd("dev", "Argo CD of DEV"),
            argocd("pre", "Argo CD of PRE"),
            argocd("prod", "Argo CD of PROD"),
            *kargo,
            *(app(environment) for environment in lab.environments if runs_pods(lab)),
            Address("dashboards", dashboard_pages_url(lab)),
            Address("Prometheus", prometheus_url(lab)),
            *grafana,
            Address("Alertmanager", alertmanager_url(lab)),
            Address("pager", pager_url(lab)),
        )
    )
