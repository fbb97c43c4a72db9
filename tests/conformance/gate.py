"""What the web metric of the recorded verification asks: a tiny server that says yes, or no for the Stages told."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread


class Gate:
    """Answers `GET /<stage>` with `{"ok": true}` or `{"ok": false}`."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.closed_for: set[str] = set()


@contextmanager
def open_gate() -> Iterator[Gate]:
    """A gate on a free port of 127.0.0.1, for as long as the block takes."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = json.dumps({"ok": self.path.strip("/") not in gate.closed_for}).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """The replay tells what happened."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    gate = Gate(f"127.0.0.1:{server.server_port}")
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield gate
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
