"""Argo CD: one in each cluster, its three components as host processes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import bcrypt
import httpx

from labkit.clusters import kube, provider
from labkit.config import (
    APPLICATION,
    ARGOCD_NAMESPACE,
    GITOPS_REPO,
    ORGANISATION,
    PROJECT,
    Destination,
    Environment,
    Lab,
)
from labkit.errors import LabError
from labkit.passwords import password
from labkit.process import LOOPBACK
from labkit.services.supervisor import Service, Supervisor
from labkit.tables import Record
from labkit.templates import manifests, read_manifests
from labkit.toolchain import Toolset
from labkit.wait import wait_for

APPLICATION_API = "argoproj.io/v1alpha1"
VERIFIER = "verification"
# Argo CD's own account, with all rights. None of the lab's people may sync PRE or PROD.
ADMIN = "admin"
REFRESH = "argocd.argoproj.io/refresh"
_RESYNC_SECONDS = "30"


def argocd_url(lab: Lab, environment: Environment) -> str:
    """Address of an environment's Argo CD, for its API and pages."""
    return f"http://{LOOPBACK}:{lab.port('argocd-server', environment)}"


def ensure_argocd(lab: Lab, tools: Toolset, environment: Environment) -> None:
    """Install an Argo CD into an environment's cluster and run it.

    Its CustomResourceDefinitions, ConfigMaps and accounts are applied, then its processes are started.
    """
    api = kube(lab, environment)
    crds = read_manifests(*sorted(tools.folder("argocd-crds").glob("*-crd.yaml")))
    api.apply(*crds)
    people = list(lab.people)
    api.apply(
        *manifests(
            "argocd/install.yaml",
            namespace=ARGOCD_NAMESPACE,
            argocd_url=argocd_url(lab, environment),
            environment=environment.name,
            people=people,
            project=PROJECT,
        )
    )
    if api.get("v1", "Secret", "argocd-secret", ARGOCD_NAMESPACE) is None:
        hashes = {name: _hash(password(lab, f"argocd-{name}")) for name in (ADMIN, *people)}
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        api.apply(*manifests("argocd/secret.yaml", namespace=ARGOCD_NAMESPACE, people=people, hashes=hashes, now=now))
    api.wait_for_crds(crds)
    Supervisor(lab).ensure_services(_services(lab, tools, environment))


def _hash(plain: str) -> str:
    return bcrypt.hashpw(plain.encode(), bcrypt.gensalt(rounds=8)).decode()


def _services(lab: Lab, tools: Toolset, environment: Environment) -> list[Service]:
    def port(name: str) -> int:
        return lab.port(f"argocd-{name}", environment)

    kubeconfig = provider(lab).own_kubeconfig(environment)
    cluster = ("--kubeconfig", str(kubeconfig), "--namespace", ARGOCD_NAMESPACE)
    cache = ("--redis", f"{LOOPBACK}:{lab.port('valkey')}", "--redisdb", str(environment.index))
    repo_server = ("--repo-server", f"{LOOPBACK}:{port('repo-server')}", "--repo-server-plaintext")

    def service(component: str, about: str, health: int, ports: Mapping[str, int], *arguments: str) -> Service:
        name = f"{component}-{environment.name}"
        folder = lab.home.services / name
        for below in ("tls", "ssh", "gnupg", "gpg"):
            (folder / below).mkdir(parents=True, exist_ok=True, mode=0o700)
        return Service(
            name=name,
            about=f"Argo CD of {environment.context}: {about}",
            command=(str(tools.path("argocd")), *arguments),
            health=f"http://{LOOPBACK}:{health}/healthz",
            ports=ports,
            environment=_variables(component, kubeconfig, folder),
        )

    return [
        service(
            "argocd-repo-server",
            "reads Git",
            port("repo-server-metrics"),
            {"grpc": port("repo-server"), "metrics": port("repo-server-metrics")},
            *("--address", LOOPBACK, "--port", str(port("repo-server"))),
            *("--metrics-address", LOOPBACK, "--metrics-port", str(port("repo-server-metrics"))),
            *("--disable-tls", "--loglevel", "warn", *cache),
        ),
        service(
            "argocd-application-controller",
            "compares and syncs Applications",
            port("controller-metrics"),
            {"metrics": port("controller-metrics")},
            *("--metrics-port", str(port("controller-metrics"))),
            *("--app-resync", _RESYNC_SECONDS, "--app-resync-jitter", "0"),
            *("--status-processors", "5", "--operation-processors", "3"),
            *("--loglevel", "warn", *cluster, *cache, *repo_server),
        ),
        service(
            "argocd-server",
            "API and pages",
            port("server"),
            {"http": port("server"), "metrics": port("server-metrics")},
            *("--insecure", "--address", LOOPBACK, "--port", str(port("server"))),
            *("--metrics-address", LOOPBACK, "--metrics-port", str(port("server-metrics"))),
            *("--loglevel", "warn", *cluster, *cache, *repo_server),
        ),
    ]


def _variables(component: str, kubeconfig: Path, folder: Path) -> dict[str, str]:
    return {
        "ARGOCD_BINARY_NAME": component,
        # `https://kubernetes.default.svc` then means the cluster of KUBECONFIG.
        "ARGOCD_FAKE_IN_CLUSTER": "true",
        "KUBECONFIG": str(kubeconfig),
        # Relative to the service's own folder: a path of a Unix socket may not be long.
        "ARGOCD_ASK_PASS_SOCK": "ask-pass.sock",
        "ARGOCD_TLS_DATA_PATH": str(folder / "tls"),
        "ARGOCD_SSH_DATA_PATH": str(folder / "ssh"),
        "ARGOCD_GNUPGHOME": str(folder / "gnupg"),
        "ARGOCD_GPG_DATA_PATH": str(folder / "gpg"),
        "ARGOCD_GPG_ENABLED": "false",
    }


def ensure_applications(lab: Lab) -> None:
    """The AppProject and its Applications in each cluster; PRE's and PROD's clusters known to DEV."""
    for environment in lab.environments:
        kube(lab, environment).apply(
            *manifests(
                "argocd/demo-app.yaml",
                environment=environment.name,
                argocd_namespace=ARGOCD_NAMESPACE,
                project=PROJECT,
                gitops_repo=lab.repo_url(GITOPS_REPO),
                destinations=[_destination(lab, item) for item in lab.destinations if item.environment == environment],
                control_environment=lab.control.name,
                control_context=lab.control.context,
            )
        )
    for destination in lab.destinations:
        _wait_until_accepted(lab, destination)
    others = [environment for environment in lab.environments if environment != lab.control]
    kube(lab, lab.control).apply(
        *manifests(
            "argocd/clusters.yaml",
            namespace=ARGOCD_NAMESPACE,
            clusters=[_cluster_entry(lab, environment) for environment in others],
        )
    )


def _destination(lab: Lab, destination: Destination) -> dict[str, str]:
    stages = ", ".join(f"Stage {destination.project}/{stage}" for stage in destination.sources)
    return {
        "stage": destination.stage,
        "project": destination.project,
        "namespace": destination.namespace,
        "application": destination.application,
        "branch": destination.branch,
        "branch_page": f"{lab.gitea_url}/{ORGANISATION}/{GITOPS_REPO}/src/branch/{destination.branch}",
        "upstream": stages or f"Warehouse {destination.project}",
    }


def _wait_until_accepted(lab: Lab, destination: Destination) -> None:
    """Wait until Argo CD has nothing to say against the Application.

    A controller that has just started may see the Application before its AppProject, says so in a condition, and
    looks again only at the next resync: it is asked to look now.
    """
    api = kube(lab, destination.environment)

    def complaints() -> list[str]:
        app = api.need(APPLICATION_API, "Application", destination.application, ARGOCD_NAMESPACE)
        found = [item["message"] for item in (app.get("status") or {}).get("conditions") or []]
        if found:
            refresh = {"metadata": {"annotations": {REFRESH: "normal"}}}
            api.patch(APPLICATION_API, "Application", destination.application, refresh, ARGOCD_NAMESPACE)
        return found

    wait_for(
        f"Argo CD of {destination.environment.context} to accept Application {destination.application}",
        complaints,
        lambda found: not found,
        describe=lambda found: "; ".join(found) or "nothing against it",
        timeout=lab.limits.service_seconds,
        interval=1,
        todo=f"`labkit logs argocd-application-controller-{destination.environment.name}`",
    )


def _cluster_entry(lab: Lab, environment: Environment) -> dict[str, str]:
    access = provider(lab).access(environment)
    config = {
        "tlsClientConfig": {
            "caData": access["cluster"]["certificate-authority-data"],
            "certData": access["user"]["client-certificate-data"],
            "keyData": access["user"]["client-key-data"],
        }
    }
    return {
        "context": environment.context,
        "server": access["cluster"]["server"],
        "config": json.dumps(config),
    }


def _words(answer: httpx.Response) -> str:
    try:
        return str(answer.json()["message"])
    except (ValueError, KeyError, TypeError):
        return answer.text.strip()[:300]


class ArgoCD:
    """An environment's Argo CD, seen as one account through its API."""

    def __init__(self, lab: Lab, environment: Environment, account: str) -> None:
        self._account = account
        self._http = httpx.Client(base_url=f"{argocd_url(lab, environment)}/api/v1", timeout=30, trust_env=False)
        answer = self.request("POST", "/session", {"username": account, "password": password(lab, f"argocd-{account}")})
        self._http.headers["Authorization"] = f"Bearer {answer['token']}"

    def request(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """Call the API.

        Raises:
            LabError: Argo CD refused; gives its own words.
        """
        try:
            answer = self._http.request(method, path, json=body)
        except httpx.HTTPError as error:
            raise LabError(
                f"Argo CD at {self._http.base_url} does not answer", seen=str(error), todo="`labkit status`"
            ) from error
        if answer.is_error:
            raise LabError(
                f"Argo CD refused {self._account}'s {method} {path} ({answer.status_code})",
                seen=_words(answer),
            )
        return answer.json()

    def sync(self, application: str) -> None:
        """Ask for a sync, as the Sync button does."""
        self.request("POST", f"/applications/{application}/sync", {})


@dataclass(frozen=True, repr=False)
class Synced(Record):
    """A sync of an Application, as Argo CD describes it.

    Attributes:
        context: The kubectl context.
        phase: Argo CD's word for how it went.
        message: What Argo CD says of it.
        by: The account that asked for it.
        revision: The commit that was synced to.
        sync: Argo CD's word for whether the cluster is as Git says, afterwards.
        health: Argo CD's word for the health of the objects, afterwards.
    """

    context: str
    phase: str
    message: str
    by: str
    revision: str
    sync: str
    health: str


def sync_application(lab: Lab, environment: str, *, as_account: str) -> Synced:
    """Bring a cluster back to what its branch in Git says, and wait until it is Synced and Healthy.

    Nothing new comes in by this: PROD's branch moves by merged pull requests only.

    Args:
        lab: The lab.
        environment: The environment's name.
        as_account: Argo CD's account that asks: `admin`; in DEV also `developer`.

    Raises:
        LabError: That account may not, or it is not Synced and Healthy in time.
    """
    where = lab.environment(environment)
    before = kube(lab, where).need(APPLICATION_API, "Application", APPLICATION, ARGOCD_NAMESPACE)
    ArgoCD(lab, where, as_account).sync(APPLICATION)
    done = wait_for(
        f"a sync of Application {APPLICATION} in {where.context}",
        lambda: kube(lab, where).need(APPLICATION_API, "Application", APPLICATION, ARGOCD_NAMESPACE),
        lambda app: _finished(app) not in ("", _finished(before)),
        describe=lambda app: _operation(app).get("phase", "not begun"),
        timeout=lab.limits.promotion_seconds,
        todo=f"`labkit logs argocd-application-controller-{where.name}`",
    )
    operation = _operation(done)
    sync, health = application_state(wait_for_application(lab, where))
    return Synced(
        context=where.context,
        phase=operation["phase"],
        message=operation.get("message", ""),
        by=(operation["operation"].get("initiatedBy") or {}).get("username", ""),
        revision=operation["syncResult"]["revision"],
        sync=sync,
        health=health,
    )


def _operation(application: Mapping[str, Any]) -> Mapping[str, Any]:
    return (application.get("status") or {}).get("operationState") or {}


def _finished(application: Mapping[str, Any]) -> str:
    return str(_operation(application).get("finishedAt") or "")


def verification_token(lab: Lab, environment: Environment) -> str:
    """A token that may read Applications, for Kargo's verification: made once."""

    def make() -> str:
        path = f"/account/{VERIFIER}/token"
        return str(ArgoCD(lab, environment, ADMIN).request("POST", path, {"id": "kargo"})["token"])

    return password(lab, f"argocd-{VERIFIER}-{environment.name}", make)


def wait_for_application(lab: Lab, environment: Environment, *, timeout: float = 60) -> dict[str, Any]:
    """Wait until an environment's Application is Synced and Healthy.

    Returns:
        The Application.
    """
    api = kube(lab, environment)
    return wait_for(
        f"Application {APPLICATION} in {environment.context} to be Synced and Healthy",
        lambda: api.need(APPLICATION_API, "Application", APPLICATION, ARGOCD_NAMESPACE),
        lambda app: application_state(app) == ("Synced", "Healthy"),
        describe=lambda app: ", ".join(application_state(app)),
        timeout=timeout,
        todo=f"`labkit logs argocd-application-controller-{environment.name}`",
    )


def application_state(application: Mapping[str, Any]) -> tuple[str, str]:
    """Sync status and health of an Application, in Argo CD's words."""
    status = application.get("status") or {}
    return (
        (status.get("sync") or {}).get("status", "Unknown"),
        (status.get("health") or {}).get("status", "Unknown"),
    )
