"""The dashboards as pages, drawn from what Prometheus has measured: where an alert's link leads to."""

from __future__ import annotations

import yaml

from labkit.config import Lab
from labkit.process import LOOPBACK, PYTHON
from labkit.services.supervisor import Service, Supervisor, digest


def dashboard_pages_url(lab: Lab) -> str:
    """Where dashboards are, without a slash at the end; `/d/UID?var-environment=NAME` is one of them."""
    return f"http://{LOOPBACK}:{lab.port('dashboards')}"


def ensure_dashboards(lab: Lab) -> None:
    """Serve the dashboards."""
    folder = lab.home.services / "dashboards"
    folder.mkdir(parents=True, exist_ok=True)
    config = folder / "config.yaml"
    settings = {
        "port": lab.port("dashboards"),
        "environments": [environment.name for environment in lab.environments],
        "drawSeconds": lab.limits.service_seconds,
    }
    config.write_text(yaml.safe_dump(settings, sort_keys=False))
    Supervisor(lab).ensure_services(
        [
            Service(
                name="dashboards",
                about="the four dashboards as pages; alerts lead here",
                command=(PYTHON, "-m", "labkit.dashboards", "--config", str(config)),
                health=f"{dashboard_pages_url(lab)}/healthz",
                environment=digest(config),
                ports={"http": lab.port("dashboards")},
            )
        ]
    )
