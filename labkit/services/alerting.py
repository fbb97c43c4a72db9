"""Alertmanager, which decides who hears of an alert, and the pager, where it arrives."""

from __future__ import annotations

import yaml

from labkit.config import Lab
from labkit.process import LOOPBACK, PYTHON, run
from labkit.services.supervisor import Service, Supervisor, digest
from labkit.templates import render
from labkit.toolchain import Toolset


def pager_url(lab: Lab) -> str:
    """The pager's address, without a slash at the end."""
    return f"http://{LOOPBACK}:{lab.port('pager')}"


def alertmanager_url(lab: Lab) -> str:
    """Alertmanager's address, without a slash at the end."""
    return f"http://{LOOPBACK}:{lab.port('alertmanager')}"


def ensure_alerting(lab: Lab, tools: Toolset) -> None:
    """Run the pager and Alertmanager; what they know outlasts a restart of the lab."""
    Supervisor(lab).ensure_services([_pager(lab), _alertmanager(lab, tools)])


def _pager(lab: Lab) -> Service:
    folder = lab.home.services / "pager"
    folder.mkdir(parents=True, exist_ok=True)
    config = folder / "config.yaml"
    config.write_text(
        yaml.safe_dump(
            {
                "port": lab.port("pager"),
                "file": str(folder / "notices.json"),
                "onCall": list(lab.pager.on_call),
                "escalateSeconds": lab.pager.escalate_seconds,
            },
            sort_keys=False,
        )
    )
    return Service(
        name="pager",
        about="receives alerts; calls whoever is on call",
        command=(PYTHON, "-m", "labkit.pager", "--config", str(config)),
        health=f"{pager_url(lab)}/healthz",
        environment=digest(config),
        ports={"http": lab.port("pager")},
    )


def _alertmanager(lab: Lab, tools: Toolset) -> Service:
    folder = lab.home.services / "alertmanager"
    folder.mkdir(parents=True, exist_ok=True)
    config = folder / "alertmanager.yaml"
    config.write_text(render("observability/alertmanager.yaml", pager_url=pager_url(lab)))
    run([tools.path("amtool"), "check-config", config], todo=f"see {config}")
    address = f"{LOOPBACK}:{lab.port('alertmanager')}"
    return Service(
        name="alertmanager",
        about="decides who hears of an alert",
        command=(
            *(str(tools.path("alertmanager")), "--config.file", str(config)),
            *("--storage.path", str(folder / "data"), "--web.listen-address", address),
            # One alone: no other Alertmanagers to agree with.
            *("--cluster.listen-address=", "--log.level", "warn"),
        ),
        health=f"{alertmanager_url(lab)}/-/ready",
        environment=digest(config),
        ports={"http": lab.port("alertmanager")},
    )
