"""`python -m labkit.traffic --config FILE`: use the demo app until told to stop."""

from __future__ import annotations

import sys
from pathlib import Path

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

from labkit.asynckube.program import run_program, until_told_to_stop
from labkit.process import LOOPBACK
from labkit.traffic.people import everybody
from labkit.traffic.settings import load_settings


async def _work(config: Path) -> None:
    settings, registry = load_settings(config), CollectorRegistry()

    async def metrics(_: web.Request) -> web.Response:
        return web.Response(body=generate_latest(registry), headers={"Content-Type": CONTENT_TYPE_LATEST})

    async def healthz(_: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    pages = web.Application()
    pages.add_routes([web.get("/metrics", metrics), web.get("/healthz", healthz)])
    runner = web.AppRunner(pages, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, LOOPBACK, settings.port).start()
    try:
        await until_told_to_stop(everybody(settings.crowds, registry))
    finally:
        await runner.cleanup()


if __name__ == "__main__":
    sys.exit(run_program("labkit.traffic", "the traffic", __doc__, _work))
