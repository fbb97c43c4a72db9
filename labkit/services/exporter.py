"""The lab's own exporter: Kargo's resources as metrics (labkit.observability.exporter)."""

from __future__ import annotations

from labkit.config import Lab
from labkit.process import LOOPBACK, PYTHON
from labkit.services.supervisor import Service, Supervisor


def ensure_exporter(lab: Lab) -> None:
    """Run the exporter."""
    port = lab.port("exporter")
    Supervisor(lab).ensure_services(
        [
            Service(
                name="exporter",
                about="Stages, Freight, Promotions and verifications as metrics",
                command=(PYTHON, "-m", "labkit.observability.exporter"),
                health=f"tcp://{LOOPBACK}:{port}",
                ports={"metrics": port},
            )
        ]
    )
