"""Run a command every so often, as a CronJob would, and say over HTTP how the last run ended.

python -m labkit.services.periodic --every 3600 --port 17308 program argument …
"""

from __future__ import annotations

import argparse
import signal
import subprocess
import threading
from collections.abc import Sequence

from labkit.health import serve_health

RETRY_SECONDS = 60.0


class PeriodicCommand:
    """A command that runs at once and then again and again, never twice at a time.

    Args:
        command: Program and arguments.
        every: Seconds from the start of one run to the next; after a failure, at most `RETRY_SECONDS`.
    """

    def __init__(self, command: Sequence[str], every: float) -> None:
        self._command = list(command)
        self._every = every
        self.answer = (503, f"{self._command[0]} has not run yet")

    def run_once(self) -> float:
        """Run the command to its end; its output is this process' own.

        Returns:
            Seconds to wait before the next run.
        """
        code = subprocess.run(self._command, check=False).returncode
        self.answer = (200, "ok") if code == 0 else (500, f"{self._command[0]} ended with {code}")
        print(f"{' '.join(self._command)}: {self.answer[1]}", flush=True)
        return self._every if code == 0 else min(self._every, RETRY_SECONDS)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command until this process is asked to stop."""
    parser = argparse.ArgumentParser(prog="labkit.services.periodic")
    parser.add_argument("--every", type=float, required=True, help="seconds between two runs")
    parser.add_argument("--port", type=int, required=True, help="where to say how the last run ended")
    parser.add_argument("command", nargs=argparse.REMAINDER)
    given = parser.parse_args(arguments)
    periodic = PeriodicCommand(given.command, given.every)

    stopped = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stopped.set())
    serve_health(given.port, lambda: periodic.answer)
    while not stopped.is_set():
        stopped.wait(periodic.run_once())


if __name__ == "__main__":
    main()
