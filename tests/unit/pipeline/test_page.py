"""What the board's server keeps to itself."""

import logging

from tornado.websocket import WebSocketClosedError

from labkit.pipeline.page import worth_saying


def _record(message, error=None):
    told = (type(error), error, None) if error else None
    return logging.makeLogRecord({"msg": message, "exc_info": told})


def test_only_a_closed_tab_and_the_servers_own_limits_are_left_out():
    assert not worth_saying(_record("Task exception was never retrieved", WebSocketClosedError()))
    assert not worth_saying(_record("The websocket_ping_timeout (90000) cannot be longer than …"))
    assert worth_saying(_record("Task exception was never retrieved", ValueError("another")))
    assert worth_saying(_record("anything else"))
