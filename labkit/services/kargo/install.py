"""Install Kargo's API into gitops-dev, and run the engine that was chosen for it."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import yaml

from labkit.certificates import ensure_certificate
from labkit.clusters import kube
from labkit.config import Lab
from labkit.process import LOOPBACK
from labkit.services.kargo.engine import Engine, ensure_engine
from labkit.services.kargo.genuine import API_SERVER, MANAGEMENT, NAMESPACES, genuine_services, kargo_url
from labkit.services.kargo.stand_in import KARGOLITE, stand_in_services
from labkit.services.supervisor import Service, Supervisor
from labkit.templates import manifests, read_manifests
from labkit.toolchain import Toolset


def ensure_kargo(lab: Lab, tools: Toolset) -> Engine:
    """Install Kargo's API into gitops-dev and run an engine for it."""
    engine = ensure_engine(lab)
    api = kube(lab, lab.control)
    crds = read_manifests(*sorted(tools.folder("kargo-crds").glob("*.yaml")))
    api.apply(*crds, *manifests("kargo/namespaces.yaml", names=sorted(NAMESPACES.values())))
    api.wait_for_crds(crds)
    certificates = lab.home.services / "kargo-webhooks" / "tmp" / "k8s-webhook-server" / "serving-certs"
    ca_bundle = ensure_certificate(certificates, "kargo-webhooks")
    _run_engine(lab, engine, certificates)
    webhooks_url = f"https://{LOOPBACK}:{lab.port('kargo-webhooks')}"
    api.apply(*manifests("kargo/webhooks.yaml", webhooks_url=webhooks_url, ca_bundle=ca_bundle))
    return engine


def _run_engine(lab: Lab, engine: Engine, certificates: Path) -> None:
    """Run one engine, and not the other one, which an earlier choice may have started."""
    services: list[Service] = (
        genuine_services(lab, engine) if engine.name == "kargo" else stand_in_services(lab, certificates)
    )
    supervisor = Supervisor(lab)
    wanted = {service.name for service in services}
    for service in list(supervisor.described()):
        if service.name not in wanted and (service.name == KARGOLITE or service.name.startswith("kargo-")):
            supervisor.stop_service(service.name)
    _record(lab).parent.mkdir(parents=True, exist_ok=True)
    _record(lab).write_text(yaml.safe_dump(asdict(engine), sort_keys=False))
    supervisor.ensure_services(services)


def _record(lab: Lab) -> Path:
    return lab.home.services / "kargo-engine.yaml"


def recorded_engine(lab: Lab) -> Engine | None:
    """The engine that was started last for this lab, and why that one; nothing where there was none."""
    record = _record(lab)
    return Engine(**yaml.safe_load(record.read_text())) if record.exists() else None


def running_engine(lab: Lab) -> str:
    """Which engine this lab runs: `kargo`, `kargolite`, or nothing."""
    names = {service.name for service in Supervisor(lab).described()}
    if KARGOLITE in names:
        return "kargolite"
    return "kargo" if MANAGEMENT in names else ""


def kargo_pages(lab: Lab) -> str:
    """Address of Kargo's pages; empty where this lab runs no API server of Kargo's."""
    return kargo_url(lab) if any(service.name == API_SERVER for service in Supervisor(lab).described()) else ""
