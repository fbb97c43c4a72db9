"""One command at a time may change a lab."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from filelock import FileLock, Timeout

from labkit.config import Lab
from labkit.errors import LabError


@contextmanager
def changing(lab: Lab) -> Iterator[None]:
    """Hold a lab for a change: two commands that change it at once would disturb each other.

    Raises:
        LabError: There is no lab, or another command is changing it.
    """
    if not lab.home.is_lab:
        raise LabError(f"There is no lab in {lab.home.root}", todo="`labkit up` creates one")
    lock = FileLock(lab.home.lock)
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        raise LabError(
            f"Another command is changing the lab in {lab.home.root}",
            todo="wait until it has ended; `labkit status` shows how far it is",
        ) from error
    with lock:
        yield
