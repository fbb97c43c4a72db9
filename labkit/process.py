"""Processes and ports of this machine: run a command, know a process again, see who holds a port."""

from __future__ import annotations

import contextlib
import os
import shlex
import socket
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import psutil

from labkit.errors import LabError
from labkit.wait import wait_for

LOOPBACK = "127.0.0.1"
# In the environment of every host process that a lab's supervisor looks after: the service's name.
MARK = "LABKIT_SERVICE"
# In the environment of every process of a pod: the folder of the lab that it belongs to.
POD_MARK = "LABKIT_POD"
OTHER_PORTS = "stop that process; or `labkit down --purge`, then `labkit up --port-base N` for a lab on other ports"

# One name for one interpreter: a kernel and a script may call the same one `python` and `python3`.
PYTHON = str(Path(sys.prefix) / "bin" / "python")


def run(
    command: Sequence[str | Path],
    *,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    stdin: str | None = None,
    timeout: float = 120.0,
    todo: str = "",
) -> str:
    """Run a command to its end.

    Args:
        command: Program and arguments.
        cwd: Where to run it.
        env: Variables set on top of this process' own.
        stdin: Text for its standard input.
        timeout: Seconds it may take.
        todo: The way out, for the error.

    Returns:
        Its standard output.

    Raises:
        LabError: It could not start, took too long, or ended with another code than 0.
    """
    shown = shlex.join(str(word) for word in command)
    try:
        done = subprocess.run(
            [str(word) for word in command],
            cwd=cwd,
            env={**os.environ, **(env or {})},
            input=stdin,
            stdin=subprocess.DEVNULL if stdin is None else None,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
    except FileNotFoundError as error:
        raise LabError(f"`{shown}` could not start", seen=str(error), todo=todo) from error
    except subprocess.TimeoutExpired as error:
        raise LabError(f"`{shown}` took longer than {timeout:.0f} s", todo=todo) from error
    if done.returncode != 0:
        said = (done.stderr.strip() or done.stdout.strip())[-2000:]
        raise LabError(f"`{shown}` ended with {done.returncode}", seen=said, todo=todo)
    return done.stdout


@dataclass(frozen=True)
class ProcessId:
    """A process that can be known again: a pid alone may be another process after a reboot."""

    pid: int
    started: float

    @classmethod
    def of(cls, pid: int) -> ProcessId | None:
        """The process that has this pid now, if any."""
        try:
            return cls(pid, psutil.Process(pid).create_time())
        except psutil.NoSuchProcess:
            return None

    @property
    def alive(self) -> bool:
        """Whether that very process still runs."""
        try:
            process = psutil.Process(self.pid)
            return abs(process.create_time() - self.started) < 1 and process.status() != psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return False


def running_processes() -> Iterator[psutil.Process]:
    """Every process of this machine, looked up anew.

    `psutil.process_iter` keeps what it found before: a pid that has changed hands since is a process that it believes
    ended, and does not kill.
    """
    for pid in psutil.pids():
        with contextlib.suppress(psutil.NoSuchProcess):
            yield psutil.Process(pid)


def end_processes(processes: Iterable[psutil.Process], *, timeout: float = 20) -> None:
    """Kill processes, all at once, and wait until they are gone and their ports are free again.

    Args:
        processes: Which ones. They are stopped before they are killed: none can start another one again.
        timeout: Seconds to wait.
    """
    ending: list[psutil.Process] = []
    ports: set[int] = set()
    for process in processes:
        with contextlib.suppress(psutil.Error):
            listening = [item for item in process.net_connections("tcp") if item.status == psutil.CONN_LISTEN]
            ports |= {item.laddr.port for item in listening}
        with contextlib.suppress(psutil.NoSuchProcess):
            process.suspend()
            ending.append(process)
    for process in ending:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    wait_for(
        "killed processes to be gone",
        lambda: (
            [str(process.pid) for process in ending if _runs(process)]
            # The sockets of a program with many threads outlive it by a moment.
            + [f"port {port}, held by {port_owner(port)}" for port in sorted(ports) if not port_is_free(port)]
        ),
        lambda left: not left,
        describe=lambda left: ", ".join(left) or "all gone",
        interval=0.05,
        timeout=timeout,
    )


def _runs(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def port_is_free(port: int) -> bool:
    """Whether a server could listen on this port of 127.0.0.1 now."""
    with closing(socket.socket(socket.AF_INET, socket.SOCK_STREAM)) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
    return True


def port_owner(port: int) -> str:
    """Who listens on a port, as `name (pid N)`; what can be said where the system does not tell."""
    try:
        connections = psutil.net_connections("tcp")
    except psutil.AccessDenied:
        return "another process"
    for connection in connections:
        if connection.status == psutil.CONN_LISTEN and connection.laddr[1:2] == (port,) and connection.pid:
            try:
                return f"{psutil.Process(connection.pid).name()} (pid {connection.pid})"
            except psutil.NoSuchProcess:
                break
    return "another process"


def assert_ports_free(ports: Mapping[str, int], *, todo: str) -> None:
    """Check ports before anything is started.

    Args:
        ports: What each is for, and its number.
        todo: The way out, for the error.

    Raises:
        LabError: Names every port that is taken, what it was for and who holds it.
    """
    taken = taken_ports(ports)
    if taken:
        raise LabError("Ports that the lab needs are taken", seen="; ".join(taken), todo=todo)


def taken_ports(ports: Mapping[str, int]) -> list[str]:
    """Which of these ports are taken: for each its number, what it is for and who holds it."""
    return [
        f"port {port} (for {name}) is held by {port_owner(port)}"
        for name, port in ports.items()
        if not port_is_free(port)
    ]


def free_port_range(size: int, *, start: int = 21000, stop: int = 32000) -> int:
    """The first port of a range of `size` free ports, below the system's ephemeral ones."""
    last = stop - size
    base = min(start + (os.getpid() * 97) % 5000, last)
    for candidate in chain(range(base, last + 1), range(start, base)):
        if all(port_is_free(port) for port in range(candidate, candidate + size)):
            return candidate
    raise LabError(f"No {size} free ports in a row between {start} and {stop}")


def processor_seconds(process: psutil.Process) -> float:
    """Processor time of a process and of its children that have ended; nothing of a process that is gone."""
    try:
        times = process.cpu_times()
    except psutil.Error:
        return 0.0
    # Those of children count when they have ended; while they run, they are counted themselves.
    return float(
        times.user + times.system + getattr(times, "children_user", 0.0) + getattr(times, "children_system", 0.0)
    )


def proportional_set_size(pids: Iterable[int]) -> int:
    """Memory of processes in bytes, shared pages counted once (PSS; RSS where the system has no PSS)."""
    total = 0
    for pid in pids:
        try:
            info = psutil.Process(pid).memory_full_info()
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
        total += getattr(info, "pss", 0) or info.rss
    return int(total)
