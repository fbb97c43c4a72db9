"""`python -m labkit.dashboards --config FILE`: serve the dashboards until told to stop."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from aiohttp import web

from labkit.asynckube.program import run_program, until_told_to_stop
from labkit.dashboards.server import Server
from labkit.dashboards.settings import load_settings
from labkit.process import LOOPBACK


async def _wait() -> None:
    await asyncio.Event().wait()


async def _work(config: Path) -> None:
    settings = load_settings(config)
    # Who has gone needs no page: the process that draws it ends.
    runner = web.AppRunner(Server(settings).app, access_log=None, handler_cancellation=True)
    await runner.setup()
    await web.TCPSite(runner, LOOPBACK, settings.port).start()
    try:
        await until_told_to_stop(_wait())
    finally:
        await runner.cleanup()


if __name__ == "__main__":
    sys.exit(run_program("labkit.dashboards", "the dashboards", __doc__, _work))
