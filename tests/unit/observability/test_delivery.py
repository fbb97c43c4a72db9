"""Delivery metrics: a history computed by hand, each definition by itself, and what has to hold of any history."""

import math
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pandas as pd
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from labkit.errors import UsageError
from labkit.observability.delivery import (
    FAIL_RATE,
    FREQUENCY,
    LEAD_TIME,
    RECOVERY_TIME,
    REWORK_RATE,
    UNITS,
    Alert,
    Deployment,
    Incident,
    alert_incidents,
    delivery_metrics,
    rollback_incidents,
    verification_incidents,
)
from labkit.paths import DATA
from labkit.promotion import Verification

SINCE = datetime(2026, 1, 1, tzinfo=UTC)
UNTIL = SINCE + timedelta(days=2)


def at(minutes):
    return SINCE + timedelta(minutes=minutes)


def deployment(name, finished, freight="F1", **more):
    facts = {"environment": "prod", "requested": at(finished - 2), "succeeded": True} | more
    return Deployment(promotion=name, freight=freight, finished=at(finished), **facts)


def incident(name, promotion, began, recovered=None, environment="prod"):
    return Incident(name, environment, promotion, at(began), None if recovered is None else at(recovered))


def measured(metric, deployments, incidents=(), environment="prod"):
    frame = delivery_metrics(deployments, incidents, SINCE, UNTIL, environments=[environment])
    (row,) = frame[(frame.environment == environment) & (frame.metric == metric)].itertuples()
    return row.value, row.n


def nothing(found):
    return math.isnan(found[0]) and found[1] == 0


# The history that was computed by hand


@pytest.fixture(scope="module")
def history():
    return yaml.safe_load((DATA / "observability" / "history.yaml").read_text())


def test_the_history_has_the_values_that_were_computed_by_hand(history):
    commits = {
        name: tuple((revision, history["commits"][revision]) for revision in revisions)
        for name, revisions in history["freight"].items()
    }
    frame = delivery_metrics(
        [Deployment(**item, commits=commits[item["freight"]]) for item in history["deployments"]],
        [Incident(**item) for item in history["incidents"]],
        **history["window"],
        environments=history["environments"],
    )
    expected = pd.DataFrame(
        [
            (environment, metric, value, UNITS[metric], n)
            for environment, metrics in history["expected"].items()
            for metric, (value, n) in metrics.items()
        ],
        columns=["environment", "metric", "value", "unit", "n"],
        dtype=object,
    ).astype({"value": "float64", "n": "int64"})
    pd.testing.assert_frame_equal(frame, expected, check_exact=True)


# Each definition


def test_lead_time_is_the_median_from_commit_to_the_end_of_the_deployment():
    commits = (("a", at(0)), ("b", at(50)), ("c", at(90)))
    assert measured(LEAD_TIME, [deployment("p1", 100, commits=commits)]) == (50 * 60, 3)


def test_a_change_counts_when_it_comes_first_only():
    commits = (("a", at(0)),)
    again = [deployment("p1", 10, commits=commits), deployment("p2", 100, "F2", commits=commits)]
    assert measured(LEAD_TIME, again) == (600, 1)
    before = replace(again[0], finished=SINCE - timedelta(minutes=1))
    assert nothing(measured(LEAD_TIME, [before, again[1]]))


def test_what_did_not_succeed_brings_no_change_and_is_no_deployment():
    commits = (("a", at(0)),)
    rejected = deployment("p1", 10, commits=commits, succeeded=False)
    made = [rejected, deployment("p2", 20, commits=commits)]
    assert measured(LEAD_TIME, made) == (20 * 60, 1)
    assert measured(FREQUENCY, made) == (0.5, 1)
    assert measured(FAIL_RATE, made, [incident("i", "p1", 11, 12)]) == (0, 1)


def test_the_end_of_the_window_is_not_part_of_it():
    edges = [replace(deployment("p1", 0), finished=SINCE), replace(deployment("p2", 0), finished=UNTIL)]
    assert measured(FREQUENCY, edges) == (0.5, 1)


def test_frequency_is_deployments_per_day():
    assert measured(FREQUENCY, [deployment(f"p{number}", number) for number in range(5)]) == (2.5, 5)


def test_recovery_time_is_the_median_over_failed_deployments():
    made = [deployment(name, number) for number, name in enumerate(("p1", "p2", "p3"))]
    seen = [incident("i1", "p1", 10, 11), incident("i2", "p2", 10, 13), incident("i3", "p3", 10, 100)]
    assert measured(RECOVERY_TIME, made, seen) == (180, 3)


def test_a_deployment_that_two_incidents_name_failed_once_from_the_first_sign_to_the_last():
    made = [deployment("p1", 1), deployment("p2", 2)]
    seen = [incident("i1", "p1", 10, 15), incident("i2", "p1", 12, 20)]
    assert measured(RECOVERY_TIME, made, seen) == (600, 1)
    assert measured(FAIL_RATE, made, seen) == (0.5, 2)


def test_what_still_lasts_has_failed_and_has_no_recovery_time():
    seen = [incident("i1", "p1", 10, 15), incident("i2", "p1", 12)]
    assert nothing(measured(RECOVERY_TIME, [deployment("p1", 1)], seen))
    assert measured(FAIL_RATE, [deployment("p1", 1)], seen) == (1, 1)


def test_rework_is_a_share_of_all_deployments():
    made = [deployment("p1", 1), deployment("p2", 2, rework=True), deployment("p3", 3), deployment("p4", 4)]
    assert measured(REWORK_RATE, made) == (0.25, 4)


def test_a_window_without_time_is_refused():
    with pytest.raises(UsageError, match="There is no time"):
        delivery_metrics([], [], SINCE, SINCE)


# What counts as an incident


def test_a_rollback_says_that_the_newest_deployment_of_what_it_left_had_failed():
    made = [
        deployment("p1", 10, "bad"),
        deployment("p2", 20, "good"),
        deployment("p3", 30, "bad"),
        deployment("p4", 40, "bad", succeeded=False),
        deployment("p5", 31, "bad", environment="pre"),
        deployment("undo", 50, "good", rolled_back_from="bad", rework=True),
        deployment("p6", 60, "bad"),
    ]
    assert rollback_incidents(made) == (incident("rollback undo", "p3", 48, 50),)


@pytest.mark.parametrize(
    "made",
    [
        [deployment("p1", 10, "bad"), deployment("undo", 20, "good", rolled_back_from="bad", succeeded=False)],
        [deployment("undo", 20, "good", rolled_back_from="forgotten")],
    ],
    ids=["did not succeed", "of what is not known"],
)
def test_a_rollback_that_says_nothing(made):
    assert rollback_incidents(made) == ()


def verification(run, freight, started, phase, stage="prod"):
    return Verification(f"id-{run}-{started}", stage, freight, phase, run, "", at(started).isoformat(), "")


def test_a_failed_verification_lasts_until_the_next_deployment_that_is_verified():
    made = [deployment(f"p{number}", 10 * number, f"F{number}") for number in (1, 2, 3)]
    seen = [
        verification("r3", "F3", 31, "Successful"),
        verification("r2", "F2", 21, "Error"),
        verification("r1", "F1", 11, "Failed"),
    ]
    assert verification_incidents(made, seen) == (incident("verification r1", "p1", 11, 30),)
    assert verification_incidents(made, seen[1:]) == (incident("verification r1", "p1", 11),)


def test_a_failed_verification_lasts_until_the_rollback_where_there_was_one():
    made = [deployment("p1", 10, "bad"), deployment("undo", 20, "good", rolled_back_from="bad")]
    assert verification_incidents(made, [verification("r1", "bad", 11, "Failed")]) == (
        incident("verification r1", "p1", 11, 20),
    )


@pytest.mark.parametrize("phase", ["Successful", "Error", "Inconclusive", "Aborted", "Running", "Pending"])
def test_only_failed_says_that_the_freight_is_bad(phase):
    assert verification_incidents([deployment("p1", 10)], [verification("r1", "F1", 11, phase)]) == ()


def test_an_analysis_run_that_is_counted_again_is_no_other_failure():
    made = [deployment("p1", 10, "F1"), deployment("p2", 20, "F2"), deployment("p3", 30, "F1")]
    seen = [verification("r1", "F1", 31, "Failed"), verification("r1", "F1", 11, "Failed")]
    assert [found.promotion for found in verification_incidents(made, seen)] == ["p1"]


@pytest.mark.parametrize(("began", "expected"), [(5, None), (10, "p1"), (19, "p1"), (21, "p2"), (35, "p2"), (36, None)])
def test_an_alert_is_put_down_to_the_newest_deployment_before_it_for_a_while(began, expected):
    made = [
        deployment("p1", 10),
        deployment("p2", 20),
        deployment("p3", 21, environment="pre"),
        deployment("p4", 21, succeeded=False),
    ]
    found = alert_incidents(made, [Alert("a", "prod", at(began), at(90))], timedelta(minutes=15))
    assert found == ((incident("alert a", expected, began, 90),) if expected else ())


@pytest.mark.parametrize(("held", "blamed"), [(0, "undo"), (1, "undo"), (2, "bad"), (5, "bad")])
def test_an_alert_does_not_blame_the_rollback_for_what_had_begun_before_it_was_over(held, blamed):
    made = [deployment("good", 5), deployment("bad", 10, "F2"), deployment("undo", 20, rolled_back_from="F2")]
    alert = Alert("a", "prod", at(21), at(22), held=timedelta(minutes=held))
    assert [found.promotion for found in alert_incidents(made, [alert], timedelta(minutes=15))] == [blamed]


# Of any history

MOMENTS = st.integers(-500, 3500).map(at)
ENVIRONMENTS = ("dev", "pre", "prod")


@st.composite
def deployment_lists(draw):
    count = draw(st.integers(0, 8))
    return [
        Deployment(
            promotion=f"p{number}",
            environment=draw(st.sampled_from(ENVIRONMENTS)),
            freight=draw(st.sampled_from(("F1", "F2"))),
            requested=draw(MOMENTS),
            finished=draw(MOMENTS),
            succeeded=draw(st.booleans()),
            rework=draw(st.booleans()),
            commits=tuple(draw(st.dictionaries(st.sampled_from("abcdef"), MOMENTS, max_size=4)).items()),
        )
        for number in range(count)
    ]


INCIDENTS = st.lists(
    st.builds(
        Incident,
        id=st.uuids().map(str),
        environment=st.sampled_from(ENVIRONMENTS),
        promotion=st.integers(0, 9).map("p{}".format),
        began=MOMENTS,
        recovered=st.none() | MOMENTS,
    ),
    max_size=8,
)


def metrics(deployments, incidents):
    return delivery_metrics(deployments, incidents, SINCE, UNTIL, environments=ENVIRONMENTS)


@given(deployment_lists(), INCIDENTS)
def test_rates_are_from_0_to_1_and_there_is_no_value_exactly_where_n_is_0(deployments, incidents):
    frame = metrics(deployments, incidents)
    assert frame.value[frame.unit == "ratio"].dropna().between(0, 1).all()
    assert (frame.value.isna() == (frame.n == 0)).all()
    assert list(frame.metric) == list(UNITS) * len(ENVIRONMENTS)


@given(deployment_lists(), INCIDENTS, st.data())
def test_an_incident_that_is_told_twice_changes_nothing(deployments, incidents, data):
    again = data.draw(st.lists(st.sampled_from(incidents), max_size=4)) if incidents else []
    pd.testing.assert_frame_equal(metrics(deployments, incidents + again), metrics(deployments, incidents))


@given(deployment_lists(), INCIDENTS, st.randoms())
def test_order_does_not_matter(deployments, incidents, random):
    expected = metrics(deployments, incidents)
    random.shuffle(deployments)
    random.shuffle(incidents)
    pd.testing.assert_frame_equal(metrics(deployments, incidents), expected)


@given(deployment_lists(), INCIDENTS, st.sampled_from(ENVIRONMENTS))
def test_what_happens_in_one_environment_changes_nothing_in_another(deployments, incidents, name):
    frame = metrics(deployments, incidents)
    alone = metrics(
        [item for item in deployments if item.environment == name],
        [item for item in incidents if item.environment == name],
    )
    pd.testing.assert_frame_equal(frame[frame.environment == name], alone[alone.environment == name])


@given(INCIDENTS)
def test_without_deployments_there_is_nothing_to_measure(incidents):
    frame = metrics([], incidents)
    assert frame.value.isna().all()
    assert (frame.n == 0).all()


def test_an_empty_history_has_the_same_columns():
    frame = delivery_metrics([], [], SINCE, UNTIL)
    assert frame.empty
    assert frame.dtypes.astype(str).to_dict() == metrics([], []).dtypes.astype(str).to_dict()
