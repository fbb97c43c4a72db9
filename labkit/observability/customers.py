"""Being a customer of the demo app: one order, placed and looked at, and what came of each request."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from typing import Any

import httpx

from labkit.config import Lab
from labkit.errors import LabError
from labkit.tables import Record, Table

_ORDER = {"item": "tea", "quantity": 1, "unitPriceCents": 450}


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
