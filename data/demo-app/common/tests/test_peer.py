"""Calls to the next tier while it is replaced: what nobody has taken is asked again, all else is not."""

import threading

import pytest
from bottle import Bottle, HTTPError
from service import Peer, Service
from testing import running


class Behind:
    """A tier that gives these answers one after another, and then counts what it has taken."""

    def __init__(self, *statuses: int) -> None:
        self.taken = 0
        self.app = Bottle()
        left = list(statuses)

        @self.app.route("/things", method=["GET", "POST"])
        def things():
            status = left.pop(0) if left else 200
            if status != 503:
                self.taken += 1
            if status != 200:
                raise HTTPError(status, "not now")
            return {"taken": self.taken}


def front(url, patience):
    service = Service("front", "1.0.0")
    peer = Peer("behind", url, patience)
    service.app.get("/things", callback=lambda: peer.get("/things"))
    service.app.post("/things", callback=lambda: peer.post("/things", {}))
    return service


@pytest.mark.parametrize("method", ["get", "post"])
def test_where_no_pod_is_ready_the_call_waits(method):
    behind = Behind(503, 503)
    with running(behind.app) as server, running(front(server.url, patience=5).app) as asked:
        answer = asked.get("/things") if method == "get" else asked.post("/things", {})
    assert (answer.status, answer.json) == (200, {"taken": 1})


def test_where_nobody_listens_the_call_waits():
    behind = Behind()
    with running(behind.app) as first:
        url = first.url
    port = int(url.rpartition(":")[2])
    with running(front(url, patience=5).app) as asked:
        answers = []
        asking = threading.Thread(target=lambda: answers.append(asked.post("/things", {})))
        asking.start()
        with running(behind.app, port):
            asking.join(timeout=10)
    assert [(answer.status, answer.json) for answer in answers] == [(200, {"taken": 1})]


def test_patience_ends():
    with running(Behind(*[503] * 100).app) as server, running(front(server.url, patience=0.3).app) as asked:
        assert asked.get("/things").status == 503


@pytest.mark.parametrize("status", [500, 502, 504])
def test_what_may_have_been_done_is_not_asked_again(status):
    behind = Behind(status)
    with running(behind.app) as server, running(front(server.url, patience=5).app) as asked:
        assert asked.post("/things", {}).status == 502
    assert behind.taken == 1
