"""A container's log in the format of CRI, from the pipes that its process writes to.

The pipes have names: a process keeps writing while no runner is there, and the next runner reads on.
Source: https://github.com/kubernetes/design-proposals-archive/blob/main/node/kubelet-cri-logging.md.
"""

from __future__ import annotations

import asyncio
import os
from datetime import UTC, datetime
from pathlib import Path

_CHUNK = 64 * 1024
_LONGEST_LINE = 16 * 1024
STREAMS = ("stdout", "stderr")


class ContainerLog:
    """Reads what a container's process writes, and keeps it.

    Args:
        file: The log.
        previous: Where the log of the run before goes.
        limit: Bytes after which the file is rotated; one older file is kept.
    """

    def __init__(self, file: Path, previous: Path, limit: int) -> None:
        self._file = file
        self._previous = previous
        self._limit = limit
        self._rests = dict.fromkeys(STREAMS, b"")
        self._pipes: dict[str, int] = {}
        self._out = -1
        self._size = 0

    def begin(self) -> None:
        """A new run: the log so far is that of the run before."""
        if self._file.exists():
            self._file.replace(self._previous)
        for stream in STREAMS:
            pipe = self._pipe(stream)
            pipe.unlink(missing_ok=True)
            os.mkfifo(pipe, 0o600)
        self.resume()

    def resume(self) -> None:
        """Read on, after `begin` or where an earlier runner stopped."""
        self._open()
        loop = asyncio.get_running_loop()
        for stream in STREAMS:
            if not self._pipe(stream).exists():
                os.mkfifo(self._pipe(stream), 0o600)
            # For both directions: a pipe without a writer would be readable all the time, without a reader deadly.
            descriptor = os.open(self._pipe(stream), os.O_RDWR | os.O_NONBLOCK)
            self._pipes[stream] = descriptor
            loop.add_reader(descriptor, self._read, stream)

    def writers(self) -> tuple[int, int]:
        """Descriptors for a process' stdout and stderr; the caller closes them."""
        out, err = (os.open(self._pipe(stream), os.O_RDWR) for stream in STREAMS)
        return out, err

    def end(self) -> None:
        """Keep what is left in the pipes, and close them."""
        for stream, descriptor in self._pipes.items():
            asyncio.get_running_loop().remove_reader(descriptor)
            while self._read(stream):
                pass
            if self._rests[stream]:
                self._write(stream, "F", self._rests[stream])
                self._rests[stream] = b""
            os.close(descriptor)
        self._pipes = {}
        if self._out >= 0:
            os.close(self._out)
            self._out = -1

    def _pipe(self, stream: str) -> Path:
        return self._file.with_suffix(f".{stream}")

    def _open(self) -> None:
        self._out = os.open(self._file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self._size = os.fstat(self._out).st_size

    def _read(self, stream: str) -> bool:
        try:
            data = os.read(self._pipes[stream], _CHUNK)
        except BlockingIOError:
            return False
        *lines, rest = (self._rests[stream] + data).split(b"\n")
        for line in lines:
            self._write(stream, "F", self._write_parts(stream, line))
        self._rests[stream] = self._write_parts(stream, rest)
        return bool(data)

    def _write_parts(self, stream: str, line: bytes) -> bytes:
        """Write all of a long line but its last part; gives that."""
        while len(line) > _LONGEST_LINE:
            self._write(stream, "P", line[:_LONGEST_LINE])
            line = line[_LONGEST_LINE:]
        return line

    def _write(self, stream: str, tag: str, line: bytes) -> None:
        moment = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")
        entry = f"{moment}000Z {stream} {tag} ".encode() + line + b"\n"
        os.write(self._out, entry)
        self._size += len(entry)
        if self._size > self._limit:
            os.close(self._out)
            self._file.replace(self._file.with_suffix(".log.1"))
            self._open()
