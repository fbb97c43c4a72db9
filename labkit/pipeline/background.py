"""Work beside the notebook's own: something done again and again, and one thing at a time that takes long."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

from labkit.wait import listening


class Ticker:
    """Calls a function again and again, in one thread, until it is stopped; a call is over before the next begins.

    Args:
        act: What is called. It says itself what goes wrong.
        seconds: Pause between two calls.
    """

    def __init__(self, act: Callable[[], None], seconds: float) -> None:
        self._act = act
        self._seconds = seconds
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="pipeline-board", daemon=True)

    def start(self) -> None:
        """Begin; nothing where it has begun before."""
        if self._thread.ident is None and not self.stopped:
            self._thread.start()

    def stop(self) -> None:
        """End it; a call that is under way ends by itself."""
        self._stop.set()

    @property
    def stopped(self) -> bool:
        """Whether it was told to end."""
        return self._stop.is_set()

    def join(self, timeout: float | None = None) -> bool:
        """Wait until it has ended, once it was told to; whether it has."""
        if self._thread.ident is not None:
            self._thread.join(timeout)
        return not self._thread.is_alive()

    def _run(self) -> None:
        while not self._stop.wait(self._seconds):
            self._act()


class Work:
    """One piece of work in a thread of its own, with what it waits for at the moment.

    Args:
        act: The work.
        done: Called in that thread at its end: with its result, or with the error.
    """

    def __init__(self, act: Callable[[], Any], done: Callable[[Any, Exception | None], None]) -> None:
        self._act = act
        self._done = done
        self._began = time.monotonic()
        self.note = ""
        self._thread = threading.Thread(target=self._run, name="pipeline-action", daemon=True)
        self._thread.start()

    @property
    def seconds(self) -> float:
        """How long it has taken."""
        return time.monotonic() - self._began

    def join(self, timeout: float | None = None) -> None:
        """Wait until it is over."""
        self._thread.join(timeout)

    def _hear(self, note: str) -> None:
        self.note = note

    def _run(self) -> None:
        try:
            with listening(self._hear):
                result = self._act()
        # Nobody is above this thread: whatever goes wrong is shown on the board.
        except Exception as error:
            self._done(None, error)
        else:
            self._done(result, None)
