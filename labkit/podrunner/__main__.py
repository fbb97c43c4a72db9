"""`python -m labkit.podrunner --config FILE`: run a cluster's pods until told to stop."""

from __future__ import annotations

import asyncio
import signal
import sys
from pathlib import Path

from labkit.asynckube.program import run_program
from labkit.podrunner.runner import Runner, base_interpreter
from labkit.podrunner.settings import load_settings


async def _work(config: Path) -> None:
    running = asyncio.create_task(Runner(load_settings(config), base_interpreter(sys.executable)).run())
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, running.cancel)
    try:
        await running
    except asyncio.CancelledError:
        return


if __name__ == "__main__":
    sys.exit(run_program("labkit.podrunner", "the pod runner", __doc__, _work))
