"""The demo app as its users see it: what a Stage's page says, and what it makes of what somebody orders."""

from __future__ import annotations

import re
from dataclasses import dataclass

import httpx

from labkit.config import Lab
from labkit.errors import LabError
from labkit.tables import Record

_ANNOUNCEMENT = re.compile(r'<p class="announcement">(.*?)</p>')
_FOOTER = re.compile(r"<footer>(.*?)</footer>")
_MARKUP = "<b>bold</b>"
_ORDER = {"customer": "Ada", "item": "Keyboard", "quantity": 1, "unitPriceCents": 4900}


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
    text = _ask(lab, stage, "GET").text
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
    number = _ask(lab, stage, "POST", "/api/orders", {**_ORDER, field: _MARKUP}).json()["id"]
    row = re.search(rf"<td>{number}</td>(.*?)</tr>", _ask(lab, stage, "GET").text, re.DOTALL)
    if row is None:
        raise LabError(f"The page of {stage} does not show order {number}", todo=f"look at {lab.app_url(stage)}")
    cell = next((cell for cell in re.findall(r"<td>(.*?)</td>", row[1]) if "bold" in cell), "")
    return Markup(stage, field, _MARKUP, cell, harmless=_MARKUP not in row[1])


def _ask(lab: Lab, stage: str, method: str, path: str = "/", body: object = None) -> httpx.Response:
    url = lab.app_url(stage)
    try:
        return httpx.request(method, f"{url}{path}", json=body, timeout=10, trust_env=False).raise_for_status()
    except httpx.HTTPError as error:
        raise LabError(
            f"The demo app of {stage} at {url} does not answer as it should",
            seen=str(error),
            todo="in a lab with simulated pods nothing answers; else see `labkit app-logs`",
        ) from error
