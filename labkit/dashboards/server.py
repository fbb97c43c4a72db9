"""The HTTP server of the dashboards: a list, a page for each, and plotly.js, which the pages need."""

from __future__ import annotations

import asyncio
import logging
import sys
from importlib.util import find_spec
from pathlib import Path

from aiohttp import web

from labkit.dashboards.settings import Settings
from labkit.errors import LabError
from labkit.observability.panels import dashboard_plans
from labkit.templates import render

log = logging.getLogger("labkit.dashboards")

_BOARD = "labkit.observability.board"


def plotly_file() -> Path:
    """plotly.js, as the plotly package brings it; found without importing that."""
    spec = find_spec("plotly")
    if spec is None or spec.origin is None:
        raise LabError("plotly is not installed", todo="`make .venv/.ready` installs what the lab needs")
    return Path(spec.origin).parent / "package_data" / "plotly.min.js"


class Server:
    """The dashboards' routes.

    Args:
        settings: How the dashboards are served.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._plotly = plotly_file()
        # One page after another: each process that draws needs memory that the lab wants for itself.
        self._drawing = asyncio.Semaphore(1)
        self.app = web.Application()
        self.app.add_routes(
            [
                web.get("/", self._index),
                web.get("/healthz", self._healthz),
                web.get("/plotly.min.js", self._plotly_js),
                web.get("/d/{uid}", self._dashboard),
            ]
        )

    async def _healthz(self, _: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def _plotly_js(self, _: web.Request) -> web.FileResponse:
        return web.FileResponse(self._plotly, headers={"Cache-Control": "max-age=86400"})

    async def _index(self, _: web.Request) -> web.Response:
        return _page(self._list())

    async def _dashboard(self, request: web.Request) -> web.Response:
        uid, asked = request.match_info["uid"], request.query
        environment, minutes = asked.get("var-environment", "prod"), asked.get("minutes", "15")
        if uid not in {plan.uid for plan in dashboard_plans()}:
            return _page(self._list(f"There is no dashboard {uid!r}"), 404)
        if environment not in self._settings.environments:
            return _page(self._list(f"There is no environment {environment!r}"), 400)
        if not (minutes.isascii() and minutes.isdecimal() and int(minutes)):
            return _page(self._list(f"{minutes!r} is no number of minutes"), 400)
        try:
            async with self._drawing:
                code, page, said = await self._draw(uid, "--environment", environment, "--minutes", minutes)
        except TimeoutError:
            code, page, said = 1, "", f"It was not drawn within {self._settings.draw_seconds:g} s"
        if code == 0:
            return _page(page)
        log.warning("dashboard %s of %s: %s", uid, environment, said)
        return _page(self._list(said), 502)

    def _list(self, refused: str = "") -> str:
        return render(
            "report/boards.html", plans=dashboard_plans(), environments=self._settings.environments, refused=refused
        )

    async def _draw(self, *arguments: str) -> tuple[int, str, str]:
        """Exit code, standard output and standard error of the process that draws a page."""
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", _BOARD, *arguments), stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
        )
        try:
            page, said = await asyncio.wait_for(process.communicate(), self._settings.draw_seconds)
        finally:
            if process.returncode is None:
                process.kill()
        return process.returncode or 0, page.decode(), said.decode().strip()


def _page(text: str, status: int = 200) -> web.Response:
    return web.Response(text=text, status=status, content_type="text/html", charset="utf-8")
