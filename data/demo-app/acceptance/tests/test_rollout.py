import pytest
import rollout
from client import Tier
from rollout import wait_until_rolled_out
from service import Service
from testing import running


@pytest.fixture
def tiers(monkeypatch):
    """Three tiers that are all there, in version 1.2.3; what is put into the list is why they are not ready."""
    reasons: list[str] = []
    services = {name: Service(name, "1.2.3", not_ready=lambda: "".join(reasons)) for name in rollout.TIERS}
    with (
        running(services["frontend"].app) as frontend,
        running(services["backend"].app) as backend,
        running(services["database"].app) as database,
    ):
        for name, server in (("frontend", frontend), ("backend", backend), ("database", database)):
            monkeypatch.setenv(f"{name.upper()}_URL", server.url)
        yield reasons


def test_what_was_promoted_answers(tiers):
    wait_until_rolled_out(dict.fromkeys(rollout.TIERS, "1.2.3"), patience=0)


def test_where_nobody_says_what_was_promoted_being_ready_is_enough(tiers):
    wait_until_rolled_out({}, patience=0)


def test_the_version_before_is_waited_for(tiers):
    with pytest.raises(AssertionError, match=r"backend answers as 1.2.3, and 2.0.0 was promoted"):
        wait_until_rolled_out({"backend": "2.0.0"}, patience=0.3)


def test_a_tier_that_is_not_ready_is_waited_for(tiers):
    tiers.append("migrations missing")
    with pytest.raises(AssertionError, match=r"frontend is not ready: .*migrations missing"):
        wait_until_rolled_out({}, patience=0.3)


def test_a_tier_that_does_not_answer_is_waited_for(tiers, monkeypatch):
    monkeypatch.setenv("DATABASE_URL", "http://127.0.0.1:9")
    assert Tier("database").url.endswith(":9")
    with pytest.raises(AssertionError, match="database does not answer"):
        wait_until_rolled_out({}, patience=0.3)
