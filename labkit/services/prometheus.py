"""Prometheus: one for the lab, measuring the demo app where it runs in every environment."""

from __future__ import annotations

from pathlib import Path

from labkit.clusters import provider
from labkit.config import NAMESPACE, Lab
from labkit.process import LOOPBACK, run
from labkit.services.pods import pods_proxy, runs_pods
from labkit.services.supervisor import Service, Supervisor
from labkit.services.traffic import has_traffic
from labkit.templates import render
from labkit.toolchain import Toolset

_RETENTION = "15d"


def prometheus_url(lab: Lab) -> str:
    """Prometheus' address, without a slash at the end."""
    return f"http://{LOOPBACK}:{lab.port('prometheus')}"


def ensure_prometheus(lab: Lab, tools: Toolset) -> None:
    """Run Prometheus; what it has measured outlasts a restart of the lab."""
    config = _write_config(lab)
    run([tools.path("promtool"), "check", "config", "--syntax-only", config], todo=f"see {config}")
    Supervisor(lab).ensure_services([_service(lab, tools, config)])


def _write_config(lab: Lab) -> Path:
    folder = lab.home.services / "prometheus"
    folder.mkdir(parents=True, exist_ok=True)
    config = folder / "prometheus.yaml"
    config.write_text(
        render(
            "observability/prometheus.yaml",
            lab=lab.home.root.name,
            own_address=f"{LOOPBACK}:{lab.port('prometheus')}",
            traffic_address=f"{LOOPBACK}:{lab.port('traffic')}" if has_traffic(lab) else "",
            namespace=NAMESPACE,
            environments=[
                {
                    "name": environment.name,
                    "kubeconfig": provider(lab).own_kubeconfig(environment),
                    "podrunner_address": f"{LOOPBACK}:{lab.port('pods', environment)}",
                    "proxy_url": pods_proxy(lab, environment, NAMESPACE),
                }
                for environment in lab.environments
                if runs_pods(lab)
            ],
        )
    )
    return config


def _service(lab: Lab, tools: Toolset, config: Path) -> Service:
    address = f"{LOOPBACK}:{lab.port('prometheus')}"
    return Service(
        name="prometheus",
        about="measures the demo app in all environments",
        command=(
            *(str(tools.path("prometheus")), "--config.file", str(config)),
            *("--storage.tsdb.path", str(config.parent / "data"), "--storage.tsdb.retention.time", _RETENTION),
            *("--web.listen-address", address, "--log.level", "warn"),
        ),
        health=f"http://{address}/-/ready",
        ports={"http": lab.port("prometheus")},
    )
