"""Steady traffic to the demo app, so that there is always something to measure."""

from __future__ import annotations

import yaml

from labkit.config import Lab
from labkit.process import LOOPBACK, PYTHON
from labkit.services.pods import runs_pods
from labkit.services.supervisor import Service, Supervisor

TRAFFIC = "traffic"


def has_traffic(lab: Lab) -> bool:
    """Whether this lab has steady traffic: it was not switched off, and there is something that can answer."""
    return lab.settings.traffic == "steady" and runs_pods(lab)


def ensure_traffic(lab: Lab) -> None:
    """Have people use the demo app in every environment; nothing where this lab has no traffic."""
    if not has_traffic(lab):
        return
    folder = lab.home.services / TRAFFIC
    folder.mkdir(parents=True, exist_ok=True)
    config = folder / "config.yaml"
    config.write_text(
        yaml.safe_dump(
            {
                "port": lab.port("traffic"),
                "environments": [
                    {
                        "name": environment.name,
                        "url": lab.app_url(environment.name),
                        "requestsPerSecond": lab.traffic[environment.name].requests_per_second,
                        "customers": list(lab.traffic[environment.name].customers),
                    }
                    for environment in lab.environments
                ],
            },
            sort_keys=False,
            allow_unicode=True,
        )
    )
    url = f"http://{LOOPBACK}:{lab.port('traffic')}"
    Supervisor(lab).ensure_services(
        [
            Service(
                name=TRAFFIC,
                about="uses the demo app all the time, in every environment",
                command=(PYTHON, "-m", "labkit.traffic", "--config", str(config)),
                health=f"{url}/healthz",
                ports={"metrics": lab.port("traffic")},
            )
        ]
    )
