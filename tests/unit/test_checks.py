"""Check your work: what a check says where the work is not done."""

import socket

import pytest

from labkit.checks import NotYet, Wrong, check, check_names, check_table, seed_versions, solution
from labkit.checks.check import Mistake, _checks, expect, register
from labkit.config import load_lab
from labkit.errors import UsageError
from labkit.paths import LabHome
from labkit.process import LOOPBACK


@pytest.fixture
def lab(tmp_path):
    """A lab that does not exist."""
    return load_lab(LabHome(tmp_path / "lab"))


def test_an_unknown_check_is_wrong_usage(lab):
    with pytest.raises(UsageError, match="no check 'cluster'") as caught:
        check(lab, "cluster")
    assert caught.value.exit_code == 2
    for name in check_names():
        assert name in caught.value.todo


def test_a_check_that_holds_says_what_was_found(lab):
    checked = check(lab, "stopped")
    assert checked.name == "stopped"
    assert str(checked) == repr(checked) == f"✓ stopped: {checked.found}"
    assert checked.found in checked._repr_html_()


def test_a_check_that_does_not_hold_says_what_was_seen_and_gives_a_hint(lab):
    port = lab.port("gitea")
    with socket.create_server((LOOPBACK, port)), pytest.raises(NotYet) as caught:
        check(lab, "stopped")
    assert caught.value.what == "Not yet: stopped"
    assert str(port) in caught.value.seen
    assert "99-clean-up" in caught.value.todo
    assert caught.value.exit_code == 1


def test_a_check_that_cannot_be_made_says_why_and_gives_a_hint(lab):
    with pytest.raises(NotYet) as caught:
        check(lab, "clusters")
    assert "could not be looked at" in caught.value.what
    assert "kubectl" in caught.value.what
    assert "01-create-clusters" in caught.value.todo


@pytest.fixture
def own_check(monkeypatch):
    """A check of the test's own, which does what it is told."""
    monkeypatch.setitem(_checks, "own", None)  # and away with it afterwards

    def made(look):
        register("own", "look again")(look)
        return "own"

    return made


def test_what_is_not_as_it_should_be_is_wrong_and_not_only_not_yet(lab, own_check):
    name = own_check(lambda _: expect("red", "green", "the light", else_wrong=True) or "")
    with pytest.raises(Wrong) as caught:
        check(lab, name)
    assert str(caught.value) == ("Wrong: own\nLast seen: the light: found red, expected green\nWhat to do: look again")
    assert caught.value.exit_code == 1


def test_what_has_not_come_yet_is_not_wrong(lab, own_check):
    name = own_check(lambda _: expect("red", "green", "the light") or "")
    with pytest.raises(NotYet, match="Not yet: own"):
        check(lab, name)
    assert not issubclass(NotYet, Wrong)
    assert issubclass(Mistake, AssertionError)


@pytest.mark.parametrize(("error", "begins"), [(NotYet, "\x1b[33m○ "), (Wrong, "\x1b[31m✗ ")])
def test_in_a_notebook_a_verdict_is_read_without_a_stack_of_calls(error, begins):
    head, seen, todo = error("The light", seen="red", todo="look again")._render_traceback_()
    assert head.startswith(f"{begins}The light")
    assert (seen, todo) == ("Last seen: red", "What to do: look again")


def test_the_table_has_every_check_with_its_route_and_hint():
    table = check_table()
    assert [row.check for row in table] == list(check_names())
    assert all(row.looks.startswith("By ") and row.hint for row in table)


@pytest.mark.parametrize("name", [name for name in check_names() if name not in ("machine", "stopped")])
def test_no_check_holds_where_there_is_no_lab(lab, name):
    with pytest.raises(NotYet) as caught:
        check(lab, name)
    assert caught.value.todo


@pytest.mark.parametrize("name", check_names())
def test_every_check_says_by_which_route_it_looks(name):
    registered = _checks[name]
    assert registered.look.__doc__.startswith("By "), "the docstring names the route"
    assert registered.hint


def test_an_exercise_has_a_solution_and_nothing_else_has():
    exercises = [name for name in check_names() if name.startswith("exercise-")]
    assert exercises
    assert all(solution(name) for name in exercises)
    with pytest.raises(UsageError, match="no exercise 'clusters'"):
        solution("clusters")


def test_the_seeds_versions_are_those_of_the_releases(lab):
    assert seed_versions(lab)["prod"] == {"frontend": "0.9.0", "backend": "2.0.5", "database": "1.4.7"}
    assert list(seed_versions(lab)) == ["prod", "pre", "dev"]
