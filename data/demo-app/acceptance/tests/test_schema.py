import pytest
from bottle import HTTPError
from client import Tier
from schema import missed, problems
from service import Service
from testing import running

CANDIDATE = {"contracts": {"6": ["orders.customer"]}, "migrations": [1, 2, 3, 4, 5, 6], "needs": ["orders.buyer"]}


def environment(needs, migrations):
    return {"needs": needs, "migrations": migrations}


@pytest.mark.parametrize(
    ("where", "wanted"),
    [
        (environment(["orders.customer"], [1, 2]), ["it needs orders.customer, which migration 0006 takes away"]),
        (environment(["orders.buyer", "orders.customer"], [1, 2, 5]), ["it needs orders.customer"]),
        (environment(["orders.buyer"], [1, 2, 5]), []),
        # Its file has lost the column already: what runs there is broken, and nothing more can be taken from it.
        (environment(["orders.customer"], [1, 2, 5, 6]), []),
        ({"migrations": [1]}, ["it does not say which columns it needs"]),
        ({"migrations": [1, 6]}, []),
    ],
)
def test_what_runs_there_and_would_lose_a_column_that_it_needs(where, wanted):
    found = missed(CANDIDATE, where)
    assert len(found) == len(wanted)
    assert all(line.startswith(start) for line, start in zip(found, wanted, strict=True))


@pytest.fixture
def database():
    """A database whose `/schema` is what a test puts there."""
    service, said = Service("database", "1.4.7"), {}
    service.app.get("/schema", callback=lambda: said)
    with running(service.app) as server:
        yield Tier("database", server.url), said


def test_the_environment_and_its_version_are_named(database):
    tier, said = database
    said |= environment(["orders.customer"], [1])
    assert list(problems(CANDIDATE, {"prod": tier})) == [
        "prod runs database 1.4.7: it needs orders.customer, which migration 0006 takes away"
    ]
    said |= environment(["orders.buyer"], [1])
    assert list(problems(CANDIDATE, {"prod": tier})) == []


def test_an_environment_that_does_not_answer_stops_it():
    (found,) = problems(CANDIDATE, {"prod": Tier("database", "http://127.0.0.1:9")}, patience=0)
    assert found.startswith("prod does not say what it needs: ")


def test_an_environment_that_was_never_rolled_out_does_not():
    gateway = Service("gateway", "1")

    @gateway.app.get("/schema")
    def schema():
        raise HTTPError(502, "There is no Service database in namespace demo-app")

    with running(gateway.app) as server:
        assert list(problems(CANDIDATE, {"prod": Tier("database", server.url)}, patience=0)) == []
