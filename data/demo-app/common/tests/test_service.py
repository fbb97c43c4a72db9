import json
import logging
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from bottle import HTTPError
from service import JsonFormatter, Service
from testing import Running, running

ROOT = Path(__file__).parents[2]


@pytest.fixture
def service():
    service = Service("example", "1.2.3", not_ready=lambda: service.reason)
    service.reason = ""

    @service.app.get("/things/<number:int>")
    def thing(number):
        if number == 0:
            raise HTTPError(404, "no such thing")
        if number == 13:
            raise RuntimeError("secret detail")
        return {"number": number}

    with running(service.app) as service.server:
        yield service


def metric(server: Running, line: str) -> float:
    found = re.search(rf"^{re.escape(line)} (\S+)$", server.get("/metrics").text, re.MULTILINE)
    return float(found[1]) if found else 0.0


def test_health_and_version(service):
    assert service.server.get("/healthz").json == {"status": "ok"}
    assert service.server.get("/version").json == {"name": "example", "version": "1.2.3"}


def test_readiness_says_why_not(service):
    assert service.server.get("/readyz").status == 200
    service.reason = "no schema yet"
    answer = service.server.get("/readyz")
    assert (answer.status, answer.json) == (503, {"ready": False, "reason": "no schema yet"})


def test_requests_are_counted_and_timed_by_route_not_by_path(service):
    service.server.get("/things/1")
    service.server.get("/things/2")
    labels = 'method="GET",route="/things/<number:int>"'
    assert metric(service.server, f'http_requests_total{{{labels},status="200"}}') == 2
    assert metric(service.server, f"http_request_duration_seconds_count{{{labels}}}") == 2


def test_an_exception_is_an_error_500_without_its_details(service):
    answer = service.server.get("/things/13")
    assert (answer.status, answer.json) == (500, {"error": "internal error"})
    assert metric(service.server, 'http_request_errors_total{method="GET",route="/things/<number:int>"}') == 1


def test_a_clients_mistake_is_no_error_of_ours(service):
    assert service.server.get("/things/0").json == {"error": "no such thing"}
    assert metric(service.server, 'http_request_errors_total{method="GET",route="/things/<number:int>"}') == 0


def test_log_lines_are_json():
    record = logging.LogRecord("example", logging.INFO, __file__, 1, "hello %s", ("you",), None)
    record.fields = {"requestId": "abc"}
    line = json.loads(JsonFormatter().format(record))
    assert (line["level"], line["message"], line["requestId"]) == ("info", "hello you", "abc")


@pytest.mark.parametrize(("level", "probe_is_logged"), [("debug", True), ("info", False)])
def test_a_tier_as_a_process_logs_at_its_level_and_ends_on_sigterm(tmp_path, level, probe_is_logged):
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(ROOT / "common"), *filter(None, sys.path)]),
        "PYTHONUNBUFFERED": "1",
        "PORT": "0",
        "DATA_DIR": str(tmp_path),
        "LOG_LEVEL": level,
        "DRAIN_SECONDS": "0.05",
    }
    process = subprocess.Popen(
        [sys.executable, "storage.py"], cwd=ROOT / "database", env=environment, stdout=subprocess.PIPE, text=True
    )
    try:
        started = json.loads(process.stdout.readline())
        assert Running(f"http://127.0.0.1:{started['port']}").get("/healthz").status == 200
        process.send_signal(signal.SIGTERM)
        rest = [json.loads(line) for line in process.communicate(timeout=10)[0].splitlines()]
    finally:
        process.kill()
    assert process.returncode == 0
    assert started["message"] == "started"
    messages = [line["message"] for line in rest]
    assert messages[-2:] == ["stopping", "stopped"]
    assert ("request" in messages) is probe_is_logged
