"""The one wait of the lab: poll, log changes only, name the last state on time-out."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TypeVar

from labkit.errors import LabError, WaitTimeout
from labkit.progress import waiting

T = TypeVar("T")
log = logging.getLogger("labkit.wait")


def _nobody(_: str) -> None:
    """Where nobody listens."""


_listener: ContextVar[Callable[[str], None]] = ContextVar("listener", default=_nobody)


@contextmanager
def listening(tell: Callable[[str], None]) -> Iterator[None]:
    """Be told of every change that is waited for in this thread, besides the log.

    Args:
        tell: Takes one line: what is waited for, and how far it is.
    """
    before = _listener.set(tell)
    try:
        yield
    finally:
        _listener.reset(before)


def wait_for(
    what: str,
    probe: Callable[[], T],
    ready: Callable[[T], bool] = bool,
    *,
    timeout: float = 60.0,
    interval: float = 0.2,
    failed: Callable[[T], bool] | None = None,
    describe: Callable[[T], str] = str,
    tolerate: tuple[type[Exception], ...] = (),
    todo: str = "",
) -> T:
    """Call `probe` until `ready` accepts its result.

    Args:
        what: What is waited for, in the words a learner would use ("Application demo-app to be Synced").
        probe: Returns the current state.
        ready: Says whether that state is the wanted one.
        timeout: Seconds after which to give up.
        interval: Seconds between two probes.
        failed: Says whether that state can never become the wanted one.
        describe: One line for a state, for the log and the error.
        tolerate: Exceptions of `probe` that mean "not yet".
        todo: The way out, for the error.

    Returns:
        The first state that `ready` accepted.

    Raises:
        WaitTimeout: After `timeout` seconds; names the last state.
        LabError: As soon as `failed` says so.
    """
    deadline = time.monotonic() + timeout
    last = "nothing yet"
    with waiting(what, timeout) as tell:
        while True:
            try:
                state = probe()
            except tolerate as error:
                now, state_seen = f"{type(error).__name__}: {error}".strip().splitlines()[0], False
            else:
                now, state_seen = describe(state), True
            if now != last:
                log.info("%s: %s", what, now)
                _listener.get()(f"{what}: {now}")
                last = now
            if state_seen:
                if ready(state):
                    return state
                if failed is not None and failed(state):
                    raise LabError(f"Waiting for {what} is over: it failed", seen=last, todo=todo)
            if time.monotonic() >= deadline:
                raise WaitTimeout(f"Waited {timeout:.0f} s for {what}", seen=last, todo=todo)
            tell(now)
            time.sleep(interval)
