"""The health check of the lab's own programs: an HTTP server that says how a program is."""

from __future__ import annotations

import http.server
import threading
import time
from collections.abc import Callable

from labkit.process import LOOPBACK


def serve_health(port: int, answer: Callable[[], tuple[int, str]]) -> None:
    """Answer health checks on 127.0.0.1, in a thread, for as long as this process lives.

    Args:
        port: Where.
        answer: Gives the HTTP status and a line of text.
    """

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, text = answer()
            self.send_response(status)
            self.end_headers()
            self.wfile.write(f"{text}\n".encode())

        def log_message(self, format: str, *args: object) -> None:
            """Health checks are not worth a line."""

    server = http.server.ThreadingHTTPServer((LOOPBACK, port), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()


class Health:
    """Answers health checks, as long as the program says that it is alive.

    Args:
        port: Where to answer, on 127.0.0.1.
        patience: Seconds without a sign of life after which the answer is 503.
    """

    def __init__(self, port: int, *, patience: float) -> None:
        self._seen = time.monotonic()
        self._patience = patience
        serve_health(port, self._answer)

    def _answer(self) -> tuple[int, str]:
        alive = time.monotonic() - self._seen < self._patience
        return (200, "ok") if alive else (503, "no sign of life")

    def alive(self) -> None:
        """A sign of life."""
        self._seen = time.monotonic()
