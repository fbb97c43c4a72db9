"""Traffic against a small server: what is asked for, how it is counted, and that nobody waits for anybody."""

import asyncio
import random
from collections import Counter

import aiohttp
import pytest
from aiohttp import web
from prometheus_client import CollectorRegistry

from labkit.errors import UsageError
from labkit.traffic.people import Figures, People
from labkit.traffic.settings import Crowd, Settings, load_settings

CUSTOMERS = ("Ada", "Zoë")


class Shop:
    """The demo app's routes, as far as people use them."""

    def __init__(self, *, status=200, seconds=0.0):
        self.status = status
        self.seconds = seconds
        self.seen = Counter()
        self.orders = []

    async def answer(self, request):
        self.seen[request.method, request.path] += 1
        await asyncio.sleep(self.seconds)
        if self.status != 200:
            return web.json_response({"error": "broken"}, status=self.status)
        if request.method == "POST":
            self.orders.append(await request.json())
            return web.json_response({"id": len(self.orders)}, status=201)
        return web.json_response({"orders": [{"id": 7}]})


async def use(shop, *, rate, seconds, url=""):
    """Have people use a shop for a while; gives what was counted."""
    registry = CollectorRegistry()
    runner = web.ServerRunner(web.Server(shop.answer))
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    crowd = Crowd("test", url or f"http://127.0.0.1:{site._server.sockets[0].getsockname()[1]}", rate, CUSTOMERS)
    async with aiohttp.ClientSession() as session:
        coming = asyncio.create_task(People(crowd, session, Figures(registry), random.Random(7)).come())
        await asyncio.wait([coming], timeout=seconds)
        coming.cancel()
        await asyncio.gather(coming, return_exceptions=True)
    await runner.cleanup()
    return {
        (sample.labels["action"], sample.labels["outcome"]): sample.value
        for metric in registry.collect()
        for sample in metric.samples
        if sample.name == "traffic_requests_total"
    }


def test_people_look_and_order_under_their_names():
    shop = Shop()
    counted = asyncio.run(use(shop, rate=200, seconds=1.5))
    assert {action for action, _ in counted} == {"page", "order", "new-order"}
    assert {outcome for _, outcome in counted} == {"ok"}
    assert {("GET", "/"), ("GET", "/api/orders"), ("GET", "/api/orders/7"), ("POST", "/api/orders")} == set(shop.seen)
    assert {order["customer"] for order in shop.orders} == set(CUSTOMERS)
    assert all(1 <= order["quantity"] <= 5 and order["unitPriceCents"] >= 100 for order in shop.orders)


def test_the_rate_is_the_one_asked_for():
    counted = asyncio.run(use(Shop(), rate=100, seconds=2))
    # 200 are expected; a busy machine may get fewer done.
    assert 60 <= sum(counted.values()) <= 260, counted


def test_a_slow_answer_makes_nobody_else_slower():
    shop = Shop(seconds=0.5)
    asyncio.run(use(shop, rate=100, seconds=1))
    assert sum(shop.seen.values()) > 10, "one after another it would be two"


def test_failures_are_counted_by_their_status():
    counted = asyncio.run(use(Shop(status=503), rate=100, seconds=0.5))
    assert {outcome for _, outcome in counted} == {"503"}


def test_where_nobody_answers_that_is_counted_and_people_keep_coming():
    counted = asyncio.run(use(Shop(), rate=100, seconds=0.5, url="http://127.0.0.1:9"))
    assert {outcome for _, outcome in counted} == {"ClientConnectorError"}
    assert sum(counted.values()) > 5


GOOD = "port: 1\nenvironments:\n- {name: dev, url: 'http://x', requestsPerSecond: 0.5, customers: [Ada]}\n"


def test_the_settings_are_read(tmp_path):
    file = tmp_path / "config.yaml"
    file.write_text(GOOD)
    assert load_settings(file) == Settings(1, (Crowd("dev", "http://x", 0.5, ("Ada",)),))


@pytest.mark.parametrize(
    "text",
    ["", "port: 1", "[", GOOD.replace("0.5", "0"), GOOD.replace("0.5", "often"), GOOD.replace("[Ada]", "[]")],
)
def test_settings_without_sense_are_refused(tmp_path, text):
    file = tmp_path / "config.yaml"
    file.write_text(text)
    with pytest.raises(UsageError, match=r"config\.yaml does not configure the traffic"):
        load_settings(file)
