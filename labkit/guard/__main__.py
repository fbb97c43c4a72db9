"""`python -m labkit.guard`: look after the Promotions of `$LABKIT_HOME` until stopped."""

from __future__ import annotations

import logging
import signal
import threading

from labkit.config import load_lab
from labkit.errors import LabError
from labkit.guard.gates import publish_gates
from labkit.guard.records import keep_records
from labkit.guard.rollbacks import AutomaticRollbacks
from labkit.health import Health

log = logging.getLogger("labkit.guard")
_PAUSE = 1.0
_PATIENCE = 60.0


def main() -> None:
    """Do the round: gates, rollbacks, records."""
    logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s", level=logging.INFO)
    logging.getLogger("httpx").setLevel(logging.WARNING)
    lab = load_lab()
    stopped = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopped.set())
    health = Health(lab.port("guard"), patience=_PATIENCE)
    duties = (publish_gates, AutomaticRollbacks().look, keep_records)
    said: dict[object, str] = {}
    while not stopped.wait(_PAUSE):
        for duty in duties:
            try:
                duty(lab)
                said.pop(duty, None)
            except LabError as error:
                # Kargo or Gitea may be away for a while: worth a line once, and another try.
                if said.get(duty) != str(error):
                    log.error("%s", error)
                said[duty] = str(error)
        health.alive()


if __name__ == "__main__":
    main()
