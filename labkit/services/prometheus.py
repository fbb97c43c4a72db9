"""Prometheus: one for the lab, measuring what runs in every environment, each with the scope that it has."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from labkit.clusters import provider
from labkit.config import NAMESPACE, Environment, Lab
from labkit.passwords import password
from labkit.process import LOOPBACK, run
from labkit.services.pods import pods_proxy, runs_pods
from labkit.services.supervisor import Service, Supervisor, digest
from labkit.templates import render
from labkit.toolchain import Toolset

_RETENTION = "15d"


def prometheus_url(lab: Lab) -> str:
    """Prometheus' address, without a slash at the end."""
    return f"http://{LOOPBACK}:{lab.port('prometheus')}"


def ensure_prometheus(lab: Lab, tools: Toolset, rules: dict[str, Any]) -> None:
    """Run Prometheus; what it has measured outlasts a restart of the lab.

    Args:
        lab: The lab; the services that have metrics run already.
        tools: The programs.
        rules: The alert rules.
    """
    folder = lab.home.services / "prometheus"
    folder.mkdir(parents=True, exist_ok=True)
    rules_file = folder / "rules.yaml"
    rules_file.write_text(yaml.safe_dump(rules, sort_keys=False, allow_unicode=True))
    config = _write_config(lab, folder, rules_file)
    run([tools.path("promtool"), "check", "config", config], todo=f"see {config}")
    Supervisor(lab).ensure_services([_service(lab, tools, config, rules_file)])


def _write_config(lab: Lab, folder: Path, rules_file: Path) -> Path:
    token = folder / "gitea-token"
    token.touch(mode=0o600)
    token.write_text(password(lab, "gitea-metrics"))
    config = folder / "prometheus.yaml"
    config.write_text(
        render(
            "observability/prometheus.yaml",
            lab=lab.home.root.name,
            rules=rules_file,
            own_address=_address(lab.port("prometheus")),
            alertmanager_address=_address(lab.port("alertmanager")),
            gitea_address=_address(lab.port("gitea")),
            gitea_token_file=token,
            namespace=NAMESPACE,
            services=list(_services_with_metrics(lab)),
            environments=[_of_environment(lab, folder, environment) for environment in lab.environments],
        )
    )
    return config


def _of_environment(lab: Lab, folder: Path, environment: Environment) -> dict[str, Any]:
    return {
        "name": environment.name,
        "scope": environment.observability,
        "certificates": _write_certificates(lab, folder, environment),
        "apiserver_address": _address(lab.port("apiserver", environment)),
        "kwok_address": _address(lab.port("kwok", environment)),
        "runs_pods": runs_pods(lab),
        "kubeconfig": provider(lab).own_kubeconfig(environment),
        "podrunner_address": _address(lab.port("pods", environment)),
        "proxy_url": pods_proxy(lab, environment, NAMESPACE),
    }


def _services_with_metrics(lab: Lab) -> Iterator[dict[str, str]]:
    """The lab's host processes that have a port for metrics; of an environment with a subset, none of its own."""
    for service in Supervisor(lab).described():
        if "metrics" not in service.ports:
            continue
        of = next((item for item in lab.environments if service.name.endswith(f"-{item.name}")), None)
        if of is None or of.observability == "full":
            # What belongs to no environment has metrics of all of them, and says which.
            own = "" if service.name in ("exporter", "traffic") else of.name if of else "lab"
            yield {"name": service.name, "address": _address(service.ports["metrics"]), "environment": own}


def _write_certificates(lab: Lab, folder: Path, environment: Environment) -> Path:
    """The administrator's certificate of a cluster, as files: Prometheus reads no kubeconfig for what it scrapes."""
    access, target = provider(lab).access(environment), folder / environment.context
    target.mkdir(mode=0o700, exist_ok=True)
    for name, encoded in (
        ("ca.crt", access["cluster"]["certificate-authority-data"]),
        ("client.crt", access["user"]["client-certificate-data"]),
        ("client.key", access["user"]["client-key-data"]),
    ):
        file = target / name
        file.touch(mode=0o600)
        file.write_bytes(base64.b64decode(encoded))
    return target


def _address(port: int) -> str:
    return f"{LOOPBACK}:{port}"


def _service(lab: Lab, tools: Toolset, config: Path, rules_file: Path) -> Service:
    address = _address(lab.port("prometheus"))
    return Service(
        name="prometheus",
        about="measures what runs in all environments",
        command=(
            *(str(tools.path("prometheus")), "--config.file", str(config)),
            *("--storage.tsdb.path", str(config.parent / "data"), "--storage.tsdb.retention.time", _RETENTION),
            *("--web.listen-address", address, "--log.level", "warn"),
        ),
        health=f"http://{address}/-/ready",
        environment=digest(config, rules_file),
        ports={"http": lab.port("prometheus")},
    )
