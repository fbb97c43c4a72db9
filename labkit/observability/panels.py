"""What is worth looking at: every panel with its PromQL, in the one place for it.

Grafana's dashboards and the lab's own charts are both made from these plans. The only variable in a query is
`$environment`. A query of what may never have happened says 0, and not nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from labkit.config import NAMESPACE
from labkit.errors import UsageError

# Grafana's names of panel types, of those that are still shown: `graph`, `singlestat` and `table-old` are not.
# Source: https://grafana.com/docs/grafana/latest/panels-visualizations/visualizations/.
Kind = Literal["stat", "timeseries", "table", "state-timeline", "bargauge"]

ENVIRONMENT = "$environment"

# Of what people ask of the demo app; probes, scrapes and questions for the version are left out.
OF_PEOPLE = 'route!~"/healthz|/readyz|/metrics|/version"'
_FRONTEND = 'tier="frontend"'
_HERE = f'environment="{ENVIRONMENT}"'
# The demo app's own pods, without those of acceptance tests.
_APP = f'namespace="{NAMESPACE}", container!="acceptance"'
_APISERVER = 'job=~"apiserver-.+"'
_DONE = 'phase=~"Succeeded|Failed|Errored|Aborted"'

_GOOD, _SOSO, _BAD, _NEUTRAL = "green", "yellow", "red", "#7a7f87"


@dataclass(frozen=True)
class State:
    """What a value means: its text, and its colour as Grafana and CSS name it."""

    value: int
    text: str
    colour: str


@dataclass(frozen=True)
class Matrix:
    """A table with a row for each value of one label and a column for each of another; `value` is what is in it."""

    row: str
    column: str
    value: str = "Value"


@dataclass(frozen=True)
class Panel:
    """One panel.

    Attributes:
        title: Its title.
        kind: Grafana's name of the panel type.
        unit: Grafana's id of the unit; empty where what is shown is no number.
        queries: PromQL.
        legends: What the series of each query are called; `{{label}}` stands for a label's value.
        description: What one sees, for who has not seen it before.
        axis: The label of the axis of a `timeseries`.
        states: What the values mean, where they are states.
        matrix: How a `table` is laid out.
    """

    title: str
    kind: Kind
    unit: str
    queries: tuple[str, ...]
    legends: tuple[str, ...]
    description: str
    axis: str = ""
    states: tuple[State, ...] = ()
    matrix: Matrix | None = None

    @property
    def by_environment(self) -> bool:
        """Whether it draws series of environments, in their colours; states have colours of their own."""
        drawn = self.matrix is None and not self.states
        return drawn and any(legend.startswith("{{environment}}") for legend in self.legends)

    def filled(self, environment: str) -> tuple[str, ...]:
        """Its queries, about one environment where they ask for one."""
        return tuple(query.replace(ENVIRONMENT, environment) for query in self.queries)


@dataclass(frozen=True)
class Row:
    """Panels side by side, equally wide."""

    title: str
    panels: tuple[Panel, ...]


@dataclass(frozen=True)
class DashboardPlan:
    """One dashboard: its uid, which is also its address, its title, what it is for, and its rows."""

    uid: str
    title: str
    about: str
    rows: tuple[Row, ...]

    @property
    def panels(self) -> tuple[Panel, ...]:
        """All panels, in reading order."""
        return tuple(panel for row in self.rows for panel in row.panels)

    @property
    def asks_for_environment(self) -> bool:
        """Whether it shows one environment at a time, the one that its reader chooses."""
        return any(ENVIRONMENT in query for panel in self.panels for query in panel.queries)


def dashboard_plans() -> tuple[DashboardPlan, ...]:
    """The lab's four dashboards."""
    return (_cluster_overview(), _promotion_pipeline(), _application_health(), _performance_comparison())


def find_dashboard(uid: str) -> DashboardPlan:
    """One of the lab's dashboards.

    Raises:
        UsageError: There is none of that uid.
    """
    plans = {plan.uid: plan for plan in dashboard_plans()}
    if uid not in plans:
        raise UsageError(f"There is no dashboard {uid!r}", todo=f"use one of: {', '.join(plans)}")
    return plans[uid]


def _panel(
    kind: Kind,
    title: str,
    unit: str,
    query: str | tuple[str, ...],
    description: str,
    legend: str | tuple[str, ...] = "{{environment}}",
    *,
    axis: str = "",
    states: tuple[State, ...] = (),
    matrix: Matrix | None = None,
) -> Panel:
    """A panel; most have one query, with a series for each environment."""
    queries, legends = ((item,) if isinstance(item, str) else item for item in (query, legend))
    return Panel(title, kind, unit, queries, legends, description, axis, states, matrix)


# PromQL that more than one panel uses


def _is(label: str, value: str) -> str:
    return f'{label}="{value}"'


def _series(metric: str, *matchers: str) -> str:
    return f"{metric}{{{', '.join(matchers)}}}" if matchers else metric


def _rate(by: str, metric: str, *matchers: str) -> str:
    return f"sum by ({by}) (rate({_series(metric, *matchers)}[1m]))"


def _quantile(quantile: float, by: str, metric: str, *matchers: str) -> str:
    return f"histogram_quantile({quantile}, {_rate(f'{by}, le', f'{metric}_bucket', *matchers)})"


def _share(part: str, whole: str) -> str:
    """The share of `part`, which may have no series yet, in `whole`; nothing where the whole is nothing."""
    return f"({part} or 0 * {whole}) / ({whole} > 0)"


def _everywhere(query: str) -> str:
    """A query by environment, with 0 for each environment that it has no series of."""
    return f"{query} or on (environment) 0 * sum by (environment) ({_series('up', _APISERVER)})"


def _of_limit(usage: str, resource: str) -> str:
    """A pod's use of CPU or memory as a share of its limit."""
    limit = _series("kube_pod_container_resource_limits", _HERE, _APP, _is("resource", resource))
    return f"sum by (pod) ({usage} / on (environment, namespace, pod, container) {limit})"


def _app_latency(quantile: float, by: str, *matchers: str) -> str:
    return _quantile(quantile, by, "http_request_duration_seconds", *matchers, OF_PEOPLE)


def _app_requests(by: str, *matchers: str) -> str:
    return _rate(by, "http_requests_total", *matchers, OF_PEOPLE)


def _app_failures(by: str, *matchers: str) -> str:
    return _share(_rate(by, "http_request_errors_total", *matchers, OF_PEOPLE), _app_requests(by, *matchers))


def _argocd(label: str, *worth: tuple[int, str]) -> str:
    """An Application's state as a number; 0 where it is none of those given."""
    known = (f'{number} * argocd_app_info{{job="services", {label}=~"{states}"}}' for number, states in worth)
    return f'min by (environment) ({" or ".join(known)} or 0 * argocd_app_info{{job="services"}})'


_HEALTH = (State(3, "Healthy", _GOOD), State(2, "Progressing", _SOSO))
_STAGE_HEALTH = (*_HEALTH, State(1, "Unhealthy", _BAD), State(0, "Unknown", _NEUTRAL))
_APPLICATION_HEALTH = (*_HEALTH, State(1, "Degraded", _BAD), State(0, "Unknown", _NEUTRAL))


def _asked_for(resource: str) -> tuple[str, str]:
    """What pods request of a resource, and what they are limited to, by environment."""
    requests, limits = (
        f"sum by (environment) ({_series(f'kube_pod_container_resource_{kind}', _is('resource', resource))})"
        for kind in ("requests", "limits")
    )
    return requests, limits


def _start_of_pods(quantile: float) -> str:
    # Of all pods so far: in a minute, none may have started.
    return f"histogram_quantile({quantile}, sum by (environment, le) (kubelet_pod_start_duration_seconds_bucket))"


def _stage_health() -> str:
    """A Stage's health as the number that its state has."""
    known = (state for state in _STAGE_HEALTH if state.value)
    numbers = (f"{state.value} * {_series('labkit_stage_health', _is('health', state.text))}" for state in known)
    return f"max by (environment) ({' or '.join(numbers)})"


def _red_gates() -> str:
    none = 'label_replace(0 * sum by (environment) (labkit_verifications), "gate", "none", "", "")'
    return f"sum by (environment, gate) (labkit_gate_failures) or on (environment) {none}"


# fmt: off
# What a panel is, where its numbers come from and what it tells stand on lines of their own.

def _cluster_overview() -> DashboardPlan:
    used_of = ("{{environment}} used", "{{environment}} requests", "{{environment}} limits")
    requests = _rate("environment", "apiserver_request_total", _APISERVER)
    failures = _rate("environment", "apiserver_request_total", _APISERVER, 'code=~"5.."')
    latency = _quantile(0.95, "environment", "apiserver_request_duration_seconds", _APISERVER)
    ready = "min by (environment, namespace, pod) (kube_pod_container_status_ready)"
    clusters = (
        _panel(
            "stat", "API servers", "short", f"max by (environment) ({_series('up', _APISERVER)})",
            "Whether the API server of each cluster answers.",
            states=(State(1, "up", _GOOD), State(0, "down", _BAD)),
        ),
        _panel(
            "stat", "Nodes", "short", 'max by (environment) (apiserver_storage_objects{resource="nodes"})',
            "How many nodes each API server has stored. KWOK keeps them alive.",
        ),
        _panel(
            "stat", "Pods ready", "short", _everywhere(f"sum by (environment) ({ready})"),
            "How many pods that run as processes are ready.",
        ),
        _panel(
            "stat", "Pods not ready", "short", _everywhere(f"sum by (environment) (1 - {ready})"),
            "How many pods that run as processes are not ready: they start, stop, or are ill.",
        ),
    )
    api_servers = (
        _panel(
            "timeseries", "Requests to the API servers", "reqps", requests,
            "Requests that each API server answers, of all verbs.",
            axis="requests per second",
        ),
        _panel(
            "timeseries", "Latency of the API servers (p95)", "s", latency,
            "95 % of the requests are answered within this time. Watches are left out.",
            axis="time to answer",
        ),
        _panel(
            "timeseries", "Errors of the API servers", "percentunit", _share(failures, requests),
            "The share of requests that an API server answers with a status of 500 or above.",
            axis="share of requests",
        ),
    )
    usage = (
        _panel(
            "timeseries", "CPU of pods", "short",
            (_rate("environment", "container_cpu_usage_seconds_total"), *_asked_for("cpu")),
            "CPU that all pods use, beside what they request and what they are limited to.",
            used_of, axis="cores",
        ),
        _panel(
            "timeseries", "Memory of pods", "bytes",
            ("sum by (environment) (container_memory_working_set_bytes)", *_asked_for("memory")),
            "Memory that all pods use, beside what they request and what they are limited to.",
            used_of, axis="memory",
        ),
    )
    lives = (
        _panel(
            "stat", "Restarts", "short",
            _everywhere("sum by (environment) (kube_pod_container_status_restarts_total)"),
            "How often the containers of the pods that exist now were restarted.",
        ),
        _panel(
            "timeseries", "Restarts in 5 minutes", "short",
            _everywhere("sum by (environment) (increase(kube_pod_container_status_restarts_total[5m]))"),
            "Restarts in the 5 minutes before; alert PodRestarts looks at the same.",
            axis="restarts",
        ),
        _panel(
            "bargauge", "Start of pods", "s", (_start_of_pods(0.5), _start_of_pods(0.95)),
            "From seeing a pod to its container running, of all pods since the runner started.",
            ("{{environment}} p50", "{{environment}} p95"),
        ),
    )
    return DashboardPlan(
        "cluster-overview",
        "Cluster Overview",
        "The three clusters: API servers, nodes, and what pods use of what they may.",
        (
            Row("Clusters", clusters),
            Row("API servers", api_servers),
            Row("What pods use", usage),
            Row("How pods live", lives),
        ),
    )


def _promotion_pipeline() -> DashboardPlan:
    phases = Matrix(row="environment", column="phase")
    done = f"sum by (environment) ({_series('labkit_promotions', _DONE)})"
    stages = (
        _panel(
            "table", "Versions", "", "max by (environment, tier, version) (labkit_stage_version_info)",
            "The version of each tier in each Stage.", "{{environment}} {{tier}} {{version}}",
            matrix=Matrix(row="tier", column="environment", value="version"),
        ),
        _panel(
            "state-timeline", "Health of Stages", "", _stage_health(),
            "The health of each Stage, as Kargo sees it.", states=_STAGE_HEALTH,
        ),
        _panel(
            "state-timeline", "Verified", "", "max by (environment) (labkit_stage_verified)",
            "Whether the Freight that a Stage runs has passed its verification there.",
            states=(State(1, "verified", _GOOD), State(0, "not verified", _SOSO)),
        ),
    )
    promotions = (
        _panel(
            "table", "Promotions by phase", "short", "sum by (environment, phase) (labkit_promotions)",
            "The Promotions that exist, by Stage and phase.", "{{environment}} {{phase}}", matrix=phases,
        ),
        _panel(
            "bargauge", "Mean time of a Promotion", "s",
            f"sum by (environment) (labkit_promotion_seconds_total) / clamp_min({done}, 1)",
            "From request to end, and so with the time that an approval took. 0 where no Promotion has ended.",
        ),
        _panel(
            "stat", "Approvals waiting", "short", "sum by (environment) (labkit_approvals_waiting)",
            "Promotions whose pull request nobody has merged or closed.",
        ),
        _panel(
            "stat", "Rollbacks", "short", "sum by (environment) (labkit_rollbacks)",
            "Promotions that brought a Stage back to Freight that it had run before.",
        ),
    )
    verification = (
        _panel(
            "table", "Verifications by phase", "short", "sum by (environment, phase) (labkit_verifications)",
            "The AnalysisRuns that exist, by Stage and phase.", "{{environment}} {{phase}}", matrix=phases,
        ),
        _panel(
            "table", "Red gates", "short", _red_gates(),
            "How many AnalysisRuns each gate has failed. `none` where no gate was asked yet.",
            "{{environment}} {{gate}}", matrix=Matrix(row="gate", column="environment"),
        ),
        _panel(
            "bargauge", "Freight verified", "short",
            ("sum by (environment) (labkit_freight_verified)", "sum(labkit_freight)"),
            "How much Freight is verified in each Stage, of how much there is.", ("{{environment}}", "all Freight"),
        ),
    )
    delivery = (
        _panel(
            "state-timeline", "Promotion under way", "", "max by (environment) (labkit_stage_promoting)",
            "Whether a Promotion of a Stage is under way; it may wait for an approval.",
            states=(State(1, "promoting", _SOSO), State(0, "idle", _NEUTRAL)),
        ),
        _panel(
            "state-timeline", "Frozen", "", "max by (environment) (labkit_stage_frozen)",
            "Whether a Stage takes no Promotion, since somebody froze it.",
            states=(State(1, "frozen", _SOSO), State(0, "open", _GOOD)),
        ),
        _panel(
            "state-timeline", "Health in Argo CD", "",
            _argocd("health_status", (3, "Healthy"), (2, "Progressing"), (1, "Degraded|Missing")),
            "The health of the Application, as Argo CD sees it. Of environments that are measured in full only.",
            states=_APPLICATION_HEALTH,
        ),
        _panel(
            "state-timeline", "Sync in Argo CD", "", _argocd("sync_status", (2, "Synced"), (1, "OutOfSync")),
            "Whether the cluster has what Git says. Of environments that are measured in full only.",
            states=(State(2, "Synced", _GOOD), State(1, "OutOfSync", _SOSO), State(0, "Unknown", _NEUTRAL)),
        ),
    )
    return DashboardPlan(
        "promotion-pipeline",
        "Promotion Pipeline",
        "What each Stage runs, how it came there, and what stopped it.",
        (
            Row("Stages", stages),
            Row("Promotions", promotions),
            Row("Verification", verification),
            Row("Delivery", delivery),
        ),
    )


def _application_health() -> DashboardPlan:
    seen = _rate("environment", "traffic_requests_total", _HERE)
    served = _rate("environment", "traffic_requests_total", _HERE, 'outcome="ok"')
    ready = _series("kube_pod_container_status_ready", _HERE, _APP)
    cpu = f"rate({_series('container_cpu_usage_seconds_total', _HERE, _APP)}[1m])"
    memory = _series("container_memory_working_set_bytes", _HERE, _APP)
    firing = _series("ALERTS", _HERE, 'alertstate="firing"')
    now = (
        _panel(
            "stat", "Requests", "reqps", _app_requests("environment", _HERE, _FRONTEND),
            "Requests that the frontend answers, without probes and scrapes.",
        ),
        _panel(
            "stat", "Errors", "percentunit", _app_failures("environment", _HERE, _FRONTEND),
            "The share of the frontend's requests that fail.",
        ),
        _panel(
            "stat", "Latency (p95)", "s", _app_latency(0.95, "environment", _HERE, _FRONTEND),
            "95 % of the frontend's requests are answered within this time.",
        ),
        _panel(
            "stat", "Served", "percentunit", _share(served, seen),
            "The share of requests that went well, as people see it.",
        ),
        _panel(
            "stat", "Pods ready", "short", f"sum by (environment) ({ready})",
            "How many of the demo app's pods are ready.",
        ),
        _panel(
            "stat", "Alerts", "short", f"sum({firing}) or vector(0)", "How many alerts fire.", "firing",
        ),
    )
    tiers = (
        _panel(
            "timeseries", "Requests by tier", "reqps", _app_requests("tier", _HERE),
            "Requests that each tier answers, without probes and scrapes.", "{{tier}}",
            axis="requests per second",
        ),
        _panel(
            "timeseries", "Errors by tier", "percentunit", _app_failures("tier", _HERE),
            "The share of each tier's requests that it answers with a status of 500 or above.", "{{tier}}",
            axis="share of requests",
        ),
        _panel(
            "timeseries", "Latency", "s",
            tuple(_app_latency(quantile, "environment", _HERE, _FRONTEND) for quantile in (0.5, 0.95, 0.99)),
            "50, 95 and 99 % of the frontend's requests are answered within these times.", ("p50", "p95", "p99"),
            axis="time to answer",
        ),
    )
    people = (
        _panel(
            "timeseries", "Requests by outcome", "reqps", _rate("outcome", "traffic_requests_total", _HERE),
            "What people ask for, by what they got: `ok`, a status, or the name of an error.", "{{outcome}}",
            axis="requests per second",
        ),
        _panel(
            "timeseries", "Latency by action (p95)", "s",
            _quantile(0.95, "action", "traffic_request_duration_seconds", _HERE),
            "95 % of what people do is done within this time, the way there included.", "{{action}}",
            axis="time to answer",
        ),
    )
    pods = (
        _panel(
            "timeseries", "Pods ready by tier", "short", f"sum by (container) ({ready})",
            "How many pods of each tier are ready.", "{{container}}",
            axis="pods",
        ),
        _panel(
            "timeseries", "CPU of its limit", "percentunit", _of_limit(cpu, "cpu"),
            "CPU that each pod uses, as a share of its limit.", "{{pod}}",
            axis="share of the limit",
        ),
        _panel(
            "timeseries", "Memory of its limit", "percentunit", _of_limit(memory, "memory"),
            "Memory that each pod uses, as a share of its limit; alert PodMemoryNearLimit looks at the same.",
            "{{pod}}", axis="share of the limit",
        ),
    )
    alerts = (
        _panel(
            "state-timeline", "Alerts that fire", "",
            f'max by (alertname) ({firing}) or on () label_replace(vector(0), "alertname", "none", "", "")',
            "Which alerts fire, and since when. `none` while no alert does.", "{{alertname}}",
            states=(State(1, "firing", _BAD), State(0, "quiet", _GOOD)),
        ),
    )
    return DashboardPlan(
        "application-health",
        "Application Health",
        "The demo app in one environment: what it answers, how fast, and what its pods need for it.",
        (
            Row("Now", now),
            Row("What the tiers answer", tiers),
            Row("What people see", people),
            Row("Pods", pods),
            Row("Alerts", alerts),
        ),
    )


def _performance_comparison() -> DashboardPlan:
    requests = _app_requests("environment", _FRONTEND)
    failures = _app_failures("environment", _FRONTEND)
    cpu = f"rate({_series('container_cpu_usage_seconds_total', _APP)}[1m])"
    memory = _series("container_memory_working_set_bytes", _APP)
    now = (
        _panel(
            "bargauge", "Latency now (p95)", "s", _app_latency(0.95, "environment", _FRONTEND),
            "95 % of the frontend's requests are answered within this time.",
        ),
        _panel(
            "bargauge", "Throughput now", "reqps", requests,
            "Requests that the frontend answers, without probes and scrapes.",
        ),
        _panel(
            "bargauge", "Errors now", "percentunit", failures, "The share of the frontend's requests that fail.",
        ),
    )
    latency = tuple(
        _panel(
            "timeseries", f"Latency (p{percent})", "s", _app_latency(percent / 100, "environment", _FRONTEND),
            f"{percent} % of the frontend's requests are answered within this time.",
            axis="time to answer",
        )
        for percent in (50, 95, 99)
    )
    load = (
        _panel(
            "timeseries", "Throughput", "reqps", requests,
            "Requests that the frontend answers, without probes and scrapes.",
            axis="requests per second",
        ),
        _panel(
            "timeseries", "Errors", "percentunit", failures, "The share of the frontend's requests that fail.",
            axis="share of requests",
        ),
    )
    costs = (
        _panel(
            "timeseries", "CPU of a request", "s", f"sum by (environment) ({cpu}) / ({requests} > 0)",
            "CPU time of all tiers for one request to the frontend; with little traffic, probes and scrapes weigh in.",
            axis="CPU time",
        ),
        _panel(
            "timeseries", "CPU of a pod", "short", f"avg by (environment) ({cpu})",
            "CPU that one of the demo app's pods uses, on average.",
            axis="cores",
        ),
        _panel(
            "timeseries", "Memory of a pod", "bytes", f"avg by (environment) ({memory})",
            "Memory that one of the demo app's pods uses, on average.",
            axis="memory",
        ),
    )
    return DashboardPlan(
        "performance-comparison",
        "Performance Comparison DEV/PRE/PROD",
        "The demo app in the three environments side by side: is what comes next as fast as what runs now?",
        (
            Row("Now", now),
            Row("Latency", latency),
            Row("Load", load),
            Row("What it costs", costs),
        ),
    )

# fmt: on
