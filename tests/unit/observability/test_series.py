"""What Prometheus answers, as tables: from a small server that answers as Prometheus does."""

import json
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labkit.config import load_lab
from labkit.errors import LabError, UsageError
from labkit.observability import series
from labkit.observability.panels import Panel, dashboard_plans

PANELS = {(plan.uid, panel.title): panel for plan in dashboard_plans() for panel in plan.panels}
TIME, NUMBER, WORD = "datetime64[ns, UTC]", "float64", "object"


class FakePrometheus:
    """Answers queries with what it was given for them, and remembers what it was asked."""

    def __init__(self):
        self.answers = {}
        self.asked = []
        fake = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                url = urlsplit(self.path)
                asked = {key: value for key, (value,) in parse_qs(url.query).items()}
                fake.asked.append((url.path, asked))
                status, body = fake.answers.get(asked["query"], (200, success(_KINDS[url.path])))
                self.send_response(status)
                self.end_headers()
                self.wfile.write(body if isinstance(body, bytes) else json.dumps(body).encode())

            def log_message(self, *_):
                """Say nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)


_KINDS = {"/api/v1/query": "vector", "/api/v1/query_range": "matrix"}


def success(kind, *result):
    return {"status": "success", "data": {"resultType": kind, "result": list(result)}}


@pytest.fixture
def prometheus(monkeypatch):
    fake = FakePrometheus()
    thread = threading.Thread(target=fake.server.serve_forever, args=(0.01,))
    thread.start()
    address = f"http://127.0.0.1:{fake.server.server_port}"
    monkeypatch.setattr(series, "prometheus_url", lambda lab: address)
    # The lab's services are on this machine, whatever the proxy of the world outside is.
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    yield fake
    fake.server.shutdown()
    thread.join()
    fake.server.server_close()


@pytest.fixture
def lab():
    return load_lab()


def _types(frame):
    return {name: str(kind) for name, kind in frame.dtypes.items()}


def test_an_instant_has_a_row_for_each_series(lab, prometheus):
    prometheus.answers["up"] = (
        200,
        success(
            "vector",
            {"metric": {"__name__": "up", "environment": "dev"}, "value": [1700000000.123, "1"]},
            {"metric": {"environment": "pre", "pod": "a"}, "value": [1700000000.123, "NaN"]},
            {"metric": {}, "value": [1700000000.123, "+Inf"]},
        ),
    )
    frame = series.instant(lab, "up")
    assert _types(frame) == {"time": TIME, "value": NUMBER, "__name__": WORD, "environment": WORD, "pod": WORD}
    assert frame["value"].map(str).tolist() == ["1.0", "nan", "inf"]
    assert {str(time) for time in frame["time"]} == {"2023-11-14 22:13:20.123000+00:00"}
    assert frame["environment"].tolist() == ["dev", "pre", ""]
    assert frame["pod"].tolist() == ["", "a", ""]
    assert prometheus.asked == [("/api/v1/query", {"query": "up"})]


def test_a_range_has_a_row_for_each_value(lab, prometheus):
    prometheus.answers["a + b"] = (
        200,
        success(
            "matrix",
            {"metric": {"tier": "backend"}, "values": [[1700000000, "1"], [1700000005, "2.5"]]},
            {"metric": {"tier": "frontend"}, "values": [[1700000005, "3"]]},
        ),
    )
    frame = series.ranged(lab, "a + b", 15)
    assert _types(frame) == {"time": TIME, "value": NUMBER, "tier": WORD}
    assert list(zip(frame["tier"], frame["value"], strict=True)) == [("backend", 1), ("backend", 2.5), ("frontend", 3)]
    ((path, asked),) = prometheus.asked
    assert path == "/api/v1/query_range"
    assert float(asked["end"]) - float(asked["start"]) == pytest.approx(900)
    assert asked["step"] == "5"


def test_what_has_no_labels_is_a_series_too(lab, prometheus):
    prometheus.answers["1 + 1"] = 200, success("scalar", 1700000000, "2")
    assert series.instant(lab, "1 + 1")["value"].tolist() == [2]


def test_labels_do_not_hide_columns(lab, prometheus):
    prometheus.answers["odd"] = 200, success("vector", {"metric": {"time": "a", "value": "b"}, "value": [1, "2"]})
    frame = series.instant(lab, "odd")
    assert frame.columns.tolist() == ["time", "value", "exported_time", "exported_value"]
    assert frame.iloc[0, 1:].tolist() == [2.0, "a", "b"]


def test_where_there_is_nothing_the_columns_are_there(lab, prometheus):
    for frame in (series.instant(lab, "none"), series.ranged(lab, "none", 1)):
        assert frame.empty
        assert _types(frame) == {"time": TIME, "value": NUMBER}
    frame = series.panel_frame(lab, PANELS["application-health", "Latency"])
    assert frame.empty
    assert _types(frame) == {"time": TIME, "value": NUMBER, "series": WORD}


@pytest.mark.parametrize("ask", [series.instant, lambda lab, query: series.ranged(lab, query, 1)])
def test_what_prometheus_refuses_is_told_in_its_words(lab, prometheus, ask):
    said = "1:8: parse error: unclosed left parenthesis"
    prometheus.answers["sum(up"] = 400, {"status": "error", "errorType": "bad_data", "error": said}
    with pytest.raises(LabError) as caught:
        ask(lab, "sum(up")
    assert "sum(up" in caught.value.what
    assert caught.value.seen == f"bad_data: {said}"


def test_text_is_no_number(lab, prometheus):
    prometheus.answers['"a"'] = 200, success("string", 1, "a")
    with pytest.raises(LabError, match=r'the query "a" is no number'):
        series.instant(lab, '"a"')


@pytest.mark.parametrize("body", [b"<html>", b"[]", b"{}", b'{"status": "error"}', b""])
def test_what_is_not_prometheus_does_not_answer(lab, prometheus, body):
    prometheus.answers["up"] = 502, body
    with pytest.raises(LabError, match="Prometheus does not answer the query up"):
        series.instant(lab, "up")


def test_where_nothing_runs_one_learns_how_to_start_it(lab, monkeypatch):
    monkeypatch.setattr(series, "prometheus_url", lambda lab: "http://127.0.0.1:1")
    with pytest.raises(LabError) as caught:
        series.instant(lab, "up == 1")
    assert "up == 1" in caught.value.what
    assert caught.value.seen
    assert "labkit up" in caught.value.todo


@pytest.mark.parametrize("panel", PANELS.values(), ids=lambda panel: panel.title)
def test_a_panel_asks_all_of_its_queries(lab, prometheus, panel):
    series.panel_frame(lab, panel, "pre", minutes=5)
    assert [asked["query"] for _, asked in prometheus.asked] == list(panel.filled("pre"))
    over_time = panel.kind in ("timeseries", "state-timeline")
    assert {path for path, _ in prometheus.asked} == {"/api/v1/query_range" if over_time else "/api/v1/query"}


def test_a_panel_names_its_series(lab, prometheus):
    panel = PANELS["cluster-overview", "Start of pods"]
    for query, values in zip(panel.queries, (("dev", "1"), ("prod", "2")), strict=True):
        environment, value = values
        prometheus.answers[query] = (
            200,
            success("vector", {"metric": {"environment": environment}, "value": [1, value]}),
        )
    frame = series.panel_frame(lab, panel)
    assert _types(frame) == {"time": TIME, "value": NUMBER, "series": WORD, "environment": WORD}
    assert frame["series"].tolist() == ["dev p50", "prod p95"]
    assert frame["value"].tolist() == [1, 2]


def test_there_is_no_panel_of_an_environment_that_is_not_there(lab, prometheus):
    with pytest.raises(UsageError, match="There is no environment 'qa'"):
        series.panel_frame(lab, PANELS["application-health", "Latency"], "qa")
    assert not prometheus.asked


# Legends

NAMES = st.from_regex(r"[a-zA-Z_][a-zA-Z0-9_]{0,8}", fullmatch=True)
VALUES = st.text(st.characters(exclude_categories=("Cs",)), max_size=8)
PLAIN = st.text(st.characters(exclude_characters="{}", exclude_categories=("Cs",)), max_size=6)


@given(st.lists(st.tuples(PLAIN, NAMES, VALUES), max_size=4, unique_by=lambda item: item[1]), PLAIN)
def test_a_legend_has_labels_values_in_their_places(parts, end):
    legend = "".join(f"{plain}{{{{{name}}}}}" for plain, name, _ in parts) + end
    panel = Panel("", "stat", "short", ("q",), (legend,), "")
    samples = list(
        series._samples("q", success("vector", {"metric": {n: v for _, n, v in parts}, "value": [1, "1"]})["data"])
    )
    assert series.fill_legend(panel.legends[0], samples[0]) == "".join(f"{plain}{v}" for plain, _, v in parts) + end


@given(NAMES, PLAIN)
def test_a_label_that_is_not_there_leaves_nothing(name, rest):
    assert series.fill_legend(f"{rest}{{{{ {name} }}}}", {}) == rest


@given(PLAIN)
def test_a_legend_without_places_stays_as_it_is(legend):
    assert series.fill_legend(legend, {"environment": "dev"}) == legend


def test_every_panels_legends_can_be_filled():
    labels = ("environment", "tier", "version", "phase", "gate", "outcome", "action", "container", "pod", "alertname")
    for panel in PANELS.values():
        for legend in panel.legends:
            filled = series.fill_legend(legend, dict.fromkeys(labels, "x"))
            assert not re.search(r"[{}]", filled)
            assert filled.replace("x", "") == re.sub(r"\{\{.*?\}\}", "", legend).replace("x", "")
