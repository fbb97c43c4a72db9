"""The board as a page of its own, without Jupyter's editor around it: `labkit board`."""

from __future__ import annotations

import logging
import os
import secrets
from collections.abc import Callable

from tornado.websocket import WebSocketClosedError
from voila.app import Voila

from labkit.config import Lab
from labkit.paths import DATA
from labkit.process import LOOPBACK, assert_ports_free

_NOTEBOOK = DATA / "pipeline" / "board.ipynb"
_TEMPLATE = DATA / "pipeline" / "page"
_LOGS = ("asyncio", "tornado.application", "tornado.general")


def worth_saying(record: logging.LogRecord) -> bool:
    """Whether a line of the server's log is of use: not that a tab was closed, nor how two of its own limits differ."""
    closed = record.exc_info is not None and isinstance(record.exc_info[1], WebSocketClosedError)
    return not closed and not record.getMessage().startswith("The websocket_ping_timeout ")


def serve_board(lab: Lab, port: int, *, ready: Callable[[str], None]) -> None:
    """Serve the board until Ctrl-C or SIGTERM; its kernels end with it.

    Args:
        lab: The lab.
        port: Where to listen, on this machine alone.
        ready: Told the page's address, with the token without which nobody is let in.

    Raises:
        LabError: The port is taken.
    """
    assert_ports_free({"the board": port}, todo="stop that process, or give another port: `labkit board --port N`")
    # The page's kernel is a process of its own.
    os.environ["LABKIT_HOME"] = str(lab.home.root)
    token = secrets.token_urlsafe(16)
    server = Voila(
        notebook_path=str(_NOTEBOOK),
        ip=LOOPBACK,
        port=port,
        port_retries=0,
        token=token,
        open_browser=False,
        log_level="ERROR",
        # A page that is closed has its kernel ended; Voilà's page lacks the cookie that would be asked for. What
        # another site could send without it needs the kernel's id, which only this page knows.
        tornado_settings={"disable_check_xsrf": True},
    )
    server.initialize([])
    # A kernel warns of itself where what it says to its server is not encrypted.
    server.config.KernelManager.transport_encryption = "auto"
    for log in (server.log, *map(logging.getLogger, _LOGS)):
        log.addFilter(worth_saying)
    server.template_paths.insert(0, str(_TEMPLATE))
    ready(f"http://{LOOPBACK}:{port}/?token={token}")
    server.start()
