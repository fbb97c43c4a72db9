"""What labkit reads from Kargo's objects, as a genuine Kargo v1.11.2 wrote them (tests/conformance/recordings)."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labkit.config import load_lab
from labkit.paths import REPO
from labkit.promotion import Freight, Promotion, Stage, wait_for_promotion
from labkit.promotion.freight import time_of, versions_of

RECORDINGS = REPO / "tests" / "conformance" / "recordings"
OLD = {"frontend": "0.9.0", "backend": "2.0.5", "database": "1.4.7"}
NEW = {"frontend": "0.9.5", "backend": "2.0.8", "database": "1.4.9"}
ALIASES = {"3b22e0983de3ac80fa2798b9e2b628a3db9403bf": "sullen-puma"}


def _objects(number, kind):
    (file,) = RECORDINGS.glob(f"{number}-*.json")
    return [item for item in json.loads(file.read_text())["objects"] if item["kind"] == kind]


def _freight(number):
    (manifest,) = _objects(number, "Freight")
    return Freight.from_manifest(manifest)


def _stage(number, name):
    (manifest,) = (item for item in _objects(number, "Stage") if item["metadata"]["name"] == name)
    return Stage.from_manifest(manifest, ALIASES)


def _promotions(number):
    return [Promotion.from_manifest(manifest, ALIASES) for manifest in _objects(number, "Promotion")]


# Freight


def test_freight_that_has_come_to_prod():
    freight = _freight("04")
    assert (freight.alias, freight.name) == ("sullen-puma", "3b22e0983de3ac80fa2798b9e2b628a3db9403bf")
    assert freight.versions == OLD
    assert freight.in_stages == freight.verified_in == ("dev", "pre", "prod")
    assert freight.approved_for == ()
    assert freight.created == datetime(2026, 11, 23, 6, 22, 11, tzinfo=UTC)


def test_freight_whose_verification_failed_runs_in_dev_and_is_verified_nowhere():
    assert (_freight("05").in_stages, _freight("05").verified_in) == (("dev",), ())


def test_freight_that_was_approved_by_hand():
    freight = _freight("12")
    assert freight.alias == "hotfix-2-0-6"
    assert freight.versions == OLD | {"backend": "2.0.6"}
    assert freight.approved_for == ("prod",)


def test_freight_names_its_commit_where_all_its_images_do():
    (manifest,) = _objects("01", "Freight")
    label = "org.opencontainers.image.revision"

    def built_from(*commits):
        pairs = zip(manifest["images"], commits, strict=True)
        images = [image | {"annotations": {label: commit}} for image, commit in pairs]
        return Freight.from_manifest(manifest | {"images": images}).revision

    assert built_from("c1f1cf6", "c1f1cf6", "c1f1cf6") == "c1f1cf6"
    assert built_from("c1f1cf6", "c1f1cf6", "0c1de43") == ""
    assert Freight.from_manifest(manifest).revision == ""


def test_freight_that_was_just_made_is_nowhere():
    (manifest,) = _objects("01", "Freight")
    for status in ({}, {"status": {}}, {"status": None}):
        bare = {key: value for key, value in manifest.items() if key not in ("status", "alias")} | status
        freight = Freight.from_manifest(bare)
        assert (freight.alias, freight.in_stages, freight.verified_in, freight.approved_for) == ("", (), (), ())


# Stages


@pytest.mark.parametrize(
    ("number", "name", "expected"),
    [
        ("01", "dev", {"takes_from": ("Warehouse demo-app",), "auto_promotion": True, "verified": "True"}),
        ("02", "pre", {"takes_from": ("dev",), "auto_promotion": False, "verified": "True"}),
        ("03", "prod", {"takes_from": ("pre",), "health": "Unknown", "verified": "Unknown", "freight_name": ""}),
        ("03", "prod", {"promoting": "prod.01m83h44t2ne7tjfjjnqcw9vxg.3b22e09", "last_promotion": "", "versions": {}}),
        ("04", "prod", {"freight": "sullen-puma", "health": "Healthy", "verified": "True", "promoting": ""}),
        ("04", "prod", {"versions": OLD, "last_promotion": "prod.01m83h44t2ne7tjfjjnqcw9vxg.3b22e09"}),
        ("05", "dev", {"versions": NEW, "health": "Healthy", "verified": "False", "freight": ""}),
        ("07", "dev", {"versions": NEW, "verified": "True"}),
        ("08", "prod", {"versions": OLD, "health": "Unknown", "verified": "True"}),
        ("10", "pre", {"versions": NEW, "health": "Progressing", "verified": "Unknown"}),
        ("13", "prod", {"versions": OLD, "freight": "sullen-puma", "verified": "True"}),
    ],
)
def test_a_stage_in_each_situation(number, name, expected):
    stage = _stage(number, name)
    assert (stage.stage, stage.project) == (name, "demo-app")
    assert {key: getattr(stage, key) for key in expected} == expected


def test_a_stage_shows_the_newest_freight_of_its_history():
    (manifest,) = _objects("13", "Stage")
    history = manifest["status"]["freightHistory"]
    assert len(history) > 1
    newest = next(iter(history[0]["items"].values()))["name"]
    assert Stage.from_manifest(manifest, ALIASES).freight_name == newest


def test_a_stage_may_take_freight_from_several_sources():
    (manifest,) = _objects("02", "Stage")
    (request,) = manifest["spec"]["requestedFreight"]
    request["sources"] = {"direct": True, "stages": ["dev", "hotfix"]}
    assert Stage.from_manifest(manifest, ALIASES).takes_from == ("Warehouse demo-app", "dev", "hotfix")


def test_a_stage_that_nobody_reconciled_yet_is_unknown():
    (manifest,) = _objects("02", "Stage")
    stage = Stage.from_manifest({key: value for key, value in manifest.items() if key != "status"}, ALIASES)
    assert (stage.health, stage.verified, stage.freight_name, stage.versions) == ("Unknown", "Unknown", "", {})


# Promotions


@pytest.mark.parametrize(
    ("number", "expected"),
    [
        ("01", {"stage": "dev", "phase": "Succeeded", "step": "sync", "pull_request": 0, "done": True, "seconds": 3}),
        ("01", {"freight": "sullen-puma", "actor": "kubernetes:kwok-admin", "message": ""}),
        ("03", {"stage": "prod", "phase": "Running", "step": "wait-pr", "pull_request": 1, "done": False}),
        ("03", {"seconds": None}),
        ("04", {"phase": "Succeeded", "step": "sync", "pull_request": 1, "done": True, "seconds": 13}),
        ("08", {"phase": "Failed", "step": "wait-pr", "pull_request": 2, "done": True, "freight": ""}),
        ("08", {"message": 'step "wait-pr": pull request 2 was closed without being merged'}),
        ("09", {"phase": "Aborted", "step": "wait-pr", "pull_request": 3, "done": True}),
        ("14", {"phase": "Errored", "step": "set", "pull_request": 0, "done": True}),
        ("15", {"phase": "Errored", "step": "x", "done": True}),
        ("16", {"phase": "Errored", "step": "push", "done": True}),
    ],
)
def test_a_promotion_in_each_situation(number, expected):
    (promotion,) = _promotions(number)
    assert {key: getattr(promotion, key) for key in expected} == expected


def test_a_promotion_that_failed_names_the_step_of_its_message():
    for number in ("08", "14", "16"):
        (promotion,) = _promotions(number)
        assert f'step "{promotion.step}"' in promotion.message


def test_a_promotion_in_the_queue_has_begun_no_step():
    waiting = _promotions("10")[1]
    assert (waiting.step, waiting.done, waiting.seconds) == ("", False, None)


def test_a_promotion_that_was_just_created_is_pending():
    (manifest,) = _objects("02", "Promotion")
    promotion = Promotion.from_manifest({key: value for key, value in manifest.items() if key != "status"}, ALIASES)
    assert (promotion.phase, promotion.done, promotion.pull_request) == ("Pending", False, 0)


def test_a_promotion_opens_a_pull_request_where_its_steps_say_so():
    every = [promotion for number in range(1, 17) for promotion in _promotions(f"{number:02}")]
    assert {promotion.stage for promotion in every if promotion.opens_pull_request} == {"prod"}
    assert all(promotion.opens_pull_request for promotion in every if promotion.pull_request)


@pytest.mark.parametrize(("opens", "until"), [(True, "open its pull request"), (False, "be through")])
def test_what_is_waited_for_is_what_will_come(monkeypatch, opens, until):
    promotion = replace(_promotions("02")[0], opens_pull_request=opens)
    monkeypatch.setattr("labkit.promotion.promotion.wait_for", lambda what, *_, **__: what)
    what = wait_for_promotion(load_lab(), promotion, until_pull_request=True)
    assert what == f"Promotion {promotion.promotion} to {until}"


def test_every_recorded_object_can_be_read():
    for number in (f"{number:02}" for number in range(1, 17)):
        for kind, read in (
            ("Freight", Freight.from_manifest),
            ("Stage", lambda manifest: Stage.from_manifest(manifest, ALIASES)),
            ("Promotion", lambda manifest: Promotion.from_manifest(manifest, ALIASES)),
        ):
            for manifest in _objects(number, kind):
                assert manifest["metadata"]["name"] in repr(read(manifest))


# Parts

PART = st.from_regex(
    r"[a-z0-9]{1,8}([._-][a-z0-9]{1,8}){0,2}", fullmatch=True
)  # OCI distribution specification, <name>
TAG = st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,12}", fullmatch=True)


@given(st.dictionaries(PART, TAG, max_size=4), st.lists(PART, max_size=3))
def test_versions_are_named_by_the_last_part_of_the_repository(versions, parents):
    images = [{"repoURL": "/".join([*parents, tier]), "tag": tag} for tier, tag in versions.items()]
    assert versions_of(images) == versions


def test_an_image_without_a_tag_has_its_digest():
    assert versions_of([{"repoURL": "127.0.0.1:1/lab/frontend", "digest": "sha256:0"}]) == {"frontend": "sha256:0"}


ZONES = st.builds(lambda minutes: timezone(timedelta(minutes=minutes)), st.integers(-12 * 60, 14 * 60))
TIMES = st.datetimes(datetime(1970, 1, 2), datetime(9999, 12, 30), timezones=ZONES)


@given(TIMES)
def test_times_keep_their_moment(moment):
    assert time_of(moment.isoformat()) == moment
    assert time_of(moment.isoformat()).tzinfo is UTC


@given(TIMES.map(lambda moment: moment.astimezone(UTC)), st.integers(0, 9))
def test_times_as_kubernetes_writes_them(moment, digits):
    """Seconds as in `creationTimestamp`, micro- and nanoseconds as in Go's RFC 3339."""
    fraction = f".{moment.microsecond * 1000:09}"[: digits + 1] if digits else ""
    found = time_of(f"{moment:%Y-%m-%dT%H:%M:%S}{fraction}Z")
    assert abs(moment - found) < timedelta(seconds=1 if not digits else 10.0**-digits + 1e-6)


@pytest.mark.parametrize("text", ["", "yesterday", "2026-13-01T00:00:00Z"])
def test_what_is_no_time_is_refused(text):
    with pytest.raises(ValueError, match=r"Invalid isoformat|month must be"):
        time_of(text)
