"""The way between pods: an HTTP proxy that knows the cluster's Services.

A pod's process has it as HTTP_PROXY, with its namespace as the user: `http://demo-app:frontend-1@127.0.0.1:N`. Beside
requests to Services it answers its own `/healthz` and `/metrics`. A gateway is a port of its own for one Service, for
those outside the cluster who know no proxy.

A request goes to one ready endpoint. If that cannot be connected to, nothing has been sent, and the next one is tried,
whatever the method. If it breaks off before its answer is there, the next one is tried for methods that may be repeated
(RFC 9110, 9.2.2), never for others: the endpoint may have done what was asked.
"""

from __future__ import annotations

import asyncio
import base64
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from functools import partial

import aiohttp
from aiohttp import web

from labkit.podrunner.metrics import Metrics
from labkit.podrunner.services import Endpoint, Host, Services, UnknownHost, parse_host
from labkit.podrunner.settings import Gateway
from labkit.process import LOOPBACK

log = logging.getLogger("podrunner.proxy")

_HOP_BY_HOP = frozenset(
    {
        "connection",
        "expect",
        "host",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)
_REPEATABLE = frozenset({"GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"})
_KEPT = 64 * 1024
_CONNECT_SECONDS = 2.0
_ANSWER_SECONDS = 60.0

Locate = Callable[[Endpoint], int | None]


class _Broken(Exception):  # noqa: N818 (it reads as what it is)
    """An endpoint broke off.

    Attributes:
        nothing_sent: It could not be connected to.
    """

    def __init__(self, said: str, *, nothing_sent: bool) -> None:
        super().__init__(said)
        self.nothing_sent = nothing_sent


class Proxy:
    """Answers on ports of 127.0.0.1: one for pods, and one for each gateway.

    Args:
        services: What names stand for.
        locate: Gives the port of this machine where an endpoint's process listens; None if no process does.
        metrics: Counts, and is shown.
        problems: Says what is missing for the runner to be healthy.
    """

    def __init__(self, services: Services, locate: Locate, metrics: Metrics, problems: Callable[[], list[str]]) -> None:
        self._services = services
        self._locate = locate
        self._metrics = metrics
        self._problems = problems
        self._runners: list[web.ServerRunner] = []
        self._client: aiohttp.ClientSession | None = None

    async def start(self, port: int, gateways: Iterable[Gateway] = ()) -> None:
        """Listen."""
        # A connection that is used again may be to a process that has just been killed: each request has its own.
        self._client = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, force_close=True),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_SECONDS, sock_read=_ANSWER_SECONDS),
            auto_decompress=False,
            cookie_jar=aiohttp.DummyCookieJar(),
            trust_env=False,
        )
        await self._listen(port, self._answer)
        for gateway in gateways:
            host = Host(gateway.service, gateway.namespace, "", gateway.service_port)
            await self._listen(gateway.port, partial(self._pass_on, host, gateway.namespace))

    async def _listen(self, port: int, answer: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]) -> None:
        async def handle(request: web.BaseRequest) -> web.StreamResponse:
            if request.method == "CONNECT" or "upgrade" in request.headers.get("Connection", "").lower():
                return _refusal(501, "only HTTP requests are passed on, no tunnels and no upgrades")
            return await answer(request)

        runner = web.ServerRunner(web.Server(handle, access_log=None))
        self._runners.append(runner)
        await runner.setup()
        await web.TCPSite(runner, LOOPBACK, port, backlog=1024).start()

    async def stop(self) -> None:
        """Stop listening."""
        for runner in self._runners:
            await runner.cleanup()
        if self._client:
            await self._client.close()

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        if not request.raw_path.lower().startswith("http://"):
            return await self._own_page(request)
        try:
            host = parse_host(request.url.host or "", request.url.explicit_port)
        except UnknownHost as error:
            self._metrics.answered("failed")
            return _refusal(502, error.what)
        caller = namespace_of_caller(request.headers.get("Proxy-Authorization", ""))
        return await self._pass_on(host, caller, request)

    async def _own_page(self, request: web.BaseRequest) -> web.Response:
        if request.path == "/healthz":
            problems = self._problems()
            return web.json_response(
                {"status": "waiting" if problems else "ok", "problems": problems}, status=503 if problems else 200
            )
        if request.path == "/metrics":
            return web.Response(
                body=await asyncio.to_thread(self._metrics.text),
                headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"},
            )
        return _refusal(404, "this is a proxy: it has /healthz and /metrics, and passes on http://SERVICE.NAMESPACE/…")

    async def _pass_on(self, host: Host, caller: str, request: web.BaseRequest) -> web.StreamResponse:
        """Pass a request on to a Service, on behalf of somebody in the namespace `caller`."""
        try:
            answer = await self._ask(request, self._services.endpoints(host, caller))
        except UnknownHost as error:
            answer = _refusal(502, error.what)
        self._metrics.answered("ok" if answer.status < 500 else "failed")
        return answer

    async def _ask(self, request: web.BaseRequest, endpoints: Sequence[Endpoint]) -> web.StreamResponse:
        """The answer of the first endpoint that gives one."""
        authority = request.url.authority
        said = f"no endpoint of {authority} is ready"
        body = await _Body.of(request)
        # Those whose process is known to be gone are not asked.
        targets = [port for port in (self._locate(endpoint) for endpoint in endpoints) if port is not None]
        for number, port in enumerate(targets):
            if number:
                self._metrics.retried()
            try:
                return await self._try(request, port, body)
            except _Broken as error:
                said = str(error)
                may_repeat = error.nothing_sent or (request.method in _REPEATABLE and body.repeatable)
                if not may_repeat:
                    return _refusal(502, f"{authority} broke off: {said}")
        return _refusal(503, said)

    async def _try(self, request: web.BaseRequest, port: int, body: _Body) -> web.StreamResponse:
        assert self._client is not None
        target = request.url.with_scheme("http").with_user(None).with_host(LOOPBACK).with_port(port)
        headers = [*_forwarded(request.headers), ("Host", request.url.host_port_subcomponent or "")]
        try:
            answer = await self._client.request(
                request.method,
                target,
                headers=headers,
                data=body.content(),
                allow_redirects=False,
                skip_auto_headers=("User-Agent", "Accept", "Accept-Encoding", "Content-Type"),
            )
        except aiohttp.ClientConnectorError as error:
            raise _Broken(str(error), nothing_sent=True) from error
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise _Broken(str(error) or type(error).__name__, nothing_sent=False) from error
        async with answer:
            return await self._give_back(request, answer)

    async def _give_back(self, request: web.BaseRequest, answer: aiohttp.ClientResponse) -> web.StreamResponse:
        headers = _forwarded(answer.headers)
        length = answer.content_length
        if request.method == "HEAD" or (length is not None and length <= _KEPT):
            # Small answers are read to their end first: one that breaks off in the middle can still be asked again.
            try:
                content = await answer.read()
            except (aiohttp.ClientError, OSError) as error:
                raise _Broken(str(error), nothing_sent=False) from error
            return web.Response(status=answer.status, reason=answer.reason, headers=headers, body=content or None)
        response = web.StreamResponse(status=answer.status, reason=answer.reason, headers=headers)
        await response.prepare(request)
        try:
            async for chunk in answer.content.iter_any():
                await response.write(chunk)
        except (aiohttp.ClientError, OSError):
            # Part of the answer is gone out: the caller has to see that it is not whole.
            if request.transport:
                request.transport.abort()
            return response
        with suppress(ConnectionError):
            await response.write_eof()
        return response


class _Body:
    """A request's body: kept where it is small, so that it can be sent again, passed on as it comes otherwise."""

    def __init__(self, kept: bytes | None, rest: AsyncIterator[bytes] | None) -> None:
        self._kept = kept
        self._rest = rest

    @classmethod
    async def of(cls, request: web.BaseRequest) -> _Body:
        """The body of a request."""
        if not request.can_read_body:
            return cls(None, None)
        if request.headers.get("Expect", "").lower() == "100-continue" and request.transport:
            request.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        if request.content_length is not None and request.content_length <= _KEPT:
            return cls(await request.content.read(request.content_length), None)
        return cls(None, request.content.iter_any())

    @property
    def repeatable(self) -> bool:
        """Whether it can be sent a second time."""
        return self._rest is None

    def content(self) -> bytes | AsyncIterator[bytes] | None:
        """What to send."""
        return self._kept if self._rest is None else self._rest


def namespace_of_caller(authorization: str) -> str:
    """The namespace that a pod's proxy address names as the user; empty if it names none."""
    scheme, _, value = authorization.partition(" ")
    if scheme.lower() != "basic":
        return ""
    try:
        return base64.b64decode(value, validate=True).decode().partition(":")[0]
    except ValueError:
        return ""


def _forwarded(headers: Mapping[str, str]) -> list[tuple[str, str]]:
    """The headers that are for the other end, not for this hop."""
    named = {name.strip().lower() for name in headers.get("Connection", "").split(",")}
    left_out = _HOP_BY_HOP | named
    return [(name, value) for name, value in headers.items() if name.lower() not in left_out]


def _refusal(status: int, message: str) -> web.Response:
    return web.Response(status=status, text=f"pod runner: {message}\n")
