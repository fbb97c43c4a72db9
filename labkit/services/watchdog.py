"""The clusters' watchdog: starts a control plane's component again when it has died.

kwokctl starts components as plain processes and nothing restarts them: this does, as a kubelet would.
"""

from __future__ import annotations

import logging
import time

from labkit.clusters import provider
from labkit.config import Lab, load_lab
from labkit.errors import LabError
from labkit.health import Health
from labkit.process import LOOPBACK, PYTHON
from labkit.services.supervisor import Service, Supervisor

log = logging.getLogger("labkit.watchdog")
WATCHDOG = "cluster-watchdog"
_PAUSE = 2.0


def ensure_watchdog(lab: Lab) -> None:
    """Run the watchdog."""
    port = lab.port("watchdog")
    Supervisor(lab).ensure_services(
        [
            Service(
                name=WATCHDOG,
                about="restarts components of the clusters that died",
                command=(PYTHON, "-m", "labkit.services.watchdog"),
                health=f"http://{LOOPBACK}:{port}/healthz",
                ports={"health": port},
            )
        ]
    )


def revive(lab: Lab) -> list[str]:
    """Start the clusters of which a component has died.

    Returns:
        The contexts of those clusters.
    """
    clusters = provider(lab)
    revived = []
    for environment in lab.environments:
        down = clusters.down(environment)
        if down:
            log.warning("%s of %s died; starting again", ", ".join(down), environment.context)
            clusters.start(environment)
            revived.append(environment.context)
    return revived


def main() -> None:
    """Look after the clusters of `$LABKIT_HOME` until this process is stopped."""
    logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s", level=logging.WARNING)
    lab = load_lab()
    # Starting a cluster may take its time.
    health = Health(lab.port("watchdog"), patience=2 * lab.limits.cluster_seconds)
    while True:
        health.alive()
        try:
            revive(lab)
        except LabError as error:
            log.error("%s", error)
        # Not a wait for a condition: the pause between two looks.
        time.sleep(_PAUSE)


if __name__ == "__main__":
    main()
