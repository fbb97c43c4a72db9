"""A queue of objects to reconcile: each one at a time, several side by side, retries with a growing pause."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from labkit.asynckube.objects import Key

log = logging.getLogger("kargolite.controller")

Reconcile = Callable[[Key], Awaitable[float | None]]
_FIRST_PAUSE, _LONGEST_PAUSE = 0.25, 60.0


class Controller:
    """Calls `reconcile(key)` for every key that was added, until it succeeds.

    A key added while it is being reconciled is reconciled once more afterwards. What `reconcile` returns is the
    number of seconds after which to look again, if nothing happens before.
    """

    def __init__(self, name: str, reconcile: Reconcile) -> None:
        self.name = name
        self._reconcile = reconcile
        self._waiting: set[Key] = set()
        self._working: dict[Key, asyncio.Task[None]] = {}
        self._timers: dict[Key, asyncio.TimerHandle] = {}
        self._failures: dict[Key, int] = {}

    def add(self, key: Key) -> None:
        """Reconcile an object soon."""
        if timer := self._timers.pop(key, None):
            timer.cancel()
        if key in self._working:
            self._waiting.add(key)
        else:
            self._start(key)

    def add_after(self, key: Key, seconds: float) -> None:
        """Reconcile an object after a while, unless it is reconciled before."""
        loop = asyncio.get_running_loop()
        timer = self._timers.get(key)
        if timer and timer.when() <= loop.time() + seconds:
            return
        if timer:
            timer.cancel()
        self._timers[key] = loop.call_later(seconds, self.add, key)

    async def stop(self) -> None:
        """Cancel what is under way."""
        for timer in self._timers.values():
            timer.cancel()
        tasks = list(self._working.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _start(self, key: Key) -> None:
        self._working[key] = asyncio.get_running_loop().create_task(self._work(key))

    async def _work(self, key: Key) -> None:
        pause: float | None
        try:
            pause = await self._reconcile(key)
            self._failures.pop(key, None)
        except asyncio.CancelledError:
            raise
        except Exception as error:
            failures = self._failures[key] = self._failures.get(key, 0) + 1
            pause = min(_FIRST_PAUSE * 2 ** (failures - 1), _LONGEST_PAUSE)
            log.warning(
                "%s %s/%s failed, next try in %.2f s: %s",
                self.name,
                key.namespace,
                key.name,
                pause,
                str(error) or type(error).__name__,
                exc_info=failures == 1 and not isinstance(error, RETRYABLE),
            )
        finally:
            del self._working[key]
        if key in self._waiting:
            self._waiting.discard(key)
            self._start(key)
        elif pause is not None:
            self.add_after(key, pause)


class Retry(Exception):  # noqa: N818 (it reads as what it is)
    """Something is not as it has to be yet: reconcile again after a pause that grows."""


RETRYABLE: tuple[type[Exception], ...] = (Retry,)
