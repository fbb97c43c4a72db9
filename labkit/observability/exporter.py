"""The lab's own exporter: Stages, Freight, Promotions, verifications and approvals as metrics.

`python -m labkit.observability.exporter`, a program that the supervisor runs. It keeps no state: each scrape reads
Kargo's resources anew. Every series carries `environment`, which is the Stage's name.
"""

from __future__ import annotations

import logging
import signal
import threading
from collections import Counter
from collections.abc import Iterator

import prometheus_client
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from labkit.clusters import kube
from labkit.config import PROJECT, Lab, load_lab
from labkit.errors import LabError
from labkit.kube import UNREACHABLE
from labkit.process import LOOPBACK
from labkit.promotion import FreightTable, PromotionTable, StageTable, freeze_table, freight_table, promotion_table
from labkit.promotion.stage import stage_table
from labkit.promotion.verification import ROLLOUTS_API

log = logging.getLogger("labkit.exporter")

STAGE_LABEL = "kargo.akuity.io/stage"
HEALTH = ("Healthy", "Progressing", "Unhealthy", "Unknown")
PROMOTION_PHASES = ("Pending", "Running", "Succeeded", "Failed", "Errored", "Aborted")
VERIFICATION_PHASES = ("Pending", "Running", "Successful", "Failed", "Error", "Inconclusive")


class KargoCollector(Collector):
    """Reads a lab's Kargo resources at every scrape.

    Args:
        lab: The lab.
    """

    def __init__(self, lab: Lab) -> None:
        self._lab = lab

    def collect(self) -> Iterator[Metric]:
        """The metrics as they are now; `labkit_exporter_up` is 0 where the API server does not answer."""
        up = GaugeMetricFamily("labkit_exporter_up", "Whether Kargo's resources could be read.")
        try:
            found = [
                *_of_stages(stage_table(self._lab)),
                *_of_freight(self._lab, freight_table(self._lab)),
                *_of_promotions(self._lab, promotion_table(self._lab)),
                *_of_verifications(self._lab),
                *_of_freezes(self._lab),
            ]
        except (LabError, *UNREACHABLE) as error:
            log.warning("%s", error)
            up.add_metric([], 0)
            yield up
            return
        up.add_metric([], 1)
        yield up
        yield from found


def _of_stages(stages: StageTable) -> Iterator[Metric]:
    info = GaugeMetricFamily(
        "labkit_stage_info", "What a Stage runs; the value is 1.", labels=["environment", "freight", "freight_name"]
    )
    version = GaugeMetricFamily(
        "labkit_stage_version_info",
        "The version of a tier in a Stage; the value is 1.",
        labels=["environment", "tier", "version"],
    )
    health = GaugeMetricFamily(
        "labkit_stage_health", "1 for the health that Kargo sees, 0 for the others.", labels=["environment", "health"]
    )
    verified = GaugeMetricFamily(
        "labkit_stage_verified", "1 where the Stage's Freight is verified in it.", labels=["environment"]
    )
    promoting = GaugeMetricFamily(
        "labkit_stage_promoting", "1 while a Promotion of the Stage is under way.", labels=["environment"]
    )
    for stage in stages:
        name = stage.stage
        if stage.freight_name:
            info.add_metric([name, stage.freight, stage.freight_name], 1)
        for tier, tag in stage.versions.items():
            version.add_metric([name, tier, tag], 1)
        for state in HEALTH:
            health.add_metric([name, state], float(stage.health == state))
        verified.add_metric([name], float(stage.verified == "True"))
        promoting.add_metric([name], float(bool(stage.promoting)))
    yield from (info, version, health, verified, promoting)


def _of_freight(lab: Lab, freight: FreightTable) -> Iterator[Metric]:
    verified = GaugeMetricFamily(
        "labkit_freight_verified", "How much Freight is verified in a Stage.", labels=["environment"]
    )
    for environment in lab.environments:
        verified.add_metric([environment.name], sum(environment.name in row.verified_in for row in freight))
    known = GaugeMetricFamily("labkit_freight", "How much Freight there is.")
    known.add_metric([], len(freight.rows))
    yield from (known, verified)


def _of_promotions(lab: Lab, promotions: PromotionTable) -> Iterator[Metric]:
    counts = Counter((row.stage, row.phase) for row in promotions)
    by_phase = GaugeMetricFamily(
        "labkit_promotions", "Promotions that exist, by phase.", labels=["environment", "phase"]
    )
    waiting = GaugeMetricFamily(
        "labkit_approvals_waiting", "Promotions that wait for their pull request.", labels=["environment"]
    )
    rollbacks = GaugeMetricFamily("labkit_rollbacks", "Promotions that were rollbacks.", labels=["environment"])
    seconds = CounterMetricFamily(
        "labkit_promotion_seconds", "Seconds that Promotions took, from request to end.", labels=["environment"]
    )
    last = GaugeMetricFamily(
        "labkit_promotion_last_timestamp_seconds",
        "When the newest Promotion of that phase was asked for.",
        labels=["environment", "phase"],
    )
    for environment in lab.environments:
        name = environment.name
        mine = [row for row in promotions if row.stage == name]
        for phase in PROMOTION_PHASES:
            by_phase.add_metric([name, phase], counts[name, phase])
            times = [row.created.timestamp() for row in mine if row.phase == phase]
            if times:
                last.add_metric([name, phase], max(times))
        waiting.add_metric([name], sum(bool(row.pull_request) and not row.done for row in mine))
        rollbacks.add_metric([name], sum(bool(row.rolled_back_from) for row in mine))
        seconds.add_metric([name], sum(row.seconds or 0 for row in mine if row.done))
    yield from (by_phase, waiting, rollbacks, seconds, last)


def _of_verifications(lab: Lab) -> Iterator[Metric]:
    runs = kube(lab, lab.control).list(ROLLOUTS_API, "AnalysisRun", PROJECT, selector=STAGE_LABEL)
    phases: Counter[tuple[str, str]] = Counter()
    failed: Counter[tuple[str, str]] = Counter()
    for run in runs:
        stage, status = run["metadata"]["labels"][STAGE_LABEL], run.get("status") or {}
        phases[stage, status.get("phase", "Pending")] += 1
        for result in status.get("metricResults") or []:
            failed[stage, result["name"]] += result["phase"] == "Failed"
    by_phase = GaugeMetricFamily(
        "labkit_verifications", "AnalysisRuns that exist, by phase.", labels=["environment", "phase"]
    )
    gates = GaugeMetricFamily(
        "labkit_gate_failures", "AnalysisRuns in which a gate was red.", labels=["environment", "gate"]
    )
    for environment in lab.environments:
        for phase in VERIFICATION_PHASES:
            by_phase.add_metric([environment.name, phase], phases[environment.name, phase])
    for (stage, gate), count in failed.items():
        gates.add_metric([stage, gate], count)
    yield from (by_phase, gates)


def _of_freezes(lab: Lab) -> Iterator[Metric]:
    frozen = GaugeMetricFamily("labkit_stage_frozen", "1 while a Stage takes no Promotion.", labels=["environment"])
    for row in freeze_table(lab):
        frozen.add_metric([row.stage], float(row.frozen))
    yield frozen


def main() -> None:
    """Serve the metrics until told to stop."""
    logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s", level=logging.INFO)
    lab = load_lab()
    registry = prometheus_client.CollectorRegistry()
    registry.register(KargoCollector(lab))
    stopped = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopped.set())
    server, thread = prometheus_client.start_http_server(lab.port("exporter"), LOOPBACK, registry)
    stopped.wait()
    server.shutdown()
    thread.join()


if __name__ == "__main__":
    main()
