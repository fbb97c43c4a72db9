"""What every tier has: health, version, metrics, JSON logs, calls to the next tier, a clean stop.

A tier creates one `Service`, adds its routes to `service.app` and ends with `service.run()`.
"""

import json
import logging
import os
import signal
import sys
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import prometheus_client
import waitress
from bottle import Bottle, HTTPError, HTTPResponse, request, response

PEER_TIMEOUT = 5.0  # seconds another tier may take to answer
PATIENCE = 10.0  # seconds in which a tier that is not there may come: one of a single pod is away while it is replaced
PAUSE = 0.2  # seconds between two tries
LATENCY_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)  # seconds


class JsonFormatter(logging.Formatter):
    """One JSON object a line, as log collectors like it."""

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created)) + f".{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **getattr(record, "fields", {}),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line)


class PeerError(Exception):
    """The next tier did not answer, or answered with an error. It may have done what was asked all the same."""

    def __init__(self, message: str, status: int = 502) -> None:
        super().__init__(message)
        self.status = status


class PeerAbsentError(PeerError):
    """Nobody was there to take the call, so it can be made again, whatever it asks for."""

    def __init__(self, message: str) -> None:
        super().__init__(message, 503)


class Peer:
    """Another tier, by its URL. Calls go through HTTP_PROXY if that is set.

    Args:
        name: The tier's name.
        url: Where it is.
        patience: Seconds in which it may come, if nobody is there.
    """

    def __init__(self, name: str, url: str, patience: float = PATIENCE) -> None:
        self.name = name
        self.url = url.rstrip("/")
        self._patience = patience

    def get(self, path: str) -> Any:
        """The JSON that the peer answers to a GET."""
        return self._call("GET", path, None)

    def post(self, path: str, body: Any) -> Any:
        """The JSON that the peer answers to a POST of `body`."""
        return self._call("POST", path, body)

    def _call(self, method: str, path: str, body: Any) -> Any:
        call = urllib.request.Request(
            self.url + path,
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Content-Type": "application/json", "X-Request-ID": request_id()},
        )
        until = time.monotonic() + self._patience
        while True:
            try:
                return self._ask(call)
            except PeerAbsentError:
                if time.monotonic() > until:
                    raise
                time.sleep(PAUSE)

    def _ask(self, call: urllib.request.Request) -> Any:
        try:
            # It may have to be as patient with the tier behind it.
            with urllib.request.urlopen(call, timeout=PATIENCE + PEER_TIMEOUT) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            text = error.read().decode(errors="replace")
            try:
                text = json.loads(text)["error"]
            except (ValueError, KeyError, TypeError):
                text = f"{self.name} answered {error.code}"
            if error.code == 503:
                raise PeerAbsentError(text) from error
            # What the peer says about our request (4xx) is passed on; its own trouble (5xx) is a bad gateway.
            raise PeerError(text, error.code if error.code < 500 else 502) from error
        except (OSError, ValueError) as error:
            text = f"{self.name} at {self.url} cannot be reached: {error}"
            if isinstance(getattr(error, "reason", None), ConnectionRefusedError):
                raise PeerAbsentError(text) from error
            raise PeerError(text) from error


def request_id() -> str:
    """The id that follows one request through all tiers and their logs."""
    if "demo.request_id" not in request.environ:
        request.environ["demo.request_id"] = request.headers.get("X-Request-ID") or uuid.uuid4().hex[:12]
    return str(request.environ["demo.request_id"])


class Service:
    """One tier: a Bottle app with the routes and habits that all tiers share (it is a plugin to that app).

    Args:
        name: The tier's name, as in its image and Deployment.
        version: What is running; the tier's VERSION file.
        not_ready: Returns why the tier cannot serve now, or an empty string.
    """

    api = 2  # of Bottle's plugins

    def __init__(self, name: str, version: str, not_ready: Callable[[], str] = lambda: "") -> None:
        self.name = name
        self.version = version
        self.log = logging.getLogger(name)
        self._not_ready = not_ready
        self._stopping = False

        self.registry = prometheus_client.CollectorRegistry()
        prometheus_client.ProcessCollector(registry=self.registry)
        prometheus_client.Info("app", "The tier and its version.", registry=self.registry).info(
            {"tier": name, "version": version}
        )
        self._requests = prometheus_client.Counter(
            "http_requests", "Requests answered.", ["method", "route", "status"], registry=self.registry
        )
        self._errors = prometheus_client.Counter(
            "http_request_errors", "Requests answered with 5xx.", ["method", "route"], registry=self.registry
        )
        self._latency = prometheus_client.Histogram(
            "http_request_duration_seconds",
            "Time to answer.",
            ["method", "route"],
            buckets=LATENCY_BUCKETS,
            registry=self.registry,
        )

        self.app = Bottle()
        self.app.install(self)
        self.app.default_error_handler = self._error
        self.app.get("/healthz", callback=self._healthz, probe=True)
        self.app.get("/readyz", callback=self._readyz, probe=True)
        self.app.get("/version", callback=self._version)
        self.app.get("/metrics", callback=self._metrics, probe=True)

    def run(self) -> None:
        """Serve until SIGTERM; then report not ready, finish what is under way, and end."""
        configure_logging()
        signal.signal(signal.SIGTERM, self._stop)
        host, port = os.environ.get("HOST", "127.0.0.1"), int(os.environ.get("PORT", "8080"))
        server = waitress.create_server(self.app, host=host, port=port, threads=32, ident=None)
        self._say(logging.INFO, "started", version=self.version, host=host, port=server.effective_port)
        server.run()
        self._say(logging.INFO, "stopped", version=self.version)

    def _stop(self, *_: object) -> None:
        self._stopping = True
        self._say(logging.INFO, "stopping")
        signal.signal(signal.SIGALRM, lambda *_: sys.exit(0))
        signal.setitimer(signal.ITIMER_REAL, float(os.environ.get("DRAIN_SECONDS", "2")))

    def _healthz(self) -> dict[str, Any]:
        return {"status": "ok"}

    def _readyz(self) -> dict[str, Any]:
        reason = "stopping" if self._stopping else self._not_ready()
        response.status = 503 if reason else 200
        return {"ready": not reason, "reason": reason}

    def _version(self) -> dict[str, Any]:
        return {"name": self.name, "version": self.version}

    def _metrics(self) -> bytes:
        response.content_type = prometheus_client.CONTENT_TYPE_LATEST
        return prometheus_client.generate_latest(self.registry)

    def apply(self, callback: Callable[..., Any], route: Any) -> Callable[..., Any]:
        """What Bottle calls for every route: around it, turn exceptions into answers, count, time and log."""

        def observed(*args: Any, **kwargs: Any) -> Any:
            started = time.perf_counter()
            status = 500
            try:
                result = callback(*args, **kwargs)
                status = result.status_code if isinstance(result, HTTPResponse) else response.status_code
                return result
            except HTTPResponse as answer:
                status = answer.status_code
                raise
            except PeerError as error:
                status = error.status
                raise HTTPError(status, str(error)) from error
            except Exception as error:
                self.log.exception("unexpected error", extra={"fields": {"requestId": request_id()}})
                raise HTTPError(500, "internal error") from error
            finally:
                self._record(route, status, time.perf_counter() - started)

        return observed

    def _record(self, route: Any, status: int, seconds: float) -> None:
        labels = (request.method, route.rule)
        self._requests.labels(*labels, str(status)).inc()
        self._latency.labels(*labels).observe(seconds)
        if status >= 500 and not route.config.get("probe"):
            self._errors.labels(*labels).inc()
        level = logging.DEBUG if route.config.get("probe") else logging.INFO
        self._say(
            level if status < 500 else logging.ERROR,
            "request",
            method=request.method,
            path=request.path,
            status=status,
            milliseconds=round(seconds * 1000, 1),
            requestId=request_id(),
        )

    def _error(self, error: HTTPError) -> str:
        response.content_type = "application/json"
        return json.dumps({"error": error.body})

    def _say(self, level: int, message: str, **fields: Any) -> None:
        self.log.log(level, message, extra={"fields": fields})


def configure_logging() -> None:
    """JSON to standard output, at LOG_LEVEL (default info)."""
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(JsonFormatter())
    logging.basicConfig(level=os.environ.get("LOG_LEVEL", "info").upper(), handlers=[handler], force=True)


def read_version(main_file: str) -> str:
    """The VERSION file beside a tier's program."""
    return (Path(main_file).parent / "VERSION").read_text().strip()
