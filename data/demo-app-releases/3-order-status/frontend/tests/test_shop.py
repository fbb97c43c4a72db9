import sys
import urllib.parse
import urllib.request
from pathlib import Path

import orders
import pytest
import storage
from service import Peer
from shop import create_service
from testing import running


@pytest.fixture
def shop(tmp_path):
    """All three tiers, as in production but on one machine."""
    database = storage.Database(tmp_path / "orders.sqlite")
    database.migrate()
    with (
        running(storage.create_service(database).app) as data,
        running(orders.create_service(Peer("database", data.url)).app) as api,
        running(create_service(Peer("backend", api.url), "dev").app) as server,
    ):
        yield server


def send_form(shop, **fields):
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with direct.open(shop.url + "/", data=urllib.parse.urlencode(fields).encode(), timeout=10) as answer:
        return answer.read().decode()


def test_the_page_shows_environment_and_orders(shop):
    page = shop.get("/").text
    assert '<span class="environment">dev</span>' in page
    assert "Penguin plush" in page


def test_an_order_from_the_page_appears_on_it(shop):
    page = send_form(shop, customer="Zoë", item="Tea", quantity="2", unitPriceCents="399")
    assert "<td>Zoë</td>" in page
    assert "3.99" in page


def test_the_page_shows_totals(shop):
    assert "49.00 EUR" in shop.get("/").text
    assert "179.70 EUR" in shop.get("/").text


def test_the_footer_shows_the_versions_of_all_tiers(shop):
    page = shop.get("/").text
    for module in (sys.modules["shop"], orders, storage):
        version = (Path(module.__file__).parent / "VERSION").read_text().strip()
        assert version in page[page.index("<footer>") :]


def test_an_orders_status_is_shown_and_moved_on_from_the_page(shop):
    assert shop.get("/").text.count('<span class="status packed">') == 0
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with direct.open(shop.url + "/orders/1/advance", data=b"", timeout=10) as answer:
        assert answer.read().decode().count('<span class="status packed">packed</span>') == 1


def test_what_people_type_is_text_not_html(shop):
    page = send_form(shop, customer="<script>alert(1)</script>", item="x", quantity="1", unitPriceCents="1")
    assert "<script>" not in page
    assert "&lt;script&gt;" in page


def test_the_api_is_reached_through_the_frontend(shop):
    added = shop.post("/api/orders", {"customer": "A", "item": "B", "quantity": 1, "unitPriceCents": 5})
    assert added.status == 201
    assert shop.get(f"/api/orders/{added.json['id']}").json == added.json
    assert shop.post("/api/orders", {"customer": "A"}).status == 400


def test_without_the_backend_the_page_says_so():
    with running(create_service(Peer("backend", "http://127.0.0.1:9", patience=0), "dev").app) as server:
        answer = server.get("/")
        assert answer.status == 503
        assert "The orders cannot be shown: backend at http://127.0.0.1:9 cannot be reached" in answer.text


def test_the_theme_is_served(shop):
    assert "Theme: harbour" in shop.get("/theme.css").text
