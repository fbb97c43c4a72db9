"""The board's own behaviour: it says what it cannot read, works beside the kernel, and stops."""

import threading
import time

import pytest

from labkit.config import load_lab
from labkit.errors import LabError
from labkit.paths import LabHome
from labkit.pipeline import pipeline_board
from labkit.pipeline.background import Ticker, Work
from labkit.wait import wait_for

WIDGET = "application/vnd.jupyter.widget-view+json"


@pytest.fixture
def no_lab(tmp_path):
    return load_lab(LabHome(tmp_path / "lab"))


@pytest.fixture
def board(no_lab):
    """A board of a lab that is not there; it stops with its test."""
    made = pipeline_board(no_lab)
    yield made
    made.stop()


def test_where_there_is_no_lab_the_board_says_so_and_what_to_do(board):
    shown = board._repr_mimebundle_()
    for text in (shown["text/html"], shown["text/plain"]):
        assert "kubeconfig" in text
        assert "labkit clusters create" in text


def test_it_offers_the_widget_and_beside_it_the_picture(board):
    shown = board._repr_mimebundle_()
    assert shown[WIDGET]["model_id"] == board.widget.model_id
    assert "labkit-board" in shown["text/html"]
    assert "<button" not in shown["text/html"]


def test_a_kernel_has_one_board_at_a_time(no_lab, board):
    board._repr_mimebundle_()
    second = pipeline_board(no_lab)
    assert board.stopped
    assert not second.stopped
    assert "run its cell again" in board.heading
    second.stop()


def test_a_ticker_calls_until_it_is_stopped_and_leaves_no_thread():
    calls = []
    ticker = Ticker(lambda: calls.append(threading.current_thread().name), 0.01)
    ticker.start()
    ticker.start()
    wait_for("three calls", lambda: len(calls) >= 3, timeout=10)
    ticker.stop()
    assert ticker.join(10)
    assert set(calls) == {"pipeline-board"}
    assert "pipeline-board" not in {thread.name for thread in threading.enumerate()}


def test_slow_calls_do_not_pile_up():
    running, most = [], []

    def slow():
        running.append(1)
        most.append(len(running))
        time.sleep(0.05)
        running.pop()

    ticker = Ticker(slow, 0.001)
    ticker.start()
    wait_for("three calls", lambda: len(most) >= 3, timeout=10)
    ticker.stop()
    assert ticker.join(10)
    assert max(most) == 1


def test_work_says_what_it_waits_for_and_how_it_ended():
    heard, ended = threading.Event(), []

    def wait():
        return wait_for("the test", heard.is_set, describe=lambda seen: "heard" if seen else "not heard", timeout=10)

    work = Work(wait, lambda result, error: ended.append((result, error)))
    wait_for("the note", lambda: work.note == "the test: not heard", timeout=10)
    heard.set()
    work.join(10)
    assert ended == [(True, None)]
    assert work.note == "the test: heard"


def test_work_that_fails_hands_on_its_error():
    ended = []

    def fail():
        raise LabError("it failed", seen="red", todo="mend it")

    Work(fail, lambda result, error: ended.append((result, str(error)))).join(10)
    assert ended == [(None, "it failed\nLast seen: red\nWhat to do: mend it")]
