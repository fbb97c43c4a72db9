"""The pager's HTTP server: Alertmanager's webhook, a page to look at, and JSON for programs."""

from __future__ import annotations

import json
import logging
import time
from dataclasses import asdict
from datetime import datetime
from typing import Any

from aiohttp import web

from labkit.errors import LabError
from labkit.pager.book import CHANNELS, Book, Notice
from labkit.templates import render

log = logging.getLogger("labkit.pager")


class Server:
    """The pager's routes.

    Args:
        book: The notices.
    """

    def __init__(self, book: Book) -> None:
        self._book = book
        self.app = web.Application()
        self.app.add_routes(
            [
                web.get("/", self._page),
                web.get("/healthz", self._healthz),
                web.get("/notices", self._notices),
                web.post("/alerts/{channel}", self._alerts),
                web.post("/notices/{id}/acknowledge", self._acknowledge),
            ]
        )

    async def _healthz(self, _: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def _notices(self, _: web.Request) -> web.Response:
        return web.json_response([asdict(notice) | {"state": notice.state} for notice in self._book.all()])

    async def _alerts(self, request: web.Request) -> web.Response:
        channel = request.match_info["channel"]
        if channel not in CHANNELS:
            return web.json_response({"error": f"there is no channel {channel}"}, status=404)
        try:
            changed = self._book.receive(channel, await request.json(), time.time())
        except (LabError, json.JSONDecodeError) as error:
            log.error("%s", error)
            return web.json_response({"error": str(error)}, status=400)
        for notice in changed:
            said = f", calling {notice.notified[-1]}" if notice.channel == "page" and notice.state == "firing" else ""
            log.info("%s: %s in %s is %s%s", notice.channel, notice.alert, notice.environment, notice.state, said)
        return web.json_response({"changed": len(changed)})

    async def _acknowledge(self, request: web.Request) -> web.Response:
        from_page = request.content_type == "application/x-www-form-urlencoded"
        given: Any = await request.post() if from_page else await request.json()
        try:
            taken = self._book.acknowledge(request.match_info["id"], str(given["by"]), time.time())
        except KeyError:
            return web.json_response({"error": "say who you are: `by`"}, status=400)
        except LabError as error:
            return web.json_response({"error": str(error)}, status=409)
        log.info("page: %s in %s is taken by %s", taken.alert, taken.environment, taken.acknowledged_by)
        if from_page:
            raise web.HTTPSeeOther("/")
        return web.json_response(asdict(taken) | {"state": taken.state})

    async def _page(self, _: web.Request) -> web.Response:
        notices = self._book.all()
        shown = {channel: [_shown(item) for item in notices if item.channel == channel] for channel in _TITLES}
        return web.Response(
            text=render("pager/page.html", titles=_TITLES, notices=shown), content_type="text/html", charset="utf-8"
        )


_TITLES = {"page": "Pages (PROD)", "chat": "Chat (PRE)", "log": "Log (DEV)"}


def _shown(notice: Notice) -> dict[str, Any]:
    return asdict(notice) | {"state": notice.state, "when": _time(notice.received), "over": _time(notice.resolved)}


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds).astimezone().strftime("%H:%M:%S") if seconds else ""
