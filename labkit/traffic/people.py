"""What people do: look at the page, look at one order, place an order."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable

import aiohttp
from prometheus_client import CollectorRegistry, Counter, Histogram

from labkit.traffic.settings import Crowd

log = logging.getLogger("labkit.traffic")

_ITEMS = ("Keyboard", "Compiler handbook", "Penguin plush", "Sextant", "Graph paper", "Punch cards", "Tea")
_MAX_UNDER_WAY = 50
_TIMEOUT = aiohttp.ClientTimeout(total=15)
_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class Figures:
    """What the people saw, for Prometheus."""

    def __init__(self, registry: CollectorRegistry) -> None:
        labels = ["environment", "action"]
        self.requests = Counter(
            "traffic_requests", "Requests by their outcome.", [*labels, "outcome"], registry=registry
        )
        self.seconds = Histogram(
            "traffic_request_duration_seconds", "As people see it.", labels, buckets=_BUCKETS, registry=registry
        )


class People:
    """The people of one environment.

    Args:
        crowd: Who they are, and what they use.
        session: How they reach it.
        figures: Counts what they see.
        chance: Decides who does what, and when.
    """

    def __init__(self, crowd: Crowd, session: aiohttp.ClientSession, figures: Figures, chance: random.Random) -> None:
        self._crowd = crowd
        self._session = session
        self._figures = figures
        self._chance = chance
        self._orders: list[int] = [1]
        self._outcome = ""
        self._under_way: set[asyncio.Task[None]] = set()

    async def come(self) -> None:
        """Use the app until told to stop."""
        actions: tuple[tuple[str, Callable[[], Awaitable[int]]], ...] = (
            ("page", self._look),
            ("order", self._look_at_order),
            ("new-order", self._place_order),
        )
        try:
            while True:
                # Not a wait for a condition: the pause between two people who know nothing of each other.
                await asyncio.sleep(self._chance.expovariate(self._crowd.requests_per_second))
                if len(self._under_way) < _MAX_UNDER_WAY:
                    ((action, act),) = self._chance.choices(actions, weights=(5, 3, 2))
                    task = asyncio.create_task(self._count(action, act))
                    self._under_way.add(task)
                    task.add_done_callback(self._under_way.discard)
        finally:
            for task in self._under_way:
                task.cancel()

    async def _count(self, action: str, act: Callable[[], Awaitable[int]]) -> None:
        started = time.perf_counter()
        try:
            status = await act()
            outcome = "ok" if status < 500 else str(status)
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            outcome = type(error).__name__
        labels = (self._crowd.environment, action)
        self._figures.requests.labels(*labels, outcome).inc()
        self._figures.seconds.labels(*labels).observe(time.perf_counter() - started)
        if outcome != self._outcome:
            log.info("%s: %s of %s", self._crowd.environment, outcome, action)
            self._outcome = outcome

    async def _look(self) -> int:
        async with self._session.get(f"{self._crowd.url}/") as answer:
            await answer.read()
            return answer.status

    async def _look_at_order(self) -> int:
        async with self._session.get(f"{self._crowd.url}/api/orders") as answer:
            if answer.status != 200:
                return answer.status
            self._orders = [order["id"] for order in (await answer.json())["orders"]] or self._orders
        async with self._session.get(f"{self._crowd.url}/api/orders/{self._chance.choice(self._orders)}") as answer:
            await answer.read()
            return answer.status

    async def _place_order(self) -> int:
        order = {
            "customer": self._chance.choice(self._crowd.customers),
            "item": self._chance.choice(_ITEMS),
            "quantity": self._chance.randint(1, 5),
            "unitPriceCents": self._chance.randrange(100, 10_000),
        }
        async with self._session.post(f"{self._crowd.url}/api/orders", json=order) as answer:
            await answer.read()
            return answer.status


async def everybody(crowds: tuple[Crowd, ...], registry: CollectorRegistry) -> None:
    """Have all people use their environments' apps until told to stop."""
    figures = Figures(registry)
    async with aiohttp.ClientSession(timeout=_TIMEOUT, trust_env=False) as session:
        await asyncio.gather(*(People(crowd, session, figures, random.Random()).come() for crowd in crowds))
