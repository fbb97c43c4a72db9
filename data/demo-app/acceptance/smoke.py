"""Does what was rolled out answer at all? Reads only, so that it may run in every environment at any time."""

import pytest
from client import Tier
from rollout import PROMOTED, TIERS, wait_until_rolled_out


@pytest.fixture(scope="module", autouse=True)
def rolled_out():
    """No test asks the version before."""
    wait_until_rolled_out()


@pytest.mark.parametrize("name", TIERS)
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
    # One that every database begins with: what customers have ordered since must not decide.
    order = Tier("frontend").get("/api/orders/1")
    assert order.status == 200, order.text
    assert order.json["id"] == 1
