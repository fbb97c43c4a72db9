"""Grafana: shows the dashboards, in labs that were created with it."""

from __future__ import annotations

from pathlib import Path

from labkit.config import Lab
from labkit.errors import LabError
from labkit.passwords import password
from labkit.paths import DATA
from labkit.process import LOOPBACK
from labkit.services.dashboards import dashboard_pages_url
from labkit.services.prometheus import prometheus_url
from labkit.services.supervisor import Service, Supervisor, digest
from labkit.templates import render
from labkit.toolchain import Toolset

GRAFANA = "grafana"
ADMIN = "admin"
_DASHBOARDS = DATA / "observability" / "dashboards"


def has_grafana(lab: Lab) -> bool:
    """Whether this lab was created with Grafana."""
    return GRAFANA in lab.settings.extras


def grafana_url(lab: Lab) -> str:
    """Grafana's address, without a slash at the end."""
    return f"http://{LOOPBACK}:{lab.port(GRAFANA)}"


def dashboards_url(lab: Lab) -> str:
    """Where `/d/NAME` is a dashboard: Grafana; in a lab without it, the lab's own pages."""
    return grafana_url(lab) if has_grafana(lab) else dashboard_pages_url(lab)


def ensure_grafana(lab: Lab, tools: Toolset) -> None:
    """Run Grafana with the lab's Prometheus and dashboards; nothing where the lab was created without it.

    Args:
        lab: The lab.
        tools: The programs.

    Raises:
        LabError: The program's other files are not beside it, or it did not become healthy.
    """
    if has_grafana(lab):
        program, home = _installation(tools.path(GRAFANA))
        Supervisor(lab).ensure_services([_service(lab, program, home, _write_config(lab))])


def _installation(found: Path) -> tuple[Path, Path]:
    """The program and the folder with its pages and defaults: as released, or as a system's package installs them."""
    prefix = found.resolve().parent.parent
    for home in (prefix, prefix / "share" / "grafana"):
        if (home / "conf" / "defaults.ini").is_file():
            # What a package puts on PATH may be a script that adds settings of its own to this one.
            own = home / "bin" / "grafana"
            return own if own.is_file() else found, home
    raise LabError(
        f"{found} has no pages and defaults with it",
        seen=f"no conf/defaults.ini in {prefix} or {prefix / 'share' / 'grafana'}",
        todo="put the bin folder of an unpacked Grafana release on PATH",
    )


def _write_config(lab: Lab) -> dict[str, Path]:
    password(lab, GRAFANA)
    folder = lab.home.services / GRAFANA
    provisioning = folder / "provisioning"
    files = {
        "grafana.ini": folder / "grafana.ini",
        "datasources.yaml": provisioning / "datasources" / "prometheus.yaml",
        "dashboards.yaml": provisioning / "dashboards" / "labkit.yaml",
    }
    # Empty, but where one of these is missing Grafana calls it an error.
    for name in ("alerting", "plugins"):
        (provisioning / name).mkdir(parents=True, exist_ok=True)
    for name, file in files.items():
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(
            render(
                f"observability/grafana/{name}",
                folder=folder,
                port=lab.port(GRAFANA),
                url=grafana_url(lab),
                admin=ADMIN,
                password_file=lab.home.secrets / GRAFANA,
                dashboards=_DASHBOARDS,
                prometheus_url=prometheus_url(lab),
            )
        )
    return files


def _service(lab: Lab, program: Path, home: Path, config: dict[str, Path]) -> Service:
    return Service(
        name=GRAFANA,
        about="shows the dashboards",
        command=(str(program), "server", "--homepath", str(home), "--config", str(config["grafana.ini"])),
        health=f"{grafana_url(lab)}/api/health",
        environment=digest(*config.values()),
        ports={"http": lab.port(GRAFANA)},
    )
