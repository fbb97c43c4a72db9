"""The promotion guard: opens and closes gates, rolls back by the rules, keeps the records."""

from __future__ import annotations

from labkit.config import Lab
from labkit.process import LOOPBACK, PYTHON
from labkit.services.supervisor import Service, Supervisor

GUARD = "promotion-guard"


def ensure_guard(lab: Lab) -> None:
    """Run the guard."""
    port = lab.port("guard")
    Supervisor(lab).ensure_services(
        [
            Service(
                name=GUARD,
                about="gates of pull requests, automatic rollback, evidence",
                command=(PYTHON, "-m", "labkit.guard"),
                health=f"http://{LOOPBACK}:{port}/healthz",
                ports={"health": port},
            )
        ]
    )
