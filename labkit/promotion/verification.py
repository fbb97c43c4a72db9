"""Verification: what measured the Freight of a Stage, and measuring it anew."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from labkit.clusters import kube
from labkit.config import NAMESPACE, PROJECT, Lab
from labkit.errors import LabError
from labkit.kubectl import Shown, kubectl
from labkit.promotion.freight import Freight, time_of
from labkit.promotion.refresh import refresh
from labkit.services.kargo import KARGO_API
from labkit.tables import Record, Table
from labkit.wait import wait_for

ROLLOUTS_API = "argoproj.io/v1alpha1"
REVERIFY = "kargo.akuity.io/reverify"
_SHOWN_CHARACTERS = 60
_FINAL = ("Successful", "Failed", "Error", "Aborted", "Inconclusive")


@dataclass(frozen=True, repr=False)
class Verification(Record):
    """One verification of a Freight in a Stage, as Kargo describes it.

    Attributes:
        id: Kargo's id of it.
        stage: The Stage.
        freight_name: Name of the Freight.
        phase: Kargo's word for how it went.
        analysis_run: Name of the AnalysisRun that measured.
        message: What Kargo says of it.
        started: When it began, as Kubernetes writes it.
        finished: When it ended; empty while it runs.
    """

    id: str
    stage: str
    freight_name: str
    phase: str
    analysis_run: str
    message: str
    started: str
    finished: str

    @property
    def done(self) -> bool:
        """Whether it has come to an end."""
        return self.phase in _FINAL


class VerificationTable(Table[Verification]):
    """Verifications of a Stage, newest first."""

    title = "Verifications"
    columns = ("stage", "freight_name", "phase", "analysis_run", "started", "finished", "message")


@dataclass(frozen=True, repr=False)
class Metric(Record):
    """One metric of an AnalysisRun: what was asked, and how the answers were judged."""

    metric: str
    phase: str
    measurements: int
    value: str
    message: str


class MetricTable(Table[Metric]):
    """The metrics of an AnalysisRun."""

    title = "Metrics"
    columns = ("metric", "phase", "measurements", "value", "message")


def verification_table(lab: Lab, stage: str, *, freight_name: str = "") -> VerificationTable:
    """The verifications that a Stage remembers, newest first.

    Args:
        lab: The lab.
        stage: The Stage.
        freight_name: Of this Freight only.

    Source: `status.freightHistory[].verificationHistory` of Kargo v1.11.2's Stages.
    """
    status = kube(lab, lab.control).need(KARGO_API, "Stage", stage, lab.project_of(stage)).get("status") or {}
    rows = _verifications(stage, status)
    return VerificationTable(tuple(row for row in rows if not freight_name or row.freight_name == freight_name))


def _verifications(stage: str, status: dict[str, Any]) -> Iterator[Verification]:
    for collection in status.get("freightHistory") or []:
        for item in (collection.get("items") or {}).values():
            for found in collection.get("verificationHistory") or []:
                yield Verification(
                    id=found.get("id", ""),
                    stage=stage,
                    freight_name=item["name"],
                    phase=found.get("phase", ""),
                    analysis_run=(found.get("analysisRun") or {}).get("name", ""),
                    message=found.get("message", ""),
                    started=found.get("startTime", ""),
                    finished=found.get("finishTime", ""),
                )


def metric_table(lab: Lab, analysis_run: str, *, project: str = PROJECT) -> MetricTable:
    """What an AnalysisRun of a Project measured; an empty table where it is not there any more.

    Source: `status.metricResults` of Argo Rollouts' AnalysisRuns.
    """
    found = kube(lab, lab.control).get(ROLLOUTS_API, "AnalysisRun", analysis_run, project) or {}
    return MetricTable(
        tuple(
            Metric(
                metric=result["name"],
                phase=result["phase"],
                measurements=len(result.get("measurements") or []),
                value=_short(str((result.get("measurements") or [{}])[-1].get("value", ""))),
                message=result.get("message", ""),
            )
            for result in (found.get("status") or {}).get("metricResults") or []
        )
    )


def _short(text: str) -> str:
    """An answer as far as people read it: of Argo CD's, which is all that it knows of an Application, its two words."""
    with suppress(ValueError, TypeError, KeyError):
        status = json.loads(text)
        return f"{status['sync']['status']}, {status['health']['status']}"
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]}…"


def wait_for_verification(lab: Lab, stage: str, freight: Freight, *, since: datetime | None = None) -> Verification:
    """Wait until a Stage has come to a verdict on a Freight, whichever; the newest, where there are several.

    Args:
        lab: The lab.
        stage: The Stage.
        freight: The Freight.
        since: What began before this time does not count, where one is given; with its zone.

    Raises:
        LabError: There is none in time.
    """
    return _verdict(
        lab,
        stage,
        f"Stage {stage} to judge Freight {freight.alias}",
        lambda: next(
            (
                row
                for row in verification_table(lab, stage, freight_name=freight.name)
                if since is None or time_of(row.started) >= since
            ),
            None,
        ),
    )


def _verdict(lab: Lab, stage: str, what: str, newest: Callable[[], Verification | None]) -> Verification:
    def look() -> Verification | None:
        # Kargo may miss that its AnalysisRun is done.
        refresh(lab, "Stage", stage, project=lab.project_of(stage))
        return newest()

    found = wait_for(
        what,
        look,
        lambda now: now is not None and now.done,
        describe=lambda now: f"{now.phase} {now.message}".strip() if now else "not begun",
        interval=0.5,
        timeout=lab.limits.promotion_seconds,
        todo=_analysis_runs(lab, stage),
    )
    assert found is not None
    return found


def _analysis_runs(lab: Lab, stage: str) -> str:
    return f"`kubectl --context {lab.control.context} -n {lab.project_of(stage)} get analysisruns`"


def gate_results(lab: Lab, stage: str, freight: Freight) -> MetricTable:
    """What a Stage's gates said when it verified a Freight last; an empty table where it has not.

    Args:
        lab: The lab.
        stage: The Stage.
        freight: The Freight.
    """
    newest = next(iter(verification_table(lab, stage, freight_name=freight.name)), None)
    return metric_table(lab, newest.analysis_run, project=lab.project_of(stage)) if newest else MetricTable(())


def gate_log(lab: Lab, stage: str, freight: Freight, metric: str) -> Shown:
    """What the Job behind a metric printed when a Stage verified a Freight last, and the command that shows it.

    Raises:
        LabError: No Job measured that.
    """
    newest = next(iter(verification_table(lab, stage, freight_name=freight.name)), None)
    run = (
        kube(lab, lab.control).get(ROLLOUTS_API, "AnalysisRun", newest.analysis_run, lab.project_of(stage))
        if newest
        else None
    )
    jobs = [
        measurement["metadata"]["job-name"]
        for result in ((run or {}).get("status") or {}).get("metricResults") or []
        for measurement in result.get("measurements") or []
        if result["name"] == metric and "job-name" in (measurement.get("metadata") or {})
    ]
    if not jobs:
        raise LabError(
            f"No Job measured {metric} of Freight {freight.alias} in {stage}", todo=_analysis_runs(lab, stage)
        )
    context = lab.destination(stage).environment.context
    return kubectl(lab, f"kubectl --context {context} -n {NAMESPACE} logs job/{jobs[-1]}")


def measured_since(lab: Lab, verification: Verification, moment: datetime) -> bool:
    """Whether what a verification counts was measured at that time or later.

    Where Freight comes back to a Stage, Kargo writes a new verification that counts the AnalysisRun of an earlier one.

    Args:
        lab: The lab.
        verification: The verification.
        moment: The time, with its zone.
    """
    if not verification.analysis_run:
        return False
    run = kube(lab, lab.control).get(
        ROLLOUTS_API, "AnalysisRun", verification.analysis_run, lab.project_of(verification.stage)
    )
    return run is not None and time_of(run["metadata"]["creationTimestamp"]) >= moment


def request_verification(lab: Lab, stage: str) -> None:
    """Ask for a fresh verification of the Freight that a Stage runs.

    Kargo counts an earlier one when Freight comes back to a Stage.

    Raises:
        LabError: The Stage has not verified anything yet.
    """
    known = verification_table(lab, stage)
    if not known:
        raise LabError(f"Stage {stage} has verified nothing yet", todo="`labkit get stages` shows how it is")
    change = {"metadata": {"annotations": {REVERIFY: known[0].id}}}
    kube(lab, lab.control).patch(KARGO_API, "Stage", stage, change, lab.project_of(stage))


def verify_afresh(lab: Lab, stage: str) -> Verification:
    """Have a Stage verify the Freight that it runs afresh, and wait for the result, whichever.

    Raises:
        LabError: The Stage has not verified anything yet.
    """
    known = {row.id for row in verification_table(lab, stage)}
    request_verification(lab, stage)
    return _verdict(
        lab,
        stage,
        f"Stage {stage} to be verified afresh",
        lambda: next((row for row in verification_table(lab, stage) if row.id not in known), None),
    )


def reverify(lab: Lab, stage: str) -> Verification:
    """Have a Stage verify the Freight that it runs afresh, and wait for the result.

    Returns:
        The new verification, which succeeded.

    Raises:
        LabError: It failed, or the Stage has not verified anything yet.
    """
    found = verify_afresh(lab, stage)
    if found.phase != "Successful":
        raise LabError(
            f"Stage {stage} did not pass a fresh verification",
            seen=f"{found.phase}: {found.message}",
            todo=_analysis_runs(lab, stage),
        )
    return found
