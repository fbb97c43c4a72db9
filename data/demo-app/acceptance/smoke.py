"""Does what was rolled out answer at all? Reads only, so that it may run in every environment at any time."""

import os

import pytest
from client import Tier

# What was promoted, such as `frontend=1.0.0 backend=2.1.0 database=1.5.0`; empty where nobody says.
PROMOTED = dict(item.split("=") for item in os.environ.get("PROMOTED_VERSIONS", "").split())


@pytest.mark.parametrize("name", ["frontend", "backend", "database"])
def test_the_tier_is_ready_in_the_version_that_was_promoted(name):
    tier = Tier(name)
    ready = tier.get("/readyz")
    assert ready.status == 200, ready.text
    running = tier.get("/version").json["version"]
    assert running == PROMOTED.get(name, running)


def test_the_page_opens_and_lists_orders():
    page = Tier("frontend").get("/")
    assert page.status == 200, page.text
    assert "<table>" in page.text
    assert 'role="alert"' not in page.text


def test_the_page_has_its_style():
    style = Tier("frontend").get("/theme.css")
    assert (style.status, style.text[:2]) == (200, "/*")


def test_an_order_can_be_read_through_all_tiers():
    listed = Tier("frontend").get("/api/orders")
    assert listed.status == 200, listed.text
    first = listed.json["orders"][0]
    assert Tier("frontend").get(f"/api/orders/{first['id']}").json == first
