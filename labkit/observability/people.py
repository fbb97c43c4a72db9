"""What people get from the demo app: all together, as Prometheus has counted it, and one who places an order."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from typing import Any

import httpx

from labkit.config import Lab
from labkit.errors import LabError
from labkit.observability.series import instant
from labkit.tables import Record, Table
from labkit.wait import wait_for

_ORDER = {"item": "tea", "quantity": 1, "unitPriceCents": 450}

_WINDOW_SECONDS = 15


@dataclass(frozen=True, repr=False)
class Served(Record):
    """What people have got from an environment in the last seconds, by the metrics of those who ask.

    Attributes:
        environment: The environment.
        seconds: How many seconds.
        requests: How many requests there were, about: the counters are read every 5 s.
        failed: How many of them were answered with 5xx, or not at all.
    """

    environment: str
    seconds: int
    requests: float
    failed: float


@dataclass(frozen=True, repr=False)
class Answer(Record):
    """What came of one request.

    Attributes:
        request: Method and path.
        status: The HTTP status of the answer.
        request_id: The id that follows the request through all tiers and their logs.
        answer: What was answered.
    """

    request: str
    status: int
    request_id: str
    answer: str


class AnswerTable(Table[Answer]):
    """What came of a customer's requests, in their order."""

    title = "Answers"
    columns = ("request", "status", "request_id", "answer")


def wait_until_served(lab: Lab, environment: str) -> Served:
    """Wait until people get what they ask for: for some seconds there are requests, and none has failed.

    Args:
        lab: The lab, with traffic.
        environment: The environment's name.

    Raises:
        LabError: They do not, in time.
    """
    name = lab.environment(environment).name
    return wait_for(
        f"people to be served in {name}",
        lambda: _served(lab, name),
        lambda now: now.requests > 0 and now.failed == 0,
        describe=lambda now: f"{now.failed:.0f} of {now.requests:.0f} requests failed",
        interval=1,
        timeout=lab.limits.promotion_seconds,
        todo="`labkit app-logs prod --level error`, and `labkit pages`",
    )


def _served(lab: Lab, environment: str) -> Served:
    where = f'traffic_requests_total{{environment="{environment}"}}'
    counted = instant(lab, f"sum by (outcome) (increase({where}[{_WINDOW_SECONDS}s]))")
    failed = counted["value"][counted.get("outcome", counted["value"]) != "ok"].sum()
    return Served(environment, _WINDOW_SECONDS, round(float(counted["value"].sum()), 1), round(float(failed), 1))


def try_order(lab: Lab, environment: str, customer: str) -> AnswerTable:
    """Place an order under a name, and look at it, as from outside the cluster.

    Args:
        lab: The lab.
        environment: The environment's name.
        customer: The customer's name.

    Returns:
        What came of both requests; of the first alone, where it was refused.

    Raises:
        LabError: Nothing answers.
    """
    where = lab.environment(environment)
    try:
        with httpx.Client(base_url=lab.app_url(environment), timeout=10, trust_env=False) as client:
            placed = _ask(client, "POST", "/api/orders", {**_ORDER, "customer": customer})
            if placed.status_code >= httpx.codes.BAD_REQUEST:
                return AnswerTable((_answer(placed),))
            seen = _ask(client, "GET", f"/api/orders/{placed.json()['id']}")
    except httpx.HTTPError as error:
        raise LabError(
            f"The demo app in {where.context} does not answer", seen=str(error), todo="`labkit status` shows what runs"
        ) from error
    return AnswerTable((_answer(placed), _answer(seen)))


def _ask(client: httpx.Client, method: str, path: str, body: Any = None) -> httpx.Response:
    return client.request(method, path, json=body, headers={"X-Request-ID": uuid.uuid4().hex[:12]})


def _answer(answer: httpx.Response) -> Answer:
    asked = answer.request
    return Answer(f"{asked.method} {asked.url.path}", answer.status_code, asked.headers["X-Request-ID"], answer.text)
