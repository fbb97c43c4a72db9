"""The genuine Kargo: the processes of its chart as host processes, one controller for each shard.

What each is told is what the chart of Kargo v1.11.2 tells it by default (`charts/kargo/templates`), with the lab's
kubeconfigs in place of service accounts.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping

import bcrypt

from labkit.clusters import provider
from labkit.config import ARGOCD_NAMESPACE, Environment, Lab
from labkit.passwords import password
from labkit.process import LOOPBACK, PYTHON
from labkit.services.argocd import argocd_url
from labkit.services.kargo.engine import Engine
from labkit.services.supervisor import Service

ADMIN_PASSWORD = "kargo-admin"
NAMESPACES = {
    "KARGO_NAMESPACE": "kargo",
    "SYSTEM_RESOURCES_NAMESPACE": "kargo-system-resources",
    "SHARED_RESOURCES_NAMESPACE": "kargo-shared-resources",
}
MANAGEMENT = "kargo-management"
API_SERVER = "kargo-api"
# Every hour, as the chart's CronJob does.
_COLLECT_SECONDS = 3600


def kargo_url(lab: Lab) -> str:
    """Address of Kargo's API server, for its API and pages."""
    return f"http://{LOOPBACK}:{lab.port('kargo-api')}"


def genuine_services(lab: Lab, engine: Engine) -> list[Service]:
    """Kargo's host processes, the webhooks server first: nothing else can work without admission."""
    return [
        _webhooks(lab, engine),
        _management(lab, engine),
        *(_controller(lab, engine, environment) for environment in lab.environments),
        _api(lab, engine),
        _garbage_collector(lab, engine),
    ]


def _service(
    lab: Lab,
    name: str,
    about: str,
    command: tuple[str, ...],
    health: str,
    ports: Mapping[str, int],
    **more: str,
) -> Service:
    return Service(
        name=name,
        about=f"Kargo: {about}",
        command=command,
        health=health,
        ports=ports,
        environment={
            **NAMESPACES,
            "KUBECONFIG": str(provider(lab).own_kubeconfig(lab.control)),
            "LOG_LEVEL": "INFO",
            **more,
        },
    )


def _webhooks(lab: Lab, engine: Engine) -> Service:
    port = lab.port("kargo-webhooks")
    return _service(
        lab,
        "kargo-webhooks",
        "admission",
        (engine.program, "kubernetes-webhooks-server"),
        f"tcp://{LOOPBACK}:{port}",
        {"https": port},
        WEBHOOK_SERVER_PORT=str(port),
    )


def _management(lab: Lab, engine: Engine) -> Service:
    port = lab.port("kargo-health")
    return _service(
        lab,
        MANAGEMENT,
        "Projects and their namespaces",
        (engine.program, "management-controller"),
        f"http://{LOOPBACK}:{port}/metrics",
        {"metrics": port},
        METRICS_BIND_ADDRESS=f"{LOOPBACK}:{port}",
        # Required, though the lab runs no server for webhooks from outside.
        EXTERNAL_WEBHOOK_SERVER_BASE_URL=f"https://{LOOPBACK}:{lab.port('kargo-webhooks')}",
        MANAGE_CONTROLLER_ROLE_BINDINGS="false",
    )


def _controller(lab: Lab, engine: Engine, environment: Environment) -> Service:
    port = lab.port("kargo-metrics", environment)
    return _service(
        lab,
        f"kargo-controller-{environment.name}",
        f"promotions and verification of shard {environment.name}",
        (engine.program, "controller"),
        f"http://{LOOPBACK}:{port}/metrics",
        {"metrics": port},
        SHARD_NAME=environment.name,
        IS_DEFAULT_CONTROLLER=str(environment == lab.control).lower(),
        API_SERVER_BASE_URL=kargo_url(lab),
        ARGOCD_KUBECONFIG=str(provider(lab).own_kubeconfig(environment)),
        ARGOCD_NAMESPACE=ARGOCD_NAMESPACE,
        ROLLOUTS_INTEGRATION_ENABLED="true",
        ROLLOUTS_CONTROLLER_INSTANCE_ID=environment.name,
        ALLOW_CREDENTIALS_OVER_HTTP="true",
        METRICS_BIND_ADDRESS=f"{LOOPBACK}:{port}",
    )


def _api(lab: Lab, engine: Engine) -> Service:
    url = kargo_url(lab)
    plain = password(lab, ADMIN_PASSWORD)
    # Kept beside the password: a hash is another one each time it is made.
    hashed = password(lab, f"{ADMIN_PASSWORD}-hash", lambda: bcrypt.hashpw(plain.encode(), bcrypt.gensalt()).decode())
    return _service(
        lab,
        API_SERVER,
        "API server and pages",
        (engine.program, "api"),
        f"{url}/healthz",
        {"http": lab.port("kargo-api")},
        BIND_ADDRESS=LOOPBACK,
        PORT=str(lab.port("kargo-api")),
        ADMIN_ACCOUNT_ENABLED="true",
        ADMIN_ACCOUNT_PASSWORD_HASH=hashed,
        ADMIN_ACCOUNT_TOKEN_SIGNING_KEY=password(lab, "kargo-token-signing-key", lambda: secrets.token_urlsafe(32)),
        ADMIN_ACCOUNT_TOKEN_ISSUER=url,
        ADMIN_ACCOUNT_TOKEN_AUDIENCE=url.removeprefix("http://"),
        SECRET_MANAGEMENT_ENABLED="true",
        DEFAULT_CONTROLLER_NAME=lab.control.name,
        ARGOCD_NAMESPACE=ARGOCD_NAMESPACE,
        ARGOCD_URLS=",".join(f"{item.name}={argocd_url(lab, item)}" for item in lab.environments),
        ROLLOUTS_INTEGRATION_ENABLED="true",
        GRACEFUL_SHUTDOWN_TIMEOUT="1s",
    )


def _garbage_collector(lab: Lab, engine: Engine) -> Service:
    port = lab.port("kargo-collector")
    return _service(
        lab,
        "kargo-garbage-collector",
        "deletes old Promotions and Freight, every hour",
        (
            *(PYTHON, "-m", "labkit.services.periodic", "--every", str(_COLLECT_SECONDS), "--port", str(port)),
            *(engine.program, "garbage-collector"),
        ),
        f"http://{LOOPBACK}:{port}/healthz",
        {"health": port},
    )
