from pathlib import Path

import orders
import pytest
import storage
from orders import create_service
from service import Peer
from testing import running

ORDER = {"customer": "Barbara", "item": "Abstraction", "quantity": 3, "unitPriceCents": 1250}


@pytest.fixture
def backend(tmp_path):
    """The real backend on the real database tier."""
    database = storage.Database(tmp_path / "orders.sqlite")
    database.migrate()
    with (
        running(storage.create_service(database).app) as data,
        running(create_service(Peer("database", data.url)).app) as server,
    ):
        yield server


def test_an_order_is_kept(backend):
    added = backend.post("/api/orders", ORDER)
    assert added.status == 201
    assert {key: added.json[key] for key in ORDER} == ORDER
    assert backend.get(f"/api/orders/{added.json['id']}").json == added.json
    assert added.json in backend.get("/api/orders").json["orders"]


def test_totals(backend):
    before = backend.get("/api/orders").json["totalCents"]
    added = backend.post("/api/orders", ORDER).json
    assert (added["totalCents"], added["currency"]) == (3750, "EUR")
    assert backend.get("/api/orders").json["totalCents"] == before + 3750


def test_versions_of_this_tier_and_the_next(backend):
    assert backend.get("/api/versions").json == {
        "backend": (Path(orders.__file__).parent / "VERSION").read_text().strip(),
        "database": (Path(storage.__file__).parent / "VERSION").read_text().strip(),
    }


def test_an_order_goes_from_new_to_packed_to_sent(backend):
    number = backend.post("/api/orders", ORDER).json["id"]
    seen = [backend.get(f"/api/orders/{number}").json["status"]]
    seen += [backend.post(f"/api/orders/{number}/advance", {}).json["status"] for _ in range(2)]
    assert seen == ["new", "packed", "sent"]
    answer = backend.post(f"/api/orders/{number}/advance", {})
    assert (answer.status, answer.json) == (409, {"error": f"order {number} is sent already"})


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"customer": " "}, "customer"),
        ({"item": None}, "item"),
        ({"quantity": 0}, "quantity"),
        ({"quantity": "3"}, "quantity"),
        ({"quantity": True}, "quantity"),
        ({"unitPriceCents": -1}, "unitPriceCents"),
    ],
)
def test_a_wrong_field_is_named(backend, change, field):
    answer = backend.post("/api/orders", {**ORDER, **change})
    assert answer.status == 400
    assert answer.json["error"].startswith(f"{field}:")


def test_an_unknown_order_is_404_through_both_tiers(backend):
    answer = backend.get("/api/orders/999")
    assert (answer.status, answer.json) == (404, {"error": "there is no order 999"})


def test_without_the_database_the_backend_says_so_and_lives_on():
    with running(create_service(Peer("database", "http://127.0.0.1:9", patience=0)).app) as server:
        answer = server.get("/api/orders")
        assert answer.status == 503
        assert "database at http://127.0.0.1:9 cannot be reached" in answer.json["error"]
        assert server.get("/healthz").status == 200
