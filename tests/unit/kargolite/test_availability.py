"""Which Freight a Stage may take."""

from datetime import UTC, datetime, timedelta

import pytest

from labkit.asynckube.objects import name_of
from labkit.kargolite.availability import (
    auto_promotion_candidates,
    auto_promotion_enabled,
    is_available,
    longest_soak,
    soak_left,
)

from .recordings import recording


def ago(seconds):
    return (datetime.now(UTC) - timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%SZ")


def stage(**sources):
    request = {"origin": {"kind": "Warehouse", "name": "demo-app"}, "sources": sources}
    return {"metadata": {"name": "prod", "namespace": "demo-app"}, "spec": {"requestedFreight": [request]}}


def freight(name="f1", *, origin="demo-app", namespace="demo-app", discovered=0, **status):
    return {
        "metadata": {"name": name, "namespace": namespace},
        "origin": {"kind": "Warehouse", "name": origin},
        "discoveredAt": ago(discovered),
        "status": status,
    }


def verified():
    return {"verifiedAt": ago(60)}


@pytest.mark.parametrize(
    ("sources", "status", "available"),
    [
        ({"direct": True}, dict, True),
        ({"stages": ["pre"]}, dict, False),
        ({"stages": ["pre"]}, lambda: {"verifiedIn": {"pre": verified()}}, True),
        ({"stages": ["pre"]}, lambda: {"verifiedIn": {"dev": verified()}}, False),
        ({"stages": ["pre"]}, lambda: {"approvedFor": {"prod": {"approvedAt": ago(1)}}}, True),
        ({"stages": ["pre"]}, lambda: {"approvedFor": {"other": {"approvedAt": ago(1)}}}, False),
        ({"stages": ["dev", "hotfix"]}, lambda: {"verifiedIn": {"hotfix": verified()}}, True),
        (
            {"stages": ["dev", "hotfix"], "availabilityStrategy": "All"},
            lambda: {"verifiedIn": {"hotfix": verified()}},
            False,
        ),
        (
            {"stages": ["dev", "hotfix"], "availabilityStrategy": "All"},
            lambda: {"verifiedIn": {"hotfix": verified(), "dev": verified()}},
            True,
        ),
        (
            {"stages": ["pre"], "requiredSoakTime": "1m0s"},
            lambda: {"verifiedIn": {"pre": verified()}, "currentlyIn": {"pre": {"since": ago(30)}}},
            False,
        ),
        (
            {"stages": ["pre"], "requiredSoakTime": "1m0s"},
            lambda: {"verifiedIn": {"pre": verified()}, "currentlyIn": {"pre": {"since": ago(90)}}},
            True,
        ),
        (
            {"stages": ["pre"], "requiredSoakTime": "1m0s"},
            lambda: {"verifiedIn": {"pre": {"verifiedAt": ago(900), "longestSoak": "2m0s"}}},
            True,
        ),
    ],
)
def test_availability(sources, status, available):
    assert is_available(stage(**sources), freight(**status())) is available


def test_other_origin_namespace_or_none_is_not_available():
    assert not is_available(stage(direct=True), freight(origin="other"))
    assert not is_available(stage(direct=True), freight(namespace="other"))
    assert not is_available(stage(direct=True), None)


def test_soak_counts_only_where_verified_and_takes_the_longest():
    assert longest_soak(freight(currentlyIn={"pre": {"since": ago(50)}}), "pre") == 0
    soaked = freight(
        currentlyIn={"pre": {"since": ago(50)}}, verifiedIn={"pre": {"verifiedAt": ago(50), "longestSoak": "20s"}}
    )
    assert longest_soak(soaked, "pre") == pytest.approx(50, abs=2)


def test_the_end_of_a_soak_is_known():
    soaking = freight(currentlyIn={"pre": {"since": ago(50)}}, verifiedIn={"pre": verified()})
    assert soak_left(stage(stages=["pre"], requiredSoakTime="1m0s"), [soaking]) == pytest.approx(10, abs=2)
    assert soak_left(stage(stages=["pre"]), [soaking]) is None


def test_the_newest_available_freight_is_the_candidate():
    old, new = freight("old", discovered=100), freight("new", discovered=10)
    other = freight("other", origin="elsewhere")
    assert name_of(auto_promotion_candidates(stage(direct=True), [new, old, other])["Warehouse/demo-app"]) == "new"
    assert auto_promotion_candidates(stage(stages=["pre"]), [new, old]) == {}


def test_match_upstream_takes_only_what_is_upstream_now():
    here = freight("here", discovered=100, currentlyIn={"pre": {"since": ago(9)}}, verifiedIn={"pre": verified()})
    newer = freight("newer", verifiedIn={"pre": verified()})
    wanted = stage(stages=["pre"], autoPromotionOptions={"selectionPolicy": "MatchUpstream"})
    assert name_of(auto_promotion_candidates(wanted, [here, newer])["Warehouse/demo-app"]) == "here"


@pytest.mark.parametrize(
    ("selector", "enabled"),
    [
        ({"name": "prod"}, True),
        ({"name": "dev"}, False),
        ({"name": "glob:p*"}, True),
        ({"name": "regex:^pr"}, True),
        ({"name": "regex:^d"}, False),
        ({"matchLabels": {"tier": "last"}}, True),
        ({"matchLabels": {"tier": "first"}}, False),
        ({"matchExpressions": [{"key": "tier", "operator": "In", "values": ["last"]}]}, True),
        ({"matchExpressions": [{"key": "tier", "operator": "DoesNotExist"}]}, False),
    ],
)
def test_promotion_policies(selector, enabled):
    config = {"spec": {"promotionPolicies": [{"stageSelector": selector, "autoPromotionEnabled": True}]}}
    last = stage(direct=True)
    last["metadata"]["labels"] = {"tier": "last"}
    assert auto_promotion_enabled(config, last) is enabled
    assert auto_promotion_enabled(None, last) is False


def test_the_recorded_refusal_follows_from_the_recorded_objects():
    found = recording("06")["objects"]
    unverified, pre = found[0], found[1]
    assert not is_available(pre, unverified)
    unverified["status"]["verifiedIn"] = {"dev": verified()}
    assert is_available(pre, unverified)
