"""`python -m labkit.pager --config FILE`: receive alerts until told to stop."""

from __future__ import annotations

import asyncio
import logging
import sys
import time
from pathlib import Path

from aiohttp import web

from labkit.asynckube.program import run_program, until_told_to_stop
from labkit.pager.book import Book
from labkit.pager.server import Server
from labkit.pager.settings import load_settings
from labkit.process import LOOPBACK

log = logging.getLogger("labkit.pager")
_LOOK_SECONDS = 1.0


async def _escalate(book: Book) -> None:
    while True:
        for page in book.escalate(time.time()):
            log.warning("page: nobody has taken %s in %s, calling %s", page.alert, page.environment, page.notified[-1])
        await asyncio.sleep(_LOOK_SECONDS)


async def _work(config: Path) -> None:
    settings = load_settings(config)
    book = Book(settings.file, settings.on_call, settings.escalate_seconds)
    runner = web.AppRunner(Server(book).app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, LOOPBACK, settings.port).start()
    try:
        await until_told_to_stop(_escalate(book))
    finally:
        await runner.cleanup()


if __name__ == "__main__":
    sys.exit(run_program("labkit.pager", "the pager", __doc__, _work))
