"""A defect that only PROD's customers have: it pages, PROD goes back by itself, and the fix takes the whole way."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

import pandas as pd

from labkit.config import Lab
from labkit.delivery.defects import find_defect
from labkit.deploy import defective_freight, ensure_defect, fix_defect, promote_freight
from labkit.errors import LabError, UsageError
from labkit.observability.delivery import Deployment, read_deployments
from labkit.observability.events import read_events
from labkit.observability.pages import Notice, acknowledge, notice_table, wait_for_notice
from labkit.observability.people import wait_until_served
from labkit.observability.series import ranged
from labkit.progress import step
from labkit.promotion import (
    Freight,
    Promotion,
    approve,
    find_stage,
    freeze_table,
    promotion_table,
    request_promotion,
    stage_table,
    validate,
    wait_for_pull_request,
    wait_for_rollback,
)
from labkit.rules import rules
from labkit.scenarios.story import Beginning, Fact, FactTable, Story, seconds_between
from labkit.services.traffic import has_traffic

DEFECT = "failing-names"
ALERT = "AppRequestsFail"
_STAGE = "prod"
_GATE = "error-rate"
_AFTERMATH = timedelta(minutes=5)
_FAILED_REQUESTS = f'sum(traffic_requests_total{{environment="{_STAGE}", outcome!="ok"}}) or vector(0)'
_ALL_REQUESTS = f'sum(traffic_requests_total{{environment="{_STAGE}"}})'


def rollback_story(lab: Lab, *, defect: str = DEFECT) -> Story:
    """Tell the whole story: defect, page, rollback, fix.

    Args:
        lab: The lab, with the newest release in DEV.
        defect: A defect that makes requests of PROD's customers fail.

    Raises:
        LabError: The lab is not as the story needs it, or something did not come as it should.
    """
    beginning = begin_rollback(lab, defect)
    broken = ensure_defect(lab, defect)
    for stage in ("dev", "pre"):
        broken = promote_freight(lab, stage, broken)
    with step(f"Promote Freight {broken.alias} to {_STAGE}, by pull request", expect=15):
        asked = wait_for_pull_request(lab, request_promotion(lab, _STAGE, broken))
        validate(lab, rules().gates[_STAGE].validation_stage, broken)
        approve(lab, asked)
    with step(f"{ALERT} pages", expect=20):
        wait_for_notice(lab, ALERT, _STAGE)
        acknowledge(lab, ALERT)
    with step(f"{_STAGE} is taken back by itself", expect=40):
        wait_for_rollback(lab, _STAGE, verified=False)
    with step("People are served again, and the alert is over", expect=5):
        wait_until_served(lab, _STAGE)
        wait_for_notice(lab, ALERT, _STAGE, "resolved")
    fixed = fix_defect(lab, defect)
    for stage in ("dev", "pre"):
        fixed = promote_freight(lab, stage, fixed)
    with step(f"What {_STAGE} runs again is verified afresh"):
        wait_for_rollback(lab, _STAGE)
    fixed = promote_freight(lab, _STAGE, fixed)
    return Story(
        beginning,
        rollback_facts(lab, broken),
        read_events(lab, since=beginning.began),
        stage_table(lab),
    )


def begin_rollback(lab: Lab, defect: str = DEFECT) -> Beginning:
    """See that the lab is as the story needs it; a defect that an earlier telling has left in PROD's past is fixed.

    Raises:
        UsageError: That defect does not make requests of PROD's customers fail.
        LabError: The lab is not as the story needs it; says what to do.
    """
    began = datetime.now(UTC)
    if find_defect(defect).stopped_by != _GATE:
        raise UsageError(f"Defect {defect} does not fail at {_GATE}: nobody would be called", todo=f"use {DEFECT}")
    if not has_traffic(lab):
        raise LabError(
            "This lab has no traffic, so nobody would see the defect", todo="create it with `--traffic steady`"
        )
    if any(row.frozen for row in freeze_table(lab) if row.stage == _STAGE):
        raise LabError(f"Stage {_STAGE} is frozen", todo=f"`labkit unfreeze {_STAGE}`")
    stage = find_stage(lab, _STAGE)
    if (stage.health, stage.verified, stage.promoting) != ("Healthy", "True", ""):
        seen = f"{stage.health}, verified {stage.verified}, promoting {stage.promoting or 'nothing'}"
        raise LabError(f"Stage {_STAGE} runs nothing that could be gone back to", seen=seen, todo="`labkit get stages`")
    left = defective_freight(lab, defect)
    taken_back: tuple[str, ...] = ()
    if left is not None and any(row.freight_name == left.name for row in promotion_table(lab, _STAGE)):
        fix_defect(lab, defect)
        taken_back = (f"{defect}, of Freight {left.alias}",)
    return Beginning(began, stage.freight, stage.freight_name, taken_back)


def rollback_facts(lab: Lab, broken: Freight) -> FactTable:
    """What the story has measured, from what others have recorded.

    Args:
        lab: The lab.
        broken: The Freight that PROD went back from.

    Raises:
        LabError: PROD has not gone back from it; or Kargo, Gitea, Prometheus or the pager does not answer.
    """
    promotions = [row for row in promotion_table(lab, _STAGE) if row.phase == "Succeeded"]
    bad = _newest((row for row in promotions if row.freight_name == broken.name), f"brought Freight {broken.alias}")
    undone = _newest(
        (row for row in promotions if row.rolled_back_from == broken.name), f"took it back from Freight {broken.alias}"
    )
    # The alert may last longer than the rollback.
    until = undone.finished + _AFTERMATH
    minutes = (until - bad.created).total_seconds() / 60
    counted = [
        ranged(lab, query, minutes, step_seconds=1, until=until).set_index("time")["value"]
        for query in (_FAILED_REQUESTS, _ALL_REQUESTS)
    ]
    fixed = min((row for row in promotions if row.created > undone.finished), key=lambda row: row.created, default=None)
    return FactTable(
        (
            *incident_facts(bad, undone, notice_table(lab), *counted),
            lead_time(read_deployments(lab), broken.name, fixed.freight_name if fixed else ""),
        )
    )


def _newest(promotions: Iterable[Promotion], what: str) -> Promotion:
    found = max(promotions, key=lambda row: row.created, default=None)
    if found is None:
        raise LabError(f"No Promotion of {_STAGE} {what}", todo="tell the story from its beginning")
    return found


def incident_facts(
    bad: Promotion, undone: Promotion, notices: Iterable[Notice], failed: pd.Series[float], requests: pd.Series[float]
) -> tuple[Fact, ...]:
    """What the records say of the incident.

    It lasts from the first request that failed after the Promotion was asked for to the last one before both the
    rollback and the alert were over, as precisely as the counters were read (every 5 s).

    Args:
        bad: The Promotion that brought the defect.
        undone: The rollback.
        notices: What the pager has received.
        failed: How many requests had failed at a time (index: datetime64[ns, UTC]), counted without end.
        requests: How many there had been, likewise.
    """
    pages = sorted(
        (
            row
            for row in notices
            if (row.alert, row.environment) == (ALERT, _STAGE) and bad.created <= row.received <= undone.finished
        ),
        key=lambda row: row.received,
    )
    over = max([undone.finished, *(row.resolved for row in pages if row.resolved)])
    new = failed.diff().clip(lower=0)
    hits = new[(new > 0) & (new.index >= pd.Timestamp(bad.created)) & (new.index <= pd.Timestamp(over))]
    first, last = (hits.index[0], hits.index[-1]) if len(hits) else (pd.NaT, pd.NaT)
    during = requests.diff().clip(lower=0)
    asked = during[(during.index >= first) & (during.index <= last)].sum() if len(hits) else 0
    told = pd.Timestamp(pages[0].received) if pages else pd.NaT
    return (
        Fact("detection time", _seconds(first, told), "s", f"first failed request → {ALERT} reached the pager"),
        Fact("time to restore", _seconds(first, last), "s", "first failed request → last failed request"),
        Fact(
            "rollback",
            seconds_between(undone.created, undone.finished),
            "s",
            "rollback-bot asked for the Promotion → the Promotion had ended",
        ),
        Fact("requests failed", float(hits.sum()), "requests", "answered with 5xx, or not at all, in that time"),
        Fact("requests made", float(asked), "requests", "by PROD's people in that time"),
    )


def _seconds(begin: Any, end: Any) -> float:
    """The time between two moments; NaN where one of them is not known."""
    return float(round((end - begin).total_seconds(), 1))


def lead_time(deployments: Iterable[Deployment], broken: str, fixed: str) -> Fact:
    """From the commit that fixes to the end of the Promotion that brought it to PROD.

    Args:
        deployments: What was promoted.
        broken: Name of the Freight with the defect.
        fixed: Name of the Freight with the fix.
    """
    there = [item for item in deployments if item.environment == _STAGE and item.succeeded]
    known = {commit for item in there if item.freight == broken for commit in item.commits}
    arrived = min((item for item in there if item.freight == fixed), key=lambda item: item.finished, default=None)
    new = sorted(committed for commit, committed in set(arrived.commits) - known) if arrived else []
    value = (arrived.finished - new[0]).total_seconds() if arrived and new else float("nan")
    return Fact("lead time of the fix", value, "s", "the fix was committed → its Promotion to PROD had ended")
