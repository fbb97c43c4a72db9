"""Events: objects as Gitea, Kargo, Argo CD and the pager have them, made by hand."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labkit.observability.events import (
    SOURCES,
    Event,
    commit_events,
    freight_events,
    in_order,
    notice_events,
    promotion_events,
    pull_request_events,
    review_events,
    status_events,
    sync_events,
    validation_events,
    verification_events,
)
from labkit.observability.pages import Notice
from labkit.promotion import Freight, Promotion

START = datetime(2026, 1, 1, 12, tzinfo=UTC)


def at(seconds):
    return START + timedelta(seconds=seconds)


def z(seconds):
    """A time as Kubernetes writes it."""
    return at(seconds).strftime("%Y-%m-%dT%H:%M:%SZ")


def local(seconds):
    """A time as Gitea writes it, in a zone of its own."""
    return at(seconds).astimezone().isoformat()


def short(events):
    return [(item.time, item.end, item.environment, item.event, item.actor, item.detail) for item in events]


# Git and CI


def commit(sha, seconds, message="backend: faster\n\nwith more words"):
    return {
        "sha": sha * 10,
        "commit": {"message": message, "author": {"name": "developer"}, "committer": {"date": local(seconds)}},
    }


def test_commits_are_told_by_their_first_line_and_merges_by_their_pull_request():
    found = commit_events([commit("abcd", 5), commit("beef", 9)], "gitops", "prod", merges=["beef" * 10])
    assert short(found) == [(at(5), None, "prod", "commit", "developer", "gitops abcdabc: backend: faster")]


def pull(number, merged, over, branch="stage/prod"):
    return {
        "number": number,
        "title": "Promote",
        "merged": merged,
        "merged_at": local(over) if merged else None,
        "closed_at": local(over) if over else None,
        "merged_by": {"login": "release-manager"} if merged else None,
        "created_at": local(0),
        "base": {"label": branch},
    }


def test_pull_requests_last_from_being_opened_to_their_end():
    pulls = [pull(1, True, 30), pull(2, False, 20, "main"), pull(3, False, None)]
    assert short(pull_request_events(pulls, "gitops", {"stage/prod": "prod"})) == [
        (at(0), at(30), "prod", "pull request merged", "release-manager", "gitops #1: Promote"),
        (at(0), at(20), "", "pull request closed", "", "gitops #2: Promote"),
    ]


def test_of_reviews_those_that_decide_are_told():
    reviews = [
        {"state": state, "submitted_at": local(place), "user": {"login": "qa"}, "body": "words"}
        for place, state in enumerate(("PENDING", "COMMENT", "APPROVED", "REQUEST_CHANGES"))
    ]
    found = list(review_events(reviews, "gitops", {"number": 4}, "prod"))
    assert [(item.event, item.time) for item in found] == [("approved", at(2)), ("changes requested", at(3))]
    assert {(item.actor, item.detail, item.environment) for item in found} == {("qa", "gitops #4: words", "prod")}


def status(number, context, state, seconds):
    return {
        "id": number,
        "context": context,
        "status": state,
        "created_at": local(seconds),
        "creator": {"login": "ci-bot"},
        "description": f"says {state}",
    }


@given(st.permutations(range(4)))
def test_a_check_lasts_from_its_first_word_to_its_last_in_whatever_order_they_are_listed(order):
    statuses = [
        status(1, "ci/build", "pending", 3),
        status(2, "ci/build", "success", 8),
        status(3, "ci/unit-tests", "pending", 0),
        status(4, "validation/pre", "success", 1),
    ]
    found = {item.event: item for item in status_events([statuses[place] for place in order], "abcdef0123")}
    assert short([found["ci/build success"]]) == [
        (at(3), at(8), "", "ci/build success", "ci-bot", "abcdef0: says success")
    ]
    assert found["ci/unit-tests pending"].end is None, "it is under way"
    assert len(found) == 2, "a sign-off is none of CI's"


def test_a_sign_off_belongs_to_its_environment():
    statuses = [
        status(1, "validation/pre", "success", 1),
        status(2, "validation/prod", "success", 1),
        status(3, "validation/pre", "failure", 2),
    ]
    assert [(item.event, item.environment) for item in validation_events(statuses, "pre")] == [
        ("validated", "pre"),
        ("validation refused", "pre"),
    ]


# Kargo and Argo


def test_freight_is_discovered_and_approved_for_a_stage():
    found = freight_events(
        [
            {
                "alias": "brisk-otter",
                "metadata": {"name": "f1", "creationTimestamp": z(1)},
                "images": [{"repoURL": "127.0.0.1:1/lab/backend", "tag": "2.1.1"}],
                "status": {"approvedFor": {"prod": {"approvedAt": z(9)}, "pre": {}}},
            }
        ]
    )
    assert short(found) == [
        (at(1), None, "", "Freight discovered", "", "brisk-otter: backend 2.1.1"),
        (at(9), None, "prod", "Freight approved", "", "brisk-otter: backend 2.1.1"),
    ]


def promotion(phase, seconds, undoes="", reason=""):
    manifest = {
        "metadata": {
            "name": f"prod.{seconds}",
            "creationTimestamp": z(0),
            "annotations": {
                "kargo.akuity.io/create-actor": "kubernetes:developer",
                "lab.labkit.dev/rolled-back-from": undoes,
                "lab.labkit.dev/reason": reason,
            },
        },
        "spec": {"stage": "prod", "freight": "f1"},
        "status": {"phase": phase, **({"finishedAt": z(seconds)} if seconds else {})},
    }
    return Promotion.from_manifest(manifest, {"f1": "brisk-otter"})


def test_promotions_last_to_their_end_and_rollbacks_are_called_so():
    rows = [promotion("Succeeded", 7), promotion("Running", 0), promotion("Failed", 9, undoes="f0", reason="slow")]
    assert short(promotion_events(rows)) == [
        (at(0), at(7), "prod", "Promotion Succeeded", "developer", "Freight brisk-otter"),
        (at(0), None, "prod", "Promotion Running", "developer", "Freight brisk-otter"),
        (at(0), at(9), "prod", "rollback Failed", "developer", "Freight brisk-otter: slow"),
    ]


def test_a_verification_says_what_failed():
    run = {
        "metadata": {
            "name": "prod.1",
            "creationTimestamp": z(0),
            "labels": {"kargo.akuity.io/stage": "prod"},
            "ownerReferences": [{"kind": "Freight", "name": "f1"}],
        },
        "status": {
            "phase": "Failed",
            "startedAt": z(1),
            "completedAt": z(40),
            "metricResults": [{"name": "smoke-test", "phase": "Successful"}, {"name": "error-rate", "phase": "Failed"}],
        },
    }
    freight = Freight("brisk-otter", "f1", {}, "", (), (), (), START)
    assert short(verification_events([run], [freight])) == [
        (at(1), at(40), "prod", "verification Failed", "", "Freight brisk-otter: error-rate")
    ]
    assert short(verification_events([{**run, "status": {}}])) == [
        (at(0), None, "prod", "verification Pending", "", "Freight f1")
    ]


def test_syncs_have_their_revision_and_who_asked():
    history = [
        {"deployStartedAt": z(1), "deployedAt": z(3), "revision": "abcdef0123", "initiatedBy": {"username": "admin"}},
        {"deployedAt": z(5), "revision": "0123456789"},
    ]
    assert short(sync_events({"status": {"history": history}}, "pre")) == [
        (at(1), at(3), "pre", "sync", "admin", "revision abcdef0"),
        (at(5), at(5), "pre", "sync", "", "revision 0123456"),
    ]
    assert list(sync_events({}, "pre")) == []


# The pager

NOTICE = Notice(
    channel="page",
    alert="AppSlow",
    environment="prod",
    state="resolved",
    summary="too slow",
    notified=("on-call-primary",),
    acknowledged_by="on-call-primary",
    started=at(0),
    received=at(1),
    acknowledged=at(4),
    resolved=at(60),
    runbook="",
    dashboard="",
    id="1",
)


def test_a_page_is_told_from_firing_to_its_end():
    assert short(notice_events([NOTICE])) == [
        (at(0), at(60), "prod", "alert AppSlow", "", "too slow"),
        (at(1), None, "prod", "paged", "on-call-primary", "AppSlow"),
        (at(4), None, "prod", "acknowledged", "on-call-primary", "AppSlow"),
        (at(60), None, "prod", "resolved", "", "AppSlow"),
    ]


@pytest.mark.parametrize(("channel", "event"), [("chat", "in the chat"), ("log", "in the log")])
def test_what_lasts_has_no_end_and_what_calls_nobody_no_actor(channel, event):
    notice = replace(NOTICE, channel=channel, notified=(), acknowledged=None, acknowledged_by="", resolved=None)
    assert [(item.event, item.end, item.actor) for item in notice_events([notice])] == [
        ("alert AppSlow", None, ""),
        (event, None, ""),
    ]


# All together


@st.composite
def events(draw):
    time = draw(st.integers(0, 100))
    length = draw(st.none() | st.integers(0, 50))
    end = None if length is None else at(time + length)
    return Event(at(time), end, draw(st.sampled_from(SOURCES)), "prod", draw(st.text(max_size=3)), "", "")


@given(st.lists(events()), st.integers(0, 100), st.integers(0, 100))
def test_events_of_a_time_are_those_that_touch_it_in_order(given_events, begin, length):
    since, until = at(begin), at(begin + length)
    found = list(in_order(given_events, since, until))
    assert [item.time for item in found] == sorted(item.time for item in found)
    for item in given_events:
        touches = item.time < until and max(item.time, item.end or item.time) >= since
        assert (found.count(item) == given_events.count(item)) if touches else item not in found


@given(st.text(), st.datetimes(datetime(2000, 1, 1), datetime(2100, 1, 1), timezones=st.timezones()))
def test_whatever_a_commit_says_it_is_one_line_at_its_time(message, time):
    item = commit("abcd", 0, message)
    item["commit"]["committer"]["date"] = time.isoformat()
    (found,) = commit_events([item], "demo-app")
    assert found.time == time.astimezone(UTC)
    assert "\n" not in found.detail
    assert message.startswith(found.detail.partition(": ")[2])
