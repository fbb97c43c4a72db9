"""The pager's book: what becomes of an alert."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labkit.errors import LabError
from labkit.pager.book import Book

ON_CALL = ("first", "second", "third")


def alert(status="firing", fingerprint="f1", started="2026-01-01T00:00:00Z", summary="it burns"):
    return {
        "status": status,
        "fingerprint": fingerprint,
        "startsAt": started,
        "labels": {"alertname": "AppRequestsFail", "environment": "prod", "severity": "critical"},
        "annotations": {"summary": summary, "runbook_url": "file:///r", "dashboard": "http://d"},
    }


@pytest.fixture
def book(tmp_path):
    return Book(tmp_path / "notices.json", ON_CALL, escalate_seconds=60)


def test_a_page_calls_the_first_on_call(book):
    (page,) = book.receive("page", {"alerts": [alert()]}, 1000)
    assert (page.state, page.notified, page.escalate_at, page.received) == ("firing", ("first",), 1060, 1000)
    assert (page.alert, page.environment, page.summary) == ("AppRequestsFail", "prod", "it burns")


@pytest.mark.parametrize("channel", ["chat", "log"])
def test_nobody_is_called_for_what_is_no_page(book, channel):
    (notice,) = book.receive(channel, {"alerts": [alert()]}, 1000)
    assert (notice.notified, notice.escalate_at) == ((), 0)
    assert book.escalate(10_000) == []


def test_the_same_alert_again_is_the_same_page_and_calls_nobody_anew(book):
    book.receive("page", {"alerts": [alert()]}, 1000)
    assert book.receive("page", {"alerts": [alert()]}, 1010) == []
    assert len(book.all()) == 1


def test_what_nobody_takes_in_time_goes_to_the_next_and_ends_with_the_last(book):
    book.receive("page", {"alerts": [alert()]}, 1000)
    assert book.escalate(1059) == []
    assert [page.notified for page in book.escalate(1060)] == [("first", "second")]
    assert [page.notified for page in book.escalate(1120)] == [ON_CALL]
    assert book.escalate(100_000) == []


def test_what_is_taken_does_not_escalate(book):
    (page,) = book.receive("page", {"alerts": [alert()]}, 1000)
    taken = book.acknowledge(page.id, "first", 1005)
    assert (taken.state, taken.acknowledged_by, taken.acknowledged) == ("acknowledged", "first", 1005)
    assert book.escalate(10_000) == []
    with pytest.raises(LabError, match="is acknowledged already by first"):
        book.acknowledge(page.id, "second", 1006)


def test_what_is_over_is_resolved_and_keeps_its_words(book):
    book.receive("page", {"alerts": [alert()]}, 1000)
    (page,) = book.receive("page", {"alerts": [alert("resolved", summary="0 % burns")]}, 1030)
    assert (page.state, page.resolved, page.summary) == ("resolved", 1030, "it burns")
    with pytest.raises(LabError, match="is resolved already"):
        book.acknowledge(page.id, "first", 1040)
    assert book.escalate(10_000) == []


def test_an_alert_that_comes_back_later_is_another_page(book):
    book.receive("page", {"alerts": [alert()]}, 1000)
    book.receive("page", {"alerts": [alert("resolved")]}, 1030)
    book.receive("page", {"alerts": [alert(started="2026-01-01T01:00:00Z")]}, 4000)
    assert [page.state for page in book.all()] == ["firing", "resolved"]


def test_the_book_outlasts_its_program(book, tmp_path):
    (page,) = book.receive("page", {"alerts": [alert()]}, 1000)
    book.acknowledge(page.id, "first", 1005)
    again = Book(tmp_path / "notices.json", ON_CALL, escalate_seconds=60)
    assert again.all() == book.all()


def test_a_message_is_no_page_to_acknowledge(book):
    (notice,) = book.receive("chat", {"alerts": [alert()]}, 1000)
    with pytest.raises(LabError, match="There is no page"):
        book.acknowledge(notice.id, "first", 1001)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["alerts", "labels", "status"]), inner),
    max_leaves=8,
)


@given(JSON)
def test_what_is_no_webhook_is_refused_and_changes_nothing(tmp_path_factory, payload):
    file = tmp_path_factory.mktemp("book") / "notices.json"
    book = Book(file, ON_CALL, escalate_seconds=60)
    try:
        found = book.receive("page", payload, 1000)
    except LabError:
        assert not file.exists()
    else:
        assert found == []
        assert json.loads(file.read_text()) == []
