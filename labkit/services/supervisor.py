"""The lab's host processes: one description of each, kept running by supervisord (http://supervisord.org)."""

from __future__ import annotations

import hashlib
import logging
import socket
import threading
import xmlrpc.client
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import psutil
import yaml

from labkit.config import Lab
from labkit.errors import LabError, UsageError, WaitTimeout
from labkit.passwords import password
from labkit.process import (
    LOOPBACK,
    MARK,
    OTHER_PORTS,
    PYTHON,
    ProcessId,
    assert_ports_free,
    end_processes,
    run,
    running_processes,
)
from labkit.tables import Record, Table
from labkit.wait import wait_for

log = logging.getLogger("labkit.services")
_USER = "labkit"
_RUNNING = ("RUNNING", "STARTING")
_changing = threading.Lock()


@dataclass(frozen=True)
class Service:
    """One host process: what it is, how it starts, when it is healthy.

    Attributes:
        name: Its name in `labkit status` and `labkit logs`.
        about: One line for people.
        command: Program and arguments.
        health: `http://…` that answers 200, or `tcp://…` that accepts a connection, when it is healthy.
        environment: Variables set for it, on top of PATH, HOME and the lab's own.
        ports: The ports it listens on, by what they are for.
    """

    name: str
    about: str
    command: tuple[str, ...]
    health: str
    environment: Mapping[str, str] = field(default_factory=dict)
    ports: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, repr=False)
class ServiceStatus(Record):
    """How one host process is: `state` is supervisord's word, `healthy` is its own health check's answer."""

    service: str
    state: str
    healthy: bool
    pid: int
    restarts_after_crash: int
    address: str
    about: str


class ServiceTable(Table[ServiceStatus]):
    """The host processes of a lab."""

    title = "Services"
    columns = ("service", "state", "healthy", "pid", "address", "about")


class Supervisor:
    """The supervisord of one lab."""

    def __init__(self, lab: Lab) -> None:
        self._lab = lab
        self._folder = lab.home.root / "supervisor"
        self._descriptions = self._folder / "services"
        self._port = lab.port("supervisor")
        self._identity = self._folder / "process.yaml"

    @property
    def _password(self) -> str:
        return password(self._lab, "supervisor")

    @property
    def _server(self) -> xmlrpc.client.ServerProxy:
        return xmlrpc.client.ServerProxy(f"http://{_USER}:{self._password}@{LOOPBACK}:{self._port}/RPC2")

    def running(self) -> bool:
        """Whether this lab's own supervisord runs and answers."""
        process = self._process()
        if process is None:
            return False
        try:
            return bool(self._server.supervisor.getState())
        except (OSError, xmlrpc.client.Error):
            return False

    def _process(self) -> ProcessId | None:
        if not self._identity.exists():
            return None
        process = ProcessId(**yaml.safe_load(self._identity.read_text()))
        return process if process.alive else None

    def ensure(self) -> None:
        """Start supervisord, if it does not run; what an earlier one left behind is stopped first."""
        if self.running():
            return
        end_processes(self.orphans())
        assert_ports_free({"the supervisor": self._port}, todo=OTHER_PORTS)
        self._descriptions.mkdir(parents=True, exist_ok=True)
        self._lab.home.logs.mkdir(parents=True, exist_ok=True)
        for stale in [*self._folder.glob("conf.d/*.conf"), *self._descriptions.glob("*.yaml")]:
            stale.unlink()
        pid_file = self._folder / "supervisord.pid"
        pid_file.unlink(missing_ok=True)
        config = self._folder / "supervisord.conf"
        config.touch(mode=0o600)
        config.write_text(
            "\n".join(
                (
                    "[supervisord]",
                    f"logfile={self._lab.home.logs / 'supervisord.log'}",
                    f"pidfile={pid_file}",
                    f"childlogdir={self._lab.home.logs}",
                    f"directory={self._folder}",
                    "minfds=1024",
                    "[inet_http_server]",
                    f"port={LOOPBACK}:{self._port}",
                    f"username={_USER}",
                    f"password={self._password}",
                    "[rpcinterface:supervisor]",
                    "supervisor.rpcinterface_factory = supervisor.rpcinterface:make_main_rpcinterface",
                    "[include]",
                    f"files={self._folder}/conf.d/*.conf",
                    "",
                )
            )
        )
        (self._folder / "conf.d").mkdir(exist_ok=True)
        run(
            [PYTHON, "-m", "supervisor.supervisord", "-c", config],
            env={"LABKIT_HOME": str(self._lab.home.root), MARK: "supervisord"},
            todo=f"read {self._lab.home.logs}",
        )
        wait_for("the supervisor's pid file", pid_file.exists, timeout=15)
        pid = wait_for("the supervisor's pid", lambda: pid_file.read_text().strip(), str.isdecimal, timeout=15)
        process = ProcessId.of(int(pid))
        if process is None:
            raise LabError("The supervisor ended at once", todo=f"read {self._lab.home.logs}/supervisord.log")
        self._identity.write_text(yaml.safe_dump(asdict(process)))
        wait_for("the supervisor to answer", self.running, timeout=15)

    def orphans(self) -> list[psutil.Process]:
        """Processes of this lab, known by their mark, that no supervisord looks after."""
        keeper = self._process()
        kept = {keeper.pid, *_below(psutil.Process(keeper.pid))} if keeper else set()
        return [process for process in self.marked() if process.pid not in kept]

    def marked(self) -> list[psutil.Process]:
        """Processes that carry the mark of this lab's services in their environment."""
        found = []
        for process in running_processes():
            try:
                variables = process.environ()
            except (psutil.Error, OSError):
                continue
            if variables.get(MARK) and variables.get("LABKIT_HOME") == str(self._lab.home.root):
                found.append(process)
        return found

    def ensure_services(self, services: Iterable[Service]) -> None:
        """Start host processes that do not run as described, and wait until all are healthy.

        Raises:
            LabError: A port is taken, or one did not become healthy; names it and its log.
        """
        services = list(services)
        with _changing:
            self.ensure()
            self._apply(services)
        for service in services:
            self.wait_healthy(service)

    def _apply(self, services: list[Service]) -> None:
        states = self._states()
        for service in services:
            description = self._descriptions / f"{service.name}.yaml"
            wanted = yaml.safe_dump(asdict(service), sort_keys=False)
            known = service.name in states
            changed = not description.exists() or description.read_text() != wanted
            if known and states[service.name] in _RUNNING and not changed:
                continue
            if known:
                self._remove(service.name)
            assert_ports_free(
                {f"{service.name} ({purpose})": port for purpose, port in service.ports.items()},
                todo=OTHER_PORTS,
            )
            program = self._folder / "conf.d" / f"{service.name}.conf"
            for file, text in ((program, self._program(service)), (description, wanted)):
                file.touch(mode=0o600)
                file.write_text(text)
            self._server.supervisor.reloadConfig()
            self._server.supervisor.addProcessGroup(service.name)

    def _program(self, service: Service) -> str:
        folder = self._lab.home.services / service.name
        (folder / "tmp").mkdir(parents=True, exist_ok=True)
        variables = {
            "PATH": f"{self._lab.home.bin}:{Path(PYTHON).parent}:/usr/local/bin:/usr/bin:/bin",
            "HOME": str(folder),
            "TMPDIR": str(folder / "tmp"),
            "LABKIT_HOME": str(self._lab.home.root),
            MARK: service.name,
            **service.environment,
        }
        pairs = ",".join(f'{key}="{_escape(value)}"' for key, value in variables.items())
        words = " ".join(f'"{_escape(word)}"' for word in service.command)
        return "\n".join(
            (
                f"[program:{service.name}]",
                f"command={words}",
                f"environment={pairs}",
                f"directory={_escape(str(folder))}",
                f"stdout_logfile={_escape(str(self._lab.home.logs / service.name))}.log",
                "stdout_logfile_maxbytes=20MB",
                "stdout_logfile_backups=1",
                "redirect_stderr=true",
                "autostart=true",
                "autorestart=true",
                "startsecs=1",
                "startretries=20",
                "stopasgroup=true",
                "killasgroup=true",
                "stopwaitsecs=10",
                "",
            )
        )

    def _states(self) -> dict[str, str]:
        return {info["name"]: info["statename"] for info in self._infos()}

    def _infos(self) -> list[dict[str, str]]:
        return self._server.supervisor.getAllProcessInfo()  # type: ignore[return-value]

    def wait_healthy(self, service: Service) -> None:
        """Wait until a service's health check answers."""
        wait_for(
            f"service {service.name} to be healthy",
            lambda: (self._states().get(service.name, "not started"), is_healthy(service.health)),
            lambda state: state == ("RUNNING", True) or state == ("STARTING", True),
            failed=lambda state: state[0] == "FATAL",
            describe=lambda state: f"{state[0]}, health check {'answers' if state[1] else 'does not answer'}",
            timeout=self._lab.limits.service_seconds,
            todo=f"`labkit logs {service.name}`",
        )

    def described(self) -> Iterator[Service]:
        """The services that this lab was given."""
        for file in sorted(self._descriptions.glob("*.yaml")):
            values = yaml.safe_load(file.read_text())
            yield Service(**{**values, "command": tuple(values["command"])})

    def status(self) -> ServiceTable:
        """How each service is."""
        infos = {info["name"]: info for info in self._infos()} if self.running() else {}
        rows = []
        for service in self.described():
            info = infos.get(service.name, {"statename": "STOPPED", "pid": "0"})
            address = urlsplit(service.health)
            rows.append(
                ServiceStatus(
                    service=service.name,
                    state=str(info["statename"]).lower(),
                    healthy=info["statename"] in _RUNNING and is_healthy(service.health),
                    pid=int(info["pid"]),
                    restarts_after_crash=self._restarts(service.name),
                    address=f"{address.scheme}://{address.netloc}",
                    about=service.about,
                )
            )
        return ServiceTable(tuple(rows))

    def _restarts(self, name: str) -> int:
        log = self._lab.home.logs / "supervisord.log"
        return log.read_text().count(f"exited: {name} (") if log.exists() else 0

    def restart(self, name: str) -> None:
        """Restart a service and wait until it is healthy."""
        service = next((service for service in self.described() if service.name == name), None)
        if service is None:
            raise LabError(f"There is no service {name}", todo="`labkit status` lists them")
        with _changing:
            self._server.supervisor.stopProcess(name)
            self._server.supervisor.startProcess(name)
        self.wait_healthy(service)

    def stop_service(self, name: str) -> None:
        """Stop a service and forget it; a no-op where it does not run."""
        if self.running() and name in self._states():
            with _changing:
                self._remove(name)
        for file in (self._descriptions / f"{name}.yaml", self._folder / "conf.d" / f"{name}.conf"):
            file.unlink(missing_ok=True)

    def log_lines(self, name: str, count: int) -> list[str]:
        """The last lines of a service's log.

        Raises:
            UsageError: There is no such log.
        """
        log = self._lab.home.logs / f"{name}.log"
        if not log.exists():
            known = ", ".join(sorted(file.stem for file in self._lab.home.logs.glob("*.log")))
            raise UsageError(f"There is no log of {name!r}", todo=f"use one of: {known or 'none yet'}")
        with log.open(errors="replace") as lines:
            return [line.rstrip("\n") for line in deque(lines, maxlen=count)]

    def _remove(self, name: str) -> None:
        if self._states().get(name) in (*_RUNNING, "BACKOFF"):
            self._server.supervisor.stopProcess(name)
        self._server.supervisor.removeProcessGroup(name)

    def pids(self) -> dict[str, int]:
        """Pids of supervisord and of all processes below it."""
        process = self._process()
        if process is None:
            return {}
        root = psutil.Process(process.pid)
        below = {str(info["name"]): int(info["pid"]) for info in self._infos() if int(info["pid"])}
        named = set(below.values())
        others = {
            f"{child.name()}-{child.pid}": child.pid
            for child in root.children(recursive=True)
            if child.pid not in named
        }
        return {"supervisord": root.pid, **below, **others}

    def stop(self) -> None:
        """Stop every service and supervisord itself."""
        process = self._process()
        if process is not None:
            if self.running():
                self._server.supervisor.shutdown()
            else:
                psutil.Process(process.pid).terminate()
            try:
                wait_for("the supervisor to end", lambda: not process.alive, timeout=60)
            except WaitTimeout as error:
                log.warning("%s: what is left of the services is killed", error.what)
        end_processes(self.marked())


def _below(process: psutil.Process) -> list[int]:
    return [child.pid for child in process.children(recursive=True)]


def _escape(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")


def digest(*files: Path) -> dict[str, str]:
    """A variable for a service that reads these files once: it is started again where they have changed."""
    content = b"".join(file.read_bytes() for file in files)
    return {"CONFIGURATION": hashlib.sha256(content).hexdigest()[:16]}


def is_healthy(check: str) -> bool:
    """Whether a health check (`http://…` or `tcp://…`) answers now."""
    parts = urlsplit(check)
    if parts.scheme == "tcp":
        try:
            with socket.create_connection((parts.hostname, parts.port), timeout=2):
                return True
        except OSError:
            return False
    try:
        return httpx.get(check, timeout=2, verify=False, trust_env=False).status_code == 200
    except httpx.HTTPError:
        return False
