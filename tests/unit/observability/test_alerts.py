"""Alert rules: made from one source, checked by Prometheus' and Alertmanager's own tools."""

import re
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pandas as pd
import pytest
import yaml

from labkit.config import load_lab
from labkit.errors import UsageError
from labkit.observability.alerts import alert_hold, alert_rules, alert_table
from labkit.paths import DATA, REPO, LabHome
from labkit.process import run
from labkit.templates import render
from labkit.toolchain import ensure_tools

ENVIRONMENTS = ("dev", "pre", "prod")
ALERTS = [item["name"] for item in yaml.safe_load((DATA / "observability" / "alerts.yaml").read_text())["alerts"]]
TESTS = Path(__file__).with_name("rules.test.yaml")
MINUTES = 10


@pytest.fixture(scope="module")
def tools():
    return ensure_tools(["promtool", "amtool"])


@pytest.fixture(scope="module")
def rules(tmp_path_factory):
    return alert_rules(load_lab(LabHome(tmp_path_factory.mktemp("lab"))), "http://127.0.0.1:1")


@pytest.fixture(scope="module")
def rules_file(rules, tmp_path_factory):
    file = tmp_path_factory.mktemp("rules") / "rules.yaml"
    file.write_text(yaml.safe_dump(rules, allow_unicode=True))
    return file


def rule(rules, environment, alert):
    (group,) = [group for group in rules["groups"] if group["name"] == environment]
    (found,) = [item for item in group["rules"] if item["alert"] == alert]
    return found


def test_promtool_finds_nothing_wrong(tools, rules_file):
    assert "SUCCESS" in run([tools.path("promtool"), "check", "rules", rules_file])


@pytest.mark.parametrize(("environment", "severity"), [("dev", "info"), ("pre", "warning"), ("prod", "critical")])
def test_dev_informs_pre_warns_and_prod_pages(rules, environment, severity):
    (group,) = [group for group in rules["groups"] if group["name"] == environment]
    assert [item["alert"] for item in group["rules"]] == ALERTS
    assert {item["labels"]["severity"] for item in group["rules"]} == {severity}


@pytest.mark.parametrize("alert", ALERTS)
def test_the_table_says_what_the_rules_say(rules, tmp_path, alert):
    table = alert_table(load_lab(LabHome(tmp_path / "lab")), alert)
    assert [row.environment for row in table] == list(ENVIRONMENTS)
    for row in table:
        written = rule(rules, row.environment, alert)
        assert (row.query, row.lasting) == (written["expr"], written["for"])
        assert row.severity == written["labels"]["severity"]


def test_the_table_of_an_alert_that_is_not_there_is_wrong_usage(tmp_path):
    with pytest.raises(UsageError, match="no alert 'AppSad'"):
        alert_table(load_lab(LabHome(tmp_path / "lab")), "AppSad")


@pytest.mark.parametrize("alert", ALERTS)
def test_prod_is_never_less_strict_than_pre_nor_pre_than_dev(rules, alert):
    source = next(
        item
        for item in yaml.safe_load((DATA / "observability" / "alerts.yaml").read_text())["alerts"]
        if item["name"] == alert
    )
    patience = [_seconds(source["for"][environment]) for environment in ENVIRONMENTS]
    assert patience == sorted(patience, reverse=True)
    thresholds = [source["threshold"][environment] for environment in ENVIRONMENTS]
    assert thresholds == sorted(thresholds, reverse=True)


def _seconds(text):
    number, unit = re.fullmatch(r"(\d+)([sm])", text).groups()
    return int(number) * {"s": 1, "m": 60}[unit]


@pytest.mark.parametrize("alert", ALERTS)
def test_every_alert_has_a_summary_a_dashboard_and_a_runbook_that_exists(rules, alert):
    for environment in ENVIRONMENTS:
        notes = rule(rules, environment, alert)["annotations"]
        assert environment.upper() in notes["summary"] or environment in notes["summary"]
        runbook = Path(unquote(urlsplit(notes["runbook_url"]).path))
        assert runbook.is_relative_to(REPO)
        text = runbook.read_text()
        assert text.startswith(f"# {alert}\n")
        for target in re.findall(r"\]\(([^)]+)\)", text):
            assert (runbook.parent / target).exists(), target
        assert f"var-environment={environment}" in notes["dashboard"]


@pytest.mark.parametrize("environment", ENVIRONMENTS)
@pytest.mark.parametrize("alert", ALERTS)
def test_it_fires_when_it_should_and_only_then(tools, rules, rules_file, tmp_path, alert, environment):
    case = yaml.safe_load(TESTS.read_text().replace("<< environment >>", environment))[alert]
    wanted = rule(rules, environment, alert)
    # What is shown of the value is no part of this test.
    quiet = tmp_path / "rules.yaml"
    bare = {key: value for key, value in wanted.items() if key != "annotations"}
    quiet.write_text(yaml.safe_dump({"groups": [{"name": environment, "rules": [bare]}]}))
    fired = [{"exp_labels": {**wanted["labels"], **case["labels"]}, "exp_annotations": {}}]

    def look(series, expected, at):
        return {
            "interval": "10s",
            "input_series": series,
            "alert_rule_test": [{"eval_time": at, "alertname": alert, "exp_alerts": expected}],
        }

    test = tmp_path / "test.yaml"
    test.write_text(
        yaml.safe_dump(
            {
                "rule_files": [str(quiet)],
                "evaluation_interval": "5s",
                "tests": [
                    look(case["series"], fired, f"{MINUTES - 1}m"),
                    look(case["calm"], [], f"{MINUTES - 1}m"),
                    *([look(case["series"], [], "5s")] if _seconds(wanted["for"]) > 5 else []),
                ],
            }
        )
    )
    assert "SUCCESS" in run([tools.path("promtool"), "test", "rules", test])


def test_a_lull_does_not_end_one_page_and_begin_another(tools, rules, tmp_path):
    failing = rule(rules, "prod", "AppRequestsFail")
    quiet = tmp_path / "rules.yaml"
    quiet.write_text(yaml.safe_dump({"groups": [{"name": "prod", "rules": [{**failing, "annotations": {}}]}]}))
    where = 'environment="prod", tier="frontend", route="/"'
    labels = {"severity": "critical", "environment": "prod"}

    def look(at, fires):
        return {"eval_time": at, "alertname": "AppRequestsFail", "exp_alerts": [{"exp_labels": labels}] * fires}

    # One of five requests fails for a minute, none for 20 s, one of five for a minute, then none.
    series = [
        {"series": f'http_requests_total{{{where}, status="200"}}', "values": "0+20x60"},
        {"series": f"http_request_errors_total{{{where}}}", "values": "0+5x12 60+0x4 65+5x12 120+0x40"},
    ]
    test = tmp_path / "test.yaml"
    moments = [look(at, 1) for at in ("40s", "1m15s", "1m20s", "1m25s", "1m30s", "2m")] + [look("4m", 0)]
    one = {"interval": "5s", "input_series": series, "alert_rule_test": moments}
    test.write_text(yaml.safe_dump({"rule_files": [str(quiet)], "evaluation_interval": "5s", "tests": [one]}))
    assert "SUCCESS" in run([tools.path("promtool"), "test", "rules", test])


def test_the_tests_are_about_all_alerts():
    assert list(yaml.safe_load(TESTS.read_text())) == ALERTS


def test_amtool_finds_nothing_wrong_with_the_routes_and_the_examples(tools, tmp_path):
    own = tmp_path / "alertmanager.yaml"
    own.write_text(render("observability/alertmanager.yaml", pager_url="http://127.0.0.1:1"))
    for file in (own, *sorted((DATA / "observability").glob("alertmanager-*.yaml"))):
        assert "SUCCESS" in run([tools.path("amtool"), "check-config", file]), file.name


@pytest.mark.parametrize(("severity", "receiver"), [("info", "log"), ("warning", "chat"), ("critical", "page")])
def test_a_severity_leads_to_its_receiver(tools, tmp_path, severity, receiver):
    own = tmp_path / "alertmanager.yaml"
    own.write_text(render("observability/alertmanager.yaml", pager_url="http://127.0.0.1:1"))
    command = [tools.path("amtool"), "config", "routes", "test", "--config.file", own, f"severity={severity}"]
    assert run(command).strip() == receiver


def test_trouble_has_to_last_as_long_as_the_rule_says():
    rules = {
        (rule["alert"], group["name"]): pd.Timedelta(rule["for"])
        for group in alert_rules(load_lab(), "http://dashboards")["groups"]
        for rule in group["rules"]
    }
    assert {pair: alert_hold(*pair) for pair in rules} == rules
    assert alert_hold("NoSuchAlert", "prod").total_seconds() == 0
