"""Delivery metrics: how fast changes come to an environment, and how often they fail there.

The five metrics of DORA, https://dora.dev/guides/dora-metrics-four-keys/. `delivery_metrics` is a pure function of
records; `read_deployments` and `read_incidents` make the records from what a lab knows.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache
from statistics import median
from typing import Any

import pandas as pd

from labkit.clusters import kube
from labkit.config import PROJECT, SOURCE_REPO, Lab
from labkit.delivery.git import repo_path
from labkit.delivery.gitea import COMMITS_OF_A_PAGE, gitea_as
from labkit.errors import UsageError
from labkit.observability.alerts import alert_hold
from labkit.observability.pages import notice_table
from labkit.promotion.freight import REVISION, time_of
from labkit.promotion.promotion import promotion_table
from labkit.promotion.verification import Verification, verification_table
from labkit.rules import rules
from labkit.services.kargo import KARGO_API

LEAD_TIME = "change lead time"
FREQUENCY = "deployment frequency"
RECOVERY_TIME = "failed deployment recovery time"
FAIL_RATE = "change fail rate"
REWORK_RATE = "deployment rework rate"
UNITS = {LEAD_TIME: "s", FREQUENCY: "per day", RECOVERY_TIME: "s", FAIL_RATE: "ratio", REWORK_RATE: "ratio"}
_COLUMNS = ("environment", "metric", "value", "unit", "n")
_REPO = repo_path(SOURCE_REPO)
_DAY = timedelta(days=1)


@dataclass(frozen=True)
class Deployment:
    """One Promotion that has come to an end. All times have their zone.

    Attributes:
        promotion: Its name; no two have the same.
        environment: Where.
        freight: Name of the Freight.
        requested: When it was asked for.
        finished: When it ended.
        succeeded: Whether the Freight came there.
        rolled_back_from: Name of the Freight that was left behind, where it was a rollback; else empty.
        rework: Whether it was not planned, but made to fix what an earlier one broke: a rollback or a hotfix.
        commits: The changes in the Freight, each a revision and when it was committed; those that earlier Freight had
            may be among them.
    """

    promotion: str
    environment: str
    freight: str
    requested: datetime
    finished: datetime
    succeeded: bool
    rolled_back_from: str = ""
    rework: bool = False
    commits: tuple[tuple[str, datetime], ...] = ()


@dataclass(frozen=True)
class Incident:
    """Something that went wrong with what a Promotion had brought. All times have their zone.

    Attributes:
        id: What tells it from others.
        environment: Where.
        promotion: Name of the Promotion that caused it.
        began: When it began, as far as is known.
        recovered: When it was over; nothing while it lasts.
    """

    id: str
    environment: str
    promotion: str
    began: datetime
    recovered: datetime | None


@dataclass(frozen=True)
class Alert:
    """One alert that fired. All times have their zone.

    Attributes:
        id: What tells it from others: its name, and the pager's id of it.
        environment: Where.
        began: When it began to fire.
        ended: When it was over; nothing while it fires.
        held: How long what it tells of had lasted by then: its rule's `for`.
    """

    id: str
    environment: str
    began: datetime
    ended: datetime | None
    held: timedelta = timedelta()


def delivery_metrics(
    deployments: Iterable[Deployment],
    incidents: Iterable[Incident],
    since: datetime,
    until: datetime,
    *,
    environments: Sequence[str] = (),
) -> pd.DataFrame:
    """The five delivery metrics of each environment.

    D are the deployments to an environment that succeeded and for which `since <= finished < until`; F are those of D
    that an incident of that environment names, each once however many name it. Rollbacks and hotfixes are
    deployments, too.

    - *change lead time*: median over the changes that D brought there first of `finished - committed`; n is the
      number of changes. A change that came there before, even before `since`, does not count again. It begins when
      the change was committed, not when somebody began to work on it.
    - *deployment frequency*: `|D| / (until - since)` in days; n is `|D|`. A short window makes few deployments look
      frequent.
    - *failed deployment recovery time*: median over F of the last `recovered` minus the first `began` of all
      incidents that name the deployment; n is the number of those that have recovered. What has not recovered is
      left out, and so the value is too low while something lasts.
    - *change fail rate*: `|F| / |D|`; n is `|D|`. A failure counts in the window of its deployment, whenever it was
      seen; what nobody has seen yet is missing. Promotions that did not succeed are not in it: they changed nothing.
    - *deployment rework rate*: deployments of D with `rework` / `|D|`; n is `|D|`.

    Medians and ratios of a small n say little: read them with n.

    Args:
        deployments: In any order; those before `since` tell which changes are new.
        incidents: In any order.
        since: Begin of the window, with its zone.
        until: End of the window, with its zone; not part of it.
        environments: These have rows, in this order, even where nothing is known of them. Others follow by name.

    Returns:
        A row for each environment and metric. Columns: `environment`, `metric` (object), `value` (float64; seconds,
        per day or a ratio from 0 to 1; NaN where n is 0), `unit` (object: `s`, `per day` or `ratio`), `n` (int64).

    Raises:
        UsageError: The window is empty.

    Source: https://dora.dev/guides/dora-metrics-four-keys/.
    """
    if until <= since:
        raise UsageError(f"There is no time from {since} until {until}", todo="name the earlier time first")
    made, seen = list(deployments), list(incidents)
    known = {item.environment for item in made} | {item.environment for item in seen}
    rows = []
    for name in dict.fromkeys((*environments, *sorted(known))):
        there = [item for item in made if item.environment == name and item.succeeded]
        inside = [item for item in there if since <= item.finished < until]
        counted = {item.promotion for item in inside}
        failures: dict[str, list[Incident]] = {}
        for incident in seen:
            if incident.environment == name and incident.promotion in counted:
                failures.setdefault(incident.promotion, []).append(incident)
        lead_times = _lead_times(there, since, until)
        recovery_times = _recovery_times(failures.values())
        total = len(inside)
        failed = sum(item.promotion in failures for item in inside)
        rework = sum(item.rework for item in inside)
        values = {
            LEAD_TIME: (_median(lead_times), len(lead_times)),
            FREQUENCY: (_ratio(total, (until - since) / _DAY) if total else float("nan"), total),
            RECOVERY_TIME: (_median(recovery_times), len(recovery_times)),
            FAIL_RATE: (_ratio(failed, total), total),
            REWORK_RATE: (_ratio(rework, total), total),
        }
        rows += [(name, metric, value, UNITS[metric], n) for metric, (value, n) in values.items()]
    return pd.DataFrame(rows, columns=list(_COLUMNS), dtype=object).astype({"value": "float64", "n": "int64"})


def _lead_times(deployments: Iterable[Deployment], since: datetime, until: datetime) -> list[float]:
    """Seconds from commit to the end of the first deployment with it, of changes that came within the window."""
    first: dict[str, tuple[datetime, datetime]] = {}
    for deployment in deployments:
        for revision, committed in deployment.commits:
            arrival = (deployment.finished, committed)
            first[revision] = min(first.get(revision, arrival), arrival)
    return [(arrived - committed).total_seconds() for arrived, committed in first.values() if since <= arrived < until]


def _recovery_times(failures: Iterable[Sequence[Incident]]) -> list[float]:
    """Seconds from the first sign to the last recovery, of each failed deployment that has recovered."""
    found = []
    for incidents in failures:
        ends = [incident.recovered for incident in incidents if incident.recovered is not None]
        if len(ends) == len(incidents):
            found.append((max(ends) - min(incident.began for incident in incidents)).total_seconds())
    return found


def _median(values: Sequence[float]) -> float:
    return median(values) if values else float("nan")


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole else float("nan")


def rollback_incidents(deployments: Iterable[Deployment]) -> tuple[Incident, ...]:
    """What rollbacks say: the newest earlier deployment of the Freight that was left behind had failed.

    It began when the rollback was asked for at the latest, and was over when the rollback had finished. A rollback
    that did not succeed left nothing behind, and says nothing.

    Args:
        deployments: In any order.
    """
    made = list(deployments)
    found = []
    for undo in made:
        if not (undo.succeeded and undo.rolled_back_from):
            continue
        undone = _newest(made, undo.environment, undo.requested, undo.rolled_back_from)
        if undone:
            name = f"rollback {undo.promotion}"
            found.append(Incident(name, undo.environment, undone.promotion, undo.requested, undo.finished))
    return tuple(found)


def verification_incidents(
    deployments: Iterable[Deployment], verifications: Iterable[Verification]
) -> tuple[Incident, ...]:
    """What verifications that failed say: the deployment that they followed had failed.

    It began when the verification did, and was over when the rollback from it had finished; without a rollback, when
    the next deployment there had finished whose verification succeeded. `Error` and `Inconclusive` say nothing of
    the Freight. An AnalysisRun that Kargo counts again when Freight comes back counts once, where it was made.

    Args:
        deployments: In any order.
        verifications: Of all environments, in any order.
    """
    made = list(deployments)
    judged = [(row, _judged(made, row)) for row in sorted(verifications, key=lambda row: row.started) if row.started]
    good = {item.promotion for row, item in judged if item and row.phase == "Successful"}
    undone = {incident.promotion: incident.recovered for incident in rollback_incidents(made)}
    found: dict[str, Incident] = {}
    for row, item in judged:
        if item is None or row.phase != "Failed":
            continue
        later = (
            other.finished
            for other in made
            if other.environment == item.environment and other.finished > item.finished and other.promotion in good
        )
        recovered = undone.get(item.promotion) or min(later, default=None)
        name = f"verification {row.analysis_run or row.id}"
        found.setdefault(name, Incident(name, row.stage, item.promotion, time_of(row.started), recovered))
    return tuple(found.values())


def alert_incidents(
    deployments: Iterable[Deployment], alerts: Iterable[Alert], maximum_age: timedelta
) -> tuple[Incident, ...]:
    """What alerts say: the newest deployment before one began had failed, if that was not long before.

    An alert comes later than the trouble. One whose trouble had begun before a rollback was over does not blame the
    rollback, but the deployment that was left behind.

    An alert with another cause that happens to begin then is put down to the deployment all the same.

    Args:
        deployments: In any order.
        alerts: In any order.
        maximum_age: How long after a deployment an alert is put down to it; later trouble has other causes.
    """
    made = list(deployments)
    found = []
    for alert in alerts:
        cause = _newest(made, alert.environment, alert.began)
        if cause and cause.rolled_back_from and alert.began - alert.held < cause.finished:
            cause = _newest(made, alert.environment, cause.requested, cause.rolled_back_from)
        if cause and alert.began - cause.finished <= maximum_age:
            name = f"alert {alert.id}"
            found.append(Incident(name, alert.environment, cause.promotion, alert.began, alert.ended))
    return tuple(found)


def _newest(
    deployments: Iterable[Deployment], environment: str, before: datetime, freight: str = ""
) -> Deployment | None:
    """The newest deployment that had succeeded by then, of all Freight or of one."""
    earlier = (
        item
        for item in deployments
        if item.succeeded
        and item.environment == environment
        and item.finished <= before
        and freight in ("", item.freight)
    )
    return max(earlier, key=lambda item: (item.finished, item.promotion), default=None)


def _judged(deployments: Iterable[Deployment], verification: Verification) -> Deployment | None:
    return _newest(deployments, verification.stage, time_of(verification.started), verification.freight_name)


def read_deployments(lab: Lab) -> tuple[Deployment, ...]:
    """The Promotions of a lab that have come to an end, with the changes that their Freight has.

    Rework are rollbacks, and Promotions that may pass a freeze since they are an emergency: hotfixes. A hotfix that
    nobody called an emergency is not seen as one.

    Changes are all commits in the history of the commits that the Freight's images were built from, as authored. A
    Freight that pairs an old image of one tier with a new one of another has the newer one's history, the old
    image's tier included. Where Freight is gone, or its images name no commit, there are no changes.

    Kargo forgets old Promotions: the changes of those it has forgotten seem to have come with a later one.

    Raises:
        LabError: Kargo or Gitea does not answer.
    """
    gitea = gitea_as(lab, "viewer")

    @cache
    def history(revision: str) -> tuple[tuple[str, datetime], ...]:
        found: list[tuple[str, datetime]] = []
        while True:
            page = gitea.commits(_REPO, revision, page=len(found) // COMMITS_OF_A_PAGE + 1)
            found += [(item["sha"], time_of(item["commit"]["author"]["date"])) for item in page]
            if len(page) < COMMITS_OF_A_PAGE:
                return tuple(found)

    revisions = {
        item["metadata"]["name"]: _revisions(item)
        for item in kube(lab, lab.control).list(KARGO_API, "Freight", PROJECT)
    }
    return tuple(
        Deployment(
            promotion=row.promotion,
            environment=row.stage,
            freight=row.freight_name,
            requested=row.created,
            finished=row.finished,
            succeeded=row.phase == "Succeeded",
            rolled_back_from=row.rolled_back_from,
            rework=bool(row.rolled_back_from or row.emergency),
            commits=tuple(
                sorted({commit for revision in revisions.get(row.freight_name, ()) for commit in history(revision)})
            ),
        )
        for row in promotion_table(lab)
        if row.done and row.seconds is not None
    )


def _revisions(freight: Mapping[str, Any]) -> tuple[str, ...]:
    """The commits that a Freight's images were built from: several, where a release left a tier as it was."""
    found = {(image.get("annotations") or {}).get(REVISION, "") for image in freight.get("images") or []}
    return tuple(sorted(found - {""}))


def read_incidents(lab: Lab) -> tuple[Incident, ...]:
    """What went wrong in a lab, each put down to the Promotion that caused it.

    That are rollbacks, verifications that failed, and alerts that reached the pager; see `rollback_incidents`,
    `verification_incidents` and `alert_incidents`. Alerts are put down to a Promotion for as long as
    `automaticRollback.maximumAgeMinutes` of `data/rules.yaml` says. Verifications are those that Kargo's Stages
    remember, which are not all that ever were.

    Raises:
        LabError: Kargo, Gitea or the pager does not answer.
    """
    deployments = read_deployments(lab)
    verifications = [row for environment in lab.environments for row in verification_table(lab, environment.name)]
    rule = next(iter(rules().automatic_rollback.values()))
    return (
        *rollback_incidents(deployments),
        *verification_incidents(deployments, verifications),
        *alert_incidents(deployments, _alerts(lab), timedelta(minutes=rule.maximum_age_minutes)),
    )


def _alerts(lab: Lab) -> list[Alert]:
    return [
        Alert(
            f"{row.alert} {row.id}", row.environment, row.started, row.resolved, alert_hold(row.alert, row.environment)
        )
        for row in notice_table(lab)
    ]
