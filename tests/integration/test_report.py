"""`labkit report` and the dashboards' pages on the notebooks' lab: whole, drawn from what there is, offline."""

import json
import re
from html.parser import HTMLParser

import httpx
import pytest
from _labkit import labkit

from labkit.observability.alerts import alert_rules
from labkit.observability.panels import dashboard_plans
from labkit.services.grafana import dashboards_url
from labkit.services.prometheus import prometheus_url

MEGABYTE = 10**6
_LOADED = {"script": "src", "img": "src", "link": "href", "iframe": "src", "source": "src", "video": "src"}


class _Page(HTMLParser):
    """What a page loads, its anchors and the links to them, and the figures that it draws."""

    def __init__(self, text):
        super().__init__()
        self.loaded, self.anchors, self.links, self.scripts, self._script = [], set(), set(), [], False
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        values = dict(attrs)
        self._script = tag == "script"
        self.loaded += [values[_LOADED[tag]]] if _LOADED.get(tag) in values else []
        self.anchors |= {values["id"]} if "id" in values else set()
        self.links |= {values["href"][1:]} if tag == "a" and values.get("href", "").startswith("#") else set()

    def handle_endtag(self, tag):
        self._script = False

    def handle_data(self, data):
        if self._script:
            self.scripts.append(data)

    @property
    def figures(self):
        """Data and layout of each figure."""
        for script in self.scripts:
            begin = re.search(r'Plotly\.newPlot\(\s*"[-\w]+",\s*', script)
            if begin:
                data, end = json.JSONDecoder().raw_decode(script, begin.end())
                layout, _ = json.JSONDecoder().raw_decode(script, re.compile(r"[,\s]*").match(script, end).end())
                yield data, layout


def _titles(page):
    return [layout["title"]["text"] for _, layout in page.figures]


@pytest.fixture(scope="module")
def report(lab, tmp_path_factory):
    """The report, in a file that the command was given."""
    file = tmp_path_factory.mktemp("report") / "lab.html"
    done = labkit(lab, "report", "--output", str(file))
    assert done.code == 0, done
    return file


@pytest.fixture(scope="module")
def page(report):
    return _Page(report.read_text())


def test_the_report_is_one_small_file_that_needs_no_other(report, page):
    assert MEGABYTE < report.stat().st_size < 10 * MEGABYTE, "with plotly.js, once"
    assert page.loaded == []
    without_scripts = re.sub(r"<script\b.*?</script>", "", report.read_text(), flags=re.DOTALL)
    assert not re.findall(r"@import|\burl\(", without_scripts), "a style sheet loads something"


def test_the_reports_contents_lead_to_its_sections(page):
    assert {
        "state",
        "pipeline",
        "drift",
        "versions",
        "promotions",
        "latencies",
        "delivery",
        "incidents",
        "stories",
    } < page.links
    assert page.links <= page.anchors


def test_the_report_has_every_panel_of_every_dashboard(lab, page):
    titles = _titles(page)
    for plan in dashboard_plans():
        times = len(lab.environments) if plan.asks_for_environment else 1
        for panel in plan.panels:
            assert titles.count(panel.title) >= times, f"{panel.title} of {plan.uid}"


def test_every_figure_of_the_report_has_data(page):
    empty = [layout["title"]["text"] for data, layout in page.figures if not data]
    assert empty == []


def test_the_report_says_what_delivery_metrics_were_computed_from(report):
    text = report.read_text()
    assert re.search(r"<th>change lead time</th>\s*<td>[\d.]+ (?:s|min|h) \(n = \d+\)</td>", text), "a value with its n"
    assert "<dt>change fail rate (n: deployments)</dt>" in text


def _get(lab, path):
    return httpx.get(f"{dashboards_url(lab)}{path}", trust_env=False, timeout=120)


def test_the_dashboards_are_listed_and_serve_plotly_themselves(lab):
    listed = _get(lab, "/").text
    assert [plan.uid for plan in dashboard_plans() if f'href="/d/{plan.uid}"' not in listed] == []
    script = _get(lab, "/plotly.min.js")
    assert script.headers["content-type"].startswith(("text/javascript", "application/javascript"))
    assert len(script.content) > MEGABYTE


@pytest.mark.parametrize("plan", dashboard_plans(), ids=lambda plan: plan.uid)
def test_a_dashboards_page_has_its_panels(lab, plan):
    answer = _get(lab, f"/d/{plan.uid}?var-environment=pre&minutes=5")
    assert answer.status_code == 200, answer.text
    page = _Page(answer.text)
    assert page.loaded == ["/plotly.min.js"]
    assert _titles(page) == [panel.title for panel in plan.panels]
    assert ("PRE" in answer.text) == (plan.asks_for_environment or "PRE" in plan.title)


@pytest.mark.parametrize(
    ("path", "status", "said"),
    [
        ("/d/nothing", 404, "There is no dashboard &#39;nothing&#39;"),
        ("/d/application-health?var-environment=moon", 400, "There is no environment &#39;moon&#39;"),
        ("/d/application-health?minutes=soon", 400, "&#39;soon&#39; is no number of minutes"),
        ("/d/application-health?minutes=0", 400, "&#39;0&#39; is no number of minutes"),
        # Prometheus answers with 11,000 values of a series at most.
        ("/d/application-health?minutes=1000000", 502, "Prometheus refuses the query"),
    ],
)
def test_a_page_that_cannot_be_drawn_says_why(lab, path, status, said):
    answer = _get(lab, path)
    assert answer.status_code == status
    assert said in answer.text


def test_what_an_alert_links_to_is_there(lab):
    rules = httpx.get(f"{prometheus_url(lab)}/api/v1/rules", trust_env=False).json()["data"]["groups"]
    links = {rule["annotations"]["dashboard"] for group in rules for rule in group["rules"]}
    made = alert_rules(lab, dashboards_url(lab))["groups"]
    assert links == {rule["annotations"]["dashboard"] for group in made for rule in group["rules"]}
    paths = {link.removeprefix(dashboards_url(lab)).partition("?")[0] for link in links}
    assert paths <= {f"/d/{plan.uid}" for plan in dashboard_plans()}
