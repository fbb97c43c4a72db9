"""The demo app's log lines as a table."""

import json
import os
import subprocess
import sys
from urllib.parse import parse_qs, urlsplit

import pandas as pd
import pytest
import urllib3
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from kubernetes.client.exceptions import ApiException

from labkit import cli as lab_cli
from labkit.config import load_lab
from labkit.errors import LabError, UsageError
from labkit.observability import logs
from labkit.observability.logs import LEVELS, app_logs, parse_lines, select_lines
from labkit.paths import DATA

TYPES = {
    "time": "datetime64[ns, UTC]",
    "level": "object",
    "environment": "object",
    "tier": "object",
    "pod": "object",
    "message": "object",
    "requestId": "object",
    "status": "Int64",
    "milliseconds": "float64",
    "exception": "object",
    "text": "object",
}
TEXT = st.text(st.characters(exclude_categories=("Cs",)))
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from([*TYPES, "x"]), inner, max_size=5),
    max_leaves=8,
)


def line(second, level="info", request="", **fields):
    more = {"requestId": request} if request else {}
    told = {"time": f"2026-01-01T12:00:{second:02d}.500Z", "level": level, "logger": "x", "message": f"m{second}"}
    return json.dumps({**told, **more, **fields})


def _types(frame):
    return {name: str(kind) for name, kind in frame.dtypes.items()}


# Lines


@given(st.lists(TEXT | JSON.map(json.dumps)))
def test_any_line_survives(lines):
    frame = parse_lines(lines, "dev", "backend", "backend-1")
    assert frame["text"].tolist() == lines
    assert _types(frame) == TYPES
    assert set(frame["pod"]) <= {"backend-1"}


@given(TEXT.filter(lambda text: not text.strip().startswith("{")))
def test_what_is_no_object_tells_nothing(text):
    (row,) = parse_lines([text]).itertuples()
    assert (row.level, row.message, row.requestId) == ("", "", "")
    assert all(map(pd.isna, (row.time, row.status, row.milliseconds)))


def test_what_the_app_writes_is_read():
    """The app's own formatter, in a process of its own: it brings libraries that labkit does not have."""
    told = {"method": "GET", "path": "/orders", "status": 502, "milliseconds": 12.5, "requestId": "r1"}
    source = (DATA / "demo-app" / "common" / "service.py").read_text()
    formatter = source[source.index("class JsonFormatter") : source.index("class PeerError")]
    record = (
        "record = logging.LogRecord('backend', logging.ERROR, '', 1, 'a %s', ('request',), None)\n"
        f"record.fields = {told}\nrecord.created, record.msecs = 1767268800.25, 250\n"
        "print(JsonFormatter().format(record))"
    )
    code = f"import json, logging, time\n{formatter}\n{record}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    (row,) = parse_lines(done.stdout.splitlines(), "prod", "backend", "backend-1").itertuples()
    assert str(row.time) == "2026-01-01 12:00:00.250000+00:00"
    assert (row.level, row.environment, row.tier, row.pod) == ("error", "prod", "backend", "backend-1")
    assert (row.message, row.requestId, row.status, row.milliseconds) == ("a request", "r1", 502, 12.5)


@pytest.mark.parametrize(
    "text", ["[" * 100_000, "1" * 10_000, '{"status": 1e999}', f'{{"status": {10**30}, "milliseconds": {10**400}}}']
)
def test_lines_that_are_hard_to_read_survive(text):
    assert parse_lines([text])["text"].tolist() == [text]


@pytest.mark.parametrize("time", ["0001-01-01T00:00:00+14:00", "9999-01-01", "soon", 5, None])
def test_a_time_that_is_none_is_left_out(time):
    assert parse_lines([json.dumps({"time": time})])["time"].isna().all()


# Which lines


@given(st.lists(st.sampled_from([*LEVELS, "", "odd"])), st.sampled_from(LEVELS))
def test_a_level_means_at_least(levels, level):
    frame = parse_lines([json.dumps({"level": item}) for item in levels])
    wanted = [item for item in levels if item in LEVELS and LEVELS.index(item) >= LEVELS.index(level)]
    assert select_lines(frame, level=level)["level"].tolist() == wanted
    assert select_lines(frame)["level"].tolist() == levels


@given(st.lists(st.sampled_from(["", "a", "b", "ab"])), st.sampled_from(["a", "b", "c"]))
def test_a_request_has_its_lines_and_no_others(requests, wanted):
    frame = parse_lines([json.dumps({"requestId": item}) for item in requests])
    assert select_lines(frame, request_id=wanted)["requestId"].tolist() == [item for item in requests if item == wanted]


# Pods


class FakeKube:
    """An API server with pods' logs; what is an error is raised."""

    def __init__(self):
        self.logs = {}
        self.asked = []
        self.selector = ""

    def list(self, api_version, kind, namespace, *, selector):
        assert (api_version, kind, namespace) == ("v1", "Pod", "demo-app")
        self.selector = selector
        return [
            {"metadata": {"name": name, "labels": {"app.kubernetes.io/name": name.partition("-")[0]}}}
            for name in self.logs
        ]

    def raw(self, path, *, timeout):
        url = urlsplit(path)
        pod = url.path.removeprefix("/api/v1/namespaces/demo-app/pods/").removesuffix("/log")
        self.asked.append({key: value for key, (value,) in parse_qs(url.query).items()})
        found = self.logs[pod]
        if isinstance(found, Exception):
            raise found
        return "".join(f"{item}\n" for item in found)


@pytest.fixture
def pods(monkeypatch):
    fake = FakeKube()
    monkeypatch.setattr(logs, "kube", lambda lab, environment: fake)
    return fake


@pytest.fixture
def lab():
    return load_lab()


def test_lines_of_all_pods_are_in_order_of_time(lab, pods):
    pods.logs = {"frontend-1": [line(1), line(4)], "backend-1": [line(2), line(3), line(5)]}
    frame = app_logs(lab, "prod")
    assert frame["message"].tolist() == ["m1", "m2", "m3", "m4", "m5"]
    assert frame["tier"].tolist() == ["frontend", "backend", "backend", "frontend", "backend"]
    assert set(frame["environment"]) == {"prod"}
    assert list(frame.index) == [0, 1, 2, 3, 4]
    assert pods.selector == "app.kubernetes.io/name in (frontend,backend,database)"


def test_what_has_no_time_stays_where_it_was(lab, pods):
    pods.logs = {"frontend-1": ["first", line(1), "Traceback", "  at x", line(4)], "backend-1": [line(2)]}
    assert app_logs(lab, "dev")["text"].tolist() == ["first", line(1), "Traceback", "  at x", line(2), line(4)]


@pytest.mark.parametrize(
    ("options", "asked"),
    [
        ({}, {"tailLines": "1000"}),
        ({"limit": 7, "since_seconds": 60}, {"tailLines": "7", "sinceSeconds": "60"}),
        ({"level": "error"}, {}),
        ({"request_id": "r1", "since_seconds": 5}, {"sinceSeconds": "5"}),
    ],
)
def test_no_more_is_asked_for_than_is_needed(lab, pods, options, asked):
    pods.logs = {"backend-1": []}
    frame = app_logs(lab, "pre", **options)
    assert pods.asked == [{"container": "backend", **asked}]
    assert frame.empty
    assert _types(frame) == TYPES


def test_the_newest_lines_are_kept(lab, pods):
    pods.logs = {"backend-1": [line(1), line(3)], "frontend-1": [line(2), line(4)]}
    assert app_logs(lab, "dev", limit=3)["message"].tolist() == ["m2", "m3", "m4"]


def test_lines_are_selected_before_they_are_counted(lab, pods):
    pods.logs = {"backend-1": [line(1, "error", "r1"), line(2, "error", "r2"), *(line(n) for n in range(3, 30))]}
    assert app_logs(lab, "dev", level="warning", limit=1)["message"].tolist() == ["m2"]
    assert app_logs(lab, "dev", request_id="r1", limit=1)["message"].tolist() == ["m1"]


def test_one_tier_is_asked_alone(lab, pods):
    app_logs(lab, "dev", tier="database")
    assert pods.selector == "app.kubernetes.io/name in (database)"


def test_where_there_are_no_pods_the_columns_are_there(lab, pods):
    frame = app_logs(lab, "dev")
    assert frame.empty
    assert _types(frame) == TYPES


@pytest.mark.parametrize("status", [400, 404])
def test_a_pod_without_a_log_has_no_lines(lab, pods, status):
    pods.logs = {"backend-1": ApiException(status=status, reason="waiting to start"), "frontend-1": [line(1)]}
    assert app_logs(lab, "dev")["message"].tolist() == ["m1"]


@pytest.mark.parametrize("error", [ApiException(status=500, reason="broken"), urllib3.exceptions.HTTPError("gone")])
def test_what_cannot_be_read_is_an_error(lab, pods, error):
    pods.logs = {"backend-1": error}
    with pytest.raises(LabError, match="gitops-dev does not tell the log of backend-1"):
        app_logs(lab, "dev")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"environment": "qa"}, "no environment 'qa'"),
        ({"tier": "cache"}, "no tier 'cache'"),
        ({"level": "loud"}, "no level 'loud'"),
    ],
)
def test_what_there_is_not_is_wrong_usage(lab, pods, options, said):
    with pytest.raises(UsageError, match=said):
        app_logs(lab, **{"environment": "dev", **options})


# Command


def _run(*words):
    return CliRunner().invoke(lab_cli.cli, ["app-logs", *words])


def test_the_command_shows_lines_with_their_pod(pods):
    pods.logs = {"backend-1": [line(1), line(3)], "frontend-1": [line(2)]}
    done = _run("prod", "--lines", "2")
    assert done.exit_code == 0, done.output
    assert done.output.split("\n")[:-1] == [f"frontend-1  {line(2)}", f"backend-1  {line(3)}"]


def test_the_command_says_that_there_is_nothing_and_not_among_the_lines(pods):
    pods.logs = {"backend-1": [line(1)]}
    done = _run("prod", "--request-id", "unheard-of")
    assert (done.exit_code, done.stdout, done.stderr) == (0, "", "There are no such lines\n")
    assert json.loads(_run("prod", "--request-id", "unheard-of", "--output", "json").stdout) == []


def test_the_command_speaks_json(pods):
    pods.logs = {"backend-1": [line(1, "error", "r1", status=500, milliseconds=1.5), "no JSON"]}
    rows = json.loads(_run("prod", "--output", "json").output)
    assert [list(row) for row in rows] == [list(TYPES)] * 2
    assert rows[0]["time"] == "2026-01-01T12:00:01.500000+00:00"
    assert (rows[0]["status"], rows[0]["milliseconds"], rows[0]["requestId"]) == (500, 1.5, "r1")
    assert (rows[1]["time"], rows[1]["status"], rows[1]["milliseconds"]) == (None, None, None)
    assert (rows[1]["text"], rows[1]["level"]) == ("no JSON", "")


@pytest.mark.parametrize(("since", "seconds"), [("90s", "90"), ("10m", "600"), ("2h", "7200"), ("1d", "86400")])
def test_the_command_looks_back(pods, since, seconds):
    pods.logs = {"backend-1": []}
    assert _run("dev", "--since", since).exit_code == 0
    assert pods.asked[0]["sinceSeconds"] == seconds


@pytest.mark.parametrize("since", ["10", "m", "10 m", "-1m", "1.5h", "soon"])
def test_a_time_that_is_none_is_wrong_usage(pods, since):
    done = _run("dev", "--since", since)
    assert done.exit_code == 2
    assert "is no time such as" in done.output


def test_the_command_line_is_quick_for_those_who_want_no_table():
    code = "import sys, labkit.cli; sys.exit('pandas' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], env=os.environ, check=False).returncode == 0


TRACEBACK = """Traceback (most recent call last):
  File "/app/service.py", line 200, in observed
    result = callback(*args, **kwargs)
  File "/app/orders.py", line 66, in order
    parcel = found["customer"].encode("ascii")
UnicodeEncodeError: 'ascii' codec can't encode character"""


@pytest.mark.parametrize(
    ("exception", "shown"),
    [
        (TRACEBACK, "orders.py:66 in order: UnicodeEncodeError: 'ascii' codec can't encode character"),
        ("KeyError: 'TAX_RATE'", "KeyError: 'TAX_RATE'"),
        (None, ""),
    ],
)
def test_of_an_exception_one_sees_where_it_was_raised(exception, shown):
    (row,) = parse_lines([json.dumps({"message": "unexpected error", "exception": exception})]).itertuples()
    assert row.exception == shown
