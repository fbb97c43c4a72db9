"""A container's process: in a session of its own, known again after the runner has died, ended with grace."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from labkit.process import ProcessId

# The smallest parent that outlives a runner: it waits, and leaves the exit code where the next runner finds it.
# Signals to the session are for the command: a shell with a trap lives on, and its child does not inherit the trap.
_SHIM = 'trap : HUP INT TERM; "$@"; echo $? >"$0"'
_SHELL = "/bin/sh"
_KILLED = 128 + signal.SIGKILL
_PAUSE = 0.1


@dataclass(frozen=True)
class Process:
    """A container's process, by the shell that waits for it.

    Attributes:
        identity: The shell. It leads the session that all processes of the container belong to.
        exit_file: Where it leaves the command's exit code.
    """

    identity: ProcessId
    exit_file: Path

    @property
    def pid(self) -> int:
        """The shell's pid."""
        return self.identity.pid

    @property
    def alive(self) -> bool:
        """Whether it still runs."""
        return self.identity.alive

    def members(self) -> list[psutil.Process]:
        """The shell and all processes below it."""
        try:
            shell = psutil.Process(self.pid)
            if abs(shell.create_time() - self.identity.started) > 1:
                return []
            return [shell, *shell.children(recursive=True)]
        except psutil.Error:
            return []

    async def ended(self) -> int:
        """Wait for the end.

        Returns:
            The exit code, 128 more than the signal where there was one; that of SIGKILL where nobody could note it.
        """
        await _gone(self.identity)
        # What the command left behind ends with it; before the shell is reaped, for then its number may be another's.
        self._signal(signal.SIGKILL)
        with contextlib.suppress(ChildProcessError):
            os.waitpid(self.pid, os.WNOHANG)
        try:
            return int(self.exit_file.read_text())
        except (FileNotFoundError, ValueError):
            return _KILLED

    def ask_to_end(self) -> None:
        """SIGTERM to all processes of the container."""
        self._signal(signal.SIGTERM)

    def kill(self) -> None:
        """SIGKILL to all processes of the container, also to those that began a session of their own."""
        for process in self.members():
            with contextlib.suppress(psutil.Error):
                process.kill()
        self._signal(signal.SIGKILL)

    async def stop(self, grace: float) -> int:
        """End it: SIGTERM, and SIGKILL after the grace period.

        Returns:
            The exit code.
        """
        self.ask_to_end()
        try:
            async with asyncio.timeout(grace):
                return await self.ended()
        except TimeoutError:
            self.kill()
            return await self.ended()

    def _signal(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, number)

    def as_json(self) -> dict[str, Any]:
        """What it takes to know it again."""
        return {"pid": self.pid, "started": self.identity.started, "exitFile": str(self.exit_file)}

    @classmethod
    def known(cls, data: Mapping[str, Any]) -> Process:
        """The process that an earlier runner has started."""
        return cls(ProcessId(int(data["pid"]), float(data["started"])), Path(data["exitFile"]))


def start(
    command: Sequence[str], *, environment: Mapping[str, str], folder: Path, exit_file: Path, out: int, err: int
) -> Process:
    """Start a command.

    Args:
        command: Program and arguments.
        environment: All its variables.
        folder: Where it starts.
        exit_file: Where its exit code is to be found.
        out: Descriptor of its standard output.
        err: Descriptor of its standard error.

    Raises:
        OSError: It could not be started.
    """
    exit_file.unlink(missing_ok=True)
    child = subprocess.Popen(
        [_SHELL, "-c", _SHIM, str(exit_file), *command],
        stdin=subprocess.DEVNULL,
        stdout=out,
        stderr=err,
        env=dict(environment),
        cwd=folder,
        start_new_session=True,
    )
    # Reaped in `ended`: this object would do so at odd times, and complain.
    child.returncode = 0
    identity = ProcessId.of(child.pid)
    assert identity is not None, "a child is there until it is reaped"
    return Process(identity, exit_file)


async def _gone(identity: ProcessId) -> None:
    if not identity.alive:
        return
    if hasattr(os, "pidfd_open"):
        try:
            descriptor = os.pidfd_open(identity.pid)
        except ProcessLookupError:
            return
        loop = asyncio.get_running_loop()
        gone = asyncio.Event()
        loop.add_reader(descriptor, gone.set)
        try:
            # The pid may have become another process' before it was opened.
            if identity.alive:
                await gone.wait()
        finally:
            loop.remove_reader(descriptor)
            os.close(descriptor)
    else:
        while identity.alive:
            await asyncio.sleep(_PAUSE)
