"""Valkey: the cache (Redis protocol) that the Argo CDs share, a database number for each."""

from __future__ import annotations

from labkit.config import Lab
from labkit.process import LOOPBACK
from labkit.services.supervisor import Service, Supervisor
from labkit.toolchain import Toolset


def ensure_valkey(lab: Lab, tools: Toolset) -> None:
    """Run Valkey; it keeps nothing on disk, for Argo CD can compute all of it again."""
    port = lab.port("valkey")
    Supervisor(lab).ensure_services(
        [
            Service(
                name="valkey",
                about="cache of the Argo CDs",
                command=(
                    *(str(tools.path("valkey-server")), "--bind", LOOPBACK, "--port", str(port)),
                    *("--save", "", "--appendonly", "no", "--loglevel", "warning"),
                    # A process that writes a title writes it over its environment, where its mark is.
                    *("--set-proc-title", "no"),
                ),
                health=f"tcp://{LOOPBACK}:{port}",
                ports={"redis": port},
            )
        ]
    )
