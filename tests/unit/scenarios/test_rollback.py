"""What the story of a rollback has measured, from records made by hand."""

import math
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from labkit.config import load_lab
from labkit.errors import LabError, UsageError
from labkit.observability.delivery import Deployment
from labkit.observability.pages import Notice
from labkit.paths import LabHome
from labkit.promotion import Promotion
from labkit.scenarios.rollback import DEFECT, begin_rollback, incident_facts, lead_time

START = datetime(2026, 1, 1, 12, tzinfo=UTC)


def at(seconds):
    return START + timedelta(seconds=seconds)


def promotion(created, finished, freight, undoes=""):
    manifest = {
        "metadata": {
            "name": f"prod.{created}",
            "creationTimestamp": at(created).isoformat(),
            "annotations": {"lab.labkit.dev/rolled-back-from": undoes},
        },
        "spec": {"stage": "prod", "freight": freight},
        "status": {"phase": "Succeeded", "finishedAt": at(finished).isoformat()},
    }
    return Promotion.from_manifest(manifest, {})


BAD, UNDONE = promotion(0, 20, "bad"), promotion(60, 80, "good", undoes="bad")
PAGE = Notice(
    channel="page",
    alert="AppRequestsFail",
    environment="prod",
    state="resolved",
    summary="",
    notified=(),
    acknowledged_by="",
    started=at(34),
    received=at(36),
    acknowledged=None,
    resolved=at(110),
    runbook="",
    dashboard="",
    id="1",
)


def counted(*pairs):
    return pd.Series([value for _, value in pairs], index=pd.DatetimeIndex([at(seconds) for seconds, _ in pairs]))


FAILED = counted((0, 7), (10, 7), (15, 9), (40, 19), (75, 20), (80, 20), (100, 20), (120, 23))
REQUESTS = counted((0, 100), (10, 110), (15, 120), (40, 160), (75, 200), (80, 210), (100, 240), (120, 250))


def facts(notices=(PAGE,), failed=FAILED):
    return {row.fact: row.value for row in incident_facts(BAD, UNDONE, notices, failed, REQUESTS)}


def test_an_incident_lasts_from_the_first_failed_request_to_the_last_before_rollback_and_alert_were_over():
    assert facts() == {
        "detection time": 21,
        "time to restore": 60,
        "rollback": 20,
        "requests failed": 13,
        "requests made": 90,
    }


def test_of_pages_the_first_of_this_alert_after_the_promotion_counts():
    others = (
        replace(PAGE, received=at(-60), resolved=at(-30)),
        replace(PAGE, received=at(25), alert="AppSlow"),
        replace(PAGE, received=at(25), environment="pre"),
        replace(PAGE, received=at(200), resolved=None),
    )
    assert facts((*others, PAGE)) == facts()


def test_an_alert_that_has_come_twice_is_one_incident():
    twice = (replace(PAGE, resolved=at(42)), replace(PAGE, received=at(70), resolved=at(110)))
    assert facts(twice) == facts()


def test_without_a_page_nothing_is_detected_and_the_end_of_the_rollback_counts():
    found = facts(())
    assert math.isnan(found["detection time"])
    assert found["time to restore"] == 60


def test_where_no_request_fails_there_is_no_time():
    found = facts(failed=counted((0, 7), (120, 7)))
    assert math.isnan(found["detection time"])
    assert math.isnan(found["time to restore"])
    assert (found["requests failed"], found["requests made"]) == (0, 0)


@given(st.lists(st.integers(0, 9), min_size=2, max_size=20))
def test_every_failure_of_the_incident_is_counted_once(increments):
    total, pairs = 0, [(0, 0)]
    for place, increment in enumerate(increments):
        total += increment
        pairs.append((1 + 5 * place, total))
    assert facts(failed=counted(*pairs))["requests failed"] == total


def test_a_counter_that_begins_anew_takes_nothing_back():
    assert facts(failed=counted((0, 7), (10, 9), (20, 0), (30, 1)))["requests failed"] == 3


# The fix


def deployment(freight, finished, commits, **more):
    known = {"environment": "prod", "requested": at(finished - 5), "succeeded": True} | more
    return Deployment(f"{freight}.{finished}", freight=freight, finished=at(finished), commits=commits, **known)


OLD, DEFECT_COMMIT, FIX = (("a", at(-500)), ("b", at(-100)), ("c", at(100)))


def test_the_lead_time_is_that_of_the_commit_that_only_the_fix_has():
    made = [
        deployment("bad", 20, (OLD, DEFECT_COMMIT)),
        deployment("fixed", 150, (OLD, DEFECT_COMMIT, FIX), environment="pre"),
        deployment("fixed", 160, (OLD, DEFECT_COMMIT, FIX), succeeded=False),
        deployment("fixed", 200, (OLD, DEFECT_COMMIT, FIX)),
        deployment("fixed", 900, (OLD, DEFECT_COMMIT, FIX)),
    ]
    assert lead_time(made, "bad", "fixed").value == 100


def test_a_fix_that_has_not_come_has_no_lead_time():
    assert math.isnan(lead_time([deployment("bad", 20, (OLD,))], "bad", "fixed").value)


# The beginning


def test_a_defect_that_nobody_would_be_called_for_is_wrong_usage(tmp_path):
    with pytest.raises(UsageError, match="missing-cdn does not fail at error-rate"):
        begin_rollback(load_lab(LabHome(tmp_path / "lab")), "missing-cdn")


def test_without_traffic_it_does_not_begin(tmp_path):
    lab = load_lab(LabHome(tmp_path / "lab"))
    with pytest.raises(LabError, match="no traffic"):
        begin_rollback(replace(lab, settings=replace(lab.settings, traffic="none")), DEFECT)
