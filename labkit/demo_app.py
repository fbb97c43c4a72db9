"""The demo app as those around it see it: its pages and orders, as a customer does; its schemas, as the gate does."""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import httpx

from labkit.config import Environment, Lab
from labkit.errors import LabError
from labkit.tables import Record, Table

_SECONDS = 10
_ANNOUNCEMENT = re.compile(r'<p class="announcement">(.*?)</p>')
_FOOTER = re.compile(r"<footer>(.*?)</footer>")
_MARKUP = "<b>bold</b>"
_ORDERS = "/api/orders"
_PRICE_CENTS = 12500
# It follows a request through all tiers and their logs.
_REQUEST_ID = "X-Request-ID"


@dataclass(frozen=True, repr=False)
class Order(Record):
    """One order, as the app's API shows it.

    Attributes:
        id: Its number.
        customer: Who ordered.
        item: What.
        quantity: How many.
        answer: `found`, or what the app answered in its place.
    """

    id: int
    customer: str
    item: str
    quantity: int
    answer: str


class OrderTable(Table[Order]):
    """Orders, by their numbers."""

    title = "Orders"
    columns = ("id", "customer", "item", "quantity", "answer")


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


@dataclass(frozen=True, repr=False)
class Schema(Record):
    """What the database of an environment says of its schema.

    Attributes:
        environment: The environment.
        database: The version that runs.
        migrations: The migrations that its file has.
        needs: The columns that this version reads or writes.
        contracts: The columns that migrations of this version take away, by the migration's number.
    """

    environment: str
    database: str
    migrations: tuple[int, ...]
    needs: tuple[str, ...]
    contracts: Mapping[str, str]


class SchemaTable(Table[Schema]):
    """The schemas of a lab, by environment."""

    title = "Schemas"
    columns = ("environment", "database", "migrations", "contracts", "needs")


def place_order(lab: Lab, environment: str, customer: str, *, item: str = "Sextant", quantity: int = 1) -> Order:
    """Order something, through all tiers of an environment.

    Args:
        lab: The lab.
        environment: `dev`, `pre` or `prod`.
        customer: Who orders.
        item: What.
        quantity: How many.

    Raises:
        LabError: The app took no order.
    """
    answer = _ask(lab, environment, "POST", _ORDERS, _ordered(customer, item, quantity))
    if answer.status_code != httpx.codes.CREATED:
        raise LabError(
            f"The app took no order in {environment}",
            seen=f"{answer.status_code} {answer.text.strip()}",
            todo=f"`labkit app-logs {environment} --level error`",
        )
    return _order(answer.json())


def find_orders(lab: Lab, environment: str, orders: Iterable[Order]) -> OrderTable:
    """Ask an environment for orders again, one by one; one that it does not give says what was answered."""
    answers = [(order, _ask(lab, environment, "GET", f"{_ORDERS}/{order.id}")) for order in orders]
    return OrderTable(
        tuple(
            _order(answer.json())
            if answer.status_code == httpx.codes.OK
            else Order(order.id, "", "", 0, f"{answer.status_code} {answer.text.strip()}")
            for order, answer in answers
        )
    )


def try_order(lab: Lab, environment: str, customer: str) -> AnswerTable:
    """Place an order under a name, and look at it, whatever is answered.

    Args:
        lab: The lab.
        environment: `dev`, `pre` or `prod`.
        customer: The customer's name.

    Returns:
        What came of both requests; of the first alone, where it was refused.

    Raises:
        LabError: Nothing answers.
    """
    placed = _ask(lab, environment, "POST", _ORDERS, _ordered(customer, "Sextant", 1))
    if placed.is_error:
        return AnswerTable((_answer(placed),))
    seen = _ask(lab, environment, "GET", f"{_ORDERS}/{placed.json()['id']}")
    return AnswerTable((_answer(placed), _answer(seen)))


def _ordered(customer: str, item: str, quantity: int) -> dict[str, object]:
    return {"customer": customer, "item": item, "quantity": quantity, "unitPriceCents": _PRICE_CENTS}


def _answer(answer: httpx.Response) -> Answer:
    asked = answer.request
    return Answer(f"{asked.method} {asked.url.path}", answer.status_code, asked.headers[_REQUEST_ID], answer.text)


def _order(data: Mapping[str, Any]) -> Order:
    return Order(data["id"], data["customer"], data["item"], data["quantity"], "found")


def schema_table(lab: Lab) -> SchemaTable:
    """What each environment's database says of its schema.

    Raises:
        LabError: One does not answer.
    """
    return SchemaTable(tuple(_schema(lab, environment) for environment in lab.environments))


def _schema(lab: Lab, environment: Environment) -> Schema:
    url = lab.database_url(environment)
    try:
        with httpx.Client(trust_env=False, timeout=_SECONDS) as client:
            schema = client.get(f"{url}/schema").raise_for_status().json()
            version = client.get(f"{url}/version").raise_for_status().json()["version"]
    except httpx.HTTPError as error:
        raise LabError(
            f"The database of {environment.name} does not answer",
            seen=str(error),
            todo="`labkit status` shows what runs",
        ) from error
    return Schema(
        environment.name,
        version,
        tuple(schema["migrations"]),
        tuple(schema["needs"]),
        {number: ", ".join(columns) for number, columns in schema["contracts"].items()},
    )


@dataclass(frozen=True, repr=False)
class Page(Record):
    """The demo app's page where a Stage deploys to.

    Attributes:
        stage: The Stage.
        url: Its address.
        announcement: What it announces; empty where it announces nothing.
        footer: The versions that it says it is.
    """

    stage: str
    url: str
    announcement: str
    footer: str


@dataclass(frozen=True, repr=False)
class Markup(Record):
    """What a page makes of markup in an order.

    Attributes:
        stage: The Stage.
        field: The field of the order that held it.
        ordered: What was ordered.
        shown: What stands in the page's source.
        harmless: Whether a browser shows it as the text that it is.
    """

    stage: str
    field: str
    ordered: str
    shown: str
    harmless: bool


def app_page(lab: Lab, stage: str) -> Page:
    """Read the demo app's page where a Stage deploys to.

    Raises:
        LabError: It does not answer.
    """
    text = _expected(_ask(lab, stage, "GET"), stage).text
    announcement, footer = _ANNOUNCEMENT.search(text), _FOOTER.search(text)
    return Page(
        stage=stage,
        url=lab.app_url(stage),
        announcement=announcement[1] if announcement else "",
        footer=footer[1] if footer else "",
    )


def try_markup(lab: Lab, stage: str, field: str) -> Markup:
    """Order something whose customer or item is markup, and look what the page makes of it.

    Args:
        lab: The lab.
        stage: Where.
        field: `customer` or `item`.

    Raises:
        LabError: The app does not answer, or does not take the order.
    """
    order = {**_ordered("Ada", "Keyboard", 1), field: _MARKUP}
    number = _expected(_ask(lab, stage, "POST", _ORDERS, order), stage).json()["id"]
    row = re.search(rf"<td>{number}</td>(.*?)</tr>", _expected(_ask(lab, stage, "GET"), stage).text, re.DOTALL)
    if row is None:
        raise LabError(f"The page of {stage} does not show order {number}", todo=f"look at {lab.app_url(stage)}")
    cell = next((cell for cell in re.findall(r"<td>(.*?)</td>", row[1]) if "bold" in cell), "")
    return Markup(stage, field, _MARKUP, cell, harmless=_MARKUP not in row[1])


def _ask(lab: Lab, stage: str, method: str, path: str = "/", body: object = None) -> httpx.Response:
    """Ask the app of a Stage, as from outside its cluster."""
    url, headers = lab.app_url(stage), {_REQUEST_ID: uuid.uuid4().hex[:12]}
    try:
        return httpx.request(method, f"{url}{path}", json=body, headers=headers, timeout=_SECONDS, trust_env=False)
    except httpx.HTTPError as error:
        raise LabError(
            f"The demo app of {stage} at {url} does not answer",
            seen=str(error),
            todo="in a lab with simulated pods nothing answers; else see `labkit app-logs`",
        ) from error


def _expected(answer: httpx.Response, stage: str) -> httpx.Response:
    if answer.is_error:
        raise LabError(
            f"The demo app of {stage} does not answer {answer.request.method} {answer.request.url} as it should",
            seen=f"{answer.status_code} {answer.text.strip()}",
            todo=f"`labkit app-logs {stage} --level error`",
        )
    return answer
