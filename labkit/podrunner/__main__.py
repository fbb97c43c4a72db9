"""`python -m labkit.podrunner --config FILE`: run a cluster's pods until told to stop."""

from __future__ import annotations

import sys
from pathlib import Path

from labkit.asynckube.program import run_program, until_told_to_stop
from labkit.podrunner.runner import Runner, base_interpreter
from labkit.podrunner.settings import load_settings


async def _work(config: Path) -> None:
    await until_told_to_stop(Runner(load_settings(config), base_interpreter(sys.executable)).run())


if __name__ == "__main__":
    sys.exit(run_program("labkit.podrunner", "the pod runner", __doc__, _work))
