"""`python -m labkit.kargolite --config FILE`: run until told to stop."""

from __future__ import annotations

import asyncio
import logging
import shutil
import signal
import sys
from pathlib import Path

from tornado.httpserver import HTTPServer

from labkit.asynckube.program import run_program
from labkit.errors import LabError
from labkit.kargolite.admission import Admission
from labkit.kargolite.projects import ProjectConfigReconciler, ProjectReconciler
from labkit.kargolite.promotions import PromotionReconciler, forget_working_copies
from labkit.kargolite.registry import ImageRegistry
from labkit.kargolite.servers import serve_health, serve_webhooks
from labkit.kargolite.settings import Settings, load_settings
from labkit.kargolite.stages import StageReconciler
from labkit.kargolite.warehouses import WarehouseReconciler
from labkit.kargolite.world import World

log = logging.getLogger("kargolite")


async def _run(settings: Settings) -> None:
    settings.work.mkdir(parents=True, exist_ok=True, mode=0o700)
    forget_working_copies(settings.work)
    world, registry = World(settings), ImageRegistry()
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    serving: list[HTTPServer] = []

    def problems() -> list[str]:
        missing = [f"{item.resource.plural} are not watched" for item in world.informers if not item.connected]
        return missing if serving else [*missing, "admission webhooks are not served"]

    health = serve_health(problems, settings.health_port)
    controllers = [
        reconciler.controller
        for reconciler in (
            ProjectReconciler(world),
            ProjectConfigReconciler(world),
            WarehouseReconciler(world, registry),
            StageReconciler(world),
            PromotionReconciler(world),
        )
    ]
    tasks = [asyncio.create_task(informer.run()) for informer in world.informers]
    serving.append(serve_webhooks(Admission(world), settings.webhooks_port, settings.certificates))
    log.info("started: shards %s", ", ".join(world.shards))
    ended = asyncio.create_task(stop.wait())
    try:
        done, _ = await asyncio.wait([ended, *tasks], return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        for server in (health, *serving):
            server.stop()
        for task in (ended, *tasks):
            task.cancel()
        await asyncio.gather(ended, *tasks, return_exceptions=True)
        for controller in controllers:
            await controller.stop()
        await registry.close()
        await world.close()
        log.info("stopped")


async def _work(config: Path) -> None:
    settings = load_settings(config)
    for program in ("git", "kustomize"):
        if shutil.which(program) is None:
            raise LabError(f"{program} is not on PATH", todo=f"install {program}, or put it on PATH")
    await _run(settings)


if __name__ == "__main__":
    sys.exit(run_program("labkit.kargolite", "kargolite", __doc__, _work))
