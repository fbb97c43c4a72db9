"""The one wait: how it ends, and what it says."""

import logging
import time
from itertools import chain, count, repeat

import pytest

from labkit.errors import LabError, WaitTimeout
from labkit.wait import listening, wait_for

QUICK = 0.001


def _states(*states):
    """A probe that answers these states in order, and the last one for ever."""
    answers = chain(states, repeat(states[-1]))
    return lambda: next(answers)


def test_it_returns_the_first_state_that_is_ready():
    numbers = count(1)
    assert wait_for("three", lambda: next(numbers), lambda number: number >= 3, interval=QUICK) == 3
    assert next(numbers) == 4


def test_it_logs_changes_only(caplog):
    caplog.set_level(logging.INFO, logger="labkit.wait")
    probe = _states("Pending", "Pending", "Running", "Running", "Running", "Pending", "Done")
    wait_for("the job", probe, lambda state: state == "Done", interval=QUICK)
    assert caplog.messages == ["the job: Pending", "the job: Running", "the job: Pending", "the job: Done"]


def test_it_names_the_last_state_and_the_way_out_on_time_out():
    with pytest.raises(WaitTimeout) as caught:
        wait_for(
            "Stage dev",
            _states({"health": "Unknown"}, {"health": "Progressing"}),
            lambda state: state["health"] == "Healthy",
            describe=lambda state: f"health {state['health']}",
            timeout=0.05,
            interval=QUICK,
            todo="look at it",
        )
    assert (caught.value.seen, caught.value.todo) == ("health Progressing", "look at it")
    assert "Stage dev" in caught.value.what
    assert caught.value.exit_code == 1


def test_it_keeps_to_its_time():
    started = time.monotonic()
    with pytest.raises(WaitTimeout):
        wait_for("nothing", lambda: False, timeout=0.2, interval=0.01)
    assert 0.2 <= time.monotonic() - started < 5


def test_no_time_at_all_still_looks_once():
    assert wait_for("what is there", lambda: "here", timeout=0) == "here"


def test_it_ends_at_once_where_the_state_can_never_become_ready():
    numbers = count(1)
    with pytest.raises(LabError) as caught:
        wait_for(
            "the job",
            lambda: next(numbers),
            lambda number: number > 100,
            failed=lambda number: number == 2,
            describe=lambda number: f"attempt {number}",
            interval=QUICK,
        )
    assert not isinstance(caught.value, WaitTimeout)
    assert caught.value.seen == "attempt 2"
    assert next(numbers) == 3


def test_ready_counts_before_failed():
    assert wait_for("both", lambda: "state", failed=lambda state: True) == "state"


def test_tolerated_exceptions_mean_not_yet(caplog):
    caplog.set_level(logging.INFO, logger="labkit.wait")
    numbers = count(1)

    def probe():
        number = next(numbers)
        if number < 3:
            raise ConnectionRefusedError("nobody listens\nsecond line")
        return "up"

    assert wait_for("the server", probe, tolerate=(ConnectionError,), interval=QUICK) == "up"
    assert caplog.messages == ["the server: ConnectionRefusedError: nobody listens", "the server: up"]


def test_a_tolerated_exception_is_the_last_state_on_time_out():
    def probe():
        raise ConnectionRefusedError("nobody listens")

    with pytest.raises(WaitTimeout) as caught:
        wait_for("the server", probe, tolerate=(ConnectionError,), timeout=0.02, interval=QUICK)
    assert caught.value.seen == "ConnectionRefusedError: nobody listens"


def test_other_exceptions_pass_through():
    def probe():
        raise KeyError("status")

    with pytest.raises(KeyError, match="status"):
        wait_for("the server", probe, tolerate=(ConnectionError,))


def test_whoever_listens_is_told_of_changes_only_and_only_while_listening():
    heard, inner = [], []
    with listening(heard.append):
        wait_for("the job", _states("Pending", "Pending", "Done"), lambda state: state == "Done", interval=QUICK)
        with listening(inner.append):
            wait_for("the other", lambda: "Done")
        wait_for("the last", lambda: "Done")
    wait_for("nobody's", lambda: "Done")
    assert heard == ["the job: Pending", "the job: Done", "the last: Done"]
    assert inner == ["the other: Done"]
