"""The rules: what data/rules.yaml says, how a freeze's end is read, when a Stage is rolled back by itself."""

import contextlib
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labkit.config import load_lab
from labkit.errors import UsageError
from labkit.guard.rollbacks import trouble
from labkit.promotion import Promotion, Stage, Verification
from labkit.promotion.freeze import end_of_freeze
from labkit.rules import AutomaticRollback, rules

NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)


def test_the_rules_speak_of_people_and_stages_that_exist():
    lab = load_lab()
    stages = {environment.name for environment in lab.environments}
    found = rules()
    assert {found.requester, found.validator, found.approver} <= lab.people.keys()
    assert found.gates.keys() <= stages
    assert found.automatic_rollback.keys() <= stages
    for gate in found.gates.values():
        assert gate.validation_stage == lab.environment(gate.stage).upstream
        assert {*gate.validators, *gate.approvers} <= lab.people.keys()
        assert gate.robot == found.rollback_bot not in lab.people


def test_who_asks_by_default_may_not_approve():
    for gate in rules().gates.values():
        assert rules().requester not in gate.approvers


# The end of a freeze


@given(st.integers(0, 30), st.integers(0, 48), st.integers(0, 90), st.integers(0, 90))
def test_a_duration_counts_from_now(days, hours, minutes, seconds):
    text = "".join(f"{n}{unit}" for n, unit in ((days, "d"), (hours, "h"), (minutes, "m"), (seconds, "s")) if n)
    length = timedelta(days=days, hours=hours, minutes=minutes, seconds=seconds)
    if not length:
        return
    assert end_of_freeze(text, NOW) == NOW + length


@given(st.datetimes(datetime(2026, 12, 1), datetime(2030, 1, 1), timezones=st.just(UTC)))
def test_a_date_and_time_is_taken_as_it_is(end):
    assert end_of_freeze(end.isoformat(), NOW) == end.replace(microsecond=0)


@given(st.integers(0, 23), st.integers(0, 59))
def test_a_time_is_of_today_or_tomorrow(hour, minute):
    end = end_of_freeze(f"{hour}:{minute:02}", NOW)
    here = end.astimezone()
    assert (here.hour, here.minute) == (hour, minute)
    assert timedelta() < end - NOW <= timedelta(days=1, hours=1)


@pytest.mark.parametrize(
    "text", ["", "soon", "90", "25:00", "10:61", "2026-11-24T11:00+00:00", "0m", "-5m", "9" * 20 + "d"]
)
def test_anything_else_is_refused(text):
    with pytest.raises(UsageError):
        end_of_freeze(text, NOW)


@given(st.text(max_size=12))
def test_no_text_breaks_it(text):
    with contextlib.suppress(UsageError):
        assert end_of_freeze(text, NOW) > NOW


# Automatic rollback

RULE = AutomaticRollback(stage="pre", after=("verification", "health"), settle_seconds=5, maximum_age_minutes=15)
STAGE = Stage(
    stage="pre",
    project="demo-app",
    control_flow=False,
    takes_from=("dev",),
    freight="new-one",
    freight_name="f2",
    versions={},
    health="Healthy",
    applications=("Healthy",),
    verified="True",
    auto_promotion=False,
    held=False,
    last_promotion="pre.2",
    promoting="",
)
PROMOTION = Promotion(
    promotion="pre.2",
    stage="pre",
    freight="new-one",
    freight_name="f2",
    phase="Succeeded",
    step="sync",
    message="",
    actor="kubernetes:developer",
    requester="developer",
    reason="",
    emergency="",
    rolled_back_from="",
    commit="c2",
    opens_pull_request=False,
    pull_request=0,
    created=NOW - timedelta(minutes=2),
    seconds=5,
)
GOOD = Verification("1", "pre", "f2", "Successful", "run", "", "2026-11-24T11:58:05Z", "2026-11-24T11:58:07Z")
FAILED = replace(GOOD, phase="Failed", message="too many errors")
SICK = replace(STAGE, health="Unhealthy", applications=("Degraded",))


def test_what_works_is_left_alone():
    assert trouble(STAGE, PROMOTION, GOOD, RULE, NOW) == ""
    assert trouble(STAGE, PROMOTION, None, RULE, NOW) == ""


def test_a_failed_verification_is_trouble():
    assert "failed its verification: too many errors" in trouble(STAGE, PROMOTION, FAILED, RULE, NOW)


@pytest.mark.parametrize("word", ["Degraded", "Missing"])
def test_a_sick_application_is_trouble(word):
    found = trouble(replace(SICK, applications=(word,)), PROMOTION, GOOD, RULE, NOW)
    assert found == f"Freight new-one made the Application {word}"


def test_that_nobody_can_tell_is_not_the_releases_fault():
    """Gitea or a cluster that does not answer makes a Stage Unhealthy, and a measurement an Error."""
    assert trouble(replace(STAGE, health="Unhealthy"), PROMOTION, GOOD, RULE, NOW) == ""
    assert trouble(replace(SICK, applications=("Unknown",)), PROMOTION, GOOD, RULE, NOW) == ""
    assert trouble(STAGE, PROMOTION, replace(GOOD, phase="Error"), RULE, NOW) == ""
    assert trouble(STAGE, PROMOTION, replace(GOOD, phase="Inconclusive"), RULE, NOW) == ""


@pytest.mark.parametrize(
    ("promotion", "stage"),
    [
        (replace(PROMOTION, rolled_back_from="f3"), SICK),
        (replace(PROMOTION, phase="Failed"), SICK),
        (replace(PROMOTION, freight_name="f1"), SICK),
        (replace(PROMOTION, created=NOW - timedelta(minutes=16)), SICK),
        (PROMOTION, replace(SICK, promoting="pre.3")),
    ],
    ids=["a rollback", "failed itself", "brought something else", "too long ago", "another is under way"],
)
def test_a_promotion_that_is_not_to_blame_is_not_rolled_back(promotion, stage):
    assert trouble(SICK, PROMOTION, FAILED, RULE, NOW)
    assert trouble(stage, promotion, FAILED, RULE, NOW) == ""


def test_a_rule_names_what_it_looks_at():
    assert trouble(SICK, PROMOTION, GOOD, replace(RULE, after=("verification",)), NOW) == ""
    assert trouble(STAGE, PROMOTION, FAILED, replace(RULE, after=("health",)), NOW) == ""
