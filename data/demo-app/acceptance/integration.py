"""Do the tiers work together? Adds orders: for environments that are there for testing."""

import uuid

import pytest
from client import Tier
from rollout import wait_until_rolled_out

FRONTEND, BACKEND, DATABASE = Tier("frontend"), Tier("backend"), Tier("database")


@pytest.fixture(scope="module", autouse=True)
def rolled_out():
    """No test asks the version before."""
    wait_until_rolled_out()


@pytest.fixture
def order():
    """An order that nobody else has placed."""
    return {"customer": f"Test {uuid.uuid4().hex[:8]}", "item": "Sextant", "quantity": 2, "unitPriceCents": 12500}


def test_an_order_from_the_page_is_kept_by_the_database(order):
    page = FRONTEND.send_form("/", {name: str(value) for name, value in order.items()})
    assert page.status == 200, page.text
    assert order["customer"] in page.text
    kept = [row for row in DATABASE.get("/orders").json["orders"] if row["customer"] == order["customer"]]
    assert [(row["item"], row["quantity"], row["unit_price_cents"]) for row in kept] == [("Sextant", 2, 12500)]


def test_an_order_from_the_api_is_the_same_in_every_tier(order):
    added = FRONTEND.post("/api/orders", order)
    assert added.status == 201, added.text
    assert {name: added.json[name] for name in order} == order
    path = f"/api/orders/{added.json['id']}"
    assert FRONTEND.get(path).json == BACKEND.get(path).json == added.json


def test_the_largest_order_is_taken(order):
    added = FRONTEND.post("/api/orders", order | {"quantity": 1000})
    assert added.status == 201, added.text


def test_totals_add_up(order):
    added = FRONTEND.post("/api/orders", order).json
    if "totalCents" not in added:
        pytest.skip("this release has no totals")
    assert added["totalCents"] == 25000
    listed = FRONTEND.get("/api/orders").json
    assert listed["totalCents"] == sum(item["totalCents"] for item in listed["orders"])


@pytest.mark.parametrize(
    ("change", "field"), [({"quantity": 0}, "quantity"), ({"customer": ""}, "customer"), ({"item": 7}, "item")]
)
def test_a_wrong_order_is_refused_and_the_field_named(order, change, field):
    refused = FRONTEND.post("/api/orders", order | change)
    assert refused.status == 400, refused.text
    assert refused.json["error"].startswith(f"{field}:")


def test_what_does_not_exist_is_not_found():
    assert FRONTEND.get("/api/orders/999999999").status == 404
