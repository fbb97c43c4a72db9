"""Probes: asked as a kubelet asks, counted as a kubelet counts."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from labkit.asynckube.objects import Obj
from labkit.process import LOOPBACK

_USER_AGENT = "kube-probe/1.36"
_MOST_OUTPUT = 10 * 1024


@dataclass(frozen=True)
class Target:
    """What a probe asks.

    Attributes:
        ip: The pod's address, as messages name it.
        port: The port that the pod says its container listens on.
        real_port: The process' own port on 127.0.0.1.
        folder: Where commands run.
        environment: The variables of commands.
    """

    ip: str
    port: int | None
    real_port: int
    folder: Path
    environment: Mapping[str, str] = field(repr=False)


@dataclass(frozen=True)
class Probe:
    """One probe of a container, with a kubelet's defaults."""

    action: Obj
    initial_delay: float
    period: float
    timeout: float
    success_threshold: int
    failure_threshold: int

    @classmethod
    def of(cls, container: Obj, kind: str) -> Probe | None:
        """A container's probe (`startup`, `readiness`, `liveness`), if it has one."""
        spec = container.get(f"{kind}Probe")
        if not spec:
            return None
        return cls(
            action=_with_numbers(spec, container),
            initial_delay=float(spec.get("initialDelaySeconds") or 0),
            period=float(spec.get("periodSeconds") or 10),
            timeout=float(spec.get("timeoutSeconds") or 1),
            success_threshold=int(spec.get("successThreshold") or 1),
            failure_threshold=int(spec.get("failureThreshold") or 3),
        )

    async def ask(self, target: Target) -> str | None:
        """Probe once.

        Returns:
            What is wrong, in a kubelet's words (a command may say nothing); None if nothing is.
        """
        if http := self.action.get("httpGet"):
            return await _ask_http(http, target, self.timeout)
        if tcp := self.action.get("tcpSocket"):
            return await _ask_tcp(tcp, target, self.timeout)
        return await _ask_command(self.action["exec"]["command"], target, self.timeout)


class Count:
    """Turns single answers into a state: it changes after as many equal answers in a row as the probe asks for."""

    def __init__(self, probe: Probe, state: bool | None) -> None:
        self._probe = probe
        self._last: bool | None = None
        self._run = 0
        self.state = state

    def add(self, succeeded: bool) -> bool:
        """Count an answer.

        Returns:
            Whether the state is decided now; it may be what it was.
        """
        self._run = self._run + 1 if succeeded == self._last else 1
        self._last = succeeded
        wanted = self._probe.success_threshold if succeeded else self._probe.failure_threshold
        if self._run < wanted:
            return False
        self.state = succeeded
        return True


def _with_numbers(spec: Obj, container: Obj) -> Obj:
    """The probe's action, its port by number where it had a name."""
    ports = {port["name"]: port["containerPort"] for port in container.get("ports") or [] if "name" in port}
    action: Obj = {kind: dict(spec[kind]) for kind in ("httpGet", "tcpSocket", "exec") if kind in spec}
    for details in action.values():
        if "port" in details:
            details["port"] = ports.get(details["port"], details["port"])
    return action


async def _connect(port: object, target: Target) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    if port != target.port:
        raise ConnectionRefusedError
    return await asyncio.open_connection(LOOPBACK, target.real_port)


async def _ask_http(action: Obj, target: Target, timeout: float) -> str | None:
    host = f"{action.get('host') or target.ip}:{action['port']}"
    path = action.get("path") or "/"
    url = f'Get "http://{host}{path if path.startswith("/") else "/" + path}"'
    headers = {"Host": host, "User-Agent": _USER_AGENT, "Accept": "*/*", "Connection": "close"}
    headers |= {item["name"]: item["value"] for item in action.get("httpHeaders") or []}
    try:
        async with asyncio.timeout(timeout):
            reader, writer = await _connect(action["port"], target)
            try:
                lines = [f"GET {path} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items()), "", ""]
                writer.write("\r\n".join(lines).encode())
                words = (await reader.readline()).split()
            finally:
                writer.close()
    except TimeoutError:
        return f"{url}: context deadline exceeded (Client.Timeout exceeded while awaiting headers)"
    except ConnectionRefusedError:
        return f"{url}: dial tcp {host}: connect: connection refused"
    except (OSError, ValueError) as error:
        return f"{url}: {error}"
    if len(words) < 2 or not words[1].isdigit():
        return f"{url}: EOF"
    code = int(words[1])
    return None if 200 <= code < 400 else f"HTTP probe failed with statuscode: {code}"


async def _ask_tcp(action: Obj, target: Target, timeout: float) -> str | None:
    host = f"{action.get('host') or target.ip}:{action['port']}"
    try:
        async with asyncio.timeout(timeout):
            _, writer = await _connect(action["port"], target)
            writer.close()
    except TimeoutError:
        return f"dial tcp {host}: i/o timeout"
    except OSError:
        return f"dial tcp {host}: connect: connection refused"
    return None


async def _ask_command(command: list[str], target: Target, timeout: float) -> str | None:
    try:
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            cwd=target.folder,
            env=dict(target.environment),
        )
    except OSError as error:
        return f"command {' '.join(command)!r}: {error}"
    try:
        async with asyncio.timeout(timeout):
            output, _ = await process.communicate()
    except TimeoutError:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
        return f"command timed out: {' '.join(command)!r} timed out after {timeout:g}s"
    return None if process.returncode == 0 else output[:_MOST_OUTPUT].decode(errors="replace")
