"""The dashboards: what is on disk is what the code builds, and every query is one that Prometheus understands."""

import itertools
import json
import re

import pytest
import yaml
from click.testing import CliRunner

from labkit import cli as lab_cli
from labkit.cli import observability as commands
from labkit.config import load_lab
from labkit.errors import LabError
from labkit.observability.dashboards import FOLDER, build_dashboards, write_dashboards
from labkit.observability.panels import dashboard_plans
from labkit.paths import DATA, LabHome
from labkit.process import run
from labkit.toolchain import ensure_tools

TITLES = {
    "cluster-overview": "Cluster Overview",
    "promotion-pipeline": "Promotion Pipeline",
    "application-health": "Application Health",
    "performance-comparison": "Performance Comparison DEV/PRE/PROD",
}
SHOWN = {"stat", "timeseries", "table", "state-timeline", "bargauge", "row"}
COLUMNS = 24
ENVIRONMENTS = ("dev", "pre", "prod")

PLANS = {plan.uid: plan for plan in dashboard_plans()}
PANELS = [
    pytest.param(plan, panel, id=f"{plan.uid}: {panel.title}") for plan in PLANS.values() for panel in plan.panels
]
QUERIES = [
    pytest.param(query, id=f"{plan.uid}: {panel.title} {number}")
    for plan in PLANS.values()
    for panel in plan.panels
    for number, query in enumerate(panel.filled("prod"), start=1)
]


def _of(environment):
    """An environment of a lab in which people use the demo app and nothing bad has ever happened."""
    pod = f'environment="{environment}", namespace="demo-app", pod="frontend-1", container="frontend"'
    app = f'environment="{environment}", job="demo-app-{environment}", tier="frontend", pod="frontend-1"'
    people = f'environment="{environment}", job="services", service="traffic", action="page"'
    apiserver = f'environment="{environment}", job="apiserver-{environment}"'
    stage = f'environment="{environment}", job="services", service="exporter"'
    yield from (
        (f"up{{{apiserver}}}", "1x60"),
        (f'apiserver_request_total{{{apiserver}, verb="GET", code="200"}}', "0+50x60"),
        (f'apiserver_request_duration_seconds_bucket{{{apiserver}, verb="GET", le="0.005"}}', "0+45x60"),
        (f'apiserver_request_duration_seconds_bucket{{{apiserver}, verb="GET", le="+Inf"}}', "0+50x60"),
        (f'apiserver_storage_objects{{{apiserver}, resource="nodes"}}', "1x60"),
        (f"container_cpu_usage_seconds_total{{{pod}}}", "0+0.5x60"),
        (f"container_memory_working_set_bytes{{{pod}}}", "50000000x60"),
        (f"kube_pod_container_status_restarts_total{{{pod}}}", "0x60"),
        (f"kube_pod_container_status_ready{{{pod}}}", "1x60"),
        (f'kubelet_pod_start_duration_seconds_bucket{{environment="{environment}", le="1.0"}}', "1x60"),
        (f'kubelet_pod_start_duration_seconds_bucket{{environment="{environment}", le="+Inf"}}', "1x60"),
        (f'http_requests_total{{{app}, route="/", status="200"}}', "0+20x60"),
        (f'http_request_duration_seconds_bucket{{{app}, route="/", le="0.1"}}', "0+19x60"),
        (f'http_request_duration_seconds_bucket{{{app}, route="/", le="+Inf"}}', "0+20x60"),
        (f'traffic_requests_total{{{people}, outcome="ok"}}', "0+20x60"),
        (f'traffic_request_duration_seconds_bucket{{{people}, le="0.1"}}', "0+19x60"),
        (f'traffic_request_duration_seconds_bucket{{{people}, le="+Inf"}}', "0+20x60"),
        (f'labkit_stage_version_info{{{stage}, tier="frontend", version="1.0.0"}}', "1x60"),
        (f'labkit_stage_health{{{stage}, health="Healthy"}}', "1x60"),
        (f'labkit_stage_health{{{stage}, health="Unhealthy"}}', "0x60"),
        (f'labkit_promotions{{{stage}, phase="Succeeded"}}', "0x60"),
        (f'labkit_verifications{{{stage}, phase="Successful"}}', "0x60"),
    )
    for kind, (resource, amount) in itertools.product(
        ("requests", "limits"), {"cpu": "0.4", "memory": "200000000"}.items()
    ):
        yield f'kube_pod_container_resource_{kind}{{{pod}, resource="{resource}"}}', f"{amount}x60"
    for name in (
        *("stage_verified", "stage_promoting", "stage_frozen", "promotion_seconds_total", "approvals_waiting"),
        *("rollbacks", "freight_verified"),
    ):
        yield f"labkit_{name}{{{stage}}}", "0x60"
    # Of PRE, only what the alerts need is measured.
    if environment != "pre":
        states = 'name="demo-app", health_status="Healthy", sync_status="Synced"'
        yield f'argocd_app_info{{environment="{environment}", job="services", {states}}}', "1x60"


CALM = [
    {"series": series, "values": values}
    for series, values in (*itertools.chain(*map(_of, ENVIRONMENTS)), ('labkit_freight{job="services"}', "1x60"))
]


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    return load_lab(LabHome(tmp_path_factory.mktemp("lab")))


@pytest.fixture(scope="module")
def built(lab):
    return build_dashboards(lab)


@pytest.fixture(scope="module")
def promtool():
    return ensure_tools(["promtool"]).path("promtool")


def drawn(dashboard):
    return [panel for panel in dashboard["panels"] if panel["type"] != "row"]


# Files


def test_what_is_on_disk_is_what_the_code_builds(lab, tmp_path):
    fresh = write_dashboards(lab, tmp_path)
    assert sorted(file.name for file in FOLDER.iterdir()) == sorted(file.name for file in fresh)
    stale = [file.name for file in fresh if file.read_text() != (FOLDER / file.name).read_text()]
    assert not stale, f"{stale} are not what the code builds: `labkit dashboards build` writes them anew"


def test_they_are_built_the_same_every_time(lab, built):
    assert json.dumps(build_dashboards(lab)) == json.dumps(built)


@pytest.mark.parametrize("option", ["text", "json"])
def test_the_command_writes_the_files_and_says_where(monkeypatch, tmp_path, option):
    monkeypatch.setattr(commands, "FOLDER", tmp_path / "dashboards")
    done = CliRunner().invoke(lab_cli.cli, ["dashboards", "build", "--output", option])
    assert done.exit_code == 0, done.output
    said = json.loads(done.output) if option == "json" else done.output.split("\n")[:-1]
    assert said == [str(tmp_path / "dashboards" / f"{uid}.json") for uid in PLANS]
    assert all(json.loads((tmp_path / "dashboards" / f"{uid}.json").read_text())["uid"] == uid for uid in PLANS)


# Dashboards


def test_the_four_dashboards_are_there(built):
    assert {uid: dashboard["title"] for uid, dashboard in built.items()} == TITLES
    assert all(dashboard["uid"] == uid for uid, dashboard in built.items())


def test_every_dashboard_that_an_alert_names_is_there(built):
    alerts = yaml.safe_load((DATA / "observability" / "alerts.yaml").read_text())["alerts"]
    named = {alert["dashboard"] for alert in alerts}
    assert named
    assert named <= built.keys()


def test_users_requests_are_those_of_the_alerts():
    traffic = yaml.safe_load((DATA / "observability" / "alerts.yaml").read_text())["traffic"]
    filters = {
        found
        for plan in PLANS.values()
        for panel in plan.panels
        for query in panel.queries
        for found in re.findall(r'route!~"[^"]*"', query)
    }
    assert filters == set(re.findall(r'route!~"[^"]*"', traffic))


@pytest.mark.parametrize("uid", TITLES)
def test_panels_do_not_overlap_and_leave_no_gap(built, uid):
    taken = set()
    for panel in built[uid]["panels"]:
        at = panel["gridPos"]
        cells = set(
            itertools.product(range(at["x"], at["x"] + at["w"]), range(at["y"], at["y"] + at["h"])),
        )
        assert at["x"] + at["w"] <= COLUMNS
        assert not cells & taken, f"{panel['title']} lies on another panel"
        taken |= cells
    height = max(y for _, y in taken) + 1
    assert len(taken) == COLUMNS * height


@pytest.mark.parametrize("uid", TITLES)
def test_panels_have_ids_of_their_own(built, uid):
    ids = [panel["id"] for panel in built[uid]["panels"]]
    assert len(set(ids)) == len(ids)
    titles = [panel["title"] for panel in drawn(built[uid])]
    assert len(set(titles)) == len(titles)


@pytest.mark.parametrize("uid", TITLES)
def test_no_panel_is_of_a_retired_type(built, uid):
    assert {panel["type"] for panel in built[uid]["panels"]} <= SHOWN


def test_an_environment_is_chosen_where_one_is_asked_for_and_nowhere_else(lab, built):
    for uid, dashboard in built.items():
        variables = {item["name"]: item for item in dashboard["templating"].get("list", [])}
        assert variables.keys() == ({"environment"} if uid == "application-health" else set())
        if variables:
            assert [item["value"] for item in variables["environment"]["options"]] == list(ENVIRONMENTS)
            assert variables["environment"]["current"]["value"] == "prod"
        asked = {found for panel in drawn(dashboard) for item in panel["targets"] for found in _variables(item["expr"])}
        assert asked == {f"${name}" for name in variables}


def _variables(query):
    return re.findall(r"\$\{?\w+\}?", query)


# Panels


@pytest.mark.parametrize(("plan", "panel"), PANELS)
def test_every_panel_says_what_it_shows(built, plan, panel):
    (shown,) = [item for item in drawn(built[plan.uid]) if item["title"] == panel.title]
    assert panel.title
    assert panel.description.endswith(".")
    assert shown["description"] == panel.description
    assert shown["type"] == panel.kind
    assert [item["expr"] for item in shown["targets"]] == list(panel.queries)
    assert [item["legendFormat"] for item in shown["targets"]] == list(panel.legends)
    assert all(panel.queries)
    assert all(panel.legends)
    sources = [shown["datasource"], *(item["datasource"] for item in shown["targets"])]
    assert all(source == {"type": "prometheus", "uid": "prometheus"} for source in sources)
    defaults = shown["fieldConfig"]["defaults"]
    no_number = panel.kind == "state-timeline" or (panel.matrix and panel.matrix.value != "Value")
    assert defaults.get("unit", "") == panel.unit
    assert bool(panel.unit) is not bool(no_number)
    if panel.kind == "timeseries":
        assert panel.axis
        assert defaults["custom"]["axisLabel"] == panel.axis
        assert shown["options"]["legend"]["showLegend"]
    assert bool(panel.matrix) is (panel.kind == "table")
    if panel.kind == "state-timeline":
        assert panel.states


@pytest.mark.parametrize(("plan", "panel"), PANELS)
def test_an_environment_has_its_one_colour(lab, built, plan, panel):
    (shown,) = [item for item in drawn(built[plan.uid]) if item["title"] == panel.title]
    colours = {
        override["matcher"]["options"].strip("/"): item["value"]
        for override in shown["fieldConfig"].get("overrides", [])
        for item in override["properties"]
        if item["id"] == "color"
    }
    if not panel.by_environment:
        assert not colours
        return
    for environment in lab.environments:
        names = [legend.replace("{{environment}}", environment.name) for legend in panel.legends if "{{" in legend]
        for name in names:
            found = [value for pattern, value in colours.items() if re.search(pattern, name)]
            assert found == [{"mode": "fixed", "fixedColor": environment.colour}]


def test_most_panels_show_environments():
    assert sum(panel.by_environment for plan in PLANS.values() for panel in plan.panels) > len(PANELS) / 3


# Queries


def test_promtool_finds_nothing_wrong_with_the_queries(promtool, tmp_path):
    rules = tmp_path / "rules.yaml"
    records = [{"record": f"panel:{number}", "expr": query.values[0]} for number, query in enumerate(QUERIES)]
    rules.write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": records}]}))
    assert f"SUCCESS: {len(QUERIES)} rules found" in run([promtool, "check", "rules", rules])


def test_a_wrong_query_would_be_found(promtool, tmp_path):
    rules = tmp_path / "rules.yaml"
    rules.write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": [{"record": "a", "expr": "sum by (b"}]}]}))
    with pytest.raises(LabError, match="parse error"):
        run([promtool, "check", "rules", rules])


@pytest.mark.parametrize("query", QUERIES)
def test_windows_are_fixed_and_nothing_is_left_to_fill(query):
    assert not _variables(query)
    assert all(re.fullmatch(r"\[\d+m\]", window) for window in re.findall(r"\[.*?\]", query))


def test_every_query_has_an_answer_where_nothing_bad_has_happened(promtool, tmp_path):
    # What is no number is no answer either, and is not greater than -1.
    answers = [f"count(({query.values[0]}) > -1) > bool 0" for query in QUERIES]
    expected = [
        {"expr": answer, "eval_time": "9m", "exp_samples": [{"labels": "{}", "value": 1}]} for answer in answers
    ]
    test = tmp_path / "test.yaml"
    case = {"interval": "10s", "input_series": CALM, "promql_expr_test": expected}
    test.write_text(yaml.safe_dump({"evaluation_interval": "10s", "tests": [case]}))
    assert "SUCCESS" in run([promtool, "test", "rules", test])


@pytest.mark.parametrize(
    ("title", "expected"),
    [
        ("Errors", {"dev": 0, "pre": 0, "prod": 0}),
        ("Throughput", {"dev": 2, "pre": 2, "prod": 2}),
        ("Latency (p50)", {"dev": 0.053, "pre": 0.053, "prod": 0.053}),
        ("CPU of a request", {"dev": 0.025, "pre": 0.025, "prod": 0.025}),
        ("Memory of a pod", {"dev": 5e7, "pre": 5e7, "prod": 5e7}),
    ],
)
def test_environments_are_compared(promtool, tmp_path, title, expected):
    (panel,) = [item for item in PLANS["performance-comparison"].panels if item.title == title]
    _assert_answer(promtool, tmp_path, panel, CALM, expected)


ILL = [
    # What a Stage that is ill adds, or has instead.
    {"series": 'argocd_app_info{environment="dev", job="services", health_status="Degraded"}', "values": "1x60"},
    {"series": 'argocd_app_info{environment="pre", job="services", health_status="Progressing"}', "values": "1x60"},
    {"series": 'argocd_app_info{environment="prod", job="services", health_status="Suspended"}', "values": "1x60"},
    *(
        {"series": f'labkit_stage_health{{environment="{name}", health="{health}"}}', "values": f"{value}x60"}
        for name, own in (("dev", "Unhealthy"), ("pre", "Progressing"), ("prod", "Unknown"))
        for health, value in (
            (state, int(state == own)) for state in ("Healthy", "Progressing", "Unhealthy", "Unknown")
        )
    ),
]


@pytest.mark.parametrize("title", ["Health of Stages", "Health in Argo CD"])
def test_states_are_told_apart(promtool, tmp_path, title):
    (panel,) = [item for item in PLANS["promotion-pipeline"].panels if item.title == title]
    texts = {state.value: state.text for state in panel.states}
    assert texts == {3: "Healthy", 2: "Progressing", 1: texts[1], 0: "Unknown"}
    assert texts[1] in ("Unhealthy", "Degraded")
    _assert_answer(promtool, tmp_path, panel, ILL, {"dev": 1, "pre": 2, "prod": 0})


def _assert_answer(promtool, tmp_path, panel, series, expected):
    (query,) = panel.queries
    samples = [{"labels": f'{{environment="{name}"}}', "value": value} for name, value in expected.items()]
    check = {"expr": f"round({query}, 0.001)", "eval_time": "9m", "exp_samples": samples}
    test = tmp_path / "test.yaml"
    case = {"interval": "10s", "input_series": series, "promql_expr_test": [check]}
    test.write_text(yaml.safe_dump({"evaluation_interval": "10s", "tests": [case]}))
    assert "SUCCESS" in run([promtool, "test", "rules", test])
