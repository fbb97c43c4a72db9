"""For the tests of all tiers: run a tier's app on a free port of this machine, and talk to it over HTTP."""

import json
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from socketserver import TCPServer, ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from bottle import Bottle


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True

    def server_bind(self) -> None:
        """As the standard one, but without asking DNS for this machine's name."""
        TCPServer.server_bind(self)
        self.server_name, self.server_port = self.server_address[:2]
        self.setup_environ()


class _Quiet(WSGIRequestHandler):
    def log_message(self, *_: object) -> None:
        """The tiers log by themselves."""


@dataclass(frozen=True)
class Answer:
    status: int
    text: str

    @property
    def json(self) -> Any:
        return json.loads(self.text)


@dataclass(frozen=True)
class Running:
    """A tier that serves on a local port."""

    url: str

    def get(self, path: str) -> Answer:
        return self._call(urllib.request.Request(self.url + path))

    def post(self, path: str, body: Any) -> Answer:
        data = json.dumps(body).encode()
        return self._call(
            urllib.request.Request(self.url + path, data=data, headers={"Content-Type": "application/json"})
        )

    def _call(self, call: urllib.request.Request) -> Answer:
        direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with direct.open(call, timeout=10) as answer:
                return Answer(answer.status, answer.read().decode())
        except urllib.error.HTTPError as error:
            return Answer(error.code, error.read().decode())


@contextmanager
def running(app: Bottle, port: int = 0) -> Iterator[Running]:
    """Serve `app` while the block runs, on a free port unless one is given."""
    server = make_server("127.0.0.1", port, app, server_class=_Server, handler_class=_Quiet)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    try:
        yield Running(f"http://127.0.0.1:{server.server_port}")
    finally:
        server.shutdown()
        server.server_close()
